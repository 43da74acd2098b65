"""A smooth loss whose parameters have a largest size: solvers without bounds lower it by x = limit sin(t / limit).

Around 0 that is next to nothing of a change. At an end, cos = 0, a t is stationary: with the loss falling outwards it
is a minimum that curves by the slope, to which Newton converges as to any other, and with the loss falling inwards a
maximum, which no descent ends at. So nothing is cut off, and no parameter gets stuck where a step led it too far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.exact.late import torch
from training.solvers.smooth import CanCollapse, SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor

WITHIN = 1 - 2.0**-20  # of the limit: a start at an end itself would have no slope


@dataclass(frozen=True, slots=True)
class _Point:
    t: Tensor
    x: Tensor
    slope: Tensor  # dx / dt
    bend: Tensor  # of every parameter by itself: the gradient times d2x / dt2


class Boxed:
    """`problem` with every parameter within +-limit, as a function of t [p]; see training/solvers/smooth.py."""

    def __init__(self, problem: SmoothLoss, limit: float) -> None:
        self.problem, self.limit = problem, limit
        self._last: _Point | None = None

    @property
    def size(self) -> int:
        return self.problem.size

    def enter(self, x: Tensor) -> Tensor:
        """The t of an x; what lies beyond the limit, or at it, is moved within."""
        return torch.asin((x / self.limit).clamp(-WITHIN, WITHIN)) * self.limit

    def leave(self, t: Tensor) -> Tensor:
        """The x of a t."""
        return torch.sin(t / self.limit) * self.limit

    def measure(self, t: Tensor) -> float:
        return self.problem.measure(self.leave(t))

    def differentiate(self, t: Tensor) -> Tensor:
        return torch.cos(t / self.limit) * self.problem.differentiate(self.leave(t))

    def multiply(self, t: Tensor, v: Tensor) -> Tensor:
        point = self._open(t)
        return point.slope * self.problem.multiply(point.x, point.slope * v) + point.bend * v

    def make_hessian(self, t: Tensor) -> Tensor:
        point = self._open(t)
        hessian = point.slope[:, None] * self.problem.make_hessian(point.x) * point.slope
        hessian.diagonal().add_(point.bend)
        return hessian

    def has_collapsed(self, start: Tensor, t: Tensor) -> bool:
        problem = self.problem
        return isinstance(problem, CanCollapse) and problem.has_collapsed(self.leave(start), self.leave(t))

    def _open(self, t: Tensor) -> _Point:
        if self._last is None or not torch.equal(self._last.t, t):
            x, slope = self.leave(t), torch.cos(t / self.limit)
            bend = self.problem.differentiate(x) * x / -(self.limit**2)
            self._last = _Point(t.clone(), x, slope, bend)
        return self._last
