"""A preconditioner from a sample of rows: for a tall design a Hessian that costs no more than a few gradients.

For H = A' diag(D) A + an exact part of rank two, with A [n, d]: rows are drawn in proportion to their leverage, so
that the sample's matrix is H up to a constant factor, which conjugate gradients do not mind. As a Hessian in its own
right it would only give a linear rate. Source: 2305.00660, algorithm 1 (there the sketch takes the Hessian's place);
leverage by CountSketch and a random projection after Clarkson and Woodruff, 1207.6365, sections 3 and 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from training.exact.late import torch
from training.solvers.descent import measure_scale
from training.solvers.steihaug import Apply, MakePreconditioner

if TYPE_CHECKING:
    from torch import Tensor

    from training.derivatives.rows import Curvature

ROWS_PER_COLUMN = 20  # of the sample
BUCKETS_PER_COLUMN = 16  # of CountSketch
PROJECTIONS = 16  # a row's leverage is estimated to some 35 %
UNIFORM = 0.1  # share of the draws that do not look at the estimates, which may be too low


@runtime_checkable
class Sketchable(Protocol):
    """A loss of one row of n scores A x."""

    @property
    def a_nd(self) -> Tensor:
        """A [n, d]."""

    def get_curvature(self, x: Tensor) -> Curvature:
        """The Hessian in the scores, of one row."""


def make_sketched(
    problem: Sketchable, rng: np.random.Generator, rows: int | None = None
) -> MakePreconditioner:
    """What makes a preconditioner of the problem at a point, from so many rows (ROWS_PER_COLUMN for each column).

    Costs a pass over A now, and at every point two products with A and a [rows, d] Gram matrix.
    """
    a_nd = problem.a_nd
    leverage_n = estimate_leverage(a_nd, rng)
    count = rows or ROWS_PER_COLUMN * a_nd.shape[1]

    def make(x: Tensor) -> Apply:
        return invert(_sketch_hessian(a_nd, problem.get_curvature(x), leverage_n, count, rng))

    return make


def estimate_leverage(a_nd: Tensor, rng: np.random.Generator) -> Tensor:
    """The rows' leverage scores [n], up to a factor: |a_i R^-1|^2 along random directions, with R of a sketch of A."""
    n, d = a_nd.shape
    sketch = torch.zeros((BUCKETS_PER_COLUMN * d, d), dtype=a_nd.dtype)
    signs_n = torch.from_numpy(rng.choice([-1.0, 1.0], n))
    sketch.index_add_(0, torch.from_numpy(rng.integers(0, len(sketch), n)), signs_n[:, None] * a_nd)
    r_dd = torch.linalg.qr(sketch, mode="r").R
    sizes = r_dd.diagonal().abs()
    # What is no direction of A may have any length.
    r_dd.diagonal().add_((sizes <= measure_scale(sizes)) * float(sizes.max()))
    drawn = torch.from_numpy(rng.standard_normal((d, PROJECTIONS)))
    along_nk: Tensor = a_nd @ torch.linalg.solve_triangular(r_dd, drawn, upper=True)
    return along_nk.square_().sum(1)


def _sketch_hessian(
    a_nd: Tensor, curvature: Curvature, leverage_n: Tensor, count: int, rng: np.random.Generator
) -> Tensor:
    diagonal_n = curvature.diagonal_RC[0]
    chances_n = _mix(leverage_n.numpy(), np.abs(diagonal_n.numpy()))
    picked_m = _draw(chances_n, count, rng)
    shares_m = diagonal_n[picked_m] / torch.from_numpy(count * chances_n[picked_m])
    rows_md = a_nd[picked_m]
    hessian = rows_md.T @ (shares_m[:, None] * rows_md)
    p, q = curvature.first_RC[0] @ a_nd, curvature.second_RC[0] @ a_nd
    hessian.addr_(p, p, alpha=float(curvature.scale_R1)).addr_(q, p, alpha=-1).addr_(p, q, alpha=-1)
    return hessian


def _mix(leverage_n: NDArray[np.float64], sizes_n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chances in proportion to the leverage of diag(D)^(1/2) A, nearly, and to be safe a few to all alike."""
    wanted_n = leverage_n * sizes_n
    total = float(wanted_n.sum())
    uniform = 1 / len(wanted_n)
    return (
        (1 - UNIFORM) * wanted_n / total + UNIFORM * uniform if total > 0 else np.full_like(wanted_n, uniform)
    )


def _draw(chances_n: NDArray[np.float64], count: int, rng: np.random.Generator) -> Tensor:
    ends_n = np.cumsum(chances_n)
    picked = np.searchsorted(ends_n, rng.random(count) * ends_n[-1], side="right")
    return torch.from_numpy(np.minimum(picked, len(ends_n) - 1))


def invert(hessian: Tensor) -> Apply:
    """The inverse of a symmetric matrix, times a vector; of its absolute eigenvalues if not all are positive."""
    factor, failed = torch.linalg.cholesky_ex(hessian)
    if not int(failed):
        return lambda v: torch.cholesky_solve(v[:, None], factor)[:, 0]
    values, vectors = torch.linalg.eigh(hessian)
    sizes = values.abs().clamp(min=measure_scale(values))
    return lambda v: vectors @ ((vectors.T @ v) / sizes)
