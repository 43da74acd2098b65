"""A factor A [n, d] of a Kronecker product: what it must be, its triangle R of A = Q R, and its rows' leverage scores.

All of it reads every row: this is what the answer is checked by and what classical sampling pays, not a part of the
search with few queries (sparsify.py). Leverage of a product's row (i, j) is tau_i(A1) tau_j(A2). Source: 2402.07027.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ProblemRefused

LARGEST = 1e100  # squares of it are numbers
MOST_CONDITION = 1e12  # beyond, scores of float64 mean nothing in the weakest direction
MOST_COLUMNS = 64  # of both together the check has matrices with (d1 d2)^2 entries

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Factor:
    """Rows [n, d] of full column rank, and R [d, d]."""

    rows: Floats
    triangle: Floats
    condition: float

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        return int(self.rows.shape[1])


def open_factor(array: NDArray[np.generic], name: str) -> Factor:
    """Check an array [n, d]. Raises ProblemRefused, naming the array."""
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ProblemRefused(name, f"numbers [n, d] expected, {array.dtype} {list(array.shape)} came")
    n, d = array.shape
    if not 1 <= d <= MOST_COLUMNS:
        raise ProblemRefused(name, f"1 to {MOST_COLUMNS} columns expected, {d} came")
    if n < d:
        raise ProblemRefused(name, f"at least as many rows as its {d} columns expected, {n} came")
    rows = np.ascontiguousarray(array, np.float64)
    if not np.isfinite(rows).all():
        row = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise ProblemRefused(name, f"finite numbers expected, row {row} has others")
    if abs(rows).max() > LARGEST:
        raise ProblemRefused(name, f"numbers within {LARGEST:g} expected, {abs(rows).max():.3g} came")
    triangle: Floats = np.linalg.qr(rows, mode="r")  # type: ignore[assignment]  # a stub's overload
    sizes = np.linalg.svd(triangle, compute_uv=False)
    if not sizes[-1] > 0 or sizes[0] / sizes[-1] > MOST_CONDITION:
        raise ProblemRefused(
            name,
            f"independent columns expected, with a condition of at most {MOST_CONDITION:g}; singular values from"
            f" {sizes[0]:.3g} down to {sizes[-1]:.3g} came: drop columns that others give, or divide by their length",
        )
    return Factor(rows, triangle, float(sizes[0] / sizes[-1]))


def whiten(factor: Factor, ids: Ids | slice = slice(None)) -> Floats:
    """Rows A R^-1 [k, d]: those of Q."""
    solved: Floats = np.linalg.solve(factor.triangle.T, factor.rows[ids].T).astype(np.float64)
    return solved.T


def compute_leverage(factor: Factor) -> Floats:
    """tau_i = a_i' (A'A)^-1 a_i [n]; their sum is d. Reads all rows."""
    white = whiten(factor)
    leverage: Floats = np.einsum("nd,nd->n", white, white)
    return leverage
