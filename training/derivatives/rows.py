"""What the losses of the papers have in common: they are sums over rows of scores, and the Hessian of each row is a
diagonal and two outer products, so that nothing larger than the scores is ever formed.

R rows of C scores. A row's Hessian in its scores: diag(D) + s f f' - g f' - f g', with D, f, g vectors and s a number.
Source: design notes on 2307.02419 (row 3), 2308.10502 (5) and 2305.00660 (9): the same algebra in all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Curvature:
    """The Hessians of all rows in their scores."""

    diagonal_RC: Tensor
    scale_R1: Tensor
    first_RC: Tensor
    second_RC: Tensor

    def multiply(self, v_RC: Tensor) -> Tensor:
        """Every row's Hessian times its row of v."""
        first_R1 = (self.first_RC * v_RC).sum(1, keepdim=True)
        second_R1 = (self.second_RC * v_RC).sum(1, keepdim=True)
        mixed_RC = self.first_RC * (self.scale_R1 * first_R1 - second_R1) - self.second_RC * first_R1
        return mixed_RC.addcmul_(self.diagonal_RC, v_RC)

    def add_diagonal(self, weight: Tensor) -> Curvature:
        """With a weight, for all or for each score, added."""
        return Curvature(self.diagonal_RC + weight, self.scale_R1, self.first_RC, self.second_RC)


class RowPoint(Protocol):
    """A loss of scores at some scores. What is asked for is computed; what two of them need, only once."""

    @property
    def loss(self) -> float:
        """The sum over all rows."""

    @property
    def slope_RC(self) -> Tensor:
        """The gradient in the scores."""

    def curve(self) -> Curvature:
        """The Hessian in the scores."""

    def curve_gauss_newton(self) -> Curvature:
        """J'J, with J the residuals' derivative in the scores: the Hessian without the residuals' own bend."""


class RowLoss(Protocol):
    """A loss of scores against targets [R, C]."""

    targets_RC: Tensor

    @property
    def limit(self) -> float:
        """The largest |score| of the domain."""

    def open(self, scores_RC: Tensor) -> RowPoint | None:
        """The loss there; None outside of the domain as far as the limit does not say so."""


@dataclass(frozen=True, slots=True)
class Ridge:
    """The regulariser 1/2 sum of weight * (scores - centre)^2; the weight for all scores or for each."""

    weight: Tensor
    centre_RC: Tensor | None = None

    def measure(self, scores_RC: Tensor) -> float:
        moved_RC = self._move(scores_RC)
        return 0.5 * float((self.weight * moved_RC * moved_RC).sum())

    def differentiate(self, scores_RC: Tensor) -> Tensor:
        return self.weight * self._move(scores_RC)

    def _move(self, scores_RC: Tensor) -> Tensor:
        return scores_RC if self.centre_RC is None else scores_RC - self.centre_RC
