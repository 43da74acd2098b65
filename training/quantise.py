"""Put a user's numbers on the grid of a data blob: scaled, centred, rounded, clipped, and a report of what was lost.

The same numbers give the same integers on every machine: floats are only ever handled entry by entry, sums are of
integers or correctly rounded (math.fsum).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data import Values
from training.exact.grids import DATA
from training.exact.integers import divide_half_even

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
UNITS_LIMIT = float(1 << 36)  # before centring: sums of 2^26 samples stay below 2^62
MEASURE_LIMIT = 2.0**480  # sums of 2^26 squares of smaller numbers are far from overflow


@dataclass(frozen=True, slots=True)
class Normalisation:
    """stored = clip(round(value * multiply * 2^fraction_bits) - offset), the offset per feature or none.

    With `deviate` it is clip(round((value * multiply - mean) / deviation * 2^fraction_bits)), the mean if `centre`.
    """

    multiply: float
    fraction_bits: int
    centre: bool  # subtract each feature's mean over the training samples
    deviate: bool = False  # divide each feature by its standard deviation over the training samples


@dataclass(frozen=True, slots=True)
class Standard:
    """What each feature is shifted by and divided by, in values after `multiply`; shapes of one sample."""

    mean: Floats
    deviation: Floats


@dataclass(frozen=True, slots=True)
class Loss:
    """What rounding and clipping cost, in values as stored (after `multiply`)."""

    max_rounding_error: float
    clipped: int
    values: int


def get_stored_limit(fraction_bits: int) -> int:
    """The largest stored integer: section 9.1 gives inputs and targets 15 bits at a step of 2^-12."""
    return DATA.limit >> (DATA.f - fraction_bits)


@dataclass(frozen=True, slots=True)
class Rounded:
    """Units of 2^-fraction_bits, the largest rounding error in values, and which were too large even to centre."""

    units: Integers
    error: float
    beyond: NDArray[np.bool_]


def round_values(values: Values, how: Normalisation, standard: Standard | None = None) -> Rounded:
    """Scale, standardise and round values; what is beyond the grid by far counts as saturated and not as an error."""
    with np.errstate(over="ignore"):  # to infinity, which is clipped
        if standard is None:
            exact = values.astype(np.float64) * (how.multiply * 2.0**how.fraction_bits)
        else:
            scaled = (values.astype(np.float64) * how.multiply - standard.mean) / standard.deviation
            exact = scaled * 2.0**how.fraction_bits
    beyond = np.abs(exact) > UNITS_LIMIT
    exact = np.clip(exact, -UNITS_LIMIT, UNITS_LIMIT)
    rounded = np.rint(exact)
    error = float(np.abs(rounded - exact).max()) * 2.0**-how.fraction_bits
    return Rounded(rounded.astype(np.int64), error, beyond)


def measure_standard(train: Values, how: Normalisation) -> Standard:
    """Mean (0 unless `centre`) and standard deviation of each feature over the first dimension, after `multiply`.

    The deviation divides by the number of samples. It is 0 for a constant feature and infinite for one whose numbers
    are too large to be squared. Sums are correctly rounded, everything else is one float64 operation after another.
    """
    with np.errstate(over="ignore"):
        scaled = train.astype(np.float64) * how.multiply
    measured = [_measure_feature(column) for column in scaled.reshape(len(scaled), -1).T]
    mean, deviation = (np.array(part).reshape(scaled.shape[1:]) for part in zip(*measured, strict=True))
    return Standard(mean if how.centre else np.zeros_like(mean), deviation)


def _measure_feature(column: Floats) -> tuple[float, float]:
    low, high = float(column.min()), float(column.max())
    if low == high:  # the rounded mean of equal numbers need not be that number
        return low + 0.0, 0.0  # never a negative zero, whatever comes first
    if max(-low, high) > MEASURE_LIMIT:
        return 0.0, math.inf
    mean = math.fsum(column.tolist()) / len(column)
    return mean, math.sqrt(math.fsum(np.square(column - mean).tolist()) / len(column))


def compute_offset(train: Integers) -> Integers:
    """Each feature's mean over the first dimension, in stored units, half to even."""
    return divide_half_even(train.sum(axis=0), train.shape[0])


def clip_units(units: Integers, fraction_bits: int) -> tuple[Integers, NDArray[np.bool_]]:
    """Units within the grid's range, and which were outside."""
    limit = get_stored_limit(fraction_bits)
    clipped = np.clip(units, -limit, limit)
    return clipped, clipped != units
