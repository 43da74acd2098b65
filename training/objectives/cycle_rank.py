"""Low cycle rank approximation of a tensor (arXiv 2304.06594), section 9.9: a sample is a cell (a, b, c), whose value
tr(U_a V_b W_c) approximates, with k x k matrices of its three ids. A tensor ring with equal ranks.

Shapes: N cells, k rank, n1, n2, n3 sizes of the tensor; a row of U, V or W is a matrix, row-major.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.errors import TaskRefused
from training.exact.grids import WEIGHT, Grid, Product, rescale, saturate
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
    run_kernel,
    sum_squares,
)
from training.splits import Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

MODES = 3
MAX_SIZE, MAX_RANK, MAX_PARAMETERS, MAX_SHARD = 4096, 8, 1 << 20, 1024
MATRIX = Grid(14, 20)  # P, Q, T
VALUE = Grid(20, 26)  # F and its residual
GRADIENT = Grid(14, 20)
WEIGHT_ONE = 1 << WEIGHT.f
# Exponentials that take as long as loading and copying a cell, and each entry of its matrix.
CELL_WORK, ENTRY_WORK = (
    8,
    3,
)


@dataclass(frozen=True, slots=True)
class CycleRank:
    """A tensor of three sizes by matrices of rank `rank`."""

    sizes: tuple[int, int, int]
    rank: int

    name: ClassVar[str] = "cycle_rank"
    gradient_fs: ClassVar[tuple[int, ...]] = (28, 28, 28)

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        check_param_count(cls.name, params, "first second third rank")
        first, second, third, rank = params
        for name, size in (("first", first), ("second", second), ("third", third)):
            check_range(f"params {name}", size, 1, MAX_SIZE)
        check_range("params rank", rank, 1, MAX_RANK)
        count = (first + second + third) * rank * rank
        if count > MAX_PARAMETERS:
            raise TaskRefused(
                "params rank",
                f"at most {MAX_PARAMETERS} (first + second + third) * rank^2 expected, got {count}",
            )
        return cls((first, second, third), rank)

    @property
    def entries(self) -> int:
        """Of a matrix."""
        return self.rank * self.rank

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple((size, self.entries) for size in self.sizes)

    @property
    def layout(self) -> Layout:
        return Layout((MODES,), (1,), 1, (), ids=self.sizes)

    def list_products(self, shard: int) -> tuple[Product, ...]:
        check_range("shard", shard, 1, MAX_SHARD)
        k = self.rank
        Product("gU, gV, gW = sum of D", MATRIX, GRADIENT, MODES * self.entries, shard, 1)  # its budget
        return (
            Product("P = U V", WEIGHT, WEIGHT, shard * k, k, k),
            Product("F = tr P W", MATRIX, WEIGHT, shard, self.entries, 1),
            Product("Q = V W", WEIGHT, WEIGHT, shard * k, k, k),
            Product("T = W U", WEIGHT, WEIGHT, shard * k, k, k),
            Product("D = G (Q, T, P)", GRADIENT, MATRIX, shard, 1, MODES * self.entries),
        )

    def count_forward(self, samples: int) -> int:
        return samples * (self.rank * self.entries + self.entries)

    def measure_pass(self, samples: int) -> PassSizes:
        return PassSizes(samples * MODES * self.entries, 0, samples * (CELL_WORK + ENTRY_WORK * self.entries))

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        ids = torch.from_numpy(split.inputs[indices].astype(np.int64))
        offsets = torch.zeros((len(indices), MODES, self.entries), dtype=torch.float64)
        return Batch(offsets, make_float(split.rows[indices]), make_float(split.keys), ids)

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        assert batch.ids is not None
        _, value_N1 = self._forward(self._read(weights, batch.ids, batch.inputs), None)
        return sum_squares(self._compute_residuals(value_N1, batch))

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return self._forward(self._read(weights, inputs.to(torch.int64), None), None)[1]

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        assert batch.ids is not None
        u, v, w = matrices = self._read(weights, batch.ids, batch.inputs)
        p, value_N1 = self._forward(matrices, trace)
        g_N1 = rescale(self._compute_residuals(value_N1, batch), VALUE.f - 1, GRADIENT)  # twice the residual
        q, t = (rescale(fold(pair, trace), 2 * WEIGHT.f, MATRIX) for pair in (v @ w, w @ u))
        parts = [matrix.transpose(1, 2).reshape(len(g_N1), -1) for matrix in (q, t, p)]
        d_NE = fold(torch.cat(parts, 1) * g_N1, trace)
        return tuple(
            torch.zeros(tensor.shape, dtype=torch.float64).index_add_(0, batch.ids[:, mode], part)
            for mode, (tensor, part) in enumerate(
                zip(weights, torch.split(d_NE, self.entries, 1), strict=True)
            )
        )

    def _read(self, weights: Sequence[Tensor], ids: Tensor, offsets: Tensor | None) -> list[Tensor]:
        """U_a, V_b and W_c of every sample [N, k, k], with the noise that the offsets are."""
        one = make_float(np.array([WEIGHT_ONE * (i % (self.rank + 1) == 0) for i in range(self.entries)]))
        matrices = []
        for mode, tensor in enumerate(weights):
            rows = tensor[ids[:, mode]]
            if offsets is not None:
                rows = rows + offsets[:, mode]
            rows = saturate(rows + one if mode else rows, WEIGHT.p)
            matrices.append(rows.view(-1, self.rank, self.rank))
        return matrices

    def _forward(self, matrices: Sequence[Tensor], trace: Trace | None) -> tuple[Tensor, Tensor]:
        """P and F [N, 1]."""
        u, v, w = matrices
        p = rescale(fold(u @ v, trace), 2 * WEIGHT.f, MATRIX)
        value = (p * w.transpose(1, 2)).sum((1, 2)).view(-1, 1)
        return p, rescale(fold(value, trace), MATRIX.f + WEIGHT.f, VALUE)

    def _compute_residuals(self, value_N1: Tensor, batch: Batch) -> Tensor:
        return saturate(value_N1 - batch.targets * 2.0**8, VALUE.p)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import cycle as kernels

        return run_kernel(
            self, kernels.run_ticket, (self._kernel_params(), split.inputs, split.rows), weights, ticket
        )

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        from training.exact.fused import cycle as kernels

        return int(kernels.sum_losses(self._kernel_params(), split.inputs, split.rows, indices, weights))

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        from training.exact.fused import cycle as kernels

        values: Integers = kernels.compute_outputs(self._kernel_params(), inputs, weights)
        return values

    def _kernel_params(self) -> Integers:
        return np.array([*self.sizes, self.rank], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        assert batch.ids is not None
        u, v, w = (
            tensor[batch.ids[:, mode]].view(-1, self.rank, self.rank) for mode, tensor in enumerate(weights)
        )
        one = torch.eye(self.rank, dtype=u.dtype, device=u.device)
        value = ((u @ (one + v)) * (one + w).transpose(1, 2)).sum((1, 2))
        return value.unsqueeze(1) - batch.targets
