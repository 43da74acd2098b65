"""Which loss a job can reach: its model trained here, on its training split, and what comes of it on the judging split.

What is judged is exact, as a chain would judge it: weights rounded to their units, losses as integers. The way there is
free arithmetic. As training goes on, the judging loss may rise again: a chain keeps no such step, and looks for the
best part of each, so the lowest on the way, between steps too, is what a job can hope for, and the solution only shows
where training alone would end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.engine import Engine
from training.exact.grids import MASTER, MASTER_TO_PRODUCT_BITS
from training.exact.late import torch
from training.jobs import PreparedJob, make_task
from training.local import DEFAULTS
from training.native import Precision
from training.objectives.base import Integers
from training.solvers.auto import Choice, Method, choose_solver, run_solver
from training.solvers.box import Boxed
from training.solvers.outcome import Limits, Outcome, Stage
from training.solvers.staged import Staged
from training.solvers.starts import Trial, draw_starts, find_best, run_starts
from training.whole import LARGEST_WEIGHT, WholeLoss

if TYPE_CHECKING:
    from torch import Tensor

SolverName = Literal["auto", "newton", "steihaug", "sampled"]
STEPS = 500
# Of the gradient's norm at the start.
TOLERANCES: dict[Precision, float] = {
    "float64": 1e-10,
    "float32": 1e-5,
}
LATE = 0.9  # of the time: a step under way is cut short, so that there is some left to take it
SAMPLED_PASSES = 20_000  # of the miners' solver, which has no end of its own
SAMPLED_REASON = "asked for: damped Gauss-Newton on batches, as miners train their updates"
FORCED_REASON = "asked for"
PARTS = (0.25, 0.5, 0.75)  # of a step, that are judged as well
MARGIN = 0.1  # of the way back from the lowest loss to the start's
AT_LIMIT = MASTER.limit - (1 << MASTER_TO_PRODUCT_BITS)  # a step of those that products read

Used = Callable[[], float]  # which part of the time is over


@dataclass(frozen=True, slots=True)
class Settings:
    """How to solve. `seed` draws starts beside the job's own, and the batches of the sampled solver."""

    solver: SolverName = "auto"
    precision: Precision = "float64"
    starts: int = 1
    seed: int = 1
    steps: int = STEPS


@dataclass(frozen=True, slots=True)
class Judged:
    """Weights that a solver came to, as the chain would have them: little-endian int64, each within its range."""

    start: int
    steps: float  # 3.5: half way from the third to the fourth
    training_loss: float
    weights: bytes
    total: int  # of the exact losses of the judging split, units of 2^-40
    count: int

    @property
    def loss(self) -> float:
        """In units of target_loss: the mean over the judging split."""
        return self.total * 2.0**-40 / self.count


@dataclass(frozen=True, slots=True)
class Reached:
    """What became of it. `gradient` is the norm at the end of the best start, as a share of that where it began."""

    choice: Choice | None  # None: the sampled solver
    reason: str
    outcome: Outcome
    gradient: float
    at_limit: int  # weights of the solution at an end of their range
    initial: Judged  # the job's own initial weights
    solution: Judged  # of the start whose training loss ended lowest
    lowest: Judged  # of the judging loss, of all that was passed

    @property
    def is_empty(self) -> bool:
        """Whether nothing was learnt that a target could be taken from."""
        return (
            self.outcome in (Outcome.COLLAPSED, Outcome.STATIONARY_START)
            or self.lowest.total >= self.initial.total
        )

    def suggest_target(self) -> float | None:
        """The lowest judging loss, and MARGIN of the way back to the start's; None where nothing was learnt."""
        if self.is_empty:
            return None
        return self.lowest.loss + MARGIN * (self.initial.loss - self.lowest.loss)


class OutOfTime(Exception):
    """Raised within a step that would not end in time."""


def solve(
    prepared: PreparedJob,
    engine: Engine,
    settings: Settings,
    used: Used,
    report: Callable[[Judged], None] = lambda judged: None,
) -> Reached:
    """Train a job's model to an optimum, or as far as steps and time allow; `report` gets every point on the way.

    The loss and the gradient at the start are computed whatever the time. Raises ValueError for a solver that the job
    has too many parameters for.
    """
    return _Search(prepared, engine, settings, used, report).run()


class _Search:
    def __init__(
        self,
        prepared: PreparedJob,
        engine: Engine,
        settings: Settings,
        used: Used,
        report: Callable[[Judged], None],
    ) -> None:
        self._engine, self._task = engine, make_task(prepared.spec)
        self._settings, self._used, self._report = settings, used, report
        self._has_begun = False
        self._share = 1.0  # of the time, at which the start under way must have ended
        objective, data = engine.get_dataset(self._task)
        self._loss = WholeLoss(objective, data.train, settings.precision, self._check)
        self._boxed = Boxed(self._loss, LARGEST_WEIGHT)
        self._staged = Staged(
            self._loss.problem, self._loss, self._loss.precision, LARGEST_WEIGHT, self._check
        )
        self._rng = np.random.default_rng(settings.seed)
        self._start = _read_master(np.frombuffer(prepared.facts.weights, "<i8"))
        self._limits = Limits(TOLERANCES[settings.precision], settings.steps)
        self._choice, self._reason = self._choose()

    def run(self) -> Reached:
        """Follow every start to its end."""
        ends: dict[int, Trial] = {}
        norms: dict[int, float] = {}
        passed: list[Judged] = []  # the first, and the lowest so far
        with suppress(OutOfTime):  # between two starts
            for trial in run_starts(self._loss, self._draw_starts(), self._run_start):
                judged = self._judge(trial.start, trial.stage.steps, trial.stage.x, trial.stage.loss)
                points = [*passed[1:], judged, *self._look_back(ends.get(trial.start), trial)]
                passed = [*(passed or [judged])[:1], min(points, key=lambda point: point.total)]
                ends[trial.start] = trial
                norms.setdefault(trial.start, trial.stage.gradient_norm)
                self._report(judged)
        best = find_best(ends.values())
        if best is None or best.stage.outcome is None:
            raise ValueError(
                "start: a point where the loss is a number expected, it is none at the initial weights"
            )
        self._has_begun = False  # what is left to do is done whatever the time
        stage, (initial, lowest) = best.stage, passed
        return Reached(
            choice=self._choice,
            reason=self._reason,
            outcome=best.stage.outcome,
            gradient=stage.gradient_norm / (norms[best.start] or 1.0),
            at_limit=int((np.abs(_to_master(stage.x)) >= AT_LIMIT).sum()),
            initial=initial,
            solution=self._judge(best.start, stage.steps, stage.x, stage.loss),
            lowest=replace(lowest, training_loss=self._measure(lowest.weights)),
        )

    def _choose(self) -> tuple[Choice | None, str]:
        wanted = self._settings.solver
        if wanted == "sampled":
            return None, SAMPLED_REASON
        choice = choose_solver(self._loss.size) if wanted == "auto" else Choice(Method(wanted), FORCED_REASON)
        return choice, choice.reason

    def _draw_starts(self) -> Iterator[Tensor]:
        """The job's initial weights, then others of their size. Each may take its share of the time."""
        count = self._settings.starts
        scale = float(self._start.square().mean().sqrt())
        others = draw_starts(self._loss.size, count - 1, scale, self._rng)
        for number, start in enumerate(chain([self._start], others), 1):
            self._share = number / count
            yield start

    def _run_start(self, start: Tensor) -> Iterator[Stage]:
        """The stages of a start, with x in weights; the last has an outcome."""
        last: Stage | None = None
        try:
            for stage in self._run_solver(start):
                late = stage.outcome is None and self._is_late()
                last = replace(stage, outcome=Outcome.TIME) if late else stage
                self._has_begun = True
                yield last
                if late:
                    return
        except OutOfTime:
            assert last is not None
            yield replace(last, outcome=Outcome.TIME)

    def _run_solver(self, start: Tensor) -> Iterator[Stage]:
        if self._choice is None:
            settings = replace(DEFAULTS["newton"], steps=SAMPLED_PASSES)
            yield from self._staged.run(start, settings, self._rng, self._limits)
            return
        method, boxed = self._choice.method, self._boxed
        for stage in run_solver(method, boxed, boxed.enter(start), self._limits, self._is_late):
            yield replace(stage, x=boxed.leave(stage.x))

    def _look_back(self, before: Trial | None, trial: Trial) -> Iterator[Judged]:
        """Points of a step, before its end; their training loss is not measured."""
        if before is None or before.stage.steps == trial.stage.steps:
            return
        for part in PARTS:
            x = torch.lerp(before.stage.x, trial.stage.x, part)
            yield self._judge(trial.start, trial.stage.steps - 1 + part, x, math.nan)

    def _judge(self, start: int, steps: float, x: Tensor, training_loss: float) -> Judged:
        weights = _to_master(x).astype("<i8").tobytes()
        total, count = self._engine.evaluate(self._task, weights, "judge")
        return Judged(start, steps, training_loss, weights, total, count)

    def _measure(self, weights: bytes) -> float:
        return self._loss.measure(_read_master(np.frombuffer(weights, "<i8")))

    def _is_late(self) -> bool:
        return self._used() >= LATE * self._share

    def _check(self) -> None:
        if self._has_begun and self._used() >= self._share:
            raise OutOfTime


def _read_master(units: Integers) -> Tensor:
    return torch.from_numpy(np.ldexp(units.astype(np.float64), -MASTER.f))


def _to_master(x: Tensor) -> Integers:
    units = np.rint(np.ldexp(x.numpy(), MASTER.f))
    clipped: Integers = np.clip(units, -MASTER.limit, MASTER.limit).astype(np.int64)
    return clipped
