"""The peak of memory that a ticket or a settlement of an example takes, in this fresh process: what rounds.py starts.

Above what the process holds after imports, the self-test and reading the job. Prints JSON: {"mib": ...}.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial

import numpy as np
from figures import ROOT, Work

from ledger.genesis import local_genesis
from training.engine import Engine, Task
from training.exact.selftest import check_machine
from training.hashing import compute_cid
from training.jobs import load_job_file, prepare
from training.memory import measure_peak
from training.merge import STEPS_KNOWN, Update
from training.payload import encode_payload

TICKETS, UPDATES = 4, 4
DELTA_BITS = 12  # of drawn deltas, in master units: a settlement's memory is not a matter of their values
KEPT, BITS = 4096, 4
SEED = bytes(32)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench/peak.py", description=__doc__)
    parser.add_argument("name", help="examples/NAME.toml")
    parser.add_argument("what", choices=list(WORKS))
    parser.add_argument("path", choices=["fused", "portable"])
    options = parser.parse_args(arguments)
    check_machine(options.path)
    work = make_work(options.name, options.what, options.path)
    with measure_peak() as peak:
        work()
    if peak.size_bytes is None:
        raise SystemExit(
            "error: the peak of memory cannot be measured here: Linux with a /proc that is open expected"
        )
    print(json.dumps({"mib": peak.size_bytes / 2**20}))


def make_work(name: str, what: str, path: str) -> Work:
    job = prepare(
        load_job_file(ROOT / "examples" / f"{name}.toml"), local_genesis("bench").params.sidecar_limit
    )
    task = Task(**{key: getattr(job.spec, key) for key in Task.__dataclass_fields__})
    blobs = {task.data_cid: job.blob}
    engine = Engine(blobs.__getitem__, "portable" if path == "portable" else "fused")
    engine.inspect(task)
    return WORKS[what](engine, task, job.facts.weights, blobs)


def make_ticket(engine: Engine, task: Task, weights: bytes, blobs: dict[bytes, bytes]) -> Work:
    return partial(engine.run, task, weights, SEED)


def make_settlement(engine: Engine, task: Task, weights: bytes, blobs: dict[bytes, bytes]) -> Work:
    """Of a job that has settled often: all known steps are there."""
    rng = np.random.default_rng(0)
    count = len(weights) // 8
    deltas = rng.integers(-(1 << DELTA_BITS), 1 << DELTA_BITS, (TICKETS + UPDATES + 1, count), np.int64)
    master = np.frombuffer(weights, "<i8")
    earlier = [(master - number * deltas[0]).astype("<i8").tobytes() for number in range(1, STEPS_KNOWN + 1)]
    tickets = [delta.astype("<i8").tobytes() for delta in deltas[:TICKETS]]
    updates = []
    for delta in deltas[TICKETS:]:
        payload = encode_payload(delta, KEPT, BITS)
        blobs[compute_cid(payload)] = payload
        updates.append(Update(compute_cid(payload), len(payload), 1))
    return partial(
        engine.settle, task, weights, tickets, (SEED,) * 3, earlier, updates[:UPDATES], updates[UPDATES:]
    )


WORKS = {"ticket": make_ticket, "settlement": make_settlement}


if __name__ == "__main__":
    main()
