"""Damped Newton on the absolute eigenvalues of the Hessian: a descent direction without any convexity.

For p of at most some 1,500 parameters, as a step takes an eigendecomposition; above, see training/solvers/steihaug.py.
Source: Nocedal and Wright, Numerical Optimization, section 3.4 (eigenvalue modification), with the damping of
Levenberg-Marquardt; the papers' own regulariser makes the Hessian positive definite, this does without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.exact.late import torch
from training.solvers.smooth import SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor

ENOUGH = 1e-4  # of the decrease that the quadratic model promised: a step is taken
GOOD, FAIR = 0.75, 0.25
DAMPING_GOOD, DAMPING_FAIR, DAMPING_POOR, DAMPING_REFUSED = 0.1, 0.5, 2.0, 4.0
FIRST_DAMPING = 1e-3  # of the largest eigenvalue at the start
RETRIES = 40  # refused steps in a row: the loss cannot be lowered in float64


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a solver is: after `steps` taken steps, at `x`, with its loss and its gradient's norm."""

    steps: int
    x: Tensor
    loss: float
    gradient_norm: float


def run_newton(problem: SmoothLoss, start: Tensor) -> Iterator[Stage]:
    """Yield the start, and the point after every step, until no step lowers the loss: the caller looks and stops.

    Raises ValueError for a start outside of the loss's domain.
    """
    x, loss = start.clone(), problem.measure(start)
    if not math.isfinite(loss):
        raise ValueError("start: a point within the loss's domain expected, its loss is not finite")
    damping: float | None = None
    steps = 0
    while True:
        gradient = problem.differentiate(x)
        yield Stage(steps, x, loss, float(gradient.norm()))
        values, vectors = torch.linalg.eigh(problem.make_hessian(x))
        sizes, slope = values.abs(), vectors.T @ gradient
        if damping is None:
            damping = FIRST_DAMPING * float(sizes.max())
        found = _search(problem, x, loss, (values, sizes, vectors, slope), damping)
        if found is None:
            return
        x, loss, damping = found
        steps += 1


def _search(
    problem: SmoothLoss, x: Tensor, loss: float, model: tuple[Tensor, Tensor, Tensor, Tensor], damping: float
) -> tuple[Tensor, float, float] | None:
    """The next point, its loss and the next damping; None if even the shortest step does not lower the loss."""
    values, sizes, vectors, slope = model
    for _ in range(RETRIES):
        inner = -slope / (sizes + damping).clamp(min=torch.finfo(torch.float64).tiny)
        promised = -float(slope @ inner + 0.5 * (values * inner) @ inner)
        moved = x + vectors @ inner
        reached = problem.measure(moved)
        ratio = (loss - reached) / promised if promised > 0 and math.isfinite(reached) else -1.0
        if ratio >= ENOUGH and reached < loss:
            return moved, reached, damping * _adapt(ratio)
        damping = DAMPING_REFUSED * max(damping, torch.finfo(torch.float64).eps * float(sizes.max()))
    return None


def _adapt(ratio: float) -> float:
    if ratio > GOOD:
        return DAMPING_GOOD
    return DAMPING_FAIR if ratio > FAIR else DAMPING_POOR
