"""Ways to lower a native loss: Adam, SGD, and damped Gauss-Newton (the losses here are sums of squares).

A solver is a generator of weights: it yields after every pass over a batch, whether or not the weights moved, so that
its caller can look at the clock and stop. Source of the last: Levenberg-Marquardt with conjugate gradients (Nocedal and
Wright, Numerical Optimization, sections 7.1 and 10.3), as in 2307.02419 with the exact inner solve replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.objectives.base import Integers
from training.problem import LinearLoss, Problem

if TYPE_CHECKING:
    from torch import Tensor

MOMENTUM = 0.9
ADAM_DECAYS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
GRADIENT_NORM = 10.0  # SGD's gradients are clipped to this: residuals of a bad start are large
CG_TOLERANCE = 1e-2  # of the gradient's squared norm; more exact than the sampled problem deserves
DAMPING_UP, DAMPING_DOWN = 4.0, 0.5
DAMPING_RANGE = (1e-6, 1e6)
RETRIES = 5  # each with four times the damping
GOOD_RATIO = 0.5  # of the decrease that the quadratic model promised
TINY = 1e-30

Solver = Iterator["Tensor"]


@dataclass(frozen=True, slots=True)
class SolverSettings:
    """What a solver is told. `rate` is a learning rate, or Newton's first damping,
    as a share of the curvature along the gradient: so it suits losses of any scale."""

    steps: int  # passes over a batch
    batch: int  # samples of a pass
    rate: float
    inner: int = 10  # Newton: products of conjugate gradients for a step, of a pass each


def run_adam(problem: Problem, start: Tensor, settings: SolverSettings, rng: np.random.Generator) -> Solver:
    """Adam, its rate falling linearly to zero over the steps."""
    mean, square = torch.zeros_like(start), torch.zeros_like(start)
    decay_mean, decay_square = ADAM_DECAYS

    def move(gradient: Tensor, step: int) -> Tensor:
        mean.mul_(decay_mean).add_(gradient, alpha=1 - decay_mean)
        square.mul_(decay_square).addcmul_(gradient, gradient, value=1 - decay_square)
        fair_mean = mean / (1 - decay_mean ** (step + 1))
        fair_square = square / (1 - decay_square ** (step + 1))
        return fair_mean / (fair_square.sqrt() + ADAM_EPSILON)

    yield from _descend(problem, start, move, settings, rng)


def run_sgd(problem: Problem, start: Tensor, settings: SolverSettings, rng: np.random.Generator) -> Solver:
    """SGD with Nesterov momentum and clipped gradients, its rate falling linearly to zero over the steps."""
    velocity = torch.zeros_like(start)

    def move(gradient: Tensor, step: int) -> Tensor:
        gradient = gradient * (GRADIENT_NORM / gradient.norm().clamp(min=GRADIENT_NORM))
        velocity.mul_(MOMENTUM).add_(gradient)
        return gradient + MOMENTUM * velocity

    yield from _descend(problem, start, move, settings, rng)


def _descend(
    problem: Problem,
    start: Tensor,
    move: Callable[[Tensor, int], Tensor],
    settings: SolverSettings,
    rng: np.random.Generator,
) -> Solver:
    """Follow `move` (gradient, step -> direction). By hand: torch.optim imports its compiler, 2 s at the first step."""
    weights = start.clone()
    draw = _draw_batches(problem.count, settings.batch, rng)
    for step in range(settings.steps):
        gradient = problem.open_batch(next(draw)).differentiate(weights)
        rate = settings.rate * (1 - step / settings.steps)
        weights = weights - rate * move(gradient, step)
        yield weights


def run_newton(problem: Problem, start: Tensor, settings: SolverSettings, rng: np.random.Generator) -> Solver:
    """Damped Gauss-Newton on a new batch each step.

    A step that does not lower its batch's loss is not taken, the damping grows, and its passes are given back, so that
    a bad start does not end without an update; RETRIES times at the most. A last pass alone is left over: a step takes
    two at the least.
    """
    weights, damping, left, retries = start.clone(), settings.rate, settings.steps, RETRIES
    draw = _draw_batches(problem.count, settings.batch, rng)
    while left > 1:
        batch = problem.open_batch(next(draw))
        model = batch.linearise(weights)
        step, passes = torch.zeros_like(weights), 1
        for better in _solve(model, damping * _measure_curvature(model), min(settings.inner, left - 1)):
            step, passes = better, passes + 1
            yield weights
        loss = batch.measure(weights + step)
        damping = _adapt(damping, (model.loss - loss) / max(_predict_decrease(model, step), TINY))
        if loss < model.loss:  # False where it is not a number
            weights, left = weights + step, left - passes
        elif retries > 0:
            retries -= 1
        else:
            left -= passes
        yield weights


def _adapt(damping: float, ratio: float) -> float:
    """The next damping, by the share of the promised decrease that came."""
    if ratio > GOOD_RATIO:
        damping *= DAMPING_DOWN
    elif not ratio > 0:
        damping *= DAMPING_UP
    return min(max(damping, DAMPING_RANGE[0]), DAMPING_RANGE[1])


def _measure_curvature(model: LinearLoss) -> float:
    """Of J'J along the gradient."""
    square = float(model.gradient @ model.gradient)
    return model.measure_bend(model.gradient) / square if square > 0 else 0.0


def _predict_decrease(model: LinearLoss, step: Tensor) -> float:
    """By how much the model's loss falls."""
    return -(2 * float(model.gradient @ step) + model.measure_bend(step))


def _solve(model: LinearLoss, damping: float, products: int) -> Solver:
    """Conjugate gradients for (J'J + damping) step = -J'r; yields the step so far after every product."""
    step = torch.zeros_like(model.gradient)
    rest = -model.gradient
    direction, square = rest.clone(), float(rest @ rest)
    enough = CG_TOLERANCE * square
    for _ in range(products):
        if not square > 0 or square < enough:
            return
        image = model.multiply(direction) + damping * direction
        bend = float(direction @ image)
        if not bend > 0:  # flat, or no number
            return
        alpha = square / bend
        step = step + alpha * direction
        rest = rest - alpha * image
        before, square = square, float(rest @ rest)
        direction = rest + square / before * direction
        yield step


def _draw_batches(count: int, size: int, rng: np.random.Generator) -> Iterator[Integers]:
    """Batches without end: every sample once before any comes again."""
    size = min(size, count)
    while True:
        order = rng.permutation(count).astype(np.int64)
        for first in range(0, count - size + 1, size):
            yield order[first : first + size]
