"""Trust-region Newton by conjugate gradients on Hessian-vector products: for more parameters than a Hessian can have.

Source: Steihaug's truncated conjugate gradients (Nocedal and Wright, Numerical Optimization, algorithm 7.2; with a
preconditioner Conn, Gould and Toint, Trust-Region Methods, algorithm 7.5.1), which follow negative curvature to the
edge of the region. The region is a ball in the preconditioner's norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from training.solvers.descent import ENOUGH, descend
from training.solvers.outcome import DEFAULT, Limits, Stage
from training.solvers.smooth import SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor

GOOD, FAIR = 0.75, 0.25
RADIUS_GOOD, RADIUS_POOR, RADIUS_REFUSED = 4.0, 0.5, 0.25
AT_EDGE = 0.9  # of the radius: a good step this long was held back by it
LOOSEST = 0.1  # of the gradient's norm is what the inner solve leaves; less, the nearer the optimum
MOST_PRODUCTS = 1000  # of an inner solve
MOST_TURNS = 10  # times the parameters: exactly computed once would do, rounding makes it several

Apply = Callable[["Tensor"], "Tensor"]  # the inverse of a positive definite matrix times a vector [p]
MakePreconditioner = Callable[["Tensor"], Apply]  # for a point x [p]


def run_steihaug(
    problem: SmoothLoss,
    start: Tensor,
    limits: Limits = DEFAULT,
    make_preconditioner: MakePreconditioner | None = None,
    is_late: Callable[[], bool] | None = None,
) -> Iterator[Stage]:
    """Yield the start, and the point after every step: the caller looks and may stop. The last stage has an outcome.

    A step costs an inner solve of up to MOST_PRODUCTS Hessian-vector products; once `is_late()`, which is asked after
    each, it ends with the step so far, so that a long one is not lost. Raises ValueError for a start outside of the
    loss's domain.
    """
    return descend(problem, start, _TrustRegion(make_preconditioner, is_late), limits)


class _TrustRegion:
    def __init__(
        self, make_preconditioner: MakePreconditioner | None, is_late: Callable[[], bool] | None
    ) -> None:
        self._make_preconditioner = make_preconditioner
        self._is_late = is_late or (lambda: False)
        self._radius: float | None = None
        self._first_size = 0.0
        self._length = 0.0  # of the proposed step

    def open(self, problem: SmoothLoss, x: Tensor, gradient: Tensor) -> None:
        self._problem, self._x, self._gradient = problem, x, gradient
        self._apply: Apply = self._make_preconditioner(x) if self._make_preconditioner else _copy
        self._turned = self._apply(gradient)
        self._size = math.sqrt(max(float(gradient @ self._turned), 0.0))
        if self._radius is None:
            self._radius, self._first_size = self._measure_first_radius(), self._size
        self._solved: tuple[Tensor, float, float] | None = (
            None  # an inner solve that ended inside of the region
        )

    def _measure_first_radius(self) -> float:
        """How long the best step along the first direction is; where that bends down, as long as with curvature one."""
        bend = float(self._turned @ self._problem.multiply(self._x, self._turned))
        return self._size**3 / bend if bend > 0 else max(self._size, 1.0)

    def propose(self) -> tuple[Tensor, float]:
        assert self._radius is not None
        if self._solved is None or self._solved[2] > self._radius:
            self._solved = self._solve(self._radius)
        step, promised, self._length = self._solved
        return step, promised

    def adapt(self, ratio: float) -> None:
        assert self._radius is not None
        if ratio < ENOUGH:
            self._radius = RADIUS_REFUSED * min(self._radius, self._length)
        elif ratio < FAIR:
            self._radius *= RADIUS_POOR
        elif ratio > GOOD and self._length > AT_EDGE * self._radius:
            self._radius *= RADIUS_GOOD

    def _solve(self, radius: float) -> tuple[Tensor, float, float]:
        """A step within the radius, the decrease it promises, its length."""
        enough = self._size * min(
            LOOSEST, math.sqrt(self._size / self._first_size) if self._first_size else 1.0
        )
        step, rest, turned = self._gradient * 0, self._gradient, self._turned
        direction, square, promised = -turned, self._size**2, 0.0
        # inner products in the region's norm
        step_step, step_direction, direction_direction = 0.0, 0.0, square
        for _ in range(min(MOST_PRODUCTS, MOST_TURNS * self._problem.size)):
            image = self._problem.multiply(self._x, direction)
            bend = float(direction @ image)
            share = square / bend if bend > 0 else math.inf
            longer = step_step + 2 * share * step_direction + share**2 * direction_direction
            if not longer < radius**2:
                share = _find_edge(step_step, step_direction, direction_direction, radius)
                promised += share * square - 0.5 * share**2 * bend
                return step + share * direction, promised, radius
            step, rest, step_step = step + share * direction, rest + share * image, longer
            promised += 0.5 * share * square
            turned = self._apply(rest)
            before, square = square, float(rest @ turned)
            if not square > enough**2 or self._is_late():
                break
            turn = square / before
            step_direction = turn * (step_direction + share * direction_direction)
            direction_direction = square + turn**2 * direction_direction
            direction = turn * direction - turned
        return step, promised, math.sqrt(step_step)


def _find_edge(step_step: float, step_direction: float, direction_direction: float, radius: float) -> float:
    """The positive t with |step + t direction| = radius."""
    room = max(radius**2 - step_step, 0.0)
    root = math.sqrt(max(step_direction**2 + direction_direction * room, 0.0))
    # Two forms of one root: each loses its digits where the other keeps them.
    if step_direction > 0:
        return room / (step_direction + root)
    return (root - step_direction) / direction_direction if direction_direction > 0 else 0.0


def _copy(vector: Tensor) -> Tensor:
    return vector
