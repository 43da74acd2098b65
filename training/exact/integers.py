"""Integer rounding, projection, clipping and means for settlements: numpy int64 with stated bounds, Python integers
above.

A delta has |x| <= 2^28 (DELTA_LIMIT) and at most 2^26 entries. Source: docs/protocol.md, section 10.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Delta = NDArray[Any]  # Any: int64, or int32 where many are held at once

FACTOR_BITS = 20
FACTOR_ONE = 1 << FACTOR_BITS
DELTA_LIMIT = 1 << 28  # a difference of two master weights is below this
MAX_TOTAL_WEIGHT = 1 << 30  # with it, weighted sums of deltas stay within 2^58
SPLIT_BITS = 28
PART = 1 << 14  # entries at a time


def shift_half_even(x: Integers, bits: int) -> Integers:
    """x / 2^bits, half to even, for |x| < 2^62."""
    if bits == 0:
        return x
    odd = (x >> bits) & 1  # whether x rounded towards minus infinity is: then half goes up
    odd += x
    odd += (1 << (bits - 1)) - 1
    odd >>= bits
    return odd


def divide_half_even(x: Integers, divisor: int) -> Integers:
    """x / divisor, half to even, for |x| < 2^62 and a divisor of 1 .. 2^30."""
    down = x // divisor
    twice = 2 * (x - down * divisor)
    up: Integers = down + ((twice > divisor) | ((twice == divisor) & ((down & 1) == 1)))
    return up


def round_quotient(numerator: int, denominator: int) -> int:
    """numerator / denominator, half to even, of Python integers; the denominator is positive."""
    down, rest = divmod(numerator, denominator)
    up = 2 * rest > denominator or (2 * rest == denominator and down & 1 == 1)
    return down + up


# --- products and projection ------------------------------------------------------------------------------------------


def compute_dot(a: Integers, b: Integers) -> int:
    """The sum of products as a Python integer, for |a|, |b| <= 2^28 and at most 2^30 entries."""
    total = 0
    for part in _cut(len(a)):
        products = a[part] * b[part]  # within 2^56
        low = int((products & ((1 << SPLIT_BITS) - 1)).sum())
        products >>= SPLIT_BITS
        total += (int(products.sum()) << SPLIT_BITS) + low
    return total


def _cut(count: int) -> Iterator[slice]:
    """Parts whose intermediate results stay in the cache."""
    return (slice(first, first + PART) for first in range(0, count, PART))


def compute_squared_norm(x: Integers) -> int:
    """The sum of squares as a Python integer, for |x| <= 2^28 and at most 2^30 entries."""
    return compute_dot(x, x)


@dataclass(frozen=True, slots=True)
class Direction:
    """Something to be taken out of many deltas, with its squared norm."""

    entries: Integers
    squared_norm: int


def make_direction(entries: Integers) -> Direction:
    return Direction(entries, compute_squared_norm(entries))


def take_out(a: Integers, direction: Direction) -> Integers:
    """What is left of a without its part along b, the direction, clipped to +-2^28; a itself where b is zero.

    Nothing overflows: |a . b| <= |a| |b|, so every |alpha b_j| is at most 2^20 |a| plus half a |b_j| for alpha's
    rounding, below 2^20 * 2^28 * 2^13 + 2^27 < 2^62 with 2^26 entries; and |alpha| <= 2^61, as |b| >= 1.
    """
    b, norm = direction.entries, direction.squared_norm
    if norm == 0:
        return a
    alpha = round_quotient(compute_dot(a, b) << FACTOR_BITS, norm)
    left = np.empty_like(a)
    for part in _cut(len(a)):
        rest = a[part] - shift_half_even(alpha * b[part], FACTOR_BITS)
        np.maximum(rest, -DELTA_LIMIT, out=rest)  # np.clip takes longer to begin than to do it
        np.minimum(rest, DELTA_LIMIT, out=left[part])
    return left


# --- clipping and means -----------------------------------------------------------------------------------------------


def compute_clip_factors(norms: Sequence[int], weights: Sequence[int]) -> list[int]:
    """What each delta is multiplied by, in units of 2^-20, so that none is longer than the weighted lower median of
    them all; one alone is left as it is. `norms` are squared."""
    if len(norms) == 1:
        return [FACTOR_ONE]
    median = find_lower_median(norms, weights)
    return [compute_clip_factor(median, norm) for norm in norms]


def find_lower_median(values: Sequence[int], weights: Sequence[int]) -> int:
    """The smallest value such that the weights of those not above it are at least half of all."""
    total, below = sum(weights), 0
    for value, weight in sorted(zip(values, weights, strict=True)):
        below += weight
        if 2 * below >= total:
            return value
    raise ValueError("a median needs at least one value, with a positive weight")


def compute_clip_factor(median: int, squared_norm: int) -> int:
    """What a delta is multiplied by, in units of 2^-20: at most one."""
    if squared_norm == 0:
        return FACTOR_ONE
    return min(FACTOR_ONE, FACTOR_ONE * isqrt(median) // isqrt(squared_norm))


def shrink(delta: Delta, factor: int) -> Integers:
    """delta * factor / 2^20, half to even, for a factor of 0 .. 2^20."""
    return shift_half_even(delta.astype(np.int64) * factor, FACTOR_BITS)


def accumulate(deltas: Sequence[Delta], factors: Sequence[int], weights: Sequence[int]) -> Iterator[Integers]:
    """Weighted sums of the first one, two, ... shrunken deltas, in the same array every time.

    Weights are positive and at most 2^30 together.
    """
    total = np.zeros(deltas[0].shape, np.int64)
    for delta, factor, weight in zip(deltas, factors, weights, strict=True):
        total += weight * shrink(delta, factor)
        yield total
