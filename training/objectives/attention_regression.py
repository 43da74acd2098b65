"""Single-layer attention regression (arXiv 2309.07418): || softmax(A X A^T) A Y - B ||^2, section 9.3.

Shapes: N samples, L tokens, d features, c outputs, M = N * L rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.errors import TaskRefused
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
    run_kernel,
    sum_squares,
)
from training.splits import Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

QUERY = Grid(14, 20)
CONTEXT = Grid(14, 18)
OUTPUT = Grid(20, 26)
OUTPUT_GRADIENT = Grid(14, 20)
CONTEXT_GRADIENT = Grid(14, 20)
ATTENTION_GRADIENT = Grid(14, 22)
SCORE_GRADIENT = Grid(18, 22)
MIXED_GRADIENT = Grid(18, 22)
MAX_TOKENS, MAX_FEATURES, MAX_OUTPUTS, MAX_OUTPUT_ENTRIES, MAX_ROWS = 64, 256, 256, 1024, 4096


@dataclass(frozen=True, slots=True)
class AttentionRegression:
    """Tokens of `width` inputs; placed, if positional, in columns of their own; `indexed` targets are classes."""

    tokens: int
    width: int
    outputs: int
    positional: bool
    indexed: bool

    name: ClassVar[str] = "attention_regression"
    gradient_fs: ClassVar[tuple[int, ...]] = (30, 28)

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        check_param_count(cls.name, params, "tokens width outputs placement targets")
        tokens, width, outputs, placement, targets = params
        check_range("params tokens", tokens, 1, MAX_TOKENS)
        check_range("params placement", placement, 0, 1)
        check_range("params targets", targets, 0, 1)
        check_range("params width", width, 1, MAX_FEATURES // tokens if placement else MAX_FEATURES)
        check_range("params outputs", outputs, 1, min(MAX_OUTPUTS, MAX_OUTPUT_ENTRIES // tokens))
        Product("t = row sums of T P", ATTENTION_GRADIENT, ATTENTION, 1, tokens, 1)  # its budget, too
        return cls(tokens, width, outputs, bool(placement), bool(targets))

    @property
    def features(self) -> int:
        return self.tokens * self.width if self.positional else self.width

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.features, self.features), (self.features, self.outputs)

    @property
    def layout(self) -> Layout:
        rows = None if self.indexed else (self.tokens, self.outputs)
        return Layout((self.tokens, self.width), rows, self.outputs, ("u8",))

    def list_products(self, shard: int) -> tuple[Product, ...]:
        rows, d, c, tokens = shard * self.tokens, self.features, self.outputs, self.tokens
        if rows > MAX_ROWS:
            raise TaskRefused(
                "shard", f"at most {MAX_ROWS // tokens} samples of {tokens} tokens expected, got {shard}"
            )
        return (
            Product("Q = A X", DATA, WEIGHT, rows, d, d),
            Product("S = Q A^T", QUERY, DATA, rows, d, tokens),
            Product("C = P A", ATTENTION, DATA, rows, tokens, d),
            Product("V = C Y", CONTEXT, WEIGHT, rows, d, c),
            Product("D = G Y^T", OUTPUT_GRADIENT, WEIGHT, rows, c, d),
            Product("T = D A^T", CONTEXT_GRADIENT, DATA, rows, d, tokens),
            Product("U = Z A", SCORE_GRADIENT, DATA, rows, tokens, d),
            Product("gX = A^T U", DATA, MIXED_GRADIENT, d, rows, d),
            Product("gY = C^T G", CONTEXT, OUTPUT_GRADIENT, d, rows, c),
        )

    def count_forward(self, samples: int) -> int:
        d, c, tokens = self.features, self.outputs, self.tokens
        return samples * tokens * (d * d + 2 * d * tokens + d * c)

    def measure_pass(self, samples: int) -> PassSizes:
        rows = samples * self.tokens
        return PassSizes(rows * self.features, rows, rows * self.tokens)

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        inputs = self.expand(make_float(split.inputs[indices]))
        if self.indexed:
            targets = make_one_hot(split.labels[indices], self.outputs)[:, None, :]
        else:
            targets = make_float(split.rows[indices]).view(-1, self.tokens, self.outputs)
        return Batch(inputs, targets, make_float(split.keys))

    def expand(self, flat: Tensor) -> Tensor:
        """Inputs as products read them, [N, L, d], from [N, L * w]."""
        tokens = flat.view(-1, self.tokens, self.width)
        if not self.positional:
            return tokens
        placed = torch.zeros(len(tokens), self.tokens, self.features, dtype=flat.dtype)
        for i in range(self.tokens):
            placed[:, i, i * self.width : (i + 1) * self.width] = tokens[:, i]
        return placed

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return sum_squares(_compute_residuals(self.compute_outputs(weights, batch.inputs), batch))

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return self.compute_outputs(weights, self.expand(inputs)).sum(1)

    def compute_outputs(self, weights: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """V of expanded inputs, [N, L, c] on step 2^-20."""
        return self._forward(weights, inputs, None)[2]

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        a_NLd, y_dc = batch.inputs, weights[1]
        p_NLL, c_NLd, v_NLc = self._forward(weights, a_NLd, trace)
        residuals = _compute_residuals(v_NLc, batch)
        g_NLc = rescale(residuals, OUTPUT.f - 1, OUTPUT_GRADIENT)  # one step finer: twice the residual
        d_NLd = rescale(fold(g_NLc @ y_dc.transpose(0, 1), trace), 30, CONTEXT_GRADIENT)
        t_NLL = rescale(fold(d_NLd @ a_NLd.transpose(1, 2), trace), 26, ATTENTION_GRADIENT)
        mean_NL1 = (t_NLL * p_NLL).sum(2, keepdim=True)
        z_NLL = saturate(torch.round(((t_NLL * 2.0**20 - mean_NL1) * p_NLL) * 2.0**-36), SCORE_GRADIENT.p)
        u_NLd = rescale(fold(z_NLL @ a_NLd, trace), 30, MIXED_GRADIENT)
        gx_dd = fold(a_NLd.flatten(0, 1).transpose(0, 1) @ u_NLd.flatten(0, 1), trace)
        gy_dc = fold(c_NLd.flatten(0, 1).transpose(0, 1) @ g_NLc.flatten(0, 1), trace)
        return gx_dd, gy_dc

    def _forward(
        self, weights: Sequence[Tensor], a_NLd: Tensor, trace: Trace | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        x_dd, y_dc = weights
        q_NLd = rescale(fold(a_NLd @ x_dd, trace), 28, QUERY)
        p_NLL = softmax(fold(q_NLd @ a_NLd.transpose(1, 2), trace), 26)
        c_NLd = rescale(fold(p_NLL @ a_NLd, trace), 32, CONTEXT)
        return p_NLL, c_NLd, rescale(fold(c_NLd @ y_dc, trace), 30, OUTPUT)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import attention  # compiling and loading is paid for by those who use it

        data = (self._kernel_params(), split.inputs, split.rows, split.labels)
        return run_kernel(self, attention.run_ticket, data, weights, ticket)

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        from training.exact.fused import attention

        params = self._kernel_params()
        return int(attention.sum_losses(params, split.inputs, split.rows, split.labels, indices, weights))

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        outputs = self.compute_outputs_fused(inputs, weights)
        scores: Integers = outputs.reshape(-1, self.tokens, self.outputs).sum(1)
        return scores

    def compute_outputs_fused(self, inputs: Shorts, weights: Integers) -> Integers:
        """V of compact inputs [N, L * w], as [N, L * c] on step 2^-20."""
        from training.exact.fused import attention

        rows, labels = np.zeros((1, 1), np.int16), np.zeros(1, np.int16)
        indices = np.arange(len(inputs))
        outputs: Integers = attention.compute_outputs(
            self._kernel_params(), inputs, rows, labels, indices, weights
        )
        return outputs

    def _kernel_params(self) -> Integers:
        return np.array([self.tokens, self.width, self.outputs, self.positional, self.indexed], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        x_dd, y_dc = weights
        a_NLd = batch.inputs
        p_NLL = torch.softmax(a_NLd @ x_dd @ a_NLd.transpose(1, 2), -1)
        return p_NLL @ a_NLd @ y_dc - batch.targets


def _compute_residuals(v_NLc: Tensor, batch: Batch) -> Tensor:
    return saturate(v_NLc - batch.targets * 2.0**8, OUTPUT.p)
