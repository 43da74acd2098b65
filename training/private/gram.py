"""The public terms of a private release, and the Gram matrix it is of: columns are records, clipped in public.

Y [n, d] has a record in each column, M = Y Y^T. Neighbours are two Y that differ in one column, whatever stands there;
n and d are public. Source of the problem: arXiv 2305.04701.

What the clipping and the ridge are for: they bound one record's part in what is drawn from by numbers that everybody
may know. A ridge measured on the data (the paper's smallest eigenvalue of M) would itself tell of the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import PrivacyRefused

Array = NDArray[np.float64]

MEMORY_LIMIT = 1 << 31  # bytes of a release
LARGEST_GRAM = 2.0**26  # so that noise seldom leaves the 2^28 of the grid
ROUNDING = 2.0**-52  # of a product, as a share of it
RIDGE_PRECISION = 1e-7  # of the ridge may be changed by rounding: the accountants' margin is above it
SQUARES = 12  # matrices [n, n] that exist at once, at the most
EPSILON_LIMIT = 64.0  # e^64: a release that promises less is not private in any sense
DELTA_LEAST = 1e-40  # below it the two accountants have not been compared
RATIO_LIMITS = (1e-6, 1e6)  # of alpha^2 / eta: likewise


@dataclass(frozen=True, slots=True)
class Terms:
    """What is promised: no record longer than alpha counts, eta on the diagonal, (epsilon, delta). All public.

    Raises PrivacyRefused.
    """

    alpha: float
    eta: float
    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        for field in ("alpha", "eta", "epsilon"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                raise PrivacyRefused(field, f"a number above 0 expected, {value:g} came")
        if self.epsilon > EPSILON_LIMIT:
            raise PrivacyRefused("epsilon", f"at most {EPSILON_LIMIT:g} expected, {self.epsilon:g} came")
        if not 0 < self.delta < 1:
            raise PrivacyRefused("delta", f"a number above 0 and below 1 expected, {self.delta:g} came")
        if self.delta < DELTA_LEAST:
            raise PrivacyRefused("delta", f"at least {DELTA_LEAST:g} expected, {self.delta:g} came")
        low, high = RATIO_LIMITS
        if not low <= self.ratio <= high:
            words = f"alpha^2 / eta within {low:g} and {high:g} expected, {self.ratio:g} came"
            raise PrivacyRefused("eta", words)

    @property
    def ratio(self) -> float:
        """alpha^2 / eta: the most that one record adds to the whitened matrix."""
        return self.alpha * self.alpha / self.eta


def check_records(records_nd: Array) -> None:
    """Raise PrivacyRefused for what is no matrix of records, or too large a one."""
    if records_nd.ndim != 2 or 0 in records_nd.shape:
        raise PrivacyRefused(
            "Y", f"a matrix [n, d] expected, records in its columns; {records_nd.shape} came"
        )
    if records_nd.dtype != np.float64:
        raise PrivacyRefused("Y", f"float64 expected, {records_nd.dtype} came")
    n, d = records_nd.shape
    needed = 8 * (3 * n * d + SQUARES * n * n)
    if needed > MEMORY_LIMIT:
        raise PrivacyRefused(
            "Y", f"{n} x {d} needs {needed:,} bytes, at most {MEMORY_LIMIT:,} expected: fewer records or rows"
        )
    if not np.isfinite(records_nd).all():
        raise PrivacyRefused("Y", "numbers expected, infinities or NaN came")


def check_scale(terms: Terms, n: int, d: int) -> None:
    """Raise PrivacyRefused where float64 or the grid of releases is too coarse for what n rows and d records may be."""
    largest = d * terms.alpha**2
    if largest + terms.eta > LARGEST_GRAM:
        words = f"d alpha^2 + eta of at most {LARGEST_GRAM:g} expected: scale Y, alpha and eta down"
        raise PrivacyRefused("alpha", f"{words}; {largest + terms.eta:g} came")
    least = n * largest * ROUNDING / RIDGE_PRECISION
    if terms.eta < least:
        raise PrivacyRefused("eta", f"at least {least:.3g} expected, so that rounding cannot hide the ridge")


def clip_records(records_nd: Array, alpha: float) -> Array:
    """The columns [n, d], those longer than alpha shortened to it. Norms are computed so that no square overflows."""
    largest = np.abs(records_nd).max(0)
    scale = np.where(largest > 0, largest, 1.0)
    units = records_nd / scale
    norms = np.sqrt(np.square(units).sum(0))
    with np.errstate(over="ignore"):  # an infinite norm is clipped by its parts
        is_long = norms * scale > alpha
    clipped: Array = np.where(is_long, units * (alpha / np.where(norms > 0, norms, 1.0)), records_nd)
    return clipped


def make_gram(clipped_nd: Array) -> Array:
    """M = Y Y^T [n, n], symmetric to the last bit."""
    gram = clipped_nd @ clipped_nd.T
    both: Array = (gram + gram.T) / 2
    return both
