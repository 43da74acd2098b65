"""A miner's update: weights trained by any method, on floats, and how far they moved. Nothing here is consensus.

Source: docs/protocol.md, sections 7.1 and 10.3: what earns is the decrease of the loss on samples drawn later, beyond
what the tickets' mean and the last step bring.

The defaults were found in a simulated settlement of examples/digits.toml: 4 tickets a round, 3 miners of each of two
kinds against one another, 12 rounds, 3 or 4 seeds. Credits of the second kind over those of the first, divided by what
the same comparison gave for two equal kinds (0.94; single seeds were 0.7 to 1.4, so 10 % is within the noise):

    first kind: Newton, 11 passes over 768 of 1000 samples, damping 0.3, about 0.10 s of one core
    22 passes 1.06 (0.20 s) | inner 15, 16 passes 1.00 | all samples 1.07 (0.14 s) | damping 1: 0.90
    Adam, 40 steps of 256 at 1e-2: 0.67 (0.13 s) | 30 % the mean of four own tickets 0.93 | start half a step ahead 0.67
    first kind: Newton, 22 passes over 500 samples, damping 0.1 (not divided)
    44 passes 0.78 | Adam, 160 steps of 256 at 3e-3: 0.50 (0.42 s) | damping 0.02: 0.87
    start the own last delta ahead 0.69
    first kind: Adam, 40 steps of 256 at 3e-3 (not divided): L-BFGS, 20 iterations 2.1, 60 iterations 1.2

    first kind: Newton as above; second: on the whole Hessian of all samples, to the optimum; two of each, 6 rounds:
    travel_modes (9 parameters) 0.8 | investment_shares (2) 1.0 | breast_cancer (60) 0.25

More training brings nothing beyond noise, or less: it fits these 1000 samples, and deltas are clipped anyway.
Training on the *judging* split, which is as public, earned 0.018 a round against -0.005 of three honest miners: nothing
here does that, and nothing in the protocol prevents it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.engine import Engine, Task
from training.errors import BadInput
from training.exact.grids import MASTER
from training.exact.integers import DELTA_LIMIT, Integers
from training.exact.late import torch
from training.native import NativeProblem
from training.objectives.base import Objective, count_parameters
from training.problem import Problem
from training.samples import join_splits, read_samples
from training.solvers.sampled import Solver, SolverSettings, run_adam, run_newton, run_sgd
from training.splits import Split

if TYPE_CHECKING:
    from torch import Tensor

SolverName = Literal["adam", "sgd", "newton"]
MEASURED_SAMPLES = 1024  # that the loss before and after is taken on, when there are more
SOLVERS: dict[SolverName, Callable[[Problem, Tensor, SolverSettings, np.random.Generator], Solver]] = {
    "adam": run_adam,
    "sgd": run_sgd,
    "newton": run_newton,
}
DEFAULTS: dict[SolverName, SolverSettings] = {
    "adam": SolverSettings(steps=160, batch=256, rate=3e-3),
    "sgd": SolverSettings(steps=160, batch=256, rate=3e-3),
    "newton": SolverSettings(steps=11, batch=768, rate=0.3, inner=10),
}


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How a miner trains. None stands for the solver's default; the shares are of a delta, 0 to 1."""

    solver: Literal["auto", "adam", "sgd", "newton"] = "auto"
    steps: int | None = None
    batch: int | None = None
    rate: float | None = None
    tickets_share: float = 0.0  # of the mean of the miner's own ticket runs in the update; did not help
    lookahead: float = 0.0  # of the momentum, gone along before training starts; cost a third


@dataclass(frozen=True, slots=True)
class LocalWork:
    """What there is to train on: a job's pieces, the weights its round starts from, and what the miner adds."""

    objective: Objective
    train: Split
    weights: bytes
    previous: bytes = b""  # the weights that momentum starts from, if there were others
    tickets: Sequence[bytes] = ()  # deltas of the miner's own runs from these weights


@dataclass(frozen=True, slots=True)
class LocalUpdate:
    """A delta [parameters] in master units that lowers the native loss (the mean over samples)."""

    delta: Integers
    solver: str
    steps: int
    loss_before: float
    loss_after: float


@dataclass(frozen=True, slots=True)
class NoUpdate:
    """Training brought nothing to be sent, and why."""

    reason: str
    solver: str
    steps: int


def load_work(
    engine: Engine,
    task: Task,
    weights: bytes,
    *,
    previous: bytes = b"",
    tickets: Sequence[bytes] = (),
    own_samples: bytes = b"",
) -> LocalWork:
    """Gather what a task's update is trained on; `own_samples` is an npz in the job's layout. Raises TrainingError."""
    objective, data = engine.get_dataset(task)
    train = data.train
    if own_samples:
        train = join_splits(train, read_samples(own_samples, objective.layout, train.keys))
    return LocalWork(objective, train, weights, previous, tickets)


def train_update(
    work: LocalWork,
    settings: LocalSettings,
    seed: bytes,
    stop: Callable[[], bool],
    problem: Problem | None = None,
    refine: Callable[[Tensor], Tensor] = lambda weights: weights,
) -> LocalUpdate | NoUpdate:
    """Train until the steps are done or `stop()`, which is asked after every step; batches come from the seed.

    `problem` says who computes the losses of the work's training split; by default this process, on the processor.
    `refine` has the last word on the weights that the solver came to; the loss is looked at after it.
    A loss that does not fall, or is no number, is a NoUpdate. BadInput for weights or tickets of a wrong size.
    """
    start, shift = _read_start(work, settings.lookahead)
    tickets = [_read(work, "ticket", delta, DELTA_LIMIT) for delta in work.tickets]
    name, solver_settings = choose_solver(work, settings)
    rng = np.random.default_rng(int.from_bytes(seed, "big"))
    problem = problem or NativeProblem(work.objective, work.train, torch.float32)
    weights = problem.read_weights(np.clip(start + shift, -MASTER.limit, MASTER.limit))
    measured = np.sort(rng.permutation(problem.count)[:MEASURED_SAMPLES]).astype(np.int64)
    before = problem.measure_loss(weights, measured)
    solver = SOLVERS[name](problem, weights, solver_settings, rng)
    trained, steps = _follow(solver, weights, stop)
    trained = refine(trained)
    moved = _mix(trained - weights, problem, tickets, settings.tickets_share)
    after = problem.measure_loss(weights + moved, measured)
    if not (math.isfinite(after) and after < before):  # a before that is no number fails the second
        return NoUpdate(f"the loss did not fall: {before:.6g} before, {after:.6g} after", name, steps)
    delta = _to_master(moved)
    if not delta.any():
        return NoUpdate("no weight moved by a unit of 2^-24", name, steps)
    return LocalUpdate(delta, name, steps, before, after)


def choose_solver(work: LocalWork, settings: LocalSettings) -> tuple[SolverName, SolverSettings]:
    """The solver and its settings: what the miner says over the defaults. "auto" is Newton, the best in every test."""
    name: SolverName = "newton" if settings.solver == "auto" else settings.solver
    chosen = DEFAULTS[name]
    changes = {key: getattr(settings, key) for key in ("steps", "batch", "rate")}
    return name, replace(chosen, **{key: value for key, value in changes.items() if value is not None})


def _follow(solver: Solver, start: Tensor, stop: Callable[[], bool]) -> tuple[Tensor, int]:
    """The weights a solver comes to, and its steps."""
    weights, steps = start, 0
    for reached in solver:
        weights, steps = reached, steps + 1
        if stop():
            break
    return weights.clone(), steps


def _mix(moved: Tensor, problem: Problem, tickets: Sequence[Integers], share: float) -> Tensor:
    if not tickets or share == 0.0:
        return moved
    mean = sum(problem.read_weights(ticket) for ticket in tickets) / len(tickets)
    return moved * (1 - share) + mean * share


def _to_master(moved: Tensor) -> Integers:
    """Master units of a difference of weights, within what a payload can say."""
    units = np.rint(np.ldexp(moved.cpu().numpy().astype(np.float64), MASTER.f))
    return np.clip(units, -DELTA_LIMIT, DELTA_LIMIT).astype(np.int64)


def _read_start(work: LocalWork, lookahead: float) -> tuple[Integers, Integers]:
    """The weights, and how far from them training begins."""
    weights = _read(work, "weights", work.weights, MASTER.limit)
    if not work.previous or lookahead == 0.0:
        return weights, np.zeros_like(weights)
    step = weights - _read(work, "previous weights", work.previous, MASTER.limit)
    return weights, np.rint(step * lookahead).astype(np.int64)


def _read(work: LocalWork, what: str, raw: bytes, limit: int) -> Integers:
    count = count_parameters(work.objective)
    if len(raw) != 8 * count:
        raise BadInput(f"{what}: {8 * count} bytes expected, got {len(raw)}")
    values = np.frombuffer(raw, "<i8").astype(np.int64)
    if values.min() < -limit or values.max() > limit:
        raise BadInput(f"{what}: integers within +-{limit} expected, got {values.min()} to {values.max()}")
    return values
