"""Rescaled regression, 1/2 |u - <u,1> b|^2 of every row, with u = exp, cosh or sinh of the scores.

Source: 2305.00660, and 2307.02419's rescaled form, which is that of exp. With v = u' (u'' = u for all three),
c = u - <u,1> b and t = <b,c>: slope v o (c - t); Hessian of a row
diag(v^2 + u o (c - t)) + |b|^2 v v' - (v o b) v' - v (v o b)'.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

from training.derivatives.designs import Design
from training.derivatives.rows import Curvature, Ridge
from training.derivatives.scored import ScoredLoss
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["exp", "cosh", "sinh"]
LIMIT = 100.0  # of |score|: solvers form the sixth power of its exponential, the cube of a gradient; it fits float64
# Of the largest |u| at the start: the loss fell because everything did. Its gradient falls with the square of u, so
# that at 1e-6 a solver would have taken it for an optimum before.
COLLAPSED = 1e-4


class RescaledRows:
    """Targets b [R, C] of rows whose sums <u,1> are wanted above 0: with sinh others exist, and are outside."""

    limit = LIMIT

    def __init__(self, kind: Kind, targets_RC: Tensor) -> None:
        self.kind, self.targets_RC = kind, targets_RC
        self.squares_R1 = (targets_RC * targets_RC).sum(1, keepdim=True)

    def open(self, scores_RC: Tensor) -> RescaledPoint | None:
        point = RescaledPoint(self, scores_RC)
        return point if self.kind != "sinh" or bool((point.sums_R1 > 0).all()) else None

    def measure_peak(self, scores_RC: Tensor) -> float:
        """The largest |u|."""
        return float(compute_values(self.kind, scores_RC).abs().max())


class RescaledPoint:
    """What the loss, its slope and its curvature have in common at some scores."""

    def __init__(self, rows: RescaledRows, scores_RC: Tensor) -> None:
        self._rows = rows
        self.u_RC = compute_values(rows.kind, scores_RC)
        self.v_RC = self.u_RC if rows.kind == "exp" else compute_values(_SLOPES[rows.kind], scores_RC)
        self.sums_R1 = self.u_RC.sum(1, keepdim=True)
        self._residual_RC = self.u_RC - self.sums_R1 * rows.targets_RC

    @property
    def loss(self) -> float:
        return 0.5 * float((self._residual_RC * self._residual_RC).sum())

    @cached_property
    def _moved_RC(self) -> Tensor:
        """c - t."""
        return self._residual_RC - (self._rows.targets_RC * self._residual_RC).sum(1, keepdim=True)

    @property
    def slope_RC(self) -> Tensor:
        return self.v_RC * self._moved_RC

    def curve(self) -> Curvature:
        return self._make(torch.addcmul(self.v_RC * self.v_RC, self.u_RC, self._moved_RC))

    def curve_gauss_newton(self) -> Curvature:
        return self._make(self.v_RC * self.v_RC)

    def _make(self, diagonal_RC: Tensor) -> Curvature:
        return Curvature(diagonal_RC, self._rows.squares_R1, self.v_RC, self.v_RC * self._rows.targets_RC)


class RescaledLoss(ScoredLoss):
    """A rescaled loss knows when it falls only because u does: to u = 0 the residual is 0 whatever the targets."""

    def __init__(self, design: Design, rows: RescaledRows, ridge: Ridge | None = None) -> None:
        super().__init__(design, rows, ridge)
        self._rescaled = rows
        self._peak: tuple[Tensor, float] | None = None

    def has_collapsed(self, start: Tensor, x: Tensor) -> bool:
        """Whether the largest |u| fell to COLLAPSED of that at the start."""
        if self._peak is None or not torch.equal(self._peak[0], start):
            self._peak = start.clone(), self._rescaled.measure_peak(self.design.apply(start))
        return self._rescaled.measure_peak(self.compute_scores(x)) < COLLAPSED * self._peak[1]


_SLOPES: dict[Kind, Kind] = {"exp": "exp", "cosh": "sinh", "sinh": "cosh"}


def compute_values(kind: Kind, scores: Tensor) -> Tensor:
    """u of the scores, entry by entry."""
    if kind == "exp":
        return torch.exp(scores)
    return torch.cosh(scores) if kind == "cosh" else torch.sinh(scores)
