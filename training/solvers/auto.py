"""Which second-order solver suits a problem's size, and why: what `solver = "auto"` means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from training.solvers.newton import run_newton
from training.solvers.outcome import DEFAULT, Limits, Stage
from training.solvers.sketch import ROWS_PER_COLUMN, Sketchable, make_sketched
from training.solvers.smooth import SmoothLoss
from training.solvers.steihaug import run_steihaug

if TYPE_CHECKING:
    from torch import Tensor

MOST_DENSE = (
    1500  # parameters: a step's eigendecomposition takes about a second there, and grows with the cube
)
LEAST_SKETCHED = 256  # parameters: below, the whole Hessian costs as little as a sample's
LEAST_TALL = 4  # times the sample's rows: below, the sample is no smaller than the data


class Method(Enum):
    NEWTON = "newton"
    STEIHAUG = "steihaug"
    SKETCHED = "sketched steihaug"


@dataclass(frozen=True, slots=True)
class Choice:
    """A solver, and the reason in a sentence."""

    method: Method
    reason: str


def choose_solver(size: int, rows: int | None = None) -> Choice:
    """The solver for `size` parameters. `rows`: those of the loss's A, if it is one row of scores A x (Sketchable)."""
    enough = LEAST_TALL * ROWS_PER_COLUMN * size
    if rows is not None and size >= LEAST_SKETCHED and rows >= enough:
        return Choice(
            Method.SKETCHED,
            f"{size:,} parameters and {rows:,} rows: from {LEAST_SKETCHED} parameters and {enough:,} rows a sample of"
            " the rows preconditions conjugate gradients for less than the Hessian costs",
        )
    if size <= MOST_DENSE:
        return Choice(
            Method.NEWTON,
            f"{size:,} parameters: up to {MOST_DENSE:,} the Hessian is formed and decomposed, the fewest steps",
        )
    return Choice(
        Method.STEIHAUG,
        f"{size:,} parameters: above {MOST_DENSE:,} a Hessian takes too long to decompose; conjugate gradients on"
        " its products with vectors in a trust region",
    )


def run_solver(
    choice: Choice,
    problem: SmoothLoss,
    start: Tensor,
    rng: np.random.Generator,
    limits: Limits = DEFAULT,
) -> Iterator[Stage]:
    """The chosen solver's stages. Raises TypeError for a sketch of a problem that has no rows to draw."""
    if choice.method is Method.NEWTON:
        return run_newton(problem, start, limits)
    if choice.method is Method.STEIHAUG:
        return run_steihaug(problem, start, limits)
    if not isinstance(problem, Sketchable):
        raise TypeError(
            f"problem: one row of scores A x expected for a sketch, {type(problem).__name__} came"
        )
    return run_steihaug(problem, start, limits, make_sketched(problem, rng))
