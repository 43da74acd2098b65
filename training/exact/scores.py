"""What becomes of a row of scores: softmax, or the rescaled exp, cosh and sinh of 2305.00660, with a weight on the
scores themselves. Exact residuals and the exact gradient at the scores, section 9.6 of docs/protocol.md.

Shapes: scores S and targets b [..., c]; a row is the last dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from training.exact.functions import exp, softmax
from training.exact.grids import DATA, Grid, Product, rescale, saturate
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

SCORE = Grid(20, 22)  # the domain: within +-4
VALUE = Grid(20, 26)  # exp of it
PROBABILITY_RESIDUAL = Grid(20, 24)  # of a softmax
RESIDUAL = Grid(20, 26)
PROBABILITY_GRADIENT = Grid(16, 18)
GRADIENT = Grid(14, 20)
SCORE_GRADIENT = Grid(18, 22)
NARROW_GRADIENT = Grid(18, 20)  # at the scores of a softmax without a weight
MAX_SCORES = 512  # of a row, with another function than softmax or a weight
MAX_WEIGHT = 4095
WEIGHT_F = 8
DOMAIN = 4.0


class Function(IntEnum):
    """As numbered in a job's parameters."""

    SOFTMAX = 0
    EXP = 1
    COSH = 2
    SINH = 3


@dataclass(frozen=True, slots=True)
class Applied:
    """A function's values u on step 2^-20, its derivatives v (none of a softmax), and the scores s on step 2^-20."""

    u: Tensor
    v: Tensor
    s: Tensor


@dataclass(frozen=True, slots=True)
class ScoreFunction:
    """A function of scores and the weight on their squares, in units of 2^-8."""

    function: Function
    weight: int

    @property
    def is_plain(self) -> bool:
        """A softmax and nothing else."""
        return self.function == Function.SOFTMAX and self.weight == 0

    @property
    def exponentials(self) -> int:
        """How many are taken for a score."""
        return 2 if self.function in (Function.COSH, Function.SINH) else 1

    def apply(self, scores: Tensor, f: int) -> Applied:
        """Exact scores on step 2^-f as the function sees them, and its values."""
        if self.is_plain:
            p = softmax(scores, f)
            return Applied(p, p, p)  # nobody asks for the scores
        s = rescale(scores, f, SCORE)
        if self.function == Function.SOFTMAX:
            p = softmax(scores, f)
            return Applied(p, p, s)
        return Applied(*apply_function(self.function, s), s)

    def compute_residuals(self, applied: Applied, targets: Tensor) -> Tensor:
        """R and, with a weight, T behind it: [..., c] or [..., 2 c]; targets in data units."""
        if self.function == Function.SOFTMAX:
            r = saturate(applied.u - targets * 2.0**8, PROBABILITY_RESIDUAL.p)
        else:
            alpha = applied.u.sum(-1, keepdim=True)
            r = saturate(torch.round((applied.u * 2.0**12 - alpha * targets) * 2.0**-12), RESIDUAL.p)
        if not self.weight:
            return r
        return torch.cat([r, self._weigh(applied.s)], -1)

    def differentiate(self, applied: Applied, residuals: Tensor, targets: Tensor) -> Tensor:
        """The gradient at the scores on step 2^-18, from what compute_residuals gave."""
        count = applied.u.shape[-1]
        r = residuals[..., :count]
        q = (
            self._differentiate_softmax(applied, r)
            if self.function == 0
            else self._differentiate(applied, r, targets)
        )
        if self.weight:
            q = q + torch.round((residuals[..., count:] * float(self.weight)) * 2.0**-9)
        return saturate(q, (NARROW_GRADIENT if self.is_plain else SCORE_GRADIENT).p)

    def _differentiate_softmax(self, applied: Applied, r: Tensor) -> Tensor:
        g = rescale(r, RESIDUAL.f - 1, PROBABILITY_GRADIENT)  # twice the residual
        mean = (g * applied.u).sum(-1, keepdim=True)
        return torch.round(((g * 2.0**20 - mean) * applied.u) * 2.0**-38)

    def _differentiate(self, applied: Applied, r: Tensor, targets: Tensor) -> Tensor:
        g = rescale(r, RESIDUAL.f - 1, GRADIENT)
        t = (targets * g).sum(-1, keepdim=True)
        return torch.round(((g * 2.0**12 - t) * applied.v) * 2.0**-28)

    def _weigh(self, s: Tensor) -> Tensor:
        return saturate(torch.round((s * float(self.weight)) * 2.0**-WEIGHT_F), RESIDUAL.p)

    # --- free ---------------------------------------------------------------------------------------------------------

    def native_residuals(self, scores: Tensor, targets: Tensor) -> Tensor:
        """What the exact loss sums the squares of, in floating point: [..., c] or [..., 2 c]."""
        s = scores.clamp(-DOMAIN, DOMAIN)
        if self.function == Function.SOFTMAX:
            r = torch.softmax(scores, -1) - targets
        else:
            u = (
                s.exp()
                if self.function == Function.EXP
                else s.cosh()
                if self.function == Function.COSH
                else s.sinh()
            )
            r = u - u.sum(-1, keepdim=True) * targets
        return torch.cat([r, s * (self.weight * 2.0**-WEIGHT_F)], -1) if self.weight else r


PLAIN = ScoreFunction(Function.SOFTMAX, 0)


def apply_function(function: Function, s: Tensor) -> tuple[Tensor, Tensor]:
    """exp, cosh or sinh of scores on SCORE, and its derivative, both on step 2^-20."""
    up = exp(s * 2.0**-SCORE.f)
    if function == Function.EXP:
        u = torch.round(up * 2.0**VALUE.f)
        return u, u
    down = exp(s * -(2.0**-SCORE.f))
    cosh = torch.round((up + down) * 2.0 ** (VALUE.f - 1))
    sinh = torch.round((up - down) * 2.0 ** (VALUE.f - 1))
    return (cosh, sinh) if function == Function.COSH else (sinh, cosh)


def check_budgets(count: int) -> None:
    """Raise BudgetExceeded for a row of so many scores that a sum over it could be inexact."""
    Product("alpha b", Grid(VALUE.f, VALUE.p + (count - 1).bit_length()), DATA, 1, 1, 1)
    Product("t = sum of b G", DATA, GRADIENT, 1, count, 1)
