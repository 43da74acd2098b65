"""Single-layer attention in X and Y: 1/2 |softmax(A1 X A2') A3 Y - B|^2 + weight/2 (|A1 X A2'|^2 + |Y|^2).

With S = A1 X A2', F the softmax of its rows, G = F A3, C = G Y - B, M = C (A3 Y)', q = F o (M - rowsum(F o M)):

    grad_X = A1' (q + weight S) A2          grad_Y = G' C + weight Y

and with V_j = A2' (diag f_j - f_j f_j') A3, p_j = A2' f_j, k_j = A2' q_j, of every row j of A1:

    XX = sum_j (A1_j A1_j') x (V_j Y Y' V_j' + A2' diag(q_j + weight) A2 - p_j k_j' - k_j p_j')
    XY = sum_j of A1_j x V_j Y x G_j, and of A1_j x V_j x C_j          YY = (G' G + weight) x I

so that the Hessian costs two products of n x n x d^2 and three of n x d^2 x d^2, and nothing of n^2 x d^2 is formed.
Not convex: a descent ends in one of several minima. Source: 2309.07418 (without the 1/2); the products are ours.

Shapes: N rows and D columns of A1; M rows of A2 and A3 with E and K columns; B is N x O. X is D x E, Y is K x O.
"""

from __future__ import annotations

import math
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from training.derivatives.checks import check_data, check_weight
from training.exact.late import torch
from training.solvers.starts import draw_starts

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1e8  # of |score|: beyond, float64 keeps none of the differences that a softmax is made of
KEPT_POINTS = 2  # where a solver is, and where it tries to go
START_DEVIATION = 0.01  # of X's entries: an attention that is nearly even, and not stationary


class AttentionLoss:
    """The loss as a function of X and Y, one flat point [D E + K O] of X and then Y, each row by row."""

    def __init__(
        self, queries_ND: Tensor, keys_ME: Tensor, values_MK: Tensor, targets_NO: Tensor, weight: float = 0.0
    ) -> None:
        """A1, A2, A3 and B, all float64. Raises ProblemRefused."""
        rows, wide = check_data("queries", queries_ND, (None, None)).shape
        columns, deep = check_data("keys", keys_ME, (None, None)).shape
        inner = check_data("values", values_MK, (columns, None)).shape[1]
        outer = check_data("targets", targets_NO, (rows, None)).shape[1]
        self.a1, self.a2, self.a3, self.targets = queries_ND, keys_ME, values_MK, targets_NO
        self.weight = check_weight("weight", weight)
        self.x_shape, self.y_shape = (wide, deep), (inner, outer)
        self._points: deque[_Point] = deque(maxlen=KEPT_POINTS)

    @property
    def size(self) -> int:
        return self.nonlinear_size + self.y_shape[0] * self.y_shape[1]

    @property
    def nonlinear_size(self) -> int:
        """Of X, which comes first."""
        return self.x_shape[0] * self.x_shape[1]

    @cached_property
    def queries_twice_NDD(self) -> Tensor:
        """A1_j A1_j' of every row, flat."""
        return _pair(self.a1, self.a1)

    @cached_property
    def keys_twice_MEE(self) -> Tensor:
        return _pair(self.a2, self.a2)

    @cached_property
    def keys_values_MEK(self) -> Tensor:
        return _pair(self.a2, self.a3)

    # --- as a smooth loss: training/solvers/smooth.py ---

    def measure(self, x: Tensor) -> float:
        point = self._open(x)
        return point.loss if point.is_inside else math.inf

    def differentiate(self, x: Tensor) -> Tensor:
        point = self._open_inside(x)
        x_DE = self.a1.T @ (point.slope_NM + self.weight * point.scores_NM) @ self.a2
        y_KO = point.mixed_NK.T @ point.residual_NO + self.weight * point.y_KO
        return _flatten(x_DE, y_KO)

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        point = self._open_inside(x)
        moved = self._move(point, v)
        residual_NO = moved.mixed_NK @ point.y_KO + point.mixed_NK @ moved.y_KO
        bend_NM = residual_NO @ point.values_MO.T + point.residual_NO @ (self.a3 @ moved.y_KO).T
        centred_NM = point.pull_NM - point.mean_N1
        change_N1 = (moved.f_NM * point.pull_NM + point.f_NM * bend_NM).sum(1, keepdim=True)
        slope_NM = moved.f_NM * centred_NM + point.f_NM * (bend_NM - change_N1)
        y_KO = moved.mixed_NK.T @ point.residual_NO + point.mixed_NK.T @ residual_NO
        return self._pull(slope_NM, y_KO, moved)

    def multiply_gauss_newton(self, x: Tensor, v: Tensor) -> Tensor:
        """J'J v [p], with J the derivative of the residuals and of the regulariser's."""
        point = self._open_inside(x)
        moved = self._move(point, v)
        residual_NO = moved.mixed_NK @ point.y_KO + point.mixed_NK @ moved.y_KO
        bend_NM = residual_NO @ point.values_MO.T
        slope_NM = point.f_NM * (bend_NM - (point.f_NM * bend_NM).sum(1, keepdim=True))
        return self._pull(slope_NM, point.mixed_NK.T @ residual_NO, moved)

    def make_hessian(self, x: Tensor) -> Tensor:
        point = self._open_inside(x)
        split = self.nonlinear_size
        hessian = torch.empty(self.size, self.size, dtype=torch.float64)
        bends_NEK = self._bend(point)
        hessian[:split, :split] = self._make_xx(point, bends_NEK)
        hessian[:split, split:] = self._make_xy(point, bends_NEK)
        hessian[split:, :split] = hessian[:split, split:].T
        each = torch.eye(self.y_shape[1], dtype=torch.float64)
        hessian[split:, split:] = torch.kron(self._make_gram(point), each)
        return 0.5 * (hessian + hessian.T)

    # --- Y by itself: training/solvers/varpro.py ---

    def solve_linear(self, x: Tensor) -> Tensor:
        """The best Y for an X [D E], flat; of several, the shortest. Raises ValueError outside of the domain."""
        mixed_NK = torch.softmax(self._score(x), 1) @ self.a3
        if self.weight > 0:
            gram_KK = mixed_NK.T @ mixed_NK
            gram_KK.diagonal().add_(self.weight)
            y_KO: Tensor = torch.linalg.solve(gram_KK, mixed_NK.T @ self.targets)
        else:
            y_KO = torch.linalg.lstsq(mixed_NK, self.targets, driver="gelsd").solution
        return y_KO.flatten()

    def solve_linear_hessian(self, x: Tensor, v: Tensor) -> Tensor:
        """YY^+ of every row of v [..., K O] at a point [p]; where Y is not determined, the shortest."""
        gram_KK = self._make_gram(self._open_inside(x))
        rows = v.reshape(-1, *self.y_shape)
        factor_KK, failed = torch.linalg.cholesky_ex(gram_KK)
        if int(failed):
            solved: Tensor = torch.linalg.pinv(gram_KK, hermitian=True) @ rows
        else:
            solved = torch.cholesky_solve(rows, factor_KK)
        return solved.reshape(v.shape)

    def draw_starts(self, count: int, rng: np.random.Generator) -> list[Tensor]:
        """Points with X drawn from N(0, 0.01^2), and the best Y for each."""
        drawn = draw_starts(self.nonlinear_size, count, START_DEVIATION, rng)
        return [torch.cat([x, self.solve_linear(x)]) for x in drawn]

    # --- parts ---

    def _make_gram(self, point: _Point) -> Tensor:
        gram_KK = point.mixed_NK.T @ point.mixed_NK
        gram_KK.diagonal().add_(self.weight)
        return gram_KK

    def _bend(self, point: _Point) -> Tensor:
        """V_j of every row."""
        summed_NEK = (point.f_NM @ self.keys_values_MEK).view(-1, self.x_shape[1], self.y_shape[0])
        return torch.baddbmm(summed_NEK, point.keys_NE[:, :, None], point.mixed_NK[:, None, :], alpha=-1)

    def _make_xx(self, point: _Point, bends_NEK: Tensor) -> Tensor:
        wide, deep = self.x_shape
        inner_NEE = ((point.slope_NM + self.weight) @ self.keys_twice_MEE).view(-1, deep, deep)
        moves_NEO, keys_NE1 = bends_NEK @ point.y_KO, point.keys_NE[:, :, None]
        slopes_NE1 = (point.slope_NM @ self.a2)[:, :, None]
        left, right = (moves_NEO, -keys_NE1, -slopes_NE1), (moves_NEO, slopes_NE1, keys_NE1)
        inner_NEE = torch.baddbmm(inner_NEE, torch.cat(left, 2), torch.cat(right, 2).mT)
        summed = self.queries_twice_NDD.T @ inner_NEE.flatten(1)
        return summed.view(wide, wide, deep, deep).permute(0, 2, 1, 3).reshape(wide * deep, wide * deep)

    def _make_xy(self, point: _Point, bends_NEK: Tensor) -> Tensor:
        (wide, deep), (inner, outer) = self.x_shape, self.y_shape
        moves_NEO = bends_NEK @ point.y_KO
        first = _pair(self.a1, point.mixed_NK).T @ moves_NEO.flatten(1)
        second = _pair(self.a1, point.residual_NO).T @ bends_NEK.flatten(1)
        summed = first.view(wide, inner, deep, outer).permute(0, 2, 1, 3) + second.view(
            wide, outer, deep, inner
        ).permute(0, 2, 3, 1)
        return summed.reshape(wide * deep, inner * outer)

    def _move(self, point: _Point, v: Tensor) -> _Moved:
        x_DE, y_KO = self._split(v)
        scores_NM = self.a1 @ x_DE @ self.a2.T
        f_NM = point.f_NM * (scores_NM - (point.f_NM * scores_NM).sum(1, keepdim=True))
        return _Moved(scores_NM, y_KO, f_NM, f_NM @ self.a3)

    def _pull(self, slope_NM: Tensor, y_KO: Tensor, moved: _Moved) -> Tensor:
        x_DE = self.a1.T @ (slope_NM + self.weight * moved.scores_NM) @ self.a2
        return _flatten(x_DE, y_KO + self.weight * moved.y_KO)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[: self.nonlinear_size].view(self.x_shape), x[self.nonlinear_size :].view(self.y_shape)

    def _score(self, x: Tensor) -> Tensor:
        """S of an X, flat."""
        scores_NM = self.a1 @ x.view(self.x_shape) @ self.a2.T
        if not float(scores_NM.abs().max()) <= LIMIT:
            raise ValueError(f"x: scores of at most {LIMIT:g} in size expected")
        return scores_NM

    def _open(self, x: Tensor) -> _Point:
        for point in self._points:
            if torch.equal(point.at, x):
                return point
        x_DE, y_KO = self._split(x)
        point = _Point(self, x.clone(), self.a1 @ x_DE @ self.a2.T, y_KO.clone())
        self._points.append(point)
        return point

    def _open_inside(self, x: Tensor) -> _Point:
        point = self._open(x)
        if not point.is_inside:
            raise ValueError("x: a point within the loss's domain expected, its loss is not finite")
        return point


class _Moved:
    """How S, Y, F and G change along a direction."""

    def __init__(self, scores_NM: Tensor, y_KO: Tensor, f_NM: Tensor, mixed_NK: Tensor) -> None:
        self.scores_NM, self.y_KO, self.f_NM, self.mixed_NK = scores_NM, y_KO, f_NM, mixed_NK


class _Point:
    """What loss, gradient and Hessian share at a point, each computed when it is asked for."""

    def __init__(self, problem: AttentionLoss, at: Tensor, scores_NM: Tensor, y_KO: Tensor) -> None:
        self.problem, self.at, self.scores_NM, self.y_KO = problem, at, scores_NM, y_KO
        self.is_inside = float(scores_NM.abs().max()) <= LIMIT and math.isfinite(self.loss)

    @cached_property
    def f_NM(self) -> Tensor:
        return torch.softmax(self.scores_NM, 1)

    @cached_property
    def mixed_NK(self) -> Tensor:
        """G: the values as attention mixes them."""
        return self.f_NM @ self.problem.a3

    @cached_property
    def residual_NO(self) -> Tensor:
        return self.mixed_NK @ self.y_KO - self.problem.targets

    @cached_property
    def loss(self) -> float:
        loss = 0.5 * float((self.residual_NO * self.residual_NO).sum())
        if not self.problem.weight:
            return loss
        size = float((self.scores_NM * self.scores_NM).sum() + (self.y_KO * self.y_KO).sum())
        return loss + 0.5 * self.problem.weight * size

    @cached_property
    def values_MO(self) -> Tensor:
        """A3 Y."""
        return self.problem.a3 @ self.y_KO

    @cached_property
    def pull_NM(self) -> Tensor:
        """M: the slope in F."""
        return self.residual_NO @ self.values_MO.T

    @cached_property
    def mean_N1(self) -> Tensor:
        return (self.f_NM * self.pull_NM).sum(1, keepdim=True)

    @cached_property
    def slope_NM(self) -> Tensor:
        """q: the slope in S, without the regulariser's."""
        return self.f_NM * (self.pull_NM - self.mean_N1)

    @cached_property
    def keys_NE(self) -> Tensor:
        """p_j: the keys as attention mixes them."""
        return self.f_NM @ self.problem.a2


def _pair(left: Tensor, right: Tensor) -> Tensor:
    """Of every row the outer product, flat."""
    return (left[:, :, None] * right[:, None, :]).flatten(1)


def _flatten(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([x.flatten(), y.flatten()])
