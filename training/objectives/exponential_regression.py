"""Over-parameterised exponential regression (arXiv 2303.16504), section 9.8: F(a) = sum_r sign_r exp(<w_r, a>) against
a number, the signs fixed.

Shapes: N samples, d inputs, m neurons, whose signs alternate. The kernels are those of softmax_regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.errors import TaskRefused
from training.exact.grids import DATA, WEIGHT, Grid, Product, rescale, saturate
from training.exact.late import torch
from training.exact.scores import (
    DOMAIN,
    GRADIENT,
    RESIDUAL,
    SCORE,
    SCORE_GRADIENT,
    VALUE,
    Function,
    apply_function,
)
from training.exact.trace import Trace, fold
from training.objectives.base import (
    Batch,
    Integers,
    Outcome,
    PassSizes,
    Ticket,
    check_param_count,
    check_range,
    make_signs,
    make_value_batch,
    run_kernel,
    sum_signed,
    sum_squares,
)
from training.splits import NO_LABELS, Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

MAX_INPUTS, MAX_NEURONS, MAX_SHARD = 1024, 4096, 4096
MAX_PARAMETERS = 1 << 20
SIGNED = 4  # the kernels' number for this function of scores


@dataclass(frozen=True, slots=True)
class ExponentialRegression:
    """A sum of `neurons` exponentials of linear forms, half of them subtracted."""

    inputs: int
    neurons: int

    name: ClassVar[str] = "exponential_regression"
    gradient_fs: ClassVar[tuple[int, ...]] = (30,)

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        check_param_count(cls.name, params, "inputs neurons")
        inputs, neurons = params
        check_range("params features", inputs, 1, MAX_INPUTS)
        check_range("params neurons", neurons, 2, MAX_NEURONS)
        if inputs * neurons > MAX_PARAMETERS:
            raise TaskRefused(
                "params neurons",
                f"at most {MAX_PARAMETERS} features * neurons expected, got {inputs * neurons}",
            )
        Product("F = signs u", VALUE, Grid(0, 1), 1, neurons, 1)  # its budget
        return cls(inputs, neurons)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.inputs, self.neurons),)

    @property
    def layout(self) -> Layout:
        return Layout((self.inputs,), (1,), 1, ())

    def list_products(self, shard: int) -> tuple[Product, ...]:
        check_range("shard", shard, 1, MAX_SHARD)
        return (
            Product("S = A W", DATA, WEIGHT, shard, self.inputs, self.neurons),
            Product("gW = A^T q", DATA, SCORE_GRADIENT, self.inputs, shard, self.neurons),
        )

    def count_forward(self, samples: int) -> int:
        return samples * self.inputs * self.neurons

    def measure_pass(self, samples: int) -> PassSizes:
        return PassSizes(samples * self.inputs, samples, samples * self.neurons)

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        return make_value_batch(split, indices)

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        u_Nm = self._forward(weights, batch.inputs, None)
        return sum_squares(self._compute_residuals(u_Nm, batch))

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return sum_signed(self._forward(weights, inputs, None))

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        u_Nm = self._forward(weights, batch.inputs, trace)
        g_N1 = rescale(self._compute_residuals(u_Nm, batch), RESIDUAL.f - 1, GRADIENT)  # twice the residual
        q_Nm = saturate(torch.round((u_Nm * g_N1) * 2.0**-16), SCORE_GRADIENT.p) * make_signs(self.neurons)
        return (fold(batch.inputs.transpose(0, 1) @ q_Nm, trace),)

    def _forward(self, weights: Sequence[Tensor], inputs: Tensor, trace: Trace | None) -> Tensor:
        scores = rescale(fold(inputs @ weights[0], trace), DATA.f + WEIGHT.f, SCORE)
        return apply_function(Function.EXP, scores)[0]

    def _compute_residuals(self, u_Nm: Tensor, batch: Batch) -> Tensor:
        return saturate(sum_signed(u_Nm) - batch.targets * 2.0**8, RESIDUAL.p)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import softmax as kernels

        data = (self._kernel_params(), split.inputs, split.rows, split.labels, split.keys)
        return run_kernel(self, kernels.run_ticket, data, weights, ticket)

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        from training.exact.fused import softmax as kernels

        data = (split.inputs, split.rows, split.labels, split.keys)
        return int(kernels.sum_losses(self._kernel_params(), *data, indices, weights))

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        from training.exact.fused import softmax as kernels

        no_rows = np.zeros((len(inputs), 1), np.int16)
        u_Nm: Integers = kernels.compute_outputs(
            self._kernel_params(), inputs, no_rows, NO_LABELS, keys, np.arange(len(inputs)), weights
        )
        signed: Integers = u_Nm[:, 0::2].sum(1, keepdims=True) - u_Nm[:, 1::2].sum(1, keepdims=True)
        return signed

    def _kernel_params(self) -> Integers:
        return np.array([self.inputs, self.neurons, 0, 0, SIGNED, 0], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        values = (batch.inputs @ weights[0]).clamp(-DOMAIN, DOMAIN).exp()
        signs = make_signs(self.neurons).to(values.device, values.dtype)
        return (values * signs).sum(-1, keepdim=True) - batch.targets
