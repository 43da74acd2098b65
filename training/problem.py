"""What a solver sees of a training split: mean losses and their derivatives, on floats.

Who computes them is not its business: one process (training/native.py), or the ranks of a group, each its part of every
batch (training/shared.py). Weights, gradients and directions are one flat tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from training.objectives.base import Integers

if TYPE_CHECKING:
    from torch import Tensor


class LinearLoss(Protocol):
    """A batch's residuals r, linearised at a point: J is their derivative. The squares of r sum to the mean loss."""

    @property
    def loss(self) -> float:
        """At the point: r'r."""

    @property
    def gradient(self) -> Tensor:
        """J'r: half the loss's gradient."""

    def measure_bend(self, v: Tensor) -> float:
        """v'J'J v: half the curvature along v."""

    def multiply(self, v: Tensor) -> Tensor:
        """J'J v."""


class BatchLoss(Protocol):
    """The mean loss of some samples, as a function of the weights."""

    def measure(self, weights: Tensor) -> float:
        """The loss."""

    def differentiate(self, weights: Tensor) -> Tensor:
        """The loss's gradient."""

    def linearise(self, weights: Tensor) -> LinearLoss:
        """The Gauss-Newton model at a point. Of use until the next one is asked for."""


class Problem(Protocol):
    """A training split. One batch is open at a time."""

    @property
    def count(self) -> int:
        """How many samples there are."""

    def read_weights(self, master: Integers) -> Tensor:
        """Flat weights of flat master units."""

    def open_batch(self, indices: Integers) -> BatchLoss:
        """The mean loss of the samples of these numbers."""

    def measure_loss(self, weights: Tensor, indices: Integers) -> float:
        """The same where it is only looked at once: no samples are kept for it."""
