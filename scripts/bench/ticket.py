"""A mining run as the training process does it: the heartbeat, and a run of examples/digits.toml.

Three layers in turns: the compiled kernel alone, the engine around it, and the miner's loop with header, seed and
ticket hash around that. What a layer adds is Python's share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import patch

from figures import ROOT, Report, Work, divide, finish, median, parse_options

from ledger.blocks import WorkHeader
from ledger.genesis import local_genesis
from ledger.jobspec import JobSpec
from node.work import EngineVerifier, task_of
from node.worker.mining import MiningRound
from training.engine import Engine
from training.exact.fused import attention
from training.hashing import compute_tagged_hash
from training.jobs import load_job_file, prepare

HEARTBEAT_AIM_MS = 1.2  # "about 1 ms" was reached before
ROUNDS = 31
NO_BLOB = b""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is mined: a job, or the heartbeat where there is none."""

    label: str
    spec: JobSpec | None
    weights: bytes
    blob: bytes
    aim_ms: float | None


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("ticket", __doc__, arguments)
    report = Report("ticket", options.seed, options.quick)
    for subject in (make_heartbeat(), make_digits()):
        measure(report, subject, options.seed)
    report.notes.append(
        "one core each: a node's training process has one thread, and none shares its kernels"
    )
    finish(report, options)


def make_heartbeat() -> Subject:
    return Subject("heartbeat (L 16, d 16, 4 steps, 16 samples)", None, NO_BLOB, NO_BLOB, HEARTBEAT_AIM_MS)


def make_digits() -> Subject:
    job = prepare(
        load_job_file(ROOT / "examples" / "digits.toml"), local_genesis("bench").params.sidecar_limit
    )
    spec = JobSpec(**asdict(job.spec))
    return Subject("digits (L 8, d 64, 4 steps, 64 samples)", spec, job.facts.weights, job.blob, None)


def measure(report: Report, subject: Subject, seed: str) -> None:
    engine = Engine(lambda cid: subject.blob)
    parent = compute_tagged_hash("bench", seed.encode())
    run_engine = make_engine_work(engine, subject, parent)
    works: dict[str, Work] = {
        "kernel": record_kernel(run_engine),
        "engine": run_engine,
        "miner": make_miner_work(engine, subject, parent),
    }
    times = report.time(works, ROUNDS, least_s=0.05)
    miner_ms = [seconds * 1e3 for seconds in times["miner"]]
    report.add(f"{subject.label}: one mining run", miner_ms, "ms", at_most=subject.aim_ms)
    report.add(f"{subject.label}: runs per second and core", [1e3 / ms for ms in miner_ms], "/s")
    report.add(f"{subject.label}: of it in the kernel", [seconds * 1e3 for seconds in times["kernel"]], "ms")
    for name, outer, inner in (("engine", "engine", "kernel"), ("miner", "miner", "engine")):
        share = [100 * (1 - ratio) for ratio in divide(times[inner], times[outer])]
        report.add(f"{subject.label}: Python's share in the {name}", share, "%")
    add_work(report, subject, engine, median(times["miner"]))


def make_engine_work(engine: Engine, subject: Subject, parent: bytes) -> Work:
    numbers = count()

    def run() -> object:
        ticket_seed = compute_tagged_hash("bench/seed", next(numbers).to_bytes(8, "big"))
        if subject.spec is None:
            return engine.heartbeat(parent, ticket_seed)
        return engine.run(task_of(subject.spec), subject.weights, ticket_seed)

    return run


def record_kernel(run: Work) -> Work:
    """Return the call of the kernel that a run makes, with the arguments that it makes it with."""
    calls: list[tuple[Any, ...]] = []  # Any: arrays and numbers
    kernel: Callable[..., object] = attention.run_ticket

    def record(*arguments: Any) -> object:  # Any: as above
        calls.append(arguments)
        return kernel(*arguments)

    with ExitStack() as stack:
        stack.enter_context(patch.object(attention, "run_ticket", record))
        run()
    return partial(kernel, *calls[0])


def make_miner_work(engine: Engine, subject: Subject, parent: bytes) -> Work:
    """A template that is never won, so that the miner goes on with the next nonce."""
    job_id = bytes(32) if subject.spec is None else bytes([1]) * 32
    work = WorkHeader(
        version=1, height=2, parent=parent, time_ms=1, miner=bytes(32), target=1, job_id=job_id,
        tx_root=bytes(32), tx_count=0, state_root=bytes(32), nonce=0,
    )  # fmt: skip
    mining = MiningRound(1, work, 0, subject.spec, subject.weights, 0)
    return partial(mining.try_next, EngineVerifier(engine))


def add_work(report: Report, subject: Subject, engine: Engine, seconds: float) -> None:
    work = engine.heartbeat_work() if subject.spec is None else engine.inspect(task_of(subject.spec)).work
    report.add_one(f"{subject.label}: declared work a second", work / seconds / 1e9, "G/s")


if __name__ == "__main__":
    main()
