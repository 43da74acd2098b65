"""A Newton step on the training split of an example: the papers' own way to an update, where it is small enough.

The losses are those of training/derivatives in float64, half of a job's, from the job's initial weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from figures import Work
from settle import Subject
from torch import Tensor

from training.derivatives.exponential import ExponentialLoss
from training.derivatives.federated import MeanLoss
from training.derivatives.hyperbolic import Hyperbolic
from training.derivatives.softmax import SoftmaxMatrix
from training.exact.grids import DATA, MASTER
from training.exact.scores import WEIGHT_F
from training.objectives.base import Batch
from training.objectives.exponential_regression import ExponentialRegression
from training.objectives.sequence_regression import SequenceRegression
from training.objectives.softmax_regression import SoftmaxRegression
from training.solvers.newton import run_newton
from training.solvers.outcome import Stage
from training.solvers.smooth import SmoothLoss

Make = Callable[[Subject, Batch], SmoothLoss]


def make_newton_step(subject: Subject) -> Work | None:
    """A step from the start, the problem set up anew each time; None where the Hessian is too large."""
    make = MAKERS.get(type(subject.objective))
    if make is None:
        return None
    scale = 2.0**-DATA.f
    exact = subject.objective.make_batch(subject.train, torch.arange(subject.train.count).numpy())
    batch = Batch(exact.inputs * scale, exact.targets * scale, exact.keys * scale)
    start = torch.from_numpy(subject.weights).double() * 2.0**-MASTER.f
    return partial(step, partial(make, subject, batch), start)


def step(make: Callable[[], SmoothLoss], start: Tensor) -> Stage:
    stages = run_newton(make(), start)
    next(stages)  # the start
    return next(stages)


def make_softmax(subject: Subject, batch: Batch) -> SmoothLoss:
    """With keys as they are, and without them one of its own for every output."""
    keys = batch.keys if batch.keys.numel() else torch.eye(batch.targets.shape[1], dtype=torch.float64)
    return SoftmaxMatrix(batch.inputs, keys, batch.targets)


def make_sequences(subject: Subject, batch: Batch) -> SmoothLoss:
    """The mean over sequences of their rescaled exponential losses."""
    objective = subject.objective
    assert isinstance(objective, SequenceRegression)
    weights = torch.full((objective.tokens,), objective.scores.weight * 2.0**-WEIGHT_F, dtype=torch.float64)
    pairs = zip(batch.inputs, batch.targets, strict=True)
    return MeanLoss([Hyperbolic("exp", inputs, targets, weights) for inputs, targets in pairs])


def make_exponentials(subject: Subject, batch: Batch) -> SmoothLoss:
    neurons = subject.objective.shapes[0][1]
    signs = 1.0 - 2.0 * (torch.arange(neurons, dtype=torch.float64) % 2)
    return ExponentialLoss(batch.inputs, batch.targets[:, 0], signs)


MAKERS: dict[type, Make] = {
    SoftmaxRegression: make_softmax,
    SequenceRegression: make_sequences,
    ExponentialRegression: make_exponentials,
}
