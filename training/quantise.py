"""Put a user's numbers on the grid of a data blob: scaled, centred, rounded, clipped, and a report of what was lost.

The same numbers give the same integers on every machine: floats are only ever handled entry by entry, sums are of
integers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data import Values
from training.exact.grids import DATA
from training.exact.integers import divide_half_even

Integers = NDArray[np.int64]
UNITS_LIMIT = float(1 << 36)  # before centring: sums of 2^26 samples stay below 2^62


@dataclass(frozen=True, slots=True)
class Normalisation:
    """stored = clip(round(value * multiply * 2^fraction_bits) - offset), the offset per feature or none."""

    multiply: float
    fraction_bits: int
    centre: bool  # subtract each feature's mean over the training samples


@dataclass(frozen=True, slots=True)
class Loss:
    """What rounding and clipping cost, in values as stored (after `multiply`)."""

    max_rounding_error: float
    clipped: int
    values: int


def get_stored_limit(fraction_bits: int) -> int:
    """The largest stored integer: section 9.1 gives inputs and targets 15 bits at a step of 2^-12."""
    return DATA.limit >> (DATA.f - fraction_bits)


def round_values(values: Values, how: Normalisation) -> tuple[Integers, float]:
    """Units of 2^-fraction_bits, and the largest rounding error in values."""
    exact = values.astype(np.float64) * (how.multiply * 2.0**how.fraction_bits)
    rounded = np.rint(np.clip(exact, -UNITS_LIMIT, UNITS_LIMIT))
    error = float(np.abs(rounded - exact).max()) * 2.0**-how.fraction_bits
    return rounded.astype(np.int64), error


def compute_offset(train: Integers) -> Integers:
    """Each feature's mean over the first dimension, in stored units, half to even."""
    return divide_half_even(train.sum(axis=0), train.shape[0])


def clip_units(units: Integers, fraction_bits: int) -> tuple[Integers, int]:
    """Units within the grid's range, and how many were outside."""
    limit = get_stored_limit(fraction_bits)
    clipped = np.clip(units, -limit, limit)
    return clipped, int((clipped != units).sum())
