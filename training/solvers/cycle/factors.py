"""A tensor of cycle rank k by its factors: A_abc = tr(U_a V_b W_c), a k x k matrix for every index of every mode.

What a gauge (U_a P, P^-1 V_b) changes is nothing of the tensor: compare values, never factors.
Source: 2304.06594, whose U[a, i + k(j - 1)] is U_a[i, j].

Shapes: n1, n2, n3 sizes of the tensor; k rank; N cells; E = k^2 entries of a matrix, row-major.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

MODES = 3
CHUNK = 1 << 14  # cells at a time: what k x k matrices of them take stays in the cache, whatever their number

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Factors:
    """U [n1, k, k], V [n2, k, k], W [n3, k, k], float64."""

    u: Tensor
    v: Tensor
    w: Tensor

    @property
    def rank(self) -> int:
        return self.u.shape[1]

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.u, self.v, self.w))

    def __getitem__(self, mode: int) -> Tensor:
        return (self.u, self.v, self.w)[mode % MODES]

    def replace(self, mode: int, factor: Tensor) -> Factors:
        u, v, w = (factor if other == mode else old for other, old in enumerate(self))
        return Factors(u, v, w)

    def balance(self) -> Factors:
        """The same tensor by factors of the same norm; unchanged where one is 0."""
        norms = [float(factor.norm()) for factor in self]
        mean = float(np.prod(np.cbrt(norms)))
        if mean == 0:
            return self
        u, v, w = (factor * (mean / norm) for factor, norm in zip(self, norms, strict=True))
        return Factors(u, v, w)

    def compute_gram(self, mode: int) -> Tensor:
        """H [E, E]: the inner products of the design that a factor meets when the other two stand."""
        second, third = (_pair(self[mode + other]) for other in (1, 2))  # [(j q), (l r)] and [(l r), (i p)]
        k = self.rank
        return (second @ third).reshape(k, k, k, k).permute(2, 0, 3, 1).reshape(k * k, k * k)

    def measure_squared(self) -> float:
        """The sum of the squares of all cells, without looking at them: tr(GU GV GW)."""
        flat = self.u.flatten(1)
        return float(((flat @ self.compute_gram(0)) * flat).sum())

    def compute_values(self, cells: Ids) -> Floats:
        """Values [N] of cells [N, 3]."""
        planes = [split_planes(factor) for factor in self]
        values = np.empty(len(cells))
        for chunk in cut(len(cells)):
            a, b, c = cells[chunk].T
            product = multiply_planes(planes[1], b, planes[2], c)
            taken = np.take(planes[0], a, axis=2)
            values[chunk] = (taken * product.transpose(1, 0, 2)).sum((0, 1))
        return values

    def compute_dense(self) -> Tensor:
        """All cells [n1, n2, n3]."""
        product = torch.einsum("bjl,cli->jibc", self.v, self.w)
        return torch.einsum("aij,jibc->abc", self.u, product)


def make_zeros(sizes: tuple[int, int, int], rank: int) -> Factors:
    u, v, w = (torch.zeros((size, rank, rank), dtype=torch.float64) for size in sizes)
    return Factors(u, v, w)


def draw_factors(sizes: tuple[int, int, int], rank: int, rng: np.random.Generator) -> Factors:
    """Independent normal entries, so that a cell is of deviation 1."""
    drawn = (torch.from_numpy(rng.standard_normal((size, rank, rank))) for size in sizes)
    u, v, w = (factor / rank**0.5 for factor in drawn)
    return Factors(u, v, w)


def cut(count: int, length: int = CHUNK) -> Iterator[slice]:
    """Slices of at most this length that together are 0 .. count."""
    return (slice(begin, begin + length) for begin in range(0, count, length))


def split_planes(factor: Tensor) -> Floats:
    """[k, k, n] of a factor [n, k, k]: the same entry of all matrices side by side."""
    return np.ascontiguousarray(factor.numpy().transpose(1, 2, 0))


def multiply_planes(left: Floats, rows: Ids, right: Floats, columns: Ids) -> Floats:
    """[k, k, N] of the products of N matrices of `left` with N of `right`, by their numbers."""
    first, second = np.take(left, rows, axis=2), np.take(right, columns, axis=2)
    product = first[:, 0, None] * second[None, 0]
    for inner in range(1, len(left)):
        product += first[:, inner, None] * second[None, inner]
    return product


def _pair(factor: Tensor) -> Tensor:
    """The sums over n of two entries' product [E, E]: entries of rows i and j in row (i j), of columns in column."""
    k = factor.shape[1]
    flat = factor.flatten(1)
    return (flat.T @ flat).reshape(k, k, k, k).transpose(1, 2).reshape(k * k, k * k)


def make_weights(factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """U, V - I and W - I, [n, E] each: the weights of a job whose model has these factors (protocol, section 9.9)."""
    one = torch.eye(factors.rank, dtype=torch.float64)
    return factors.u.flatten(1), (factors.v - one).flatten(1), (factors.w - one).flatten(1)
