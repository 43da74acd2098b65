"""Approximate a tensor by k x k matrices of its indices: `python -m training.cycle_rank FILE.npz --rank 3`.

FILE has an array `tensor` [n1, n2, n3], or `cells` [n, 3] and `values` [n] and, if it is larger than the cells tell,
`shape` [3]; all other cells are 0. `--output` writes U, V and W, float64 [n, k, k]: a cell's value is
tr(U[a] V[b] W[c]). A job of objective cycle_rank has V - I and W - I in their place. Source: arXiv 2304.06594.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.arrays import Arrays, read_arrays
from training.clock import Clock
from training.errors import ProblemRefused, TrainingError
from training.exact.late import torch
from training.memory import read_peak_mb
from training.outputs import write_outputs
from training.solvers.cycle.decompose import run_cycle
from training.solvers.cycle.factors import Factors
from training.solvers.cycle.residual import ACCURACY, measure_residual, sample_residual
from training.solvers.cycle.tensors import CycleTensor, check_rank, open_cells, open_dense


@dataclass(frozen=True, slots=True)
class Report:
    """What was found and what it took. `error` is relative to the norm of the tensor; None: below what float64 sees by
    Gram matrices, 1e-7; `sampled_error`: by cells drawn, None for a tensor of zeros."""

    sizes: tuple[int, int, int]
    cells: int  # looked at: all of an array, of a sparse tensor those that are not 0
    rank: int
    seed: int
    error: float | None
    sampled_error: float | None
    seconds: dict[str, float]  # of each stage
    peak_mb: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    # Small products by the thousand: two threads on a busy machine wait for each other.
    torch.set_num_threads(1)
    try:
        report, factors = approximate(options.file, options.rank, options.seed)
    except TrainingError as error:
        print(f"error: {options.file}: {error}", file=sys.stderr)
        return 3
    print_report(report)
    u, v, w = (factor.numpy() for factor in factors)
    return write_outputs(options.output, {"U": u, "V": v, "W": w}, options.json, asdict(report))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.cycle_rank",
        description="Approximate a tensor by k x k matrices: a cell is the trace of the product of three.",
    )
    parser.add_argument(
        "file", type=Path, help=".npz with `tensor`, or with `cells`, `values` and perhaps `shape`"
    )
    parser.add_argument("--rank", type=int, default=3, metavar="K", help="side of the matrices (3)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is drawn (1)")
    parser.add_argument("--output", type=Path, metavar="FACTORS.npz", help="write U, V and W there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is printed there")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed: a number from 0 expected, got {options.seed}")
    return options


def approximate(path: Path, rank: int, seed: int) -> tuple[Report, Factors]:
    """Factors of a file's tensor and how good they are. Raises ProblemRefused."""
    clock = Clock()
    tensor = open_tensor(read_arrays(path))
    check_rank(tensor.sizes, rank)
    clock.stop("read")
    factors: Factors | None = None
    for step in run_cycle(tensor, rank, np.random.default_rng(seed)):
        clock.stop(step.name)
        factors = step.factors
    assert factors is not None
    residual, known = measure_residual(tensor, factors), tensor.list_cells()
    sampled = None
    if tensor.squared_norm:
        sampled = sample_residual(tensor, factors, np.random.default_rng([seed, 1]))
    clock.stop("residual")
    report = Report(
        sizes=tensor.sizes,
        cells=int(np.prod(tensor.sizes)) if known is None else len(known),
        rank=rank,
        seed=seed,
        error=residual.relative if residual.is_reliable else None,
        sampled_error=sampled,
        seconds=clock.seconds,
        peak_mb=read_peak_mb(),
    )
    return report, factors


def open_tensor(arrays: Arrays) -> CycleTensor:
    """The tensor that the arrays of a file are. Raises ProblemRefused."""
    names = set(arrays)
    if "tensor" in names and not names & {"cells", "values", "shape"}:
        return open_dense(arrays["tensor"])
    if {"cells", "values"} <= names and "tensor" not in names:
        return open_cells(arrays["cells"], arrays["values"], read_shape(arrays.get("shape")))
    came = ", ".join(sorted(names)) or "none"
    raise ProblemRefused(
        "file", f"arrays `tensor`, or `cells` and `values` (and `shape`), expected, got {came[:200]}"
    )


def read_shape(shape: NDArray[np.generic] | None) -> list[int] | None:
    if shape is None:
        return None
    if shape.dtype.kind not in "iu" or shape.shape != (3,):
        raise ProblemRefused("shape", f"three whole numbers expected, {shape.dtype} {list(shape.shape)} came")
    return [int(size) for size in shape]


def print_report(report: Report) -> None:
    for line in describe(report):
        print(line)


def describe(report: Report) -> Iterator[str]:
    sizes = " x ".join(map(str, report.sizes))
    yield f"tensor {sizes}, {report.cells} cells looked at; rank {report.rank}, seed {report.seed}"
    for name, seconds in report.seconds.items():
        yield f"{name:10} {seconds:8.3f} s"
    yield f"{'together':10} {sum(report.seconds.values()):8.3f} s"
    if report.error is None:
        yield f"error      below {ACCURACY:g} of |A|, where sums of squares in float64 end"
    else:
        yield f"error      {report.error:.6g} of |A|"
    if report.sampled_error is not None:
        yield f"           {report.sampled_error:.3g} of |A| by cells drawn"
    if report.peak_mb is not None:
        yield f"memory     {report.peak_mb:.0f} MB at the most"


if __name__ == "__main__":
    sys.exit(main())
