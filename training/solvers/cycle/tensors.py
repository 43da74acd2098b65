"""Tensors to be approximated: what is asked of one, and how it is made of an array or of cells.

Both kinds of tensor answer the same questions (dense.py, sparse.py); cells that no one gave are 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.errors import ProblemRefused
from training.exact.late import torch
from training.solvers.cycle.dense import DenseTensor
from training.solvers.cycle.factors import MODES, Factors, Floats, Ids
from training.solvers.cycle.sparse import SparseTensor

if TYPE_CHECKING:
    from torch import Tensor

    from training.solvers.cycle.hashes import Bases

MAX_RANK = 8  # as the objective has it; the core's side grows with its square
LEAST = 1e-280  # of a sum of squares: below, its digits get lost
FULL = 4  # a cell's number and value are this many values of a dense array
Sizes = tuple[int, int, int]


class CycleTensor(Protocol):
    """A tensor [n1, n2, n3] that can be contracted with factors."""

    @property
    def sizes(self) -> Sizes: ...

    @property
    def squared_norm(self) -> float:
        """The sum of the squares of all cells."""

    def rotate(self, columns: int, rows: int, rng: np.random.Generator) -> tuple[Bases, Tensor]:
        """Orthonormal bases Q_m [n_m, s] of the unfoldings, sketched to s = `columns` (or n_m if that is less), and
        about A x_1 Q_1' x_2 Q_2' x_3 Q_3' [s, s, s]; `rows`: the most that a mode may be sketched to on the way."""

    def contract(self, mode: int, factors: Factors) -> Tensor:
        """A_(m) M' [n_m, k, k], M the design that the other two factors are to this one."""

    def get_values(self, cells: Ids) -> Floats:
        """Values [N] of cells [N, 3]."""

    def list_cells(self) -> Ids | None:
        """Cells [N, 3] outside of which all are 0; None where nothing is known."""


def check_rank(sizes: Sizes, rank: int) -> int:
    """The rank, if matrices of it can be told apart on the smallest side. Raises ProblemRefused."""
    if not 1 <= rank <= MAX_RANK:
        raise ProblemRefused("rank", f"1 .. {MAX_RANK} expected, {rank} came")
    if rank * rank > min(sizes):
        shape = "x".join(map(str, sizes))
        raise ProblemRefused(
            "rank", f"rank^2 of at most the smallest side of {shape} expected, {rank * rank} came"
        )
    return rank


def open_dense(values: ArrayLike) -> CycleTensor:
    """A tensor of an array [n1, n2, n3] of numbers, which is not copied if it need not be. Raises ProblemRefused."""
    array, squared = _read_numbers("tensor", values)
    if array.ndim != MODES or 0 in array.shape:
        raise ProblemRefused("tensor", f"shape n1 x n2 x n3 expected, {_show(array.shape)} came")
    return DenseTensor(torch.from_numpy(np.require(array, requirements=["C", "W"])), squared)


def open_cells(cells: ArrayLike, values: ArrayLike, shape: Iterable[int] | None = None) -> CycleTensor:
    """A tensor of the cells [N, 3] that are not 0 and their values [N]; without a shape as small as holds them.

    Cells that come more than once count together. Raises ProblemRefused.
    """
    ids, (numbers, _) = _read_cells(cells), _read_numbers("values", values)
    if numbers.shape != (len(ids),):
        raise ProblemRefused(
            "values", f"shape {len(ids)} expected, one for each cell, {_show(numbers.shape)} came"
        )
    sizes = _choose_sizes(ids, shape)
    ids, numbers = _coalesce(ids, numbers, sizes)
    if FULL * len(ids) >= np.prod(sizes, dtype=object):  # takes less space and time as an array
        array = np.zeros(sizes)
        array[tuple(ids.T)] = numbers
        return DenseTensor(torch.from_numpy(array))
    return SparseTensor(sizes, ids, numbers)


def _read_numbers(field: str, values: ArrayLike) -> tuple[Floats, float]:
    """The numbers, and the sum of their squares."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ProblemRefused(field, f"real numbers expected, {array.dtype} came")
    numbers: Floats = array.astype(np.float64, copy=False)
    squared = float(np.vdot(numbers, numbers))  # one pass tells whether all is well
    if not LEAST <= squared < np.inf and numbers.any():
        if not np.isfinite(numbers).all():
            raise ProblemRefused(field, "finite numbers expected, NaN or infinity came")
        most = float(np.abs(numbers).max())
        raise ProblemRefused(
            field, f"squares that float64 can sum expected, numbers of up to {most:.1e} came"
        )
    return numbers, squared


def _read_cells(cells: ArrayLike) -> Ids:
    array: NDArray[np.generic] = np.asarray(cells)
    if array.ndim != 2 or array.shape[1] != MODES:
        raise ProblemRefused("cells", f"shape n x 3 expected, {_show(array.shape)} came")
    if array.dtype.kind not in "iu":
        raise ProblemRefused("cells", f"whole numbers expected, {array.dtype} came")
    if array.size and int(array.min()) < 0:
        raise ProblemRefused("cells", f"numbers from 0 expected, {array.min()} came")
    if array.size and int(array.max()) >= 2**62:
        raise ProblemRefused("cells", f"numbers below 2^62 expected, {array.max()} came")
    return array.astype(np.int64)


def _choose_sizes(ids: Ids, shape: Iterable[int] | None) -> Sizes:
    if shape is None and not len(ids):
        raise ProblemRefused("shape", "three sizes expected, as there are no cells to tell them, none came")
    given = [int(most) + 1 for most in ids.max(0)] if shape is None else list(shape)
    if len(given) != MODES or min(given) < 1:
        raise ProblemRefused("shape", f"three sizes from 1 expected, {given} came")
    if np.prod(given, dtype=object) >= 2**62:
        raise ProblemRefused("shape", f"fewer than 2^62 cells expected, {_show(given)} came")
    for mode, size in enumerate(given):
        if len(ids) and int(ids[:, mode].max()) >= size:
            most = int(ids[:, mode].max())
            raise ProblemRefused(
                "cells", f"numbers below {size} expected in column {mode}, as in shape, {most} came"
            )
    first, second, third = given
    return first, second, third


def _coalesce(ids: Ids, numbers: Floats, sizes: Sizes) -> tuple[Ids, Floats]:
    """Each cell once, in the order of the array, without those that are 0."""
    keys = np.ravel_multi_index(tuple(ids.T), sizes).astype(np.int64)
    if (keys[1:] <= keys[:-1]).any():
        order = np.argsort(keys, kind="stable")
        keys, numbers = keys[order], numbers[order]
        begins = np.flatnonzero(np.diff(keys, prepend=-1))
        keys, numbers = keys[begins], np.add.reduceat(numbers, begins)
    there = numbers != 0
    return np.stack(np.unravel_index(keys[there], sizes), 1).astype(np.int64), numbers[there]


def _show(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"
