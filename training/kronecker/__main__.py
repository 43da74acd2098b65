"""Few pairs of rows that stand for A1 (x) A2: `python -m training.kronecker FILE.npz --epsilon 0.3`.

FILE has arrays `A1` [n1, d1] and `A2` [n2, d2]. `--output` writes `first` and `second` (row numbers, int64 [K]) and
`weights` [K]: S has rows weights[k] (A1[first[k]] (x) A2[second[k]]), and S'S is A'A within epsilon. The row queries
that a quantum computer would make are counted by stage, by an exact simulation, which itself reads everything.
With `--checkpoint` nothing is drawn: FILE is the data of a job of objective kronecker_spectral, with such pairs in it,
and the spectral errors of its pairs as drawn and as trained are printed.
Source: 2402.07027.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.arrays import Arrays, read_arrays
from training.errors import ProblemRefused, TrainingError
from training.kronecker.factors import Factor, open_factor
from training.kronecker.sparsify import Sparsifier, sparsify
from training.kronecker.spectral import measure_pairs
from training.kronecker.trained import judge
from training.outputs import write_outputs

NAMES = ("A1", "A2")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, the queries it takes, and what simulating them cost here: a number that says nothing of them."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    conditions: tuple[float, float]
    epsilon: float
    seed: int
    pairs: int
    error: float  # spectral
    queries: dict[str, dict[str, int]]  # by factor and stage
    row_reads: int  # of whoever reads all rows of both factors
    simulation_s: float

    @property
    def total(self) -> int:
        return sum(sum(stages.values()) for stages in self.queries.values())


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        if options.checkpoint:
            print_judged(options.file, options.checkpoint)
            return 0
        report, found = approximate(options.file, options.epsilon, options.seed)
    except TrainingError as error:
        print(f"error: {options.file}: {error}", file=sys.stderr)
        return 3
    for line in describe(report):
        print(line)
    arrays = {"first": found.first, "second": found.second, "weights": found.weights}
    return write_outputs(options.output, arrays, options.json, asdict(report) | {"total": report.total})


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.kronecker",
        description="Few weighted pairs of rows for the Kronecker product A1 (x) A2, with the queries of a quantum"
        " algorithm counted.",
    )
    parser.add_argument("file", type=Path, help=".npz with `A1` [n1, d1] and `A2` [n2, d2]")
    parser.add_argument(
        "--epsilon", type=float, default=0.3, metavar="E", help="spectral error aimed at (0.3)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is drawn (1)")
    parser.add_argument("--output", type=Path, metavar="PAIRS.npz", help="write pairs and weights there")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="judge a job's weights (.safetensors) instead"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is printed there")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed: a number from 0 expected, got {options.seed}")
    if options.checkpoint and (options.output or options.json):
        parser.error("--checkpoint: nothing is drawn, so there is no --output and no --json")
    return options


def approximate(path: Path, epsilon: float, seed: int) -> tuple[Report, Sparsifier]:
    """Pairs for a file's factors and how good they are. Raises ProblemRefused."""
    first, second = open_factors(read_arrays(path))
    begin_s = time.monotonic()
    found = sparsify(first, second, epsilon, np.random.default_rng(seed))
    simulation_s = time.monotonic() - begin_s
    report = Report(
        rows=(first.count, second.count),
        columns=(first.width, second.width),
        conditions=(first.condition, second.condition),
        epsilon=epsilon,
        seed=seed,
        pairs=len(found.weights),
        error=measure_pairs(first, second, found.first, found.second, found.weights**2),
        queries={name: draws.queries.stages for name, draws in zip(NAMES, found.draws, strict=True)},
        row_reads=first.count + second.count,
        simulation_s=simulation_s,
    )
    return report, found


def open_factors(arrays: Arrays) -> tuple[Factor, Factor]:
    """A1 and A2 of a file. Raises ProblemRefused."""
    if not set(NAMES) <= set(arrays):
        came = ", ".join(sorted(arrays)) or "none"
        raise ProblemRefused("file", f"arrays `A1` and `A2` expected, got {came[:200]}")
    first, second = (open_factor(arrays[name], name) for name in NAMES)
    return first, second


def print_judged(path: Path, checkpoint: Path) -> None:
    """Raises ProblemRefused."""
    arrays = read_arrays(path)
    judged = judge(*open_factors(arrays), arrays, checkpoint)
    print(f"pairs      {judged.pairs:,}")
    print(f"as drawn   error {judged.sampled:.3g} of 1 in the worst direction")
    print(
        f"as trained error {judged.trained:.3g}; {judged.left_out:,} pairs count nothing,"
        f" one {judged.largest:.3g} times"
    )


def describe(report: Report) -> Iterator[str]:
    for name, rows, columns, condition in zip(
        NAMES, report.rows, report.columns, report.conditions, strict=True
    ):
        yield f"{name}: {rows:,} rows of {columns}, condition {condition:.3g}"
        stages = report.queries[name]
        if len(stages) == 1:
            yield f"  {'all rows read':22} {sum(stages.values()):12,}  (too few to halve them)"
            continue
        for stage, count in stages.items():
            yield f"  {stage:22} {count:12,}"
    yield f"row queries together     {report.total:12,}; reading all rows takes {report.row_reads:,}"
    yield f"pairs      {report.pairs:,} of {report.rows[0] * report.rows[1]:,}; seed {report.seed}"
    yield f"error      {report.error:.3g} of 1 in the worst direction ({report.epsilon:g} aimed at)"
    yield f"simulation {report.simulation_s:.2f} s on this machine, which reads every row: no part of the queries"


if __name__ == "__main__":
    sys.exit(main())
