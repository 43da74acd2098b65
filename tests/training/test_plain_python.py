"""Both paths against docs/protocol.md read into plain Python integers: losses, and whole tickets."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.plain_python import Rows, Sample, compute_loss, cut, expand, run_ticket
from tests.training.problems import PROBLEMS, Problem
from training.objectives.registry import get_objective
from training.splits import Split, parse_dataset

TICKET_SEED = bytes(range(7, 39))


@pytest.mark.parametrize("name", PROBLEMS)
def test_exact_loss_is_that_of_plain_integers(name: str) -> None:
    problem = PROBLEMS[name]()
    samples, keys = read_samples(problem, "judge")
    master = np.frombuffer(problem.weights, "<i8").tolist()
    total = sum(compute_loss(problem, sample, keys, master) for sample in samples)
    for path in ("fused", "portable"):
        assert problem.make_engine(path).evaluate(problem.task, problem.weights, "judge") == (
            total,
            len(samples),
        )


@pytest.mark.parametrize("name", PROBLEMS)
def test_ticket_is_that_of_plain_integers(name: str) -> None:
    problem = PROBLEMS[name]()
    samples, keys = read_samples(problem, "train")
    master = np.frombuffer(problem.weights, "<i8").tolist()
    told = run_ticket(problem, samples, keys, master, TICKET_SEED)
    run = problem.make_engine().run(problem.task, problem.weights, TICKET_SEED)
    assert (run.digest, run.before, run.after) == told


def read_samples(problem: Problem, part: str) -> tuple[list[Sample], Rows]:
    """A split's samples, and the keys."""
    task = problem.task
    layout = get_objective(task.objective, task.params).layout
    data = parse_dataset(problem.blob, layout)
    split: Split = data.train if part == "train" else data.judge
    inputs = [expand(task.objective, task.params, row) for row in split.inputs.tolist()]
    if layout.rows is None:
        targets = [[[4096 * (j == label) for j in range(layout.classes)]] for label in split.labels.tolist()]
    else:
        targets = [cut(row, layout.rows[-1]) for row in split.rows.tolist()]
    samples = [Sample(*pair) for pair in zip(inputs, targets, strict=True)]
    return samples, split.keys.tolist()
