"""The miners' solver on batches (training/solvers/sampled.py), told as the second-order solvers are: by stages.

By itself it has no end but that of its passes, and sees no more than its batch: here every step is looked at on the
whole split, which costs as much as one of the ten products or so that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from training.problem import Problem
from training.solvers.outcome import Limits, Outcome, Stage
from training.solvers.sampled import SolverSettings, run_newton
from training.solvers.smooth import CanCollapse, SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor, dtype

PATIENCE = 200  # passes without a step, some twenty that were refused


@dataclass(frozen=True, slots=True)
class Staged:
    """A split as batches, and as a whole. Points are looked at within +-limit, where merges clip them.

    `check` is called after every pass: it may raise, to end the search.
    """

    problem: Problem
    whole: SmoothLoss
    precision: dtype  # of the problem's weights
    limit: float
    check: Callable[[], None]

    def run(
        self, start: Tensor, settings: SolverSettings, rng: np.random.Generator, limits: Limits
    ) -> Iterator[Stage]:
        """Yield the start [p], and the point after every step. The last stage has an outcome."""
        stage = self._look(0, start)
        if not stage.gradient_norm:
            yield replace(stage, outcome=Outcome.STATIONARY_START)
            return
        yield stage
        enough = limits.tolerance * stage.gradient_norm
        for weights in self._walk(start, settings, rng):
            stage = self._look(stage.steps + 1, weights)
            outcome = self._judge(stage, start, enough, limits)
            yield replace(stage, outcome=outcome)
            if outcome:
                return
        yield replace(stage, outcome=Outcome.STALLED if stage.steps else Outcome.STATIONARY_START)

    def _walk(self, start: Tensor, settings: SolverSettings, rng: np.random.Generator) -> Iterator[Tensor]:
        """The points after every step, until none comes any more."""
        seen, waited = None, 0
        for weights in run_newton(self.problem, start.to(self.precision), settings, rng):
            self.check()
            has_moved, seen = seen is not None and weights is not seen, weights
            waited = 0 if has_moved else waited + 1
            if has_moved:
                yield weights.to(start.dtype).clamp(-self.limit, self.limit)
            elif waited == PATIENCE:
                return

    def _judge(self, stage: Stage, start: Tensor, enough: float, limits: Limits) -> Outcome | None:
        if isinstance(self.whole, CanCollapse) and self.whole.has_collapsed(start, stage.x):
            return Outcome.COLLAPSED
        if stage.gradient_norm <= enough:
            return Outcome.CONVERGED
        return Outcome.BUDGET if stage.steps >= limits.steps else None

    def _look(self, steps: int, x: Tensor) -> Stage:
        return Stage(steps, x, self.whole.measure(x), float(self.whole.differentiate(x).norm()))
