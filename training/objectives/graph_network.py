"""Two layers of a graph network (arXiv 2104.03058), section 9.12: rows of a node's neighbours go through a hidden layer
with ReLU, are summed, and are read by a softmax over classes.

Shapes: N samples (nodes), L rows of a node, d inputs, m neurons, c outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.exact.counter import make_uniform, open_stream
from training.exact.grids import ATTENTION, DATA, WEIGHT, Grid, Product, rescale, saturate
from training.exact.late import torch
from training.exact.scores import NARROW_GRADIENT, PLAIN, PROBABILITY_GRADIENT, Applied
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
    make_float,
    make_one_hot,
    run_kernel,
    sum_squares,
)
from training.splits import NO_LABELS, NO_ROWS, Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS, MAX_INPUTS, MAX_OUTPUTS, MAX_SHARD, MAX_ROWS = 64, 256, 256, 1024, 4096
MIN_NEURONS, MAX_NEURONS = 8, 1024  # kernels pad to 8: fewer would cost more than they declare
VALUE = Grid(20, 24)
HIDDEN = Grid(14, 20)
MIXED_GRADIENT = Grid(18, 22)
START_BITS = 17  # of the fixed weights, in units of products
START_SEED = compute_tagged_hash("gc/graph")
STARTS_KEPT = 4
# A neuron at a row and a fixed weight take a quarter of an exponential each; a row itself four.
ROW_NEURONS, EXPONENTIAL_PARTS = 16, 4


@dataclass(frozen=True, slots=True)
class GraphNetwork:
    """`tokens` rows of `inputs` for each node, `neurons` in the hidden layer; `indexed` targets are classes."""

    tokens: int
    inputs: int
    neurons: int
    outputs: int
    indexed: bool

    name: ClassVar[str] = "graph_network"
    gradient_fs: ClassVar[tuple[int, ...]] = (30, 32)

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        check_param_count(cls.name, params, "tokens width neurons outputs targets")
        tokens, inputs, neurons, outputs, targets = params
        check_range("params tokens", tokens, 1, MAX_TOKENS)
        check_range("params width", inputs, 1, MAX_INPUTS)
        check_range("params neurons", neurons, MIN_NEURONS, MAX_NEURONS)
        check_range("params outputs", outputs, 2, MAX_OUTPUTS)
        check_range("params targets", targets, 0, 1)
        Product("r = row sums of P G", ATTENTION, PROBABILITY_GRADIENT, 1, outputs, 1)  # its budget, too
        return cls(tokens, inputs, neurons, outputs, bool(targets))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.inputs, self.neurons), (self.neurons, self.outputs)

    @property
    def layout(self) -> Layout:
        rows = None if self.indexed else (self.outputs,)
        return Layout((self.tokens, self.inputs), rows, self.outputs, ("u8",))

    def list_products(self, shard: int) -> tuple[Product, ...]:
        check_range("shard", shard, 1, min(MAX_SHARD, MAX_ROWS // self.tokens))
        rows, d, m, c = shard * self.tokens, self.inputs, self.neurons, self.outputs
        return (
            Product("S = A U", DATA, WEIGHT, rows, d, m),
            Product("Z = h V", HIDDEN, WEIGHT, shard, m, c),
            Product("D = q V^T", NARROW_GRADIENT, WEIGHT, shard, c, m),
            Product("gU = A^T T", DATA, MIXED_GRADIENT, d, rows, m),
            Product("gV = h^T q", HIDDEN, NARROW_GRADIENT, m, shard, c),
        )

    def count_forward(self, samples: int) -> int:
        return samples * self.neurons * (self.tokens * self.inputs + self.outputs)

    def measure_pass(self, samples: int) -> PassSizes:
        spent = samples * self.tokens * (self.neurons + ROW_NEURONS) + self.inputs * self.neurons
        exponentials = samples * self.outputs + spent // EXPONENTIAL_PARTS
        return PassSizes(samples * self.tokens * self.inputs, samples, exponentials)

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        inputs = make_float(split.inputs[indices]).view(-1, self.tokens, self.inputs)
        if self.indexed:
            targets = make_one_hot(split.labels[indices], self.outputs)
        else:
            targets = make_float(split.rows[indices])
        return Batch(inputs, targets, make_float(split.keys))

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        applied = self._forward(weights, batch.inputs, None)[2]
        return sum_squares(PLAIN.compute_residuals(applied, batch.targets))

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return self._forward(weights, inputs.view(-1, self.tokens, self.inputs), None)[2].u

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        u_NLm, h_Nm, applied = self._forward(weights, batch.inputs, trace)
        residuals = PLAIN.compute_residuals(applied, batch.targets)
        q_Nc = PLAIN.differentiate(applied, residuals, batch.targets)
        d_Nm = rescale(fold(q_Nc @ weights[1].transpose(0, 1), trace), 34, MIXED_GRADIENT)
        t_NLm = torch.sign(u_NLm) * d_Nm[:, None, :]
        a_Md = batch.inputs.flatten(0, 1)
        gu_dm = fold(a_Md.transpose(0, 1) @ t_NLm.flatten(0, 1), trace)
        return gu_dm, fold(h_Nm.transpose(0, 1) @ q_Nc, trace)

    def _forward(
        self, weights: Sequence[Tensor], a_NLd: Tensor, trace: Trace | None
    ) -> tuple[Tensor, Tensor, Applied]:
        """What the neurons make of every row, their sums, and the softmax."""
        start = torch.from_numpy(make_start(self.inputs, self.neurons)).to(torch.float64)
        s_NLm = fold(a_NLd @ saturate(weights[0] + start, WEIGHT.p), trace)
        u_NLm = torch.clamp(rescale(s_NLm, DATA.f + WEIGHT.f, VALUE), min=0.0)
        h_Nm = rescale(u_NLm.sum(1), VALUE.f, HIDDEN)
        return u_NLm, h_Nm, PLAIN.apply(fold(h_Nm @ weights[1], trace), HIDDEN.f + WEIGHT.f)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import graph as kernels  # compiling is paid for by those who use it

        data = (self._kernel_params(), self._make_start(), split.inputs, split.rows, split.labels)
        return run_kernel(self, kernels.run_ticket, data, weights, ticket)

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        from training.exact.fused import graph as kernels

        data = (self._make_start(), split.inputs, split.rows, split.labels)
        return int(kernels.sum_losses(self._kernel_params(), *data, indices, weights))

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        from training.exact.fused import graph as kernels

        data = (self._make_start(), inputs, NO_ROWS, NO_LABELS)
        scores: Integers = kernels.compute_outputs(self._kernel_params(), *data, weights)
        return scores

    def _make_start(self) -> Integers:
        return make_start(self.inputs, self.neurons)

    def _kernel_params(self) -> Integers:
        return np.array([self.tokens, self.inputs, self.neurons, self.outputs, self.indexed], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        u_dm, v_mc = weights
        start = torch.from_numpy(self._make_start() * 2.0**-WEIGHT.f).to(u_dm.device, u_dm.dtype)
        hidden = torch.relu(batch.inputs @ (u_dm + start)).sum(-2)
        return torch.softmax(hidden @ v_mc, -1) - batch.targets


@lru_cache(STARTS_KEPT)
def make_start(inputs: int, neurons: int) -> Integers:
    """The fixed weights [d, m] that a job's U is added to, in units of products."""
    drawn = make_uniform(open_stream(START_SEED, "weights"), inputs * neurons, START_BITS)
    return drawn.reshape(inputs, neurons)
