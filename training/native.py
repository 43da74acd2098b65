"""A job's training split as floats: what solvers see of it. Free arithmetic, nothing here is ever compared.

Weights are one flat tensor in units of one. Losses are means over samples; a rank of a group, which has only a part of
a batch's samples, divides by the number of the whole batch's, so that the parts' losses and derivatives add up to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from training.exact.grids import DATA, MASTER
from training.exact.late import torch
from training.objectives.base import Batch, Integers, Objective, count_parameters, split_weights
from training.splits import Split

if TYPE_CHECKING:
    from torch import Tensor, dtype

Precision = Literal["float32", "float64"]  # of losses and weights in training
MAX_EXPANDED_BYTES = 64 << 20  # samples kept expanded; a positional job's are up to 64 times its blob
CHUNK = 256  # samples at a time, when a loss is only looked at


class NativeProblem:
    """Losses of a split in floating point, on one device."""

    def __init__(self, objective: Objective, split: Split, precision: dtype, device: str = "cpu") -> None:
        self._objective, self._split, self.precision = objective, split, precision
        self._device = device
        self._expanded: Batch | None = None
        one = self._make_batch(np.zeros(1, np.int64))
        sample_bytes = (one.inputs.numel() + one.targets.numel()) * one.inputs.element_size()
        if sample_bytes * split.count <= MAX_EXPANDED_BYTES:
            self._expanded = self._make_batch(np.arange(split.count, dtype=np.int64))

    @property
    def count(self) -> int:
        return self._split.count

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return count_parameters(self._objective)

    def read_weights(self, master: Integers) -> Tensor:
        """Flat weights of flat master units."""
        weights = torch.from_numpy(np.ldexp(master.astype(np.float64), -MASTER.f))
        return weights.to(self._device, self.precision)

    def open_batch(self, indices: Integers, whole: int | None = None) -> NativeBatch:
        """The samples of these numbers, of a batch of `whole` (by default: these are all)."""
        return NativeBatch(self._objective, self._gather(indices), len(indices) if whole is None else whole)

    def measure_loss(self, weights: Tensor, indices: Integers, whole: int | None = None) -> float:
        """The loss of these samples, of `whole`, a chunk at a time."""
        whole = len(indices) if whole is None else whole
        chunks = (indices[i : i + CHUNK] for i in range(0, len(indices), CHUNK))
        return sum((self.open_batch(chunk, whole).measure(weights) for chunk in chunks), 0.0)

    def _gather(self, indices: Integers) -> Batch:
        if self._expanded is None:
            return self._make_batch(indices)
        chosen = torch.from_numpy(indices).to(self._device)
        whole = self._expanded
        ids = None if whole.ids is None else whole.ids[chosen]
        return Batch(whole.inputs[chosen], whole.targets[chosen], whole.keys, ids)

    def _make_batch(self, indices: Integers) -> Batch:
        batch = self._objective.make_batch(self._split, indices)
        parts = (batch.inputs, batch.targets, batch.keys)
        inputs, targets, keys = (part.mul(2.0**-DATA.f).to(self._device, self.precision) for part in parts)
        return Batch(inputs, targets, keys, None if batch.ids is None else batch.ids.to(self._device))


class NativeBatch:
    """The loss of some of a batch's samples, divided by how many the batch has."""

    def __init__(self, objective: Objective, batch: Batch, whole: int) -> None:
        self._objective, self.samples, self._whole = objective, batch, whole

    def measure(self, weights: Tensor) -> float:
        with torch.no_grad():
            return float(self.compute_loss(weights))

    def differentiate(self, weights: Tensor) -> Tensor:
        point = weights.detach().requires_grad_()
        return torch.autograd.grad(self.compute_loss(point), point)[0]

    def linearise(self, weights: Tensor) -> NativeLinear:
        point = weights.detach().requires_grad_()
        residuals = self._objective.native_residuals(split_weights(self._objective, point), self.samples)
        scale: float = self._whole**-0.5
        return NativeLinear(point, residuals.flatten() * scale)

    def compute_loss(self, weights: Tensor) -> Tensor:
        """The loss as a tensor that can be differentiated, more than once."""
        return (
            self._objective.native_loss(split_weights(self._objective, weights), self.samples) / self._whole
        )


class NativeLinear:
    """Residuals at a point, with the products of their derivative J by automatic differentiation."""

    def __init__(self, point: Tensor, residuals: Tensor) -> None:
        self._point, self._residuals = point, residuals
        # J v by differentiating J'u, which is linear in u: no forward mode needed
        self._dual = torch.zeros_like(residuals).requires_grad_()
        (self._pulled,) = torch.autograd.grad(residuals, point, self._dual, create_graph=True)
        self.loss = float((residuals.detach() ** 2).sum())
        self.gradient = self._pull(residuals.detach())

    def measure_bend(self, v: Tensor) -> float:
        return float((self._push(v) ** 2).sum())

    def multiply(self, v: Tensor) -> Tensor:
        return self._pull(self._push(v))

    def _pull(self, u: Tensor) -> Tensor:
        return torch.autograd.grad(self._residuals, self._point, u, retain_graph=True)[0]

    def _push(self, v: Tensor) -> Tensor:
        return torch.autograd.grad(self._pulled, self._dual, v, retain_graph=True)[0]
