"""Grids: what range and step a number has, and proof before any run that a product of two of them is exact.

An integer n on a grid stands for n * 2^-f, with |n| < 2^p. Tensors hold the integers themselves, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.errors import BudgetExceeded
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

PRODUCT_BITS = 50  # float64 is exact to 53; three bits are kept for blocked and fused summation
MASTER_TO_PRODUCT_BITS = 8


@dataclass(frozen=True, slots=True)
class Grid:
    """Step 2^-f and range |n| < 2^p."""

    f: int
    p: int

    @property
    def limit(self) -> int:
        """The largest integer on the grid; `sat` clips to plus or minus this."""
        return (1 << self.p) - 1


DATA = Grid(12, 15)  # inputs, keys and targets
MASTER = Grid(24, 27)  # weights as stored, hashed and stepped
WEIGHT = Grid(16, 19)  # weights in products
ATTENTION = Grid(20, 21)  # rows of a softmax


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product declared by its operands' grids; refuses at construction what could be inexact.

    `rows` and `cols` shape the result (over the whole shard), `terms` is the length of each sum.
    """

    name: str
    left: Grid
    right: Grid
    rows: int
    terms: int
    cols: int

    def __post_init__(self) -> None:
        bits = self.left.p + self.right.p + (self.terms - 1).bit_length()
        if bits > PRODUCT_BITS:
            raise BudgetExceeded(
                f"product {self.name}: {self.left.p} + {self.right.p} bits over {self.terms} terms need {bits} bits,"
                f" at most {PRODUCT_BITS} are exact; coarsen a grid or shorten the sum"
            )

    @property
    def f(self) -> int:
        """Step of the exact result."""
        return self.left.f + self.right.f

    @property
    def entries(self) -> int:
        return self.rows * self.cols

    @property
    def multiply_adds(self) -> int:
        return self.rows * self.terms * self.cols


def saturate(x: Tensor, p: int) -> Tensor:
    """Clip integers to |n| < 2^p."""
    limit = (1 << p) - 1  # an int: with a float, int64 tensors would become float32
    return torch.clamp(x, -limit, limit)


def rescale(x: Tensor, f: int, grid: Grid) -> Tensor:
    """Move integers from step 2^-f to a grid, half to even, then saturate."""
    return saturate(torch.round(x * 2.0 ** (grid.f - f)), grid.p)


def make_product_weights(master: Tensor) -> Tensor:
    """The weights as products read them."""
    return rescale(master, MASTER.f, WEIGHT)
