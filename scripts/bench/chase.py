"""Two solvers after the same aim from the same start: what each reached, and when.

Seconds are processor time of this thread. Of one that never got there, the time it spent is the least it would take.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from baselines import pair, run_lbfgs
from torch import Tensor

from training.solvers.outcome import Stage
from training.solvers.smooth import SmoothLoss

MeasureNorm = Callable[[Tensor], float]  # of a gradient


@dataclass(frozen=True, slots=True)
class Mark:
    """A point on the way, `seconds` after the start."""

    seconds: float
    loss: float
    norm: float  # of the gradient


@dataclass(slots=True)
class Chase:
    """All points of a solver, in order; and where it ended."""

    marks: list[Mark] = field(default_factory=list)
    x: Tensor | None = None

    @property
    def lowest(self) -> float:
        return min(mark.loss for mark in self.marks)

    @property
    def lowest_norm(self) -> float:
        """Relative to that at the start."""
        return min(mark.norm for mark in self.marks) / self.marks[0].norm

    def time_to_loss(self, loss: float) -> float | None:
        return next((mark.seconds for mark in self.marks if mark.loss <= loss), None)

    def time_to_norm(self, share: float) -> float | None:
        return next((mark.seconds for mark in self.marks if mark.norm <= share * self.marks[0].norm), None)

    def spent(self) -> float:
        return self.marks[-1].seconds


def chase_stages(make: Callable[[], Iterable[Stage]]) -> Chase:
    """Run one of ours; what `make` does before the first stage counts."""
    chase, begin_s = Chase(), time.thread_time()
    for stage in make():
        chase.marks.append(Mark(time.thread_time() - begin_s, stage.loss, stage.gradient_norm))
        chase.x = stage.x
    return chase


def chase_lbfgs(
    problem: SmoothLoss,
    start: Tensor,
    tolerance: float,
    budget_s: float,
    measure_norm: MeasureNorm = torch.linalg.vector_norm,
    already_s: float = 0.0,
) -> Chase:
    """Run torch's until its gradient fell to the tolerance, it moves no more, or the time is over."""
    chase, begin_s = Chase(), time.thread_time() - already_s

    def look(loss: float, gradient: Tensor) -> bool:
        norm = float(measure_norm(gradient)) if loss < math.inf else math.inf
        chase.marks.append(Mark(time.thread_time() - begin_s, loss, norm))
        return norm <= tolerance * chase.marks[0].norm

    chase.x = run_lbfgs(pair(problem), start, look, budget_s, evaluations=10**6).x
    return chase
