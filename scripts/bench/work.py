"""Whether declared work is time: what a run takes for a standard unit of what it declares, over jobs of many shapes.

Blocks are paid by declared work, miners pay by the clock: where a unit takes longest, mining pays least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from figures import Report, Work, finish, median, parse_options

from ledger.params import LOCAL
from training.exact.counter import make_uniform, open_stream
from training.hashing import compute_tagged_hash
from training.objectives import heartbeat
from training.objectives.base import Objective, Ticket, compute_work, count_parameters
from training.objectives.registry import get_objective
from training.splits import NO_KEYS, NO_LABELS, NO_ROWS, Split

ROUNDS = 9
SAMPLES = 1024
UNIT = 1 << LOCAL.work_unit_bits
QUICK_CASES = 3
AIM = 2.0  # times the median


@dataclass(frozen=True, slots=True)
class Shape:
    """A job: parameters of its objective, shard and steps."""

    name: str
    params: tuple[int, ...]
    shard: int
    steps: int = 4

    @property
    def label(self) -> str:
        kind = self.name.removesuffix("_regression")
        return f"{kind} {list(self.params)}, {self.steps} steps on {self.shard}"


SOFTMAX = (
    ((64, 10, 0, 1), 32), ((64, 10, 0, 1), 512), ((30, 2, 0, 1), 64), ((784, 10, 0, 1), 64), ((4, 2, 0, 1), 1024),
    ((1024, 2, 0, 1), 128), ((16, 256, 0, 1), 128), ((256, 256, 0, 1), 64), ((64, 64, 64, 1), 64),
    ((64, 10, 16, 1), 256), ((8, 512, 64, 1), 32), ((8, 512, 512, 1), 8), ((8, 128, 1024, 1), 16),
    ((128, 1000, 128, 1), 32),
)  # fmt: skip
ATTENTION = (
    ((16, 16, 16, 0, 1), 16), ((8, 8, 10, 1, 1), 64), ((64, 64, 16, 0, 1), 4), ((4, 256, 10, 0, 1), 16),
    ((16, 16, 10, 1, 1), 8), ((32, 32, 32, 0, 1), 8), ((1, 64, 10, 0, 1), 256), ((64, 8, 8, 0, 1), 16),
    ((2, 4, 2, 0, 1), 256), ((16, 64, 64, 0, 1), 16), ((64, 4, 4, 1, 1), 4),
)  # fmt: skip
RESCALED = (
    ((64, 10, 0, 0, 1, 0), 64), ((4, 4, 0, 0, 1, 0), 512), ((8, 256, 0, 0, 2, 26), 64), ((256, 16, 0, 0, 3, 26), 64),
    ((16, 64, 32, 0, 1, 26), 32), ((64, 10, 0, 0, 0, 26), 64), ((3, 6, 4, 1, 0, 26), 512),
)  # fmt: skip
SEQUENCES = (
    ((16, 16, 0, 0), 64), ((8, 4, 1, 26), 256), ((64, 64, 0, 26), 32), ((256, 8, 2, 0), 8), ((4, 256, 3, 26), 64),
    ((25, 5, 1, 26), 64), ((128, 256, 0, 0), 8),
)  # fmt: skip
EXPONENTIALS = (
    ((10, 64), 64), ((2, 512), 64), ((1, 4096), 16), ((256, 64), 64), ((64, 1024), 16), ((8, 8), 512),
)  # fmt: skip
CYCLES = (
    ((48, 48, 48, 3), 256), ((100, 100, 100, 1), 512), ((64, 64, 64, 8), 64), ((1000, 1000, 1000, 4), 256),
    ((30, 40, 50, 5), 32),
)  # fmt: skip
RELUS = (
    ((64, 256, 2, 102, 128), 64), ((784, 64, 1, 100, 0), 64), ((8, 1024, 4, 12, 256), 32), ((2, 4, 8, 6, 20), 256),
    ((256, 1024, 3, 20, 100), 8),
)  # fmt: skip
SPECTRALS = (
    ((160, 6), 64), ((13, 2), 512), ((512, 8), 256), ((1024, 8), 32), ((4096, 10), 512), ((2, 0), 1024),
)  # fmt: skip
GRAPHS = (
    ((7, 24, 48, 8, 1), 64), ((16, 64, 256, 10, 1), 32), ((4, 256, 64, 2, 1), 64), ((64, 16, 32, 4, 1), 32),
    ((2, 8, 1024, 3, 1), 64), ((64, 1, 8, 2, 1), 64), ((16, 256, 9, 2, 1), 64),
)  # fmt: skip
SHAPES = (
    *(Shape("softmax_regression", *case) for case in SOFTMAX),
    *(Shape("softmax_regression", *case) for case in RESCALED),
    *(Shape("sequence_regression", *case) for case in SEQUENCES),
    *(Shape("exponential_regression", *case) for case in EXPONENTIALS),
    *(Shape("attention_regression", *case) for case in ATTENTION),
    *(Shape("cycle_rank", *case) for case in CYCLES),
    *(Shape("adversarial_relu", *case) for case in RELUS),
    *(Shape("kronecker_spectral", *case) for case in SPECTRALS),
    *(Shape("graph_network", *case) for case in GRAPHS),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("work", __doc__, arguments)
    report = Report("work", options.seed, options.quick)
    shapes = SHAPES[:QUICK_CASES] if options.quick else SHAPES
    cases = {shape.label: make_run(shape, options.seed) for shape in shapes}
    units = {shape.label: count_units(shape) for shape in shapes}
    cases["heartbeat"] = make_heartbeat()
    units["heartbeat"] = heartbeat.WORK / UNIT
    times = report.time(cases, ROUNDS)
    costs = {label: [1e3 * s / units[label] for s in taken] for label, taken in times.items()}
    middle = median([median(values) for values in costs.values()])
    for label, values in costs.items():
        report.add(f"{label} ({units[label]:.2g} units)", values, "ms a unit")
    medians = [median(values) for values in costs.values()]
    report.add_one("dearest unit / median", max(medians) / middle, "x", at_most=AIM)
    report.add_one("median / cheapest unit", middle / min(medians), "x", at_most=AIM)
    report.notes.append("a standard unit is 2^24 multiply-adds; one thread, processor time")
    finish(report, options)


def make_run(shape: Shape, seed: str) -> Work:
    """A ticket of the shape's job, on drawn data; every call another seed's would cost the same."""
    objective = get_objective(shape.name, shape.params)
    stream = open_stream(compute_tagged_hash("bench", seed.encode()), shape.label)
    split = draw_split(objective, stream)
    weights = make_uniform(stream, count_parameters(objective), 20)
    ticket = Ticket(
        np.arange(shape.shard, dtype=np.int64),
        ((1, 20),) * len(objective.shapes),
        1,
        tuple(range(shape.steps)),
    )
    return partial(objective.run_fused, split, weights, ticket)


def draw_split(objective: Objective, stream: int) -> Split:
    layout = objective.layout

    def draw(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
        return make_uniform(stream, int(np.prod(shape)), 13).reshape(shape).astype(np.int16)

    rows, labels = NO_ROWS, NO_LABELS
    if layout.rows:
        rows = draw(SAMPLES, int(np.prod(layout.rows)))
    else:
        labels = (np.arange(SAMPLES) % layout.classes).astype(np.int16)
    keys = draw(*layout.keys) if layout.keys else NO_KEYS
    inputs = draw(SAMPLES, int(np.prod(layout.inputs)))
    if layout.ids:
        inputs %= np.array(layout.ids, np.int16)
    return Split(inputs, rows, labels, keys)


def count_units(shape: Shape) -> float:
    return compute_work(get_objective(shape.name, shape.params), shape.steps, shape.shard) / UNIT


def make_heartbeat() -> Work:
    drawn = heartbeat.make_heartbeat(bytes(32), fused=True)
    ticket = Ticket(
        np.arange(heartbeat.SHARD, dtype=np.int64), heartbeat.RATES, 1, tuple(range(heartbeat.STEPS))
    )
    return partial(heartbeat.OBJECTIVE.run_fused, drawn.split, drawn.weights, ticket)


if __name__ == "__main__":
    main()
