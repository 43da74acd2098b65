"""Adversarial training of a wide two-layer net with shifted ReLU (arXiv 2208.05395), section 9.10: the loss of a sample
is that of the worst point that an adversary with a few sign steps finds near it.

Shapes: N samples, d inputs, m neurons, whose signs alternate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.errors import TaskRefused
from training.exact.counter import make_uniform, open_stream
from training.exact.grids import DATA, WEIGHT, Grid, Product, rescale, saturate
from training.exact.late import torch
from training.exact.trace import Trace, fold
from training.hashing import compute_tagged_hash
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
from training.splits import Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

MAX_INPUTS, MAX_NEURONS, MAX_SHARD, MAX_PARAMETERS = 1024, 4096, 4096, 1 << 20
MAX_STEPS, MAX_STRIDE, MAX_SHIFT = 8, 1023, 4095
SCORE = Grid(20, 24)
RESIDUAL = Grid(20, 26)
GRADIENT = Grid(14, 20)
ACTIVE = Grid(0, 1)  # -1, 0, 1
SHIFT_F = 8
START_BITS = 17  # of the fixed weights, in units of products
START_SEED = compute_tagged_hash("gc/relu")
STARTS_KEPT = 4
# What the kernels do beside products, in exponentials: a quarter for each neuron at a point, four for the point, and a
# quarter for each weight, which is put on the fixed one and turned.
POINT_WORK, EXPONENTIAL_PARTS = 16, 4


@dataclass(frozen=True, slots=True)
class AdversarialRelu:
    """A net of `neurons` against an adversary of `steps` of `stride` (2^-12), active above `shift` (2^-8)."""

    inputs: int
    neurons: int
    steps: int
    stride: int
    shift: int

    name: ClassVar[str] = "adversarial_relu"
    gradient_fs: ClassVar[tuple[int, ...]] = (26,)

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        check_param_count(cls.name, params, "features neurons steps stride shift")
        inputs, neurons, steps, stride, shift = params
        check_range("params features", inputs, 1, MAX_INPUTS)
        check_range("params neurons", neurons, 2, MAX_NEURONS)
        check_range("params steps", steps, 1, MAX_STEPS)
        check_range("params stride", stride, 1, MAX_STRIDE)
        check_range("params shift", shift, 0, MAX_SHIFT)
        if neurons % 2:
            raise TaskRefused("params neurons", f"an even number expected, got {neurons}")
        if inputs * neurons > MAX_PARAMETERS:
            raise TaskRefused(
                "params neurons",
                f"at most {MAX_PARAMETERS} features * neurons expected, got {inputs * neurons}",
            )
        return cls(inputs, neurons, steps, stride, shift)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.inputs, self.neurons),)

    @property
    def layout(self) -> Layout:
        return Layout((self.inputs,), (1,), 1, ())

    def list_products(self, shard: int) -> tuple[Product, ...]:
        check_range("shard", shard, 1, MAX_SHARD)
        d, m = self.inputs, self.neurons
        forward = Product("S = x W", DATA, WEIGHT, shard, d, m)
        back = Product("H = M W^T", ACTIVE, WEIGHT, shard, m, d)
        gradient = Product("gW = x^T q", DATA, GRADIENT, d, shard, m)
        return (*(forward, back) * self.steps, forward, gradient)

    def count_forward(self, samples: int) -> int:
        return (2 * self.steps + 1) * samples * self.inputs * self.neurons

    def measure_pass(self, samples: int) -> PassSizes:
        points = samples * (self.steps + 1)
        spent = points * (self.neurons + POINT_WORK) + self.inputs * self.neurons
        return PassSizes(samples * self.inputs, 0, spent // EXPONENTIAL_PARTS)

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        return make_value_batch(split, indices)

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return sum_squares(self._attack(self._add_start(weights[0]), batch, None)[2])

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return sum_signed(self._activate(inputs, self._add_start(weights[0]), None))

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        x_Nd, active_Nm, r_N1 = self._attack(self._add_start(weights[0]), batch, trace)
        g_N1 = rescale(r_N1, RESIDUAL.f - 1, GRADIENT)  # twice the residual
        return (fold(x_Nd.transpose(0, 1) @ (active_Nm * g_N1), trace),)

    def _attack(self, w_dm: Tensor, batch: Batch, trace: Trace | None) -> tuple[Tensor, Tensor, Tensor]:
        """The points that the adversary comes to, M and R there."""
        x_Nd = batch.inputs
        active_Nm, r_N1 = self._look(x_Nd, w_dm, batch, trace)
        for _ in range(self.steps):
            h_Nd = fold(active_Nm @ w_dm.transpose(0, 1), trace)
            x_Nd = saturate(x_Nd + torch.sign(h_Nd) * torch.sign(r_N1) * float(self.stride), DATA.p)
            active_Nm, r_N1 = self._look(x_Nd, w_dm, batch, trace)
        return x_Nd, active_Nm, r_N1

    def _look(self, x_Nd: Tensor, w_dm: Tensor, batch: Batch, trace: Trace | None) -> tuple[Tensor, Tensor]:
        """M and R at some points."""
        u_Nm = self._activate(x_Nd, w_dm, trace)
        r_N1 = saturate(sum_signed(u_Nm) - batch.targets * 2.0**8, RESIDUAL.p)
        return torch.sign(u_Nm) * make_signs(self.neurons), r_N1

    def _activate(self, x_Nd: Tensor, w_dm: Tensor, trace: Trace | None) -> Tensor:
        scores = rescale(fold(x_Nd @ w_dm, trace), DATA.f + WEIGHT.f, SCORE)
        return torch.clamp(scores - float(self.shift << (SCORE.f - SHIFT_F)), min=0.0)

    def _add_start(self, weights_dm: Tensor) -> Tensor:
        start = torch.from_numpy(make_start(self.inputs, self.neurons)).to(torch.float64)
        return saturate(weights_dm + start, WEIGHT.p)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import relu as kernels

        data = (self._kernel_params(), make_start(self.inputs, self.neurons), split.inputs, split.rows)
        return run_kernel(self, kernels.run_ticket, data, weights, ticket)

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        from training.exact.fused import relu as kernels

        data = (make_start(self.inputs, self.neurons), split.inputs, split.rows)
        return int(kernels.sum_losses(self._kernel_params(), *data, indices, weights))

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        from training.exact.fused import relu as kernels

        start = make_start(self.inputs, self.neurons)
        values: Integers = kernels.compute_outputs(self._kernel_params(), start, inputs, weights)
        return values

    def _kernel_params(self) -> Integers:
        return np.array([self.inputs, self.neurons, self.steps, self.stride, self.shift], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """At the adversary's points, which are taken as given: no derivative is taken through its signs."""
        start = torch.from_numpy(make_start(self.inputs, self.neurons) * 2.0**-WEIGHT.f)
        w_dm = weights[0] + start.to(weights[0].device, weights[0].dtype)
        signs = make_signs(self.neurons).to(w_dm.device, w_dm.dtype)
        with torch.no_grad():
            x_Nd = self._native_attack(w_dm, signs, batch)
        return self._native_values(x_Nd, w_dm, signs) - batch.targets

    def _native_attack(self, w_dm: Tensor, signs: Tensor, batch: Batch) -> Tensor:
        x_Nd, stride = batch.inputs, self.stride * 2.0**-DATA.f
        for _ in range(self.steps):
            scores = (x_Nd @ w_dm).sub_(self.shift * 2.0**-SHIFT_F)
            active = (scores > 0) * signs
            r_N1 = scores.mul_(active).sum(-1, keepdim=True) - batch.targets
            x_Nd = x_Nd + torch.sign(active @ w_dm.transpose(0, 1)) * torch.sign(r_N1) * stride
        return x_Nd

    def _native_values(self, x_Nd: Tensor, w_dm: Tensor, signs: Tensor) -> Tensor:
        return ((x_Nd @ w_dm - self.shift * 2.0**-SHIFT_F).clamp(min=0) * signs).sum(-1, keepdim=True)


@lru_cache(STARTS_KEPT)
def make_start(inputs: int, neurons: int) -> Integers:
    """The fixed weights [d, m] that a job's are added to, in units of products; columns are equal in pairs."""
    stream = open_stream(START_SEED, "weights")
    drawn = make_uniform(stream, inputs * (neurons // 2), START_BITS).reshape(inputs, neurons // 2)
    start: Integers = drawn[:, np.arange(neurons) // 2]
    return start
