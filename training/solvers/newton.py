"""Damped Newton on the absolute eigenvalues of the Hessian: a descent direction without any convexity.

For p of at most some 1,500 parameters, as a step takes an eigendecomposition; above, see training/solvers/steihaug.py.
Source: Nocedal and Wright, Numerical Optimization, section 3.4 (eigenvalue modification), with the damping of
Levenberg-Marquardt; the papers' own regulariser makes the Hessian positive definite, this does without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from training.exact.late import torch
from training.solvers.descent import ENOUGH, descend, measure_scale
from training.solvers.outcome import DEFAULT, Limits, Stage
from training.solvers.smooth import SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor

GOOD, FAIR = 0.75, 0.25
DAMPING_GOOD, DAMPING_FAIR, DAMPING_POOR, DAMPING_REFUSED = 0.01, 0.5, 2.0, 4.0
FIRST_DAMPING = 1e-4  # of the largest eigenvalue at the start


def run_newton(problem: SmoothLoss, start: Tensor, limits: Limits = DEFAULT) -> Iterator[Stage]:
    """Yield the start, and the point after every step: the caller looks and may stop. The last stage has an outcome.

    Raises ValueError for a start outside of the loss's domain.
    """
    return descend(problem, start, _AbsoluteNewton(), limits)


class _AbsoluteNewton:
    """s = -U (U'g / (|l| + damping)), with H = U diag(l) U'."""

    def __init__(self) -> None:
        self._damping: float | None = None

    def open(self, problem: SmoothLoss, x: Tensor, gradient: Tensor) -> None:
        self._values, self._vectors = torch.linalg.eigh(problem.make_hessian(x))
        self._sizes, self._slope = self._values.abs(), self._vectors.T @ gradient
        # Where the loss is flat, eigenvalue and slope are rounding: their ratio must not become a step.
        self._least = measure_scale(self._values)
        first = FIRST_DAMPING * float(self._sizes.max()) if self._damping is None else self._damping
        self._damping = max(first, self._least)

    def propose(self) -> tuple[Tensor, float]:
        assert self._damping is not None
        inner = -self._slope / (self._sizes + self._damping)
        promised = -float(self._slope @ inner + 0.5 * (self._values * inner) @ inner)
        return self._vectors @ inner, promised

    def adapt(self, ratio: float) -> None:
        assert self._damping is not None
        self._damping = max(self._damping * _choose_factor(ratio), self._least)


def _choose_factor(ratio: float) -> float:
    if ratio < ENOUGH:
        return DAMPING_REFUSED
    if ratio > GOOD:
        return DAMPING_GOOD
    return DAMPING_FAIR if ratio > FAIR else DAMPING_POOR
