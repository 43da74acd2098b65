"""How far factors are from a tensor: by Gram matrices, without the cells that are 0; by cells drawn; the gradient.

Shapes: N cells; see factors.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.solvers.cycle.factors import MODES, Factors, Floats, Ids
from training.solvers.cycle.sparse import SparseTensor
from training.solvers.cycle.tensors import CycleTensor

if TYPE_CHECKING:
    from torch import Tensor

ACCURACY = 1e-7  # relative: the root of what float64 leaves of a difference of squares
SAMPLED = 10_000


@dataclass(frozen=True, slots=True)
class Residual:
    """|A - R| over |A|; 0 if both are 0. Where it is not reliable it is below ACCURACY, and no more is known."""

    relative: float

    @property
    def is_reliable(self) -> bool:
        return self.relative >= ACCURACY


def measure_residual(tensor: CycleTensor, factors: Factors) -> Residual:
    """By |A|^2 - 2 <A, R> + tr(GU GV GW), in a pass over the cells that are not 0."""
    squared, approximation = tensor.squared_norm, factors.measure_squared()
    both = float((tensor.contract(0, factors) * factors.u).sum())
    loss = squared - 2 * both + approximation
    # What rounding leaves of the largest of the three is a loss that is not seen.
    unseen = (ACCURACY * ACCURACY) * approximation
    if loss <= max(unseen, (ACCURACY * ACCURACY) * squared):
        return Residual(0.0)
    return Residual(math.sqrt(loss / squared) if squared else math.inf)


def sample_residual(
    tensor: CycleTensor, factors: Factors, rng: np.random.Generator, count: int = SAMPLED
) -> float:
    """|A - R| over |A| by so many cells that are not 0, and as many of any; to some percent, however small it is.

    Raises ValueError for a tensor of zeros.
    """
    squared, known = tensor.squared_norm, tensor.list_cells()
    if squared == 0:
        raise ValueError("tensor: one that is not 0 expected, its relative residual is none")
    anywhere = np.stack([rng.integers(0, size, count) for size in tensor.sizes], 1)
    everything = math.prod(tensor.sizes)
    if known is None:
        return math.sqrt(_mean_square(tensor, factors, anywhere) * everything / squared)
    there = known[rng.integers(0, len(known), count)]
    empty = anywhere[tensor.get_values(anywhere) == 0]
    outside = _mean_square(tensor, factors, empty) * (everything - len(known))
    return math.sqrt((_mean_square(tensor, factors, there) * len(known) + outside) / squared)


def _mean_square(tensor: CycleTensor, factors: Factors, cells: Ids) -> float:
    if not len(cells):
        return 0.0
    return float(np.mean((tensor.get_values(cells) - factors.compute_values(cells)) ** 2))


def differentiate(tensor: CycleTensor, factors: Factors) -> Factors:
    """The gradient of |A - R|^2 over all cells, in the shapes of the factors: 2 (U M - A_1) M'."""
    parts: list[Tensor] = []
    for mode in range(MODES):
        flat = factors[mode].flatten(1) @ factors.compute_gram(mode)
        parts.append(2 * (flat.reshape(factors[mode].shape) - tensor.contract(mode, factors)))
    u, v, w = parts
    return Factors(u, v, w)


def differentiate_cells(sizes: tuple[int, int, int], cells: Ids, values: Floats, factors: Factors) -> Factors:
    """The gradient of the objective's loss, the sum over these cells [N, 3] of (R - value)^2; no others count."""
    away = SparseTensor(sizes, cells, 2 * (factors.compute_values(cells) - values))
    u, v, w = (away.contract(mode, factors) for mode in range(MODES))
    return Factors(u, v, w)
