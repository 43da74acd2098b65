"""Exact loss and exact gradient step against the same work in native floating point, one thread.

A step's time is what eight more steps add to a ticket, divided by eight: with the inputs' noise and the trace, which
native code does not do. Native code is torch, by hand or by autograd, whichever is faster on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from figures import Report, Work, divide, finish, median, parse_options, show
from native import Native, make_attention, make_exponential, make_sequence, make_softmax

from training.exact.counter import make_uniform, open_stream
from training.exact.fused.elements import fill_noise, fold
from training.exact.fused.tile import multiply
from training.exact.scores import PLAIN
from training.hashing import compute_tagged_hash
from training.objectives.attention_regression import AttentionRegression
from training.objectives.base import Integers, Ticket, count_parameters
from training.objectives.exponential_regression import ExponentialRegression
from training.objectives.sequence_regression import SequenceRegression
from training.objectives.softmax_regression import SoftmaxRegression
from training.paths import ExactPath, FusedPath, PortablePath
from training.splits import NO_KEYS, NO_LABELS, Split

ROUNDS = 21
MORE_STEPS = 8
AIM = 1.2  # of native float64
RATE = (1, 20)
DTYPES = {"float64": torch.float64, "float32": torch.float32}
PATHS: dict[str, ExactPath] = {"fused": FusedPath(), "portable": PortablePath()}


Benched = AttentionRegression | SoftmaxRegression | SequenceRegression | ExponentialRegression


@dataclass(frozen=True, slots=True)
class Case:
    """An objective with samples and weights; `label` says its sizes."""

    label: str
    objective: Benched
    split: Split
    weights: Integers

    @property
    def samples(self) -> int:
        return self.split.count


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("exact", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("exact", options.seed, options.quick)
    peaks = measure_peaks(report)
    for case in make_cases(options.seed)[: 2 if options.quick else None]:
        compare_loss(report, case, peaks)
        compare_step(report, case, peaks)
    report.notes.append(
        "floor: the multiply-adds alone at the measured peak of float64 GEMM (BLAS); the kernels' own peak is that of"
        " the exact tile."
    )
    finish(report, options)


def make_cases(seed: str) -> list[Case]:
    attention = [("small", 16, 16, 16, 16), ("middle", 8, 64, 10, 64), ("large", 16, 256, 64, 64)]
    softmax = [("small", 64, 10, 64), ("middle", 256, 64, 256), ("large", 1024, 256, 256)]
    cases = []
    for size, tokens, width, outputs, samples in attention:
        objective = AttentionRegression(tokens, width, outputs, False, False)
        label = f"attention {size} (L {tokens}, d {width}, c {outputs}, N {samples})"
        cases.append(make_case(label, objective, tokens * width, tokens * outputs, samples, seed))
    for position, (size, inputs, outputs, samples) in enumerate(softmax):
        label = f"softmax {size} (d {inputs}, c {outputs}, N {samples})"
        case = make_case(label, SoftmaxRegression(inputs, outputs, 0, False), inputs, outputs, samples, seed)
        cases.insert(2 * position + 1, case)  # by size
    for tokens, width, samples in ((8, 16, 64), (64, 64, 64)):
        label = f"sequence (L {tokens}, d {width}, N {samples})"
        sequence = SequenceRegression(tokens, width, PLAIN)
        cases.append(make_case(label, sequence, tokens * width, tokens, samples, seed))
    for inputs, neurons, samples in ((8, 128, 64), (64, 1024, 64)):
        label = f"exponential (d {inputs}, m {neurons}, N {samples})"
        cases.append(make_case(label, ExponentialRegression(inputs, neurons), inputs, 1, samples, seed))
    return cases


def make_case(
    label: str,
    objective: Benched,
    inputs: int,
    outputs: int,
    samples: int,
    seed: str,
) -> Case:
    def draw(what: str, count: int, bits: int) -> Integers:
        return make_uniform(open_stream(compute_tagged_hash("bench", seed.encode()), what), count, bits)

    split = Split(
        draw("inputs", samples * inputs, 13).reshape(samples, inputs).astype(np.int16),
        draw("rows", samples * outputs, 13).reshape(samples, outputs).astype(np.int16),
        NO_LABELS,
        NO_KEYS,
    )
    return Case(label, objective, split, draw("weights", count_parameters(objective), 22))


# --- floors -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peaks:
    """Multiply-adds a second of one thread."""

    gemm: float
    tile: float


def measure_peaks(report: Report) -> Peaks:
    size, tile = 512, (64, 64, 64)
    a, b = torch.ones(size, size, dtype=torch.float64), torch.ones(size, size, dtype=torch.float64)
    rows, cols, terms = tile
    left, right, product = np.ones(rows * terms), np.ones(terms * cols), np.zeros(rows * cols)
    source, target = np.ones(1 << 23), np.ones(1 << 23)
    times = report.time(
        {
            "gemm": lambda: torch.matmul(a, b),
            "tile": lambda: multiply(
                product, 0, cols, left, 0, terms, 1, right, 0, cols, rows, cols, terms, False
            ),
            "copy": lambda: np.copyto(target, source),
        },
        ROUNDS,
    )
    gemm = [size**3 / seconds for seconds in times["gemm"]]
    exact = [rows * cols * terms / seconds for seconds in times["tile"]]
    report.add("peak of float64 GEMM (BLAS)", [value / 1e9 for value in gemm], "G multiply-adds/s")
    report.add("peak of the exact tile, in cache", [value / 1e9 for value in exact], "G multiply-adds/s")
    copied = [2 * source.nbytes / seconds / 1e9 for seconds in times["copy"]]
    report.add("memory, read and written by a copy", copied, "GB/s")
    return Peaks(median(gemm), median(exact))


def describe_floor(multiply_adds: int, seconds: float, peaks: Peaks) -> str:
    floor_s, own_s = multiply_adds / peaks.gemm, multiply_adds / peaks.tile
    return (
        f"{show(floor_s * 1e6)} us by GEMM ({show(seconds / floor_s)} x), {show(own_s * 1e6)} us by the tile"
        f" ({show(seconds / own_s)} x)"
    )


# --- comparisons ------------------------------------------------------------------------------------------------------


def make_native(case: Case, dtype: torch.dtype) -> Native:
    objective, weights = case.objective, torch.from_numpy(case.weights).to(dtype) * 2.0**-24
    inputs = torch.from_numpy(case.split.inputs).to(dtype) * 2.0**-12
    rows = torch.from_numpy(case.split.rows).to(dtype) * 2.0**-12
    if isinstance(objective, SoftmaxRegression):
        return make_softmax(inputs, rows, weights.view(objective.inputs, objective.outputs))
    if isinstance(objective, ExponentialRegression):
        return make_exponential(inputs, rows[:, 0], weights.view(objective.inputs, objective.neurons))
    if isinstance(objective, SequenceRegression):
        return make_sequence(inputs.view(case.samples, objective.tokens, objective.inputs), rows, weights)
    d, shape = objective.features, (case.samples, objective.tokens)
    x, y = weights[: d * d].view(d, d), weights[d * d :].view(d, objective.outputs)
    return make_attention(inputs.view(*shape, d), rows.view(*shape, objective.outputs), x, y)


def compare_loss(report: Report, case: Case, peaks: Peaks) -> None:
    indices = np.arange(case.samples, dtype=np.int64)
    works = {
        name: partial(path.sum_losses, case.objective, case.split, case.weights, indices)
        for name, path in PATHS.items()
    }
    natives = {name: make_native(case, dtype).loss for name, dtype in DTYPES.items()}
    times = report.time(works | natives, ROUNDS)
    add_times(report, f"{case.label}: loss", times, case.objective.count_forward(case.samples), peaks)


def compare_step(report: Report, case: Case, peaks: Peaks) -> None:
    works: dict[str, Work] = {}
    for name, path in PATHS.items():
        for steps in (1, 1 + MORE_STEPS):
            ticket = make_ticket(case, steps)
            works[f"{name} {steps}"] = partial(path.run, case.objective, case.split, case.weights, ticket)
    for name, dtype in DTYPES.items():
        native = make_native(case, dtype)
        works[f"{name} by hand"] = native.step_by_hand
        works[f"{name} by autograd"] = native.step_by_autograd
    raw = report.time(works | make_extras(case), ROUNDS)
    times = {
        name: [
            max(1e-9, (more - one) / MORE_STEPS)
            for one, more in zip(raw[f"{name} 1"], raw[f"{name} {1 + MORE_STEPS}"], strict=True)
        ]
        for name in PATHS
    }
    for name in DTYPES:
        times[name], chosen = choose_faster(raw, name)
        if name == "float64":
            how = chosen
    multiply_adds = sum(product.multiply_adds for product in case.objective.list_products(case.samples))
    add_times(report, f"{case.label}: step", times, multiply_adds, peaks, f" ({how})")
    extra = [noise + trace for noise, trace in zip(raw["noise"], raw["trace"], strict=True)]
    bare = [fused - more for fused, more in zip(times["fused"], extra, strict=True)]
    report.add(f"{case.label}: step without noise and trace / float64", divide(bare, times["float64"]), "x")


def make_ticket(case: Case, steps: int) -> Ticket:
    indices = np.arange(case.samples, dtype=np.int64)
    rates = (RATE,) * len(case.objective.shapes)
    return Ticket(indices, rates, 7, tuple(range(1, steps + 1)))


def make_extras(case: Case) -> dict[str, Work]:
    """What a step does that native code does not, on arrays of the same size."""
    entries = sum(product.entries for product in case.objective.list_products(case.samples))
    inputs = case.split.inputs.size
    room = np.empty(inputs + 32)
    products = np.ones(min(entries, 4096))  # in the cache, as a block's products are
    parts = -(-entries // products.size)

    def trace() -> None:
        for _ in range(parts):
            fold(products, 0, 1, products.size, products.size, 0)

    return {"noise": partial(fill_noise, room, np.uint64(7), 0, inputs), "trace": trace}


def choose_faster(raw: dict[str, list[float]], dtype: str) -> tuple[list[float], str]:
    ways = {way: raw[f"{dtype} {way}"] for way in ("by hand", "by autograd")}
    chosen = min(ways, key=lambda way: median(ways[way]))
    return ways[chosen], chosen


def add_times(
    report: Report,
    what: str,
    times: dict[str, list[float]],
    multiply_adds: int,
    peaks: Peaks,
    how: str = "",
) -> None:
    floor = describe_floor(multiply_adds, median(times["fused"]), peaks)
    report.add(f"{what}, fused", [seconds * 1e6 for seconds in times["fused"]], "us", floor=floor)
    report.add(f"{what}, fused / float64{how}", divide(times["fused"], times["float64"]), "x", at_most=AIM)
    report.add(f"{what}, fused / float32", divide(times["fused"], times["float32"]), "x")
    report.add(f"{what}, portable / float64", divide(times["portable"], times["float64"]), "x")


if __name__ == "__main__":
    main()
