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
FITTING = 127  # products of 2^56 whose sum is below 2^63


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
    if len(a) <= FITTING:
        return int(a.dot(b))
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
    """Something to be taken out of many deltas, with its squared norm; `fits`: no product of it with a delta, nor a
    part of one, is 2^63 or more."""

    entries: Integers
    squared_norm: int
    fits: bool


def make_direction(entries: Integers) -> Direction:
    fits = int(np.abs(entries).sum()) * DELTA_LIMIT < 1 << 63
    return Direction(entries, compute_squared_norm(entries), fits)


def take_out(a: Integers, direction: Direction) -> Integers:
    """What is left of a without its part along b, the direction, clipped to +-2^28; a itself where b is zero.

    Nothing overflows: |a . b| <= |a| |b|, so every |alpha b_j| is at most 2^20 |a| plus half a |b_j| for alpha's
    rounding, below 2^20 * 2^28 * 2^13 + 2^27 < 2^62 with 2^26 entries; and |alpha| <= 2^61, as |b| >= 1.
    """
    if direction.squared_norm == 0:
        return a
    (alpha,), left = _find_parts(a[None, :], direction), np.empty_like(a)
    for part in _cut(len(a)):
        _subtract(a[part], alpha * direction.entries[part], left[part])
    return left


def take_out_of_rows(rows: Integers, direction: Direction) -> Integers:
    """What take_out leaves of every row [k, n]: where rows are short, numpy's calls take longer than their work."""
    if direction.squared_norm == 0:
        return rows
    alphas = np.array(_find_parts(rows, direction), np.int64)
    left = np.empty_like(rows)
    _subtract(rows, alphas[:, None] * direction.entries, left)
    return left


def _find_parts(rows: Integers, direction: Direction) -> list[int]:
    """alpha of every row: how much of it lies along the direction, in units of 2^-20."""
    b, norm = direction.entries, direction.squared_norm
    dots = rows.dot(b).tolist() if direction.fits else [compute_dot(row, b) for row in rows]
    return [round_quotient(dot << FACTOR_BITS, norm) for dot in dots]


def _subtract(a: Integers, scaled: Integers, left: Integers) -> None:
    """Write to `left` a less what is scaled by 2^20, clipped."""
    rest = a - shift_half_even(scaled, FACTOR_BITS)
    np.maximum(rest, -DELTA_LIMIT, out=rest)  # np.clip takes longer to begin than to do it
    np.minimum(rest, DELTA_LIMIT, out=left)


def stack_short(deltas: Sequence[Delta]) -> Iterator[tuple[slice, Integers]]:
    """All deltas as int64 rows [k, n] of at most PART entries together, or one row, and which they are."""
    rows = max(1, PART // len(deltas[0])) if deltas else 1
    for first in range(0, len(deltas), rows):
        chosen = slice(first, min(first + rows, len(deltas)))
        yield chosen, np.array(deltas[chosen], np.int64)


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


def shrink(delta: Delta, factor: int | Integers) -> Integers:
    """delta * factor / 2^20, half to even, for factors of 0 .. 2^20: one, or one for each row."""
    return shift_half_even(delta.astype(np.int64) * factor, FACTOR_BITS)


def accumulate(deltas: Sequence[Delta], factors: Sequence[int], weights: Sequence[int]) -> Iterator[Integers]:
    """Weighted sums of the first one, two, ... shrunken deltas, in the same array every time.

    Weights are positive and at most 2^30 together.
    """
    total = np.zeros(deltas[0].shape, np.int64)
    for chosen, rows in stack_short(deltas):
        shrunken = shrink(rows, np.array(factors[chosen], np.int64)[:, None])
        shrunken *= np.array(weights[chosen], np.int64)[:, None]
        for row in shrunken:
            total += row
            yield total
