"""Softmax regression (arXiv 2307.02419, 2308.10502): rows of || D^-1 exp(A1 X A2^T) - B ||^2, section 9.5, and the
rescaled problems with exp, cosh and sinh in its place (2305.00660), section 9.6.

Shapes: N samples, d inputs, c outputs, e features of a key (0: no keys, the scores are A X).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from training.errors import TaskRefused
from training.exact.grids import ATTENTION, DATA, WEIGHT, Grid, Product, rescale
from training.exact.scores import (
    MAX_SCORES,
    MAX_WEIGHT,
    NARROW_GRADIENT,
    PLAIN,
    PROBABILITY_GRADIENT,
    SCORE_GRADIENT,
    Applied,
    Function,
    ScoreFunction,
    check_budgets,
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
    make_float,
    make_one_hot,
    run_kernel,
    sum_squares,
)
from training.splits import NO_LABELS, NO_ROWS, Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

QUERY = Grid(14, 20)
MIXED_GRADIENT = Grid(18, 22)
MAX_INPUTS, MAX_OUTPUTS, MAX_KEY_FEATURES, MAX_SHARD = 1024, 1024, 1024, 4096
PLAIN_PARAMS = 4  # of a softmax without a weight


@dataclass(frozen=True, slots=True)
class SoftmaxRegression:
    """A softmax over `outputs` classes, or another function, with public keys for them if `key_features` is not 0."""

    inputs: int
    outputs: int
    key_features: int
    indexed: bool
    scores: ScoreFunction = PLAIN

    name: ClassVar[str] = "softmax_regression"
    gradient_fs: ClassVar[tuple[int, ...]] = (30,)

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        more = params[PLAIN_PARAMS:]
        meaning = "inputs outputs key_features targets"
        check_param_count(cls.name, params, f"{meaning} function weight" if more else meaning)
        inputs, outputs, key_features, targets = params[:PLAIN_PARAMS]
        scores = parse_function(*more) if more else PLAIN
        if more and scores.is_plain:
            raise TaskRefused(
                "params", f"function 0 and weight 0 are left out: {PLAIN_PARAMS} numbers expected, got 6"
            )
        if more:
            check_range("params outputs", outputs, 2, MAX_SCORES)
            check_budgets(outputs)
        check_range("params features", inputs, 1, MAX_INPUTS)
        check_range("params outputs", outputs, 2, MAX_OUTPUTS)
        check_range("params key_features", key_features, 0, MAX_KEY_FEATURES)
        check_range("params targets", targets, 0, 1)
        Product("r = row sums of P G", ATTENTION, PROBABILITY_GRADIENT, 1, outputs, 1)  # its budget, too
        return cls(inputs, outputs, key_features, bool(targets), scores)

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
        gradient = NARROW_GRADIENT if self.scores.is_plain else SCORE_GRADIENT
        if not e:
            return (
                Product("S = A X", DATA, WEIGHT, shard, d, c),
                Product("gX = A^T Q", DATA, gradient, d, shard, c),
            )
        return (
            Product("Q = A X", DATA, WEIGHT, shard, d, e),
            Product("S = Q keys^T", QUERY, DATA, shard, e, c),
            Product("U = q keys", gradient, DATA, shard, c, e),
            Product("gX = A^T U", DATA, MIXED_GRADIENT, d, shard, e),
        )

    def count_forward(self, samples: int) -> int:
        return samples * (self.inputs * self.width + self.key_features * self.outputs)

    def measure_pass(self, samples: int) -> PassSizes:
        noisy = samples * self.inputs + self.outputs * self.key_features
        return PassSizes(noisy, samples, samples * self.outputs * self.scores.exponentials)

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        if self.indexed:
            targets = make_one_hot(split.labels[indices], self.outputs)
        else:
            targets = make_float(split.rows[indices])
        return Batch(make_float(split.inputs[indices]), targets, make_float(split.keys))

    # --- exact, portable ----------------------------------------------------------------------------------------------

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        applied = self._forward(weights, batch.inputs, batch.keys, None)
        return sum_squares(self.scores.compute_residuals(applied, batch.targets))

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        return self._forward(weights, inputs, keys, None).u

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        applied = self._forward(weights, batch.inputs, batch.keys, trace)
        residuals = self.scores.compute_residuals(applied, batch.targets)
        q_Nc = self.scores.differentiate(applied, residuals, batch.targets)
        if self.key_features:
            q_Nc = rescale(fold(q_Nc @ batch.keys, trace), 30, MIXED_GRADIENT)
        return (fold(batch.inputs.transpose(0, 1) @ q_Nc, trace),)

    def _forward(
        self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor, trace: Trace | None
    ) -> Applied:
        q = fold(inputs @ weights[0], trace)
        if not self.key_features:
            return self.scores.apply(q, 28)
        return self.scores.apply(fold(rescale(q, 28, QUERY) @ keys.transpose(0, 1), trace), 26)

    # --- exact, compiled ----------------------------------------------------------------------------------------------

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        from training.exact.fused import (
            softmax as kernels,
        )  # compiling and loading is paid for by those who use it

        data = (self._kernel_params(), split.inputs, split.rows, split.labels, split.keys)
        return run_kernel(self, kernels.run_ticket, data, weights, ticket)

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
        shape = (self.inputs, self.outputs, self.key_features, self.indexed)
        return np.array([*shape, self.scores.function, self.scores.weight], np.int64)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return (self.native_residuals(weights, batch) ** 2).sum()

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        return self.scores.native_residuals(self.native_scores(weights, batch), batch.targets)

    def native_scores(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """What the function is taken of, [N, c], in floating point."""
        scores = batch.inputs @ weights[0]
        return scores @ batch.keys.transpose(0, 1) if self.key_features else scores


def parse_function(function: int, weight: int) -> ScoreFunction:
    """A function of scores with its weight from a job's parameters; raises TaskRefused."""
    check_range("params function", function, 0, max(Function))
    check_range("params weight", weight, 0, MAX_WEIGHT)
    return ScoreFunction(Function(function), weight)
