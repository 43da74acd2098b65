"""Rescaled hyperbolic regression: 1/2 |u - <u,1> b|^2 + 1/2 |W A (x - center)|^2 with u = exp, cosh or sinh of A x.

Source: 2305.00660. What goes wrong, and what is done about it:
- cosh: x = 0 is stationary, since sinh(0) = 0. Such a start is refused; `draw_start` offers one that is not.
- sinh: at x = 0 the loss is 0, whatever b is. With weights that is the global optimum unless they pull elsewhere, so a
  center is asked for; without them only a start near a planted solution makes sense.
- sinh is odd: -x has the loss of x. Only <u,1> > 0 is the domain, where u / <u,1> is what b is compared with.
- exp without weights falls to 0 where A x goes to minus infinity: reported as collapsed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from training.derivatives.checks import check_data, list_doubts
from training.derivatives.designs import VectorDesign
from training.derivatives.rescaled import LIMIT, Kind, RescaledLoss, RescaledRows, compute_values
from training.derivatives.softmax import make_row_ridge
from training.errors import ProblemRefused
from training.solvers.starts import draw_direction

if TYPE_CHECKING:
    from torch import Tensor

START_NORM = 0.1  # of a drawn start: away from 0, and well within the domain
KINDS = ("exp", "cosh", "sinh")


class Hyperbolic(RescaledLoss):
    """The loss of x [d] for one kind of u; |A x| <= 100, and <u,1> > 0 for sinh."""

    def __init__(
        self,
        kind: Kind,
        a_nd: Tensor,
        targets_n: Tensor,
        weights_n: Tensor | None = None,
        center_d: Tensor | None = None,
    ) -> None:
        """A [n, d], targets b [n], weights [n]: the diagonal of W; center [d]: x of no penalty. All float64.

        Raises ProblemRefused.
        """
        if kind not in KINDS:
            raise ProblemRefused("kind", f"one of {', '.join(KINDS)} expected, {kind} came")
        rows, columns = check_data("inputs", a_nd, (None, None)).shape
        check_data("targets", targets_n, (rows,))
        center_n = None if center_d is None else a_nd @ check_data("center", center_d, (columns,))
        _check_center(kind, weights_n, center_n)
        super().__init__(
            VectorDesign(a_nd),
            RescaledRows(kind, targets_n[None, :]),
            make_row_ridge(weights_n, rows, center_n),
        )
        self.kind, self.a_nd = kind, a_nd
        self.doubts = list_doubts(targets_n[None, :]) if kind == "exp" else ()

    def check_start(self, x: Tensor) -> None:
        """Raise ProblemRefused for a start from which no solver can come to anything; the message has the remedy."""
        scores_n = self.a_nd @ check_data("start", x, (self.size,))
        largest = float(scores_n.abs().max())
        if largest > LIMIT:
            raise ProblemRefused(
                "start", f"|A x| of at most {LIMIT:g} expected, {largest:g} came: scale it down"
            )
        if self.kind == "cosh" and largest == 0:
            raise ProblemRefused("start", "x = 0 is stationary for cosh: take draw_start's")
        if self.kind == "sinh":
            _check_sum(float(compute_values("sinh", scores_n).sum()), largest)

    def draw_start(self, rng: np.random.Generator) -> Tensor:
        """A direction like any other, of norm START_NORM, or less for large A; with sinh one of <u,1> > 0."""
        x = draw_direction(self.size, START_NORM, rng)
        largest = float((self.a_nd @ x).abs().max())
        if largest > 1:
            x = x / largest
        if self.kind == "sinh" and not math.isfinite(self.measure(x)):
            x = -x
        return x


def _check_center(kind: Kind, weights_n: Tensor | None, center_n: Tensor | None) -> None:
    if weights_n is None and center_n is not None:
        raise ProblemRefused("center", "weights expected with a center, none came")
    is_pulled_to_zero = weights_n is not None and (center_n is None or not bool(center_n.any()))
    if kind == "sinh" and is_pulled_to_zero:
        raise ProblemRefused(
            "center",
            "with weights x = 0 is the global optimum for sinh, of loss 0: a center with A x != 0 expected",
        )


def _check_sum(total: float, largest: float) -> None:
    if largest == 0:
        raise ProblemRefused(
            "start", "x = 0 is a trivial optimum for sinh, of loss 0: start near the solution"
        )
    if not total > 0:
        raise ProblemRefused("start", f"<u,1> above 0 expected, {total:g} came: start from -x, sinh is odd")
