"""Softmax regression (arXiv 2307.02419, 2308.10502): rows of || D^-1 exp(A1 X A2^T) - B ||^2, section 9.5.

Shapes: N samples, d inputs, c outputs, e features of a key (0: no keys, the scores are A X).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.exact.functions import softmax
from training.exact.grids import ATTENTION, DATA, WEIGHT, Grid, Product, rescale, saturate
from training.exact.late import torch
from training.exact.trace import Trace, fold
from training.objectives.base import (
    Batch,
    Integers,
    Outcome,
    PassSizes,
    Ticket,
    check_param_count,
    check_range,
    make_float,
    make_one_hot,
    scale_rates,
    sum_squares,
)
from training.splits import NO_LABELS, NO_ROWS, Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

QUERY = Grid(14, 20)
RESIDUAL = Grid(20, 24)
OUTPUT_GRADIENT = Grid(16, 18)
SCORE_GRADIENT = Grid(18, 20)
MIXED_GRADIENT = Grid(18, 22)
MAX_INPUTS, MAX_OUTPUTS, MAX_KEY_FEATURES, MAX_SHARD = 1024, 1024, 1024, 4096


@dataclass(frozen=True, slots=True)
class SoftmaxRegression:
    """A softmax over `outputs` classes, with public keys for them if `key_features` is not 0."""

    inputs: int
    outputs: int
    key_features: int
    indexed: bool

    name: ClassVar[str] = "softmax_regression"
    gradient_fs: ClassVar[tuple[int, ...]] = (30,)

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        check_param_count(cls.name, params, "inputs outputs key_features targets")
        inputs, outputs, key_features, targets = params
        check_range("params inputs", inputs, 1, MAX_INPUTS)
        check_range("params outputs", outputs, 2, MAX_OUTPUTS)
        check_range("params key_features", key_features, 0, MAX_KEY_FEATURES)
        check_range("params targets", targets, 0, 1)
        Product("r = row sums of P G", ATTENTION, OUTPUT_GRADIENT, 1, outputs, 1)  # its budget, too
        return cls(inputs, outputs, key_features, bool(targets))

    @property
    def width(self) -> int:
        """Columns of the weights."""
        return self.key_features or self.outputs

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.inputs, self.width),)

    @property
    def layout(self) -> Layout:
        rows = None if self.indexed else (self.outputs,)
        keys = (self.outputs, self.key_features) if self.key_features else None
        return Layout((self.inputs,), rows, self.outputs, ("u8", "i16"), keys)

    def list_products(self, shard: int) -> tuple[Product, ...]:
        check_range("shard", shard, 1, MAX_SHARD)
        d, c, e = self.inputs, self.outputs, self.key_features
        if not e:
            return (
                Product("S = A X", DATA, WEIGHT, shard, d, c),
                Product("gX = A^T Q", DATA, SCORE_GRADIENT, d, shard, c),
            )
        return (
            Product("Q = A X", DATA, WEIGHT, shard, d, e),
            Product("S = Q keys^T", QUERY, DATA, shard, e, c),
            Product("U = q keys", SCORE_GRADIENT, DATA, shard, c, e),
            Product("gX = A^T U", DATA, MIXED_GRADIENT, d, shard, e),
        )

    def count_forward(self, samples: int) -> int:
        return samples * (self.inputs * self.width + self.key_features * self.outputs)

    def measure_pass(self, shard: int) -> PassSizes:
        noisy = shard * self.inputs + self.outputs * self.key_features
        return PassSizes(noisy, shard, shard * self.outputs)

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        if self.indexed:
            targets = make_one_hot(split.labels[indices], self.outputs)
        else:
            targets = make_float(split.rows[indices])
        return Batch(make_float(split.inputs[indices]), targets, make_float(split.keys))

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return sum_squares(_compute_residuals(self._forward(weights, batch.inputs, batch.keys, None), batch))

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return self._forward(weights, inputs, keys, None)

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        p_Nc = self._forward(weights, batch.inputs, batch.keys, trace)
        g_Nc = rescale(_compute_residuals(p_Nc, batch), RESIDUAL.f - 1, OUTPUT_GRADIENT)  # twice the residual
        mean_N1 = (g_Nc * p_Nc).sum(1, keepdim=True)
        q_Nc = saturate(torch.round(((g_Nc * 2.0**20 - mean_N1) * p_Nc) * 2.0**-38), SCORE_GRADIENT.p)
        if self.key_features:
            q_Nc = rescale(fold(q_Nc @ batch.keys, trace), 30, MIXED_GRADIENT)
        return (fold(batch.inputs.transpose(0, 1) @ q_Nc, trace),)

    def _forward(
        self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor, trace: Trace | None
    ) -> Tensor:
        q = fold(inputs @ weights[0], trace)
        if not self.key_features:
            return softmax(q, 28)
        return softmax(fold(rescale(q, 28, QUERY) @ keys.transpose(0, 1), trace), 26)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import (
            softmax as kernels,
        )  # compiling and loading is paid for by those who use it

        trace, before, after, delta = kernels.run_ticket(
            self._kernel_params(), split.inputs, split.rows, split.labels, split.keys, ticket.indices, weights,
            scale_rates(self, ticket.rates), np.uint64(ticket.dither_stream), np.array(ticket.noise_streams, np.uint64),
        )  # fmt: skip
        return Outcome(int(trace), int(before), int(after), delta)

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        from training.exact.fused import softmax as kernels

        data = (split.inputs, split.rows, split.labels, split.keys)
        return int(kernels.sum_losses(self._kernel_params(), *data, indices, weights))

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        from training.exact.fused import softmax as kernels

        data = (inputs, NO_ROWS, NO_LABELS, keys)
        scores: Integers = kernels.compute_outputs(
            self._kernel_params(), *data, np.arange(len(inputs)), weights
        )
        return scores

    def _kernel_params(self) -> Integers:
        return np.array([self.inputs, self.outputs, self.key_features, self.indexed], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        scores = batch.inputs @ weights[0]
        if self.key_features:
            scores = scores @ batch.keys.transpose(0, 1)
        return torch.softmax(scores, -1) - batch.targets


def _compute_residuals(p_Nc: Tensor, batch: Batch) -> Tensor:
    return saturate(p_Nc - batch.targets * 2.0**8, RESIDUAL.p)
