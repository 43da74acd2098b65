"""Sequence regression (arXiv 2308.10502, 2305.00660): every sample is a user's own problem || softmax(A x) - b ||^2, or
the rescaled one with exp, cosh or sinh, with a weight on A x; the weights x are shared. Section 9.7.

Shapes: N samples, L tokens, d inputs of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.errors import TaskRefused
from training.exact.grids import DATA, WEIGHT, Product
from training.exact.scores import SCORE_GRADIENT, Applied, ScoreFunction, check_budgets
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
from training.objectives.softmax_regression import parse_function
from training.splits import NO_LABELS, Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS, MAX_INPUTS, MAX_ROWS = 256, 1024, 4096
TOKEN_WORK = 4  # exponentials that take as long as what a token takes beside its own: its load and its sum


@dataclass(frozen=True, slots=True)
class SequenceRegression:
    """One vector of weights for sequences of `tokens` rows, each with its own target row."""

    tokens: int
    inputs: int
    scores: ScoreFunction

    name: ClassVar[str] = "sequence_regression"
    gradient_fs: ClassVar[tuple[int, ...]] = (30,)

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        check_param_count(cls.name, params, "tokens width function weight")
        tokens, inputs, function, weight = params
        check_range("params tokens", tokens, 1, MAX_TOKENS)
        check_range("params width", inputs, 1, MAX_INPUTS)
        check_budgets(tokens)
        return cls(tokens, inputs, parse_function(function, weight))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.inputs, 1),)

    @property
    def layout(self) -> Layout:
        return Layout((self.tokens, self.inputs), (self.tokens,), self.tokens, ())

    def list_products(self, shard: int) -> tuple[Product, ...]:
        rows = shard * self.tokens
        if rows > MAX_ROWS:
            raise TaskRefused(
                "shard",
                f"at most {MAX_ROWS // self.tokens} samples of {self.tokens} tokens expected, got {shard}",
            )
        return (
            Product("S = A x", DATA, WEIGHT, rows, self.inputs, 1),
            Product("gx = A^T q", DATA, SCORE_GRADIENT, self.inputs, rows, 1),
        )

    def count_forward(self, samples: int) -> int:
        return samples * self.tokens * self.inputs

    def measure_pass(self, samples: int) -> PassSizes:
        rows = samples * self.tokens
        return PassSizes(rows * self.inputs, samples, rows * (TOKEN_WORK + self.scores.exponentials))

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        return Batch(
            make_float(split.inputs[indices]).view(-1, self.tokens, self.inputs),
            make_float(split.rows[indices]),
            make_float(split.keys),
        )

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        applied = self._forward(weights, batch.inputs, None)
        return sum_squares(self.scores.compute_residuals(applied, batch.targets))

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return self._forward(weights, inputs.view(-1, self.tokens, self.inputs), None).u

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        applied = self._forward(weights, batch.inputs, trace)
        residuals = self.scores.compute_residuals(applied, batch.targets)
        q = self.scores.differentiate(applied, residuals, batch.targets).view(-1, 1)
        rows = batch.inputs.view(-1, self.inputs)
        return (fold(rows.transpose(0, 1) @ q, trace),)

    def _forward(self, weights: Sequence[Tensor], inputs: Tensor, trace: Trace | None) -> Applied:
        scores = fold(inputs.view(-1, self.inputs) @ weights[0], trace)
        return self.scores.apply(scores.view(-1, self.tokens), 28)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import sequence as kernels

        data = (self._kernel_params(), split.inputs, split.rows, split.labels)
        return run_kernel(self, kernels.run_ticket, data, weights, ticket)

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        from training.exact.fused import sequence as kernels

        data = (split.inputs, split.rows, split.labels)
        return int(kernels.sum_losses(self._kernel_params(), *data, indices, weights))

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        from training.exact.fused import sequence as kernels

        no_rows = np.zeros((len(inputs), self.tokens), np.int16)
        scores: Integers = kernels.compute_outputs(
            self._kernel_params(), inputs, no_rows, NO_LABELS, np.arange(len(inputs)), weights
        )
        return scores

    def _kernel_params(self) -> Integers:
        return np.array([self.tokens, self.inputs, self.scores.function, self.scores.weight], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return self.scores.native_residuals(self.native_scores(weights, batch), batch.targets)

    def native_scores(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """What the function is taken of, [N, L], in floating point."""
        return (batch.inputs @ weights[0]).squeeze(-1)
