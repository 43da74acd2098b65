"""Weights of pairs of rows that stand for a Kronecker product (arXiv 2402.07027), section 9.11: a sample is a probe,
seen by what each pair measures of it; together, weighted, they should measure its true length.

Shapes: N samples, m pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.exact.grids import DATA, WEIGHT, Grid, Product, rescale, saturate
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
    make_value_batch,
    run_kernel,
    sum_squares,
)
from training.splits import Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

MAX_PAIRS, MAX_SCALE, MAX_SHARD = 4096, 12, 4096
OUTPUT = Grid(20, 26)
RESIDUAL = Grid(20, 26)
GRADIENT = Grid(14, 20)
ONE = 1 << WEIGHT.f
# What the kernels do beside products, in exponentials: for each sample and for so many entries of it, which are loaded.
SAMPLE_WORK, ENTRIES = 6, 16


@dataclass(frozen=True, slots=True)
class KroneckerSpectral:
    """`pairs` features of a probe, stored times 2^scale, each counted once and by what is trained beside."""

    pairs: int
    scale: int

    name: ClassVar[str] = "kronecker_spectral"

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        check_param_count(cls.name, params, "pairs scale")
        pairs, scale = params
        check_range("params pairs", pairs, 1, MAX_PAIRS)
        check_range("params scale", scale, 0, MAX_SCALE)
        return cls(pairs, scale)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.pairs, 1),)

    @property
    def layout(self) -> Layout:
        return Layout((self.pairs,), (1,), 1, ())

    @property
    def gradient_fs(self) -> tuple[int, ...]:
        return (DATA.f + GRADIENT.f + self.scale,)

    def list_products(self, shard: int) -> tuple[Product, ...]:
        check_range("shard", shard, 1, MAX_SHARD)
        return (
            Product("F = x V", DATA, WEIGHT, shard, self.pairs, 1),
            Product("gw = x^T G", DATA, GRADIENT, self.pairs, shard, 1),
        )

    def count_forward(self, samples: int) -> int:
        return samples * self.pairs

    def measure_pass(self, samples: int) -> PassSizes:
        entries = samples * self.pairs
        return PassSizes(entries, 0, SAMPLE_WORK * samples + entries // ENTRIES)

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        return make_value_batch(split, indices)

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return sum_squares(self._subtract(weights, batch, None))

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return self._forward(weights, inputs, None)

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        r_N1 = self._subtract(weights, batch, trace)
        g_N1 = rescale(r_N1, RESIDUAL.f - 1, GRADIENT)  # twice the residual
        return (fold(batch.inputs.transpose(0, 1) @ g_N1, trace),)

    def _subtract(self, weights: Sequence[Tensor], batch: Batch, trace: Trace | None) -> Tensor:
        return saturate(self._forward(weights, batch.inputs, trace) - batch.targets * 2.0**8, RESIDUAL.p)

    def _forward(self, weights: Sequence[Tensor], x_Nm: Tensor, trace: Trace | None) -> Tensor:
        v_m1 = torch.clamp(weights[0] + float(ONE), 0.0, float(WEIGHT.limit))
        return rescale(fold(x_Nm @ v_m1, trace), DATA.f + WEIGHT.f + self.scale, OUTPUT)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import spectral as kernels

        data = (self._kernel_params(), split.inputs, split.rows)
        return run_kernel(self, kernels.run_ticket, data, weights, ticket)

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        from training.exact.fused import spectral as kernels

        return int(kernels.sum_losses(self._kernel_params(), split.inputs, split.rows, indices, weights))

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        from training.exact.fused import spectral as kernels

        values: Integers = kernels.compute_outputs(self._kernel_params(), inputs, weights)
        return values

    def _kernel_params(self) -> Integers:
        return np.array([self.pairs, self.scale], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        counted = (1 + weights[0]).clamp(min=0)
        return batch.inputs @ counted * 2.0**-self.scale - batch.targets
