"""Second accountant of noised sums: the distribution of the privacy loss on a grid, composed by Fourier transforms.

Shares nothing with cost.py but the loss of one sum: ln p/p' of N(0, 1) against N(mu, 1) is normal of mean mu^2 / 2 and
deviation mu. Every loss is rounded to the grid, once down and once up, so that the true delta lies between the two
answers (Koskela, Jaelkoe and Honkela, arXiv 1906.03049; bounds by rounding: Meiser and Mohammadi, CCS 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.exact.late import torch

Array = NDArray[np.float64]

POINTS = 1 << 20
REACH = 12.0  # deviations on either side of the mean
NOISE_FLOOR = 1e-12  # of the transforms, absolute: added to both sides


def bracket_delta(sums: Sequence[tuple[float, int]], epsilon: float) -> tuple[float, float]:
    """Bounds from below and above of delta(epsilon) of `count` sums at every mu, pairs of (mu, count)."""
    square = math.fsum(count * mu * mu for mu, count in sums)
    half = square / 2 + REACH * math.sqrt(square)
    step = 2 * half / POINTS
    if (
        sum(count for _, count in sums) * step > half / 4
    ):  # rounding up would carry losses round the grid's end
        raise ValueError(f"sums: at most {POINTS // 8} expected, more came")
    low, high = (_compute_delta(sums, epsilon, step, up) for up in (0, 1))
    return max(0.0, low - NOISE_FLOOR), high + NOISE_FLOOR


def _compute_delta(sums: Sequence[tuple[float, int]], epsilon: float, step: float, up: int) -> float:
    """Losses live on `step * n`, n from -POINTS/2 on, circularly."""
    total = np.ones(POINTS // 2 + 1, np.complex128)
    for mu, count in sums:
        total *= np.fft.rfft(_make_masses(mu, step, up)) ** count
    masses = np.fft.irfft(total, POINTS)
    losses = np.fft.fftfreq(POINTS, 1 / POINTS) * step
    above = losses > epsilon
    return float((masses[above] * -np.expm1(epsilon - losses[above])).sum())


def _make_masses(mu: float, step: float, up: int) -> Array:
    """The loss of one sum, rounded to the grid: mass n is that of (n - 1, n] steps, or of (n, n + 1]."""
    n = np.fft.fftfreq(POINTS, 1 / POINTS)
    ends = torch.from_numpy(((n + 1 - up) * step - mu * mu / 2) / mu)
    starts = torch.from_numpy(((n - up) * step - mu * mu / 2) / mu)
    # from the nearer tail: differences of two numbers close to 1 have lost their digits
    right = starts > 0
    masses = torch.where(
        right,
        torch.special.ndtr(-starts) - torch.special.ndtr(-ends),
        torch.special.ndtr(ends) - torch.special.ndtr(starts),
    )
    found: Array = masses.numpy()
    return found
