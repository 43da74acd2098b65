"""A job's whole training split as one smooth loss: what the second-order solvers read. Nothing of it is ever compared.

The mean over samples of the objective's native loss, its gradient by automatic differentiation, products with its
Hessian by differentiating that once more, and the Hessian from as many products as there are parameters: many at a time
(is_grads_batched) took as long, or longer where their intermediate values leave the cache. Any objective will do; the
formulas of training/derivatives are faster, and each is for one problem.

Points are float64 whatever the precision that the loss is computed in: what a solver does with them is cheap. Weights
have any size here; those of a job end at LARGEST_WEIGHT (training/solvers/box.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np

from training.derivatives.rescaled import Kind, compute_values
from training.exact.grids import MASTER
from training.exact.late import torch
from training.exact.scores import DOMAIN, Function, ScoreFunction
from training.native import NativeBatch, NativeProblem, Precision
from training.objectives.base import Batch, Integers, Objective, split_weights
from training.splits import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

LARGEST_WEIGHT = MASTER.limit * 2.0**-MASTER.f
# Of what a pass keeps of the samples it is over, some ten times; 8 MiB each in float64.
BLOCK_ENTRIES = 1 << 20
# Of the largest |function of a score| at the start: scores end at 4, and exp(-4) is 1 / 55.
COLLAPSED = 1 / 32


@runtime_checkable
class Scored(Protocol):
    """An objective that is a function of scores."""

    @property
    def scores(self) -> ScoreFunction:
        """The function."""

    def native_scores(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """What it is taken of."""


class WholeLoss:
    """The mean loss of a split, a block of samples at a time; see training/solvers/smooth.py.

    `check` is called before every block: it may raise, to end a computation that takes too long.
    """

    def __init__(
        self,
        objective: Objective,
        split: Split,
        precision: Precision = "float64",
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem = NativeProblem(objective, split, getattr(torch, precision))
        self._objective, self.precision, self._check = objective, getattr(torch, precision), check
        self._block = max(1, min(split.count, BLOCK_ENTRIES // _count_entries(objective)))
        self._only: NativeBatch | None = None  # where one block is all
        self._slope: tuple[Tensor, _Slope] | None = None  # of the last point, where one block is all
        self._peak: tuple[Tensor, float] | None = None

    @property
    def size(self) -> int:
        return self.problem.size

    def measure(self, x: Tensor) -> float:
        weights = x.to(self.precision)
        loss = sum(batch.measure(weights) for batch in self._open_blocks())
        return loss if math.isfinite(loss) else math.inf

    def differentiate(self, x: Tensor) -> Tensor:
        gradient, weights = torch.zeros_like(x), x.to(self.precision)
        for batch in self._open_blocks():
            gradient += batch.differentiate(weights)
        return gradient

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        product = torch.zeros_like(x)
        for slope in self._open_slopes(x):
            product += slope.multiply(v.to(self.precision))
        return product

    def make_hessian(self, x: Tensor) -> Tensor:
        """p products of each block."""
        hessian, each = x.new_zeros(self.size, self.size), torch.eye(self.size, dtype=self.precision)
        for slope in self._open_slopes(x):
            for row, unit in zip(hessian, each, strict=True):
                self._check()
                row += slope.multiply(unit)
        return 0.5 * (hessian + hessian.T)

    def has_collapsed(self, start: Tensor, x: Tensor) -> bool:
        """Whether exp or sinh of all scores fell to next to nothing: so does the loss then, whatever the targets."""
        if not isinstance(self._objective, Scored):
            return False
        if self._objective.scores.function not in (Function.EXP, Function.SINH):
            return False  # a softmax cannot, a cosh is 1 at least
        if self._peak is None or not torch.equal(self._peak[0], start):
            self._peak = start.clone(), self._measure_peak(self._objective, start)
        return self._measure_peak(self._objective, x) < COLLAPSED * self._peak[1]

    def _measure_peak(self, objective: Scored, x: Tensor) -> float:
        weights = split_weights(self._objective, x.to(self.precision))
        kind = cast(Kind, objective.scores.function.name.lower())
        scores = (objective.native_scores(weights, batch.samples) for batch in self._open_blocks())
        return max(float(compute_values(kind, s.clamp(-DOMAIN, DOMAIN)).abs().max()) for s in scores)

    def _open_blocks(self) -> Iterator[NativeBatch]:
        count = self.problem.count
        if self._block == count:
            self._check()
            self._only = self._only or self.problem.open_batch(_number(0, count))
            yield self._only
            return
        for first in range(0, count, self._block):
            self._check()
            yield self.problem.open_batch(_number(first, min(first + self._block, count)), count)

    def _open_slopes(self, x: Tensor) -> Iterator[_Slope]:
        """Gradients whose derivatives can be taken. One alone is kept: conjugate gradients stay at a point."""
        if self._slope is not None and torch.equal(self._slope[0], x):
            self._check()
            yield self._slope[1]
            return
        self._slope = None
        for batch in self._open_blocks():
            slope = _Slope(batch, x.to(self.precision))
            if self._block == self.problem.count:
                self._slope = x.clone(), slope
            yield slope


class _Slope:
    """A gradient at a point, with products of its derivative: the Hessian."""

    def __init__(self, batch: NativeBatch, weights: Tensor) -> None:
        self._point = weights.detach().clone().requires_grad_()
        loss = batch.compute_loss(self._point)
        (self._gradient,) = torch.autograd.grad(loss, self._point, create_graph=True)

    def multiply(self, v: Tensor) -> Tensor:
        return torch.autograd.grad(self._gradient, self._point, v, retain_graph=True)[0]


def _count_entries(objective: Objective) -> int:
    """Of the widest that a pass keeps of a sample."""
    sizes = objective.measure_pass(1)
    return sizes.noisy + sizes.exponentials + int(np.prod(objective.layout.rows or objective.layout.classes))


def _number(first: int, end: int) -> Integers:
    return np.arange(first, end, dtype=np.int64)
