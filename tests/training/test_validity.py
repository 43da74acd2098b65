"""Sane jobs stay mineable: from first to last round, nearly every run lowers the loss on its own shard."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.engine import Engine
from training.hashing import compute_tagged_hash
from training.jobs import load_job_file, make_task, prepare

EXAMPLES = Path(__file__).parents[2] / "examples"
ROUNDS = {"digits.toml": 28, "teacher.toml": 16}  # by tickets alone; the digits' price buys updates, too
TICKETS = 5  # a round; six blocks, a quarter of them heartbeats, and one lost
LEAST_VALID = 0.95


@pytest.mark.parametrize("name", list(ROUNDS))
def test_sane_job_keeps_its_runs_valid_to_the_target(name: str) -> None:
    """Rounds as section 10 settles them: tickets of round k start from V_(k-2) and are merged onto V_(k-1)."""
    prepared = prepare(load_job_file(EXAMPLES / name), 512 << 10)
    engine, task = Engine(lambda cid: prepared.blob), make_task(prepared.spec)
    older = newer = prepared.facts.weights
    valid, means = [], []
    for number in range(ROUNDS[name]):
        seeds = [compute_tagged_hash("test/ticket", bytes([number, i])) for i in range(TICKETS)]
        runs = [engine.run(task, older, seed) for seed in seeds]
        valid += [run.after < run.before for run in runs]
        deltas = [run.delta for run in runs if run.after < run.before]
        sample = compute_tagged_hash("test/sample", bytes([number]))
        settled = engine.settle(task, newer, deltas, (sample,) * 3)
        means.append(settled.split_loss // settled.split_count)
        older, newer = newer, settled.weights
    assert sum(valid) / len(valid) >= LEAST_VALID
    assert min(means) <= prepared.spec.target
