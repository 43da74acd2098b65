"""The loop of the second-order solvers: take a step that a rule proposes if the loss, or else the gradient, falls.

Near an optimum the loss cannot tell better from worse any more: a step's decrease is below the rounding of the loss
when the gradient has fallen by some eight digits of the sixteen. From there on the gradient's norm decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from training.exact.late import torch
from training.solvers.outcome import Limits, Outcome, Stage
from training.solvers.smooth import CanCollapse, SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor

ENOUGH = 1e-4  # of the decrease that the quadratic model promised: a step is taken
NOISE = 16 * 2.0**-52  # of the loss: what its rounding can hide
SHRINK = 0.9  # of the gradient's norm: a step that the loss cannot judge is taken
SURPLUS = 1.0  # of the promised decrease: more came, so the loss bends less than the model, and a longer step may pay
MOST_TIMES = 64  # the step; a loss costs little beside a Hessian
RETRIES = 40  # refused steps in a row: the loss cannot be lowered in float64
RETRIES_BELOW_NOISE = 4  # shorter steps lower the gradient less, so few are tried


class StepRule(Protocol):
    """Proposes steps from a point, and learns from what became of them."""

    def open(self, problem: SmoothLoss, x: Tensor, gradient: Tensor) -> None:
        """Go to a point."""

    def propose(self) -> tuple[Tensor, float]:
        """A step, and the decrease of the loss that the quadratic model promises of it."""

    def adapt(self, ratio: float) -> None:
        """Learn which share of the promised decrease came; below ENOUGH the step was refused."""


class _Walk:
    """A point with its loss and its gradient, and how to leave it."""

    def __init__(self, problem: SmoothLoss, start: Tensor) -> None:
        self.problem, self.x, self.loss = problem, start.clone(), problem.measure(start)
        if not math.isfinite(self.loss):
            raise ValueError("start: a point within the loss's domain expected, its loss is not finite")
        self._turn()
        self.steps = 0

    def _turn(self) -> None:
        self.gradient = self.problem.differentiate(self.x)
        self.norm = float(self.gradient.norm())

    def leave(self, rule: StepRule) -> bool:
        """Take the rule's first step that is good enough; False if there is none."""
        rule.open(self.problem, self.x, self.gradient)
        below_noise = 0
        for _ in range(RETRIES):
            step, promised = rule.propose()
            blind = promised <= NOISE * abs(self.loss)
            if blind and (self.steps == 0 or below_noise == RETRIES_BELOW_NOISE):
                return False
            below_noise += blind
            ratio = self._try_blind(self.x + step) if blind else self._try(step, promised)
            rule.adapt(ratio)
            if ratio >= ENOUGH:
                self.steps += 1
                return True
        return False

    def _try(self, step: Tensor, promised: float) -> float:
        """Go there if it is better; the share of the promised decrease that came, at most 0 for none."""
        reached = self.problem.measure(self.x + step)
        ratio = (self.loss - reached) / promised if math.isfinite(reached) else -1.0
        if not (ratio >= ENOUGH and reached < self.loss):
            return min(ratio, 0.0)
        times, reached = self._stretch(step, reached) if ratio > SURPLUS else (1, reached)
        self.x, self.loss = self.x + times * step, reached
        self._turn()
        return ratio

    def _stretch(self, step: Tensor, reached: float) -> tuple[int, float]:
        """How many times the step is best, in powers of two, and the loss there."""
        times = 1
        while times < MOST_TIMES:
            farther = self.problem.measure(self.x + 2 * times * step)
            if not farther < reached:
                break
            times, reached = 2 * times, farther
        return times, reached

    def _try_blind(self, moved: Tensor) -> float:
        """Go there if the gradient is smaller, and the loss as far as it can be seen no larger; 1 or -1."""
        reached = self.problem.measure(moved)
        if not reached <= self.loss + NOISE * abs(self.loss):
            return -1.0
        gradient = self.problem.differentiate(moved)
        norm = float(gradient.norm())
        if not norm < SHRINK * self.norm:
            return -1.0
        self.x, self.loss, self.gradient, self.norm = moved, reached, gradient, norm
        return 1.0


def descend(problem: SmoothLoss, start: Tensor, rule: StepRule, limits: Limits) -> Iterator[Stage]:
    """Yield the start, and the point after every step. The last stage has an outcome.

    Raises ValueError for a start outside of the loss's domain.
    """
    walk = _Walk(problem, start)
    enough = limits.tolerance * walk.norm
    while True:
        outcome = _judge(walk, start, enough, limits)
        yield Stage(walk.steps, walk.x, walk.loss, walk.norm, outcome)
        if outcome is not None:
            return
        if not walk.leave(rule):
            end = Outcome.STALLED if walk.steps else Outcome.STATIONARY_START
            yield Stage(walk.steps, walk.x, walk.loss, walk.norm, end)
            return


def _judge(walk: _Walk, start: Tensor, enough: float, limits: Limits) -> Outcome | None:
    if walk.steps == 0:
        if walk.norm == 0:
            return Outcome.STATIONARY_START
    elif isinstance(walk.problem, CanCollapse) and walk.problem.has_collapsed(start, walk.x):
        return Outcome.COLLAPSED
    elif walk.norm <= enough:
        return Outcome.CONVERGED
    return Outcome.BUDGET if walk.steps >= limits.steps else None


def measure_scale(values: Tensor) -> float:
    """What counts as zero beside these: their largest size times float64's precision, and never 0."""
    precision = torch.finfo(torch.float64)
    return max(float(values.abs().max()) * NOISE, precision.tiny)
