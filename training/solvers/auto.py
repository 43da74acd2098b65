"""Which second-order solver suits a loss by the number of its parameters, and why: `solver = "auto"` of `job solve`.

For a loss of which only products with the Hessian are to be had (training/whole.py), so that a Hessian costs as many
of them as there are parameters. Who has a problem with formulas (training/derivatives) picks a solver by hand, such as
the trust region with a preconditioner of the design (training/solvers/sketch.py for A x, pairs.py for A1 X A2').
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from training.solvers.newton import run_newton
from training.solvers.outcome import DEFAULT, Limits, Stage
from training.solvers.smooth import SmoothLoss
from training.solvers.steihaug import run_steihaug

if TYPE_CHECKING:
    from torch import Tensor

# Parameters. Above the first, a step of conjugate gradients takes fewer products than a Hessian: with 96 parameters
# (examples/teacher.toml) Newton takes 20 steps in 8 s, Steihaug 12 in 0.8 s. Above the second an eigendecomposition
# takes more than about a second, and grows with the cube.
MOST_NEWTON = 64
MOST_DENSE = 1500


class Method(Enum):
    NEWTON = "newton"
    STEIHAUG = "steihaug"


@dataclass(frozen=True, slots=True)
class Choice:
    """A solver, and the reason in a sentence."""

    method: Method
    reason: str


def choose_solver(size: int) -> Choice:
    """The solver for `size` parameters."""
    if size <= MOST_NEWTON:
        return Choice(
            Method.NEWTON,
            f"{size:,} parameters: up to {MOST_NEWTON} the Hessian is formed and decomposed, the fewest steps",
        )
    return Choice(
        Method.STEIHAUG,
        f"{size:,} parameters: above {MOST_NEWTON} conjugate gradients in a trust region take fewer products with the"
        " Hessian than forming it",
    )


def run_solver(
    method: Method,
    problem: SmoothLoss,
    start: Tensor,
    limits: Limits = DEFAULT,
    is_late: Callable[[], bool] | None = None,
) -> Iterator[Stage]:
    """The chosen solver's stages; once `is_late()`, a step under way is cut short where the solver can.

    Raises ValueError for Newton above MOST_DENSE parameters, and for a start outside of the loss's domain.
    """
    if method is Method.STEIHAUG:
        return run_steihaug(problem, start, limits, is_late=is_late)
    if problem.size > MOST_DENSE:
        raise ValueError(f"newton: at most {MOST_DENSE:,} parameters expected, {problem.size:,} came")
    return run_newton(problem, start, limits)
