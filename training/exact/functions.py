"""exp and softmax from additions, multiplications and divisions in a fixed order (section 9.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

LOG2_E = 1 / 0.6931471805599453
LN2_HIGH = 0.693359375  # 355 / 512: times a small integer it is exact
LN2_LOW = -2.12194440054690583e-4
LOWEST = -40.0  # exp(-40) is far below one unit of 2^-30, far above the subnormal numbers
COEFFICIENTS = tuple(1 / math.factorial(i) for i in range(9))
EXP_F = 30  # step of the terms of a softmax
ATTENTION_F = 20  # step of a softmax
EXPONENT_BIAS = 1023
EXPONENT_SHIFT = 52


def exp(x: Tensor) -> Tensor:
    """exp of float64 numbers up to 4; relative error below 1e-9. What is below -40 counts as -40."""
    x = torch.clamp(x, min=LOWEST)
    k = torch.round(x * LOG2_E)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = torch.full_like(r, COEFFICIENTS[8])
    for coefficient in reversed(COEFFICIENTS[:8]):
        p = p * r
        p = p + coefficient
    return p * make_power_of_two(k)


def make_power_of_two(k: Tensor) -> Tensor:
    """2^k for small integers k, built from exponent bits."""
    return ((k.to(torch.int64) + EXPONENT_BIAS) << EXPONENT_SHIFT).view(torch.float64)


def softmax(scores: Tensor, f: int) -> Tensor:
    """Softmax over the last dimension of exact integers on step 2^-f; the result is on step 2^-20."""
    shifted = (scores - scores.amax(-1, keepdim=True)) * 2.0**-f
    terms = torch.round(exp(shifted) * 2.0**EXP_F)
    return torch.round((terms / terms.sum(-1, keepdim=True)) * 2.0**ATTENTION_F)
