"""How a second-order solver ends, what it is told before, and where it is in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Outcome(Enum):
    """Why a solver stopped."""

    CONVERGED = "converged"  # the gradient's norm fell to the wanted share of that at the start
    STATIONARY_START = "stationary start"  # float64 sees no way down from there: an optimum, or a saddle
    COLLAPSED = "collapsed"  # the loss fell by the scores running away, to a solution that says nothing
    STALLED = (
        "stalled"  # neither loss nor gradient can be lowered in float64; the gradient says how far it came
    )
    BUDGET = "budget"  # as many steps as allowed
    TIME = "out of time"  # whoever runs a solver says so: solvers know no clock


@dataclass(frozen=True, slots=True)
class Limits:
    """When a solver stops: `tolerance` is a share of the gradient's norm at the start."""

    tolerance: float = 1e-10
    steps: int = 500


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a solver is: after `steps` taken steps, at `x`, with its loss and its gradient's norm.
    The last stage has an outcome; where a solver stalls it is the one before it once more."""

    steps: int
    x: Tensor
    loss: float
    gradient_norm: float
    outcome: Outcome | None = None


def run_to_end(stages: Iterable[Stage]) -> Stage:
    """The last of a solver's stages. Raises ValueError if there is none."""
    left = deque(stages, maxlen=1)
    if not left:
        raise ValueError("stages: at least one expected, none came")
    return left[0]
