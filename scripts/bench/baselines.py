"""What a user would take instead: torch's Adam and LBFGS, on the loss and the gradient by formula that ours uses too.

Seconds are those of this thread's processor time, the budget's too, as everywhere in these benchmarks (figures.py): so
torch runs on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from training.solvers.smooth import SmoothLoss

LBFGS_HISTORY = 20

LossAndGradient = Callable[[Tensor], tuple[float, Tensor]]
Enough = Callable[[float, Tensor], bool]  # loss, gradient -> whether to stop


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a baseline ended."""

    x: Tensor
    loss: float
    gradient_norm: float
    evaluations: int
    seconds: float
    reached: bool


class _Reached(Exception):
    """Ends an optimizer from within its closure."""


class _Closure:
    """Counts, keeps the best point, and stops when it is enough or the time is over."""

    def __init__(self, x: Tensor, evaluate: LossAndGradient, enough: Enough, budget_s: float) -> None:
        self.x, self.evaluate, self.enough = x, evaluate, enough
        self.begin_s = time.thread_time()
        self.end_s = self.begin_s + budget_s
        self.best: tuple[float, Tensor, float] = (float("inf"), x.detach().clone(), float("inf"))
        self.evaluations, self.reached = 0, False

    def __call__(self) -> Tensor:
        x = self.x.detach()
        loss, gradient = self.evaluate(x)
        self.evaluations += 1
        if loss < self.best[0]:
            self.best = (loss, x.clone(), float(gradient.norm()))
        self.reached = self.enough(loss, gradient)
        if self.reached or time.thread_time() > self.end_s:
            raise _Reached
        self.x.grad = gradient.clone()
        return torch.tensor(loss, dtype=torch.float64)

    def finish(self) -> Outcome:
        seconds = time.thread_time() - self.begin_s
        loss, x, norm = self.best
        return Outcome(x, loss, norm, self.evaluations, seconds, self.reached)


def pair(problem: SmoothLoss) -> LossAndGradient:
    """A loss as the optimizers ask for it; at points outside of its domain: inf and zeros."""

    def evaluate(x: Tensor) -> tuple[float, Tensor]:
        loss = problem.measure(x)
        return loss, problem.differentiate(x) if loss < float("inf") else torch.zeros_like(x)

    return evaluate


def run_adam(
    evaluate: LossAndGradient, start: Tensor, rate: float, enough: Enough, budget_s: float, steps: int = 10**9
) -> Outcome:
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate)
    closure = _Closure(x, evaluate, enough, budget_s)
    with suppress(_Reached):
        for _ in range(steps):
            closure()
            optimizer.step()
    return closure.finish()


def run_lbfgs(
    evaluate: LossAndGradient, start: Tensor, enough: Enough, budget_s: float, evaluations: int = 5000
) -> Outcome:
    """Strong Wolfe, history of 20, as the papers' comparisons here have it; ends where it moves no more."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=evaluations,
        max_eval=evaluations,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=LBFGS_HISTORY,
        line_search_fn="strong_wolfe",
    )
    closure = _Closure(x, evaluate, enough, budget_s)
    with suppress(_Reached):
        optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return closure.finish()


def warm_up() -> None:
    """One thread, since only its time counts; and torch.optim imports its compiler at the first step: nobody's time."""
    torch.set_num_threads(1)
    start = torch.ones(2, dtype=torch.float64)

    def evaluate(x: Tensor) -> tuple[float, Tensor]:
        return float(x @ x), 2 * x

    run_adam(evaluate, start, 1e-3, lambda loss, gradient: False, 10.0, steps=2)
    run_lbfgs(evaluate, start, lambda loss, gradient: False, 10.0, evaluations=3)
