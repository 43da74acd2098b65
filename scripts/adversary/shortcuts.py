"""How fast the owner of a degenerate job can run its tickets, measured with the real engine.

A few columns carry information, in the inputs or in the keys; all get noise, and the others' zeros
save only what small integers save.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from lab import get_lab
from planted import find_break_even

from ledger.hashing import tagged_hash
from ledger.params import LOCAL, MAINNET, ChainParams
from training.blob import BlobTensor, encode_blob
from training.engine import Engine, Task
from training.exact.fused.tile import multiply
from training.hashing import compute_cid
from training.objectives.softmax_regression import SoftmaxRegression

KEPT = 2
SMALL = 1 / 2  # bytes of noise / bytes of inputs or keys
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
    """Milliseconds of a run by the engine, and the least that its owner needs."""

    name: str
    work: float  # standard units
    engine_ms: float
    owner_ms: float

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


def draw_seed(number: int) -> bytes:
    return tagged_hash("gc/zoo/shortcut", number.to_bytes(8, "big"))


def measure_shortcut(job: Degenerate) -> Shortcut:
    """The engine's run, and the least that an owner needs who knows where the zeros are and has the same technique.

    With noise on them, columns of zeros are as full as any others, and every product is to be computed. They are small,
    though: a byte where inputs and keys are two. In integer units for bytes that is half of the work in these products.
    The two losses are without noise, and products with zeros there for nothing.
    """
    narrow = replace(job, features=KEPT) if job.features else replace(job, inputs=KEPT)
    engine_ms, work = measure_engine(job)
    noisy, plain = (all_ - few for all_, few in zip(count_products(job), count_products(narrow), strict=True))
    return Shortcut(job.name, work, engine_ms, engine_ms - ((1 - SMALL) * noisy + plain) * measure_tile())


def measure_engine(job: Degenerate) -> tuple[float, float]:
    """Milliseconds of a run by the engine, and its declared work."""
    task, blob = make_task(job)
    engine = Engine({task.data_cid: blob}.__getitem__)
    facts = engine.inspect(task)
    return measure(lambda i: engine.run(task, facts.weights, draw_seed(i))), facts.work / UNIT


def count_products(job: Degenerate) -> tuple[int, int]:
    """Multiply-adds of a run's steps, and of its losses."""
    objective = SoftmaxRegression.parse((job.inputs, job.outputs, job.features, 1))
    step = sum(product.multiply_adds for product in objective.list_products(job.shard))
    return job.steps * step, 2 * objective.count_forward(job.shard)


def measure_tile() -> float:
    """Milliseconds of a multiply-add in the kernels' products, in cache."""
    side = 64
    left, right, product = (np.ones(side * side) for _ in range(3))
    took_ms = measure(
        lambda i: multiply(product, 0, side, left, 0, side, 1, right, 0, side, side, side, side, False)
    )
    return took_ms / side**3


def measure_shortcuts() -> list[Shortcut]:
    return [measure_shortcut(job) for job in (WIDE, *KEYED)]


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
        took_ms, work = measure_engine(job)
        costs[job.name] = took_ms / work
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
