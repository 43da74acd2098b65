"""How fast the owner of a degenerate job can run its tickets, measured with the real engine.

Two columns of 64 carry information, in the inputs or in the keys. For the keys the shortcut is there and gives the
engine's digests; for the inputs, which get noise, the time is measured that no shortcut can save.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from keys_kernel import run_narrow, trace_zeros
from lab import get_lab
from planted import find_break_even

from ledger.hashing import tagged_hash
from ledger.params import LOCAL, MAINNET, ChainParams
from training.blob import BlobTensor, encode_blob
from training.engine import Engine, Run, Task
from training.exact.counter import draw_sample, open_stream
from training.exact.fused.elements import fill_noise
from training.hashing import compute_cid, compute_tagged_hash
from training.objectives.base import scale_rates
from training.objectives.softmax_regression import SoftmaxRegression

KEPT = 2
BAR = 2.5  # times as fast as the engine's own run
SAMPLES, JUDGES = 1024, 64
REPEATS = 30
UNIT = 1 << LOCAL.work_unit_bits


@dataclass(frozen=True)
class Degenerate:
    """A softmax_regression whose keys (features > 0) or inputs hold two columns that are not zero."""

    name: str
    inputs: int
    outputs: int
    features: int
    shard: int
    steps: int = 4


KEYED = (
    Degenerate("keys, 2 columns of 64", 8, 512, 64, 32),
    Degenerate("keys, 2 columns of 512", 8, 512, 512, 8),
)
WIDE = Degenerate("inputs, 2 columns of 64", 64, 10, 0, 512)


@dataclass(frozen=True)
class Shortcut:
    """Milliseconds of a run by the engine and by the owner; `exact`: the digests agree, else `owner_ms` is a bound."""

    name: str
    work: float  # standard units
    engine_ms: float
    owner_ms: float
    exact: bool

    @property
    def speed_up(self) -> float:
        return self.engine_ms / self.owner_ms

    def net(self, params: ChainParams) -> float:
        """Coinbases that a drawn height nets the owner, with the part of all power that suits it best."""
        root: float = self.speed_up**0.5
        return (root - 1) / (root + 1) - params.min_burn / params.coinbase


def make_task(job: Degenerate) -> tuple[Task, bytes]:
    """The job and its blob: labels follow from the informative columns, so that training lowers the loss."""
    rng = np.random.default_rng(1)
    count = SAMPLES + JUDGES
    keyed = job.features > 0
    informative = job.inputs if keyed else KEPT
    inputs = np.zeros((count, job.inputs), np.int8)
    inputs[:, :informative] = rng.integers(-100, 101, (count, informative))
    labels = (inputs[:, 0].astype(np.int64) + 100) * job.outputs // 201
    keys = np.zeros((job.outputs, job.features), np.int8)
    keys[:, :KEPT] = rng.integers(-100, 101, (job.outputs, min(KEPT, job.features)))
    shown, judged = slice(0, SAMPLES), slice(SAMPLES, count)
    tensors = [
        BlobTensor("train.inputs", 6, inputs[shown]),
        BlobTensor("train.targets", 0, labels[shown].astype(np.int16)),
        BlobTensor("judge.inputs", 6, inputs[judged]),
        BlobTensor("judge.targets", 0, labels[judged].astype(np.int16)),
        *([BlobTensor("keys", 6, keys)] if keyed else ()),
    ]
    blob = encode_blob(tensors)
    task = Task(
        objective="softmax_regression", params=(job.inputs, job.outputs, job.features, 1), data_cid=compute_cid(blob),
        data_size=len(blob), init_seed=bytes(32), steps=job.steps, shard=job.shard, rates=((1, 5),), sample=16,
    )  # fmt: skip
    return task, blob


def measure(run: Callable[[int], object]) -> float:
    """Milliseconds of a call: the least of several, for what else runs on a machine only adds to it."""
    run(0)
    times = []
    for number in range(1, REPEATS + 1):
        start = time.perf_counter()
        run(number)
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


class Owner:
    """Runs tickets of its job with sparse keys by the shortcut."""

    def __init__(self, engine: Engine, task: Task) -> None:
        objective, data = engine.get_dataset(task)
        assert isinstance(objective, SoftmaxRegression)
        self._task, self._split = task, data.train
        self._weights = np.frombuffer(engine.inspect(task).weights, "<i8").astype(np.int64)
        self._params = np.array(task.params, np.int64)
        self._rates = scale_rates(objective, task.rates)
        self._zeros = np.uint64(trace_zeros(self._params, KEPT, task.shard, task.steps))

    def run(self, seed: bytes) -> Run:
        """The ticket run of a seed from the job's first weights."""
        task, split = self._task, self._split
        indices = np.array(draw_sample(open_stream(seed, "shard"), split.count, task.shard), np.int64)
        noise = np.array([open_stream(seed, f"noise/{t}") for t in range(1, task.steps + 1)], np.uint64)
        trace, before, after, delta = run_narrow(
            self._params, KEPT, self._zeros, split.inputs, split.rows, split.labels, split.keys, indices,
            self._weights, self._rates, np.uint64(open_stream(seed, "dither")), noise,
        )  # fmt: skip
        raw = delta.astype("<i8").tobytes()
        digest = compute_tagged_hash("gc/delta", int(trace).to_bytes(8, "big"), raw)
        return Run(digest, int(before), int(after), raw)


def draw_seed(number: int) -> bytes:
    return tagged_hash("gc/zoo/shortcut", number.to_bytes(8, "big"))


def measure_keys(job: Degenerate) -> Shortcut:
    """The shortcut through zero columns of the keys, checked against the engine."""
    task, blob = make_task(job)
    engine = Engine({task.data_cid: blob}.__getitem__)
    facts, owner = engine.inspect(task), Owner(engine, task)
    exact = all(owner.run(draw_seed(i)) == engine.run(task, facts.weights, draw_seed(i)) for i in range(4))
    run = engine.run(task, facts.weights, draw_seed(0))
    assert run.after < run.before, "the job would not pass its trial"
    engine_ms = measure(lambda i: engine.run(task, facts.weights, draw_seed(i)))
    owner_ms = measure(lambda i: owner.run(draw_seed(i)))
    return Shortcut(job.name, facts.work / UNIT, engine_ms, owner_ms, exact)


def measure_inputs(job: Degenerate) -> Shortcut:
    """What no shortcut through columns of zeros in the inputs can save: their noise, and a run on the other columns."""
    times, work = [], 0.0
    for width in (job.inputs, KEPT):
        task, blob = make_task(replace(job, inputs=width))
        engine = Engine({task.data_cid: blob}.__getitem__)
        facts = engine.inspect(task)
        times.append(measure(lambda i, e=engine, t=task, w=facts.weights: e.run(t, w, draw_seed(i))))  # type: ignore[misc]
        work = work or facts.work / UNIT
    out = np.empty(job.shard * job.inputs + 32)
    entries = job.shard * (job.inputs - KEPT)
    noise_ms = job.steps * measure(lambda i: fill_noise(out, np.uint64(i), 0, entries))
    return Shortcut(job.name, work, times[0], times[1] + noise_ms, False)


def measure_shortcuts() -> list[Shortcut]:
    return [measure_inputs(WIDE), *(measure_keys(job) for job in KEYED)]


def measure_costs() -> dict[str, float]:
    """Milliseconds that the engine takes for a standard unit of declared work, by what is run."""
    lab = get_lab()
    costs = {
        "heartbeat": measure(lambda i: lab.engine.heartbeat(bytes(32), draw_seed(i)))
        / (lab.engine.heartbeat_work() / UNIT),
        "digits": measure(lambda i: lab.engine.run(lab.task, lab.facts.weights, draw_seed(i)))
        / (lab.facts.work / UNIT),
    }
    for job in (WIDE, *KEYED):
        task, blob = make_task(job)
        engine = Engine({task.data_cid: blob}.__getitem__)
        facts = engine.inspect(task)
        took_ms = measure(lambda i, e=engine, t=task, w=facts.weights: e.run(t, w, draw_seed(i)))  # type: ignore[misc]
        costs[job.name] = took_ms / (facts.work / UNIT)
    return costs


def describe_costs(costs: dict[str, float]) -> str:
    """A line on who gains by choosing jobs by the clock: blocks come by declared work, effort by milliseconds."""
    listed = ", ".join(f"{name} {cost:.1f}" for name, cost in costs.items())
    least, most = min(costs.values()), max(costs.values())
    gain = (least + most) / 2 / least
    return (
        f"ms for a standard unit of declared work: {listed}; a miner that rests at the dearest of two equal jobs gets"
        f" up to {gain:.2f} times the blocks for its processor time"
    )


def list_break_even() -> dict[str, float]:
    """The speed-up from which an own job's blocks pay for its burn, by network."""
    return {p.name: find_break_even(p.min_burn / p.coinbase) for p in (LOCAL, MAINNET)}
