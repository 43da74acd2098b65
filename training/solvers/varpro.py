"""Variable projection: parameters in which a loss is a sum of squares of linear functions are solved for, not searched.

What is left is a loss of the others alone, phi(x) = min over y of L(x, y), with derivatives by the implicit function
theorem: the gradient is L's in x at the best y, the Hessian is the Schur complement L_xx - L_xy L_yy^+ L_yx, all of it,
without Kaufman's approximation. Source: Golub and Pereyra (1973); as a step on 2309.07418's Y it is ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from training.exact.late import torch
from training.solvers.smooth import SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor


class PartlyLinear(SmoothLoss, Protocol):
    """A loss of points [p] whose first `nonlinear_size` parameters are x, and quadratic in the rest, y."""

    @property
    def nonlinear_size(self) -> int:
        """How many parameters x has."""

    def solve_linear(self, x: Tensor) -> Tensor:
        """The best y for an x; ValueError outside of the domain."""

    def solve_linear_hessian(self, x: Tensor, v: Tensor) -> Tensor:
        """L_yy^+ of every row of v [..., q] at a point [p]."""


class Projected:
    """The loss of x alone; see training/solvers/smooth.py. Keeps the best y of the last x's."""

    def __init__(self, problem: PartlyLinear) -> None:
        self.problem = problem
        self._last: list[tuple[Tensor, Tensor]] = []

    @property
    def size(self) -> int:
        return self.problem.nonlinear_size

    def complete(self, x: Tensor) -> Tensor:
        """The point [p] of x and its best y. Raises ValueError outside of the domain."""
        for seen, point in self._last:
            if torch.equal(seen, x):
                return point
        point = torch.cat([x, self.problem.solve_linear(x)])
        self._last = [*self._last[-1:], (x.clone(), point)]  # where a solver is, and where it tries to go
        return point

    def measure(self, x: Tensor) -> float:
        try:
            return self.problem.measure(self.complete(x))
        except ValueError:
            return math.inf

    def differentiate(self, x: Tensor) -> Tensor:
        return self.problem.differentiate(self.complete(x))[: self.size]

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        point = self.complete(x)
        along = torch.cat([v, torch.zeros(self.problem.size - self.size, dtype=v.dtype)])
        cross = self.problem.multiply(point, along)[self.size :]
        along[self.size :] = -self.problem.solve_linear_hessian(point, cross)
        return self.problem.multiply(point, along)[: self.size]

    def make_hessian(self, x: Tensor) -> Tensor:
        point = self.complete(x)
        whole, split = self.problem.make_hessian(point), self.size
        cross = whole[:split, split:]
        hessian = whole[:split, :split] - self.problem.solve_linear_hessian(point, cross) @ cross.T
        return 0.5 * (hessian + hessian.T)
