"""A job's training split as floats: what solvers see of it. Free arithmetic, nothing here is ever compared.

Weights are one flat tensor in units of one; losses are means over samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.exact.grids import DATA, MASTER
from training.exact.late import torch
from training.objectives.base import Batch, Integers, Objective, split_weights
from training.splits import Split

if TYPE_CHECKING:
    from torch import Tensor, dtype

MAX_EXPANDED_BYTES = 64 << 20  # samples kept expanded; a positional job's are up to 64 times its blob
CHUNK = 256  # samples at a time, when a loss is only looked at


class NativeProblem:
    """Losses and residuals of a split in floating point, differentiable."""

    def __init__(self, objective: Objective, split: Split, precision: dtype) -> None:
        self._objective, self._split, self._precision = objective, split, precision
        self._expanded: Batch | None = None
        one = self._make_batch(np.zeros(1, np.int64))
        sample_bytes = (one.inputs.numel() + one.targets.numel()) * one.inputs.element_size()
        if sample_bytes * split.count <= MAX_EXPANDED_BYTES:
            self._expanded = self._make_batch(np.arange(split.count, dtype=np.int64))

    @property
    def count(self) -> int:
        return self._split.count

    def read_weights(self, master: Integers) -> Tensor:
        """Flat weights of flat master units."""
        return torch.from_numpy(np.ldexp(master.astype(np.float64), -MASTER.f)).to(self._precision)

    def gather(self, indices: Integers) -> Batch:
        """The samples of these numbers."""
        if self._expanded is None:
            return self._make_batch(indices)
        chosen = torch.from_numpy(indices)
        return Batch(self._expanded.inputs[chosen], self._expanded.targets[chosen], self._expanded.keys)

    def compute_loss(self, weights: Tensor, batch: Batch) -> Tensor:
        """The mean loss of a batch."""
        return self._objective.native_loss(split_weights(self._objective, weights), batch) / len(batch.inputs)

    def compute_residuals(self, weights: Tensor, batch: Batch) -> Tensor:
        """Flat residuals, whose squares sum to the mean loss of a batch."""
        residuals = self._objective.native_residuals(split_weights(self._objective, weights), batch)
        scale: float = len(batch.inputs) ** -0.5
        return residuals.flatten() * scale

    def measure_loss(self, weights: Tensor, indices: Integers) -> float:
        """The mean loss of these samples, without a gradient."""
        with torch.no_grad():
            chunks = [indices[i : i + CHUNK] for i in range(0, len(indices), CHUNK)]
            sums = [float(self.compute_loss(weights, self.gather(chunk))) * len(chunk) for chunk in chunks]
        return sum(sums) / len(indices)

    def _make_batch(self, indices: Integers) -> Batch:
        batch = self._objective.make_batch(self._split, indices)
        parts = (batch.inputs, batch.targets, batch.keys)
        return Batch(*(part.mul(2.0**-DATA.f).to(self._precision) for part in parts))
