"""Softmax regression: 1/2 |D^-1 exp(A1 X A2') - B|^2 (2307.02419, normalised and rescaled), and its vector form, a
user's loss in 2308.10502.

With F the softmax of the scores, C = F - B, r = rowsum(F o C): slope q = F o (C - r); Hessian of a row
diag(f^2 + q) + |f|^2 f f' - (f^2 + q) f' - f (f^2 + q)'. Scores have any size: softmax takes their largest out.
A constant column of A2, or a shift common to its rows, moves no softmax: the Hessian is singular there.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from training.derivatives.checks import check_data, check_weight, list_doubts
from training.derivatives.designs import MatrixDesign, VectorDesign
from training.derivatives.rescaled import RescaledLoss, RescaledRows
from training.derivatives.rows import Curvature, Ridge
from training.derivatives.scored import ScoredLoss
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1e8  # of |score|: beyond, float64 keeps none of the differences that a softmax is made of


class SoftmaxRows:
    """1/2 |softmax(scores) - targets|^2 of every row."""

    limit = LIMIT

    def __init__(self, targets_RC: Tensor) -> None:
        self.targets_RC = targets_RC

    def open(self, scores_RC: Tensor) -> SoftmaxPoint:
        return SoftmaxPoint(self.targets_RC, scores_RC)


class SoftmaxPoint:
    """What the loss, its slope and its curvature have in common at some scores."""

    def __init__(self, targets_RC: Tensor, scores_RC: Tensor) -> None:
        self.f_RC = torch.softmax(scores_RC, 1)
        self._residual_RC = self.f_RC - targets_RC

    @property
    def loss(self) -> float:
        return 0.5 * float((self._residual_RC * self._residual_RC).sum())

    @cached_property
    def slope_RC(self) -> Tensor:
        mean_R1 = (self.f_RC * self._residual_RC).sum(1, keepdim=True)
        return self.f_RC * (self._residual_RC - mean_R1)

    def curve(self) -> Curvature:
        return self._make(torch.addcmul(self.slope_RC, self.f_RC, self.f_RC))

    def curve_gauss_newton(self) -> Curvature:
        return self._make(self.f_RC * self.f_RC)

    def _make(self, diagonal_RC: Tensor) -> Curvature:
        squares_R1 = (self.f_RC * self.f_RC).sum(1, keepdim=True)
        return Curvature(diagonal_RC, squares_R1, self.f_RC, diagonal_RC)


class SoftmaxMatrix(ScoredLoss):
    """1/2 |softmax of the rows of S - B|^2 + weight/2 |S|^2 with S = A1 X A2', X [d1, d2] flattened row by row."""

    def __init__(self, a1_nd: Tensor, a2_nd: Tensor, targets_nn: Tensor, weight: float = 0.0) -> None:
        """A1 [n1, d1], one row of it being the single regression; A2 [n2, d2]; targets B [n1, n2]; all float64.

        `doubts` says what of the targets cannot be reached. Raises ProblemRefused.
        """
        _check_matrices(a1_nd, a2_nd, targets_nn)
        super().__init__(MatrixDesign(a1_nd, a2_nd), SoftmaxRows(targets_nn), _make_ridge(weight))
        self.doubts = list_doubts(targets_nn)


class RescaledSoftmaxMatrix(RescaledLoss):
    """1/2 |exp(S) - D B|^2 + weight/2 |S|^2 with S = A1 X A2' and D = diag(exp(S) 1); |S| <= 100.

    Without a weight the loss falls to 0 where S goes to minus infinity: a descent there is reported as collapsed.
    """

    def __init__(self, a1_nd: Tensor, a2_nd: Tensor, targets_nn: Tensor, weight: float = 0.0) -> None:
        """As SoftmaxMatrix."""
        _check_matrices(a1_nd, a2_nd, targets_nn)
        super().__init__(MatrixDesign(a1_nd, a2_nd), RescaledRows("exp", targets_nn), _make_ridge(weight))
        self.doubts = list_doubts(targets_nn)


class SoftmaxVector(ScoredLoss):
    """1/2 |softmax(A x) - b|^2 + 1/2 |W A x|^2 with W diagonal: the loss of one user."""

    def __init__(self, a_nd: Tensor, targets_n: Tensor, weights_n: Tensor | None = None) -> None:
        """A [n, d], targets b [n], weights [n]: the diagonal of W; all float64. Raises ProblemRefused."""
        rows = check_data("inputs", a_nd, (None, None)).shape[0]
        check_data("targets", targets_n, (rows,))
        super().__init__(VectorDesign(a_nd), SoftmaxRows(targets_n[None, :]), make_row_ridge(weights_n, rows))
        self.doubts = list_doubts(targets_n[None, :])


def make_row_ridge(weights_n: Tensor | None, rows: int, centre_n: Tensor | None = None) -> Ridge | None:
    """1/2 |diag(weights) (scores - centre)|^2; None without weights. Raises ProblemRefused."""
    if weights_n is None:
        return None
    square_n = check_data("weights", weights_n, (rows,)) ** 2
    return Ridge(square_n[None, :], None if centre_n is None else centre_n[None, :])


def _check_matrices(a1_nd: Tensor, a2_nd: Tensor, targets_nn: Tensor) -> None:
    rows = check_data("inputs", a1_nd, (None, None)).shape[0]
    columns = check_data("keys", a2_nd, (None, None)).shape[0]
    check_data("targets", targets_nn, (rows, columns))


def _make_ridge(weight: float) -> Ridge | None:
    return Ridge(torch.tensor(weight, dtype=torch.float64)) if check_weight("weight", weight) > 0 else None
