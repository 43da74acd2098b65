"""Several starts for a loss that is not convex, drawn from a seed; the best end wins, none need be the global one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.solvers.outcome import Outcome, Stage
from training.solvers.smooth import SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Trial:
    """A stage of the solver that began at start number `start`."""

    start: int
    stage: Stage


def draw_starts(size: int, count: int, scale: float, rng: np.random.Generator) -> Iterator[Tensor]:
    """Yield `count` points [size] float64, of independent normal entries with deviation `scale`."""
    for _ in range(count):
        yield torch.from_numpy(scale * rng.standard_normal(size))


def draw_direction(size: int, norm: float, rng: np.random.Generator) -> Tensor:
    """A point [size] float64 of this norm, in a direction like any other."""
    drawn = rng.standard_normal(size)
    return torch.from_numpy(drawn * (norm / float(np.linalg.norm(drawn))))


def run_starts(
    problem: SmoothLoss, starts: Iterable[Tensor], run: Callable[[Tensor], Iterable[Stage]]
) -> Iterator[Trial]:
    """Yield every stage of every start within the domain, one start after the other: the caller may stop at any."""
    for number, start in enumerate(starts):
        if math.isfinite(problem.measure(start)):
            for stage in run(start):
                yield Trial(number, stage)


def find_best(trials: Iterable[Trial]) -> Trial | None:
    """The trial's stage of the lowest loss; one that collapsed only if there is no other. None without any."""
    return min(trials, key=_rank, default=None)


def _rank(trial: Trial) -> tuple[bool, float, float]:
    stage = trial.stage
    return stage.outcome is Outcome.COLLAPSED, stage.loss, stage.gradient_norm
