"""Integer rounding, clipping and means for settlements: numpy int64 with stated bounds, Python integers above."""

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

FACTOR_BITS = 20
FACTOR_ONE = 1 << FACTOR_BITS
DELTA_LIMIT = 1 << 28  # a difference of two master weights is below this
SPLIT_BITS = 14


def shift_half_even(x: Integers, bits: int) -> Integers:
    """x / 2^bits, half to even, for |x| < 2^62."""
    if bits == 0:
        return x
    down = x >> bits  # rounds towards minus infinity
    rest = x & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    up: Integers = down + ((rest > half) | ((rest == half) & ((down & 1) == 1)))
    return up


def divide_half_even(x: Integers, divisor: int) -> Integers:
    """x / divisor, half to even, for |x| < 2^62 and a divisor of 1 .. 2^30."""
    down = x // divisor
    twice = 2 * (x - down * divisor)
    up: Integers = down + ((twice > divisor) | ((twice == divisor) & ((down & 1) == 1)))
    return up


def compute_squared_norm(x: Integers) -> int:
    """The sum of squares as a Python integer, for |x| <= 2^28 and at most 2^30 entries."""
    high = x >> SPLIT_BITS
    low = x & ((1 << SPLIT_BITS) - 1)
    return (
        (int((high * high).sum()) << (2 * SPLIT_BITS))
        + (int((high * low).sum()) << (SPLIT_BITS + 1))
        + int((low * low).sum())
    )


def clip_to_median(deltas: Sequence[Integers]) -> list[Integers]:
    """Shrink every delta that is longer than the lower median of them all; one alone is left as it is."""
    if len(deltas) == 1:
        return list(deltas)
    norms = [compute_squared_norm(delta) for delta in deltas]
    median = sorted(norms)[(len(norms) - 1) // 2]
    factors = [compute_clip_factor(median, norm) for norm in norms]
    return [
        shift_half_even(delta * factor, FACTOR_BITS) for delta, factor in zip(deltas, factors, strict=True)
    ]


def compute_clip_factor(median: int, squared_norm: int) -> int:
    """What a delta is multiplied by, in units of 2^-20: at most one."""
    if squared_norm == 0:
        return FACTOR_ONE
    return min(FACTOR_ONE, FACTOR_ONE * isqrt(median) // isqrt(squared_norm))


def compute_mean(deltas: Sequence[Integers]) -> Integers:
    """The mean, entry by entry, half to even."""
    total = np.zeros_like(deltas[0])
    for delta in deltas:
        total += delta
    return divide_half_even(total, len(deltas))
