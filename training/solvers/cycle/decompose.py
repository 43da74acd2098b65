"""The factors of low cycle rank of a tensor, by rotation and sketch, in time linear in the cells that are not 0.

1. CountSketch of every mode's unfolding to s columns: for the best V and W a sketched regression has a U nearly as good
   in the span of these. Its orthonormal basis Q_m is the rotation.
2. A core A x_1 Q_1' x_2 Q_2' x_3 Q_3', of a sparse tensor by a second sketch of its rows.
3. Alternating least squares on the core, several starts (the paper: polynomial systems, exponential in k).
4. Lifted by Q_m, the factors are polished by exact alternating sweeps on the tensor: the sketch's error, 20 to 50 %
   above the least, is gone after one where sweeps on the core close in fast, and mostly after two elsewhere.

Source: 2304.06594; alternating in step 3, its starts, and the polish are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from training.exact.late import torch
from training.solvers.cycle.als import DEFAULT, Plan, find_best, run_sweeps
from training.solvers.cycle.dense import DenseTensor
from training.solvers.cycle.factors import Factors, make_zeros
from training.solvers.cycle.hashes import Bases
from training.solvers.cycle.tensors import CycleTensor, check_rank

COLUMNS = 3  # of a sketch, for each entry of a matrix; but
LEAST_COLUMNS, MOST_COLUMNS = 16, 128
ROWS = 4  # for each column: what a long mode is sketched to for the core
MOST_ROWS = 256  # so that a core of three such sides takes 128 MiB
POLISH = 2
FAST = 0.01  # of what a sweep on the core takes away, what the next one does: the tensor's are as fast, and one will do


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is done: `rotate`, `alternate`, `polish` (once for each sweep); from the second on with factors,
    the last ones being the result. A tensor of zeros has one step, `zero`."""

    name: str
    factors: Factors | None = None


def run_cycle(
    tensor: CycleTensor, rank: int, rng: np.random.Generator, plan: Plan = DEFAULT, polish: int = POLISH
) -> Iterator[Step]:
    """Yield each step when it is done. Raises ProblemRefused for a rank that the tensor has not."""
    check_rank(tensor.sizes, rank)
    if tensor.squared_norm == 0:
        yield Step("zero", make_zeros(tensor.sizes, rank))
        return
    columns = min(max(COLUMNS * rank * rank, LEAST_COLUMNS), MOST_COLUMNS)
    bases, core = tensor.rotate(columns, min(ROWS * columns, MOST_ROWS), rng)
    yield Step("rotate")
    small = find_best(DenseTensor(core), rank, rng, plan)
    factors = lift(bases, small.factors)
    yield Step("alternate", factors)
    for sweep in islice(run_sweeps(tensor, factors), min(polish, 1) if small.rate <= FAST else polish):
        yield Step("polish", sweep.factors)


def decompose(tensor: CycleTensor, rank: int, seed: int) -> Factors:
    """The factors that `run_cycle` ends with; the same ones for the same seed."""
    steps = list(run_cycle(tensor, rank, np.random.default_rng(seed)))
    assert steps[-1].factors is not None
    return steps[-1].factors


def lift(bases: Bases, small: Factors) -> Factors:
    """Factors of the tensor by those of its core: U_a = sum over s of Q_1[a, s] X_s."""
    u, v, w = (torch.tensordot(basis, factor, 1) for basis, factor in zip(bases, small, strict=True))
    return Factors(u, v, w)
