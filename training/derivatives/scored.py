"""A loss of scores that a design makes of the parameters: what every second-order solver reads (solvers/smooth.py)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.derivatives.designs import Design
from training.derivatives.rows import Curvature, Ridge, RowLoss, RowPoint
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

KEPT_POINTS = 2  # where a solver is, and where it tries to go


@dataclass(slots=True)
class _Point:
    x: Tensor
    scores_RC: Tensor
    rows: RowPoint | None  # None: outside of the domain
    curvature: Curvature | None = None


class ScoredLoss:
    """Rows of scores and a regulariser of the scores. Keeps what it computed at the last two points."""

    def __init__(self, design: Design, rows: RowLoss, ridge: Ridge | None = None) -> None:
        self.design, self.rows, self.ridge = design, rows, ridge
        self._points: deque[_Point] = deque(maxlen=KEPT_POINTS)

    @property
    def size(self) -> int:
        return self.design.size

    def measure(self, x: Tensor) -> float:
        """The loss; inf outside of the domain."""
        point = self._open(x)
        if point.rows is None:
            return math.inf
        return point.rows.loss + (self.ridge.measure(point.scores_RC) if self.ridge else 0.0)

    def differentiate(self, x: Tensor) -> Tensor:
        """The gradient [p]."""
        point = self._open(x)
        slope_RC = _demand(point).slope_RC
        if self.ridge:
            slope_RC = slope_RC + self.ridge.differentiate(point.scores_RC)
        return self.design.pull(slope_RC)

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        """The Hessian at x times v [p]."""
        return self.design.pull(self.get_curvature(x).multiply(self.design.apply(v)))

    def multiply_gauss_newton(self, x: Tensor, v: Tensor) -> Tensor:
        """J'J v [p], with J the derivative of the residuals and of the regulariser's."""
        curvature = self._regularise(_demand(self._open(x)).curve_gauss_newton())
        return self.design.pull(curvature.multiply(self.design.apply(v)))

    def make_hessian(self, x: Tensor) -> Tensor:
        """The Hessian [p, p]."""
        return self.design.make_hessian(self.get_curvature(x))

    def compute_scores(self, x: Tensor) -> Tensor:
        """The scores [R, C]; not to be written to."""
        return self._open(x).scores_RC

    def get_curvature(self, x: Tensor) -> Curvature:
        """The Hessian in the scores, the regulariser's included."""
        point = self._open(x)
        if point.curvature is None:
            point.curvature = self._regularise(_demand(point).curve())
        return point.curvature

    def _regularise(self, curvature: Curvature) -> Curvature:
        return curvature.add_diagonal(self.ridge.weight) if self.ridge else curvature

    def _open(self, x: Tensor) -> _Point:
        for point in self._points:
            if torch.equal(point.x, x):
                return point
        scores_RC = self.design.apply(x)
        inside = float(scores_RC.abs().max()) <= self.rows.limit  # False where it is not a number
        point = _Point(x.clone(), scores_RC, self.rows.open(scores_RC) if inside else None)
        self._points.append(point)
        return point


def _demand(point: _Point) -> RowPoint:
    if point.rows is None:
        raise ValueError("x: a point within the loss's domain expected, its loss is not finite")
    return point.rows
