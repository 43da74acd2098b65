"""Second accountant: delta(epsilon) from the two tails of the privacy loss, integrated over one of its gamma numbers.

delta = P(L > epsilon) - e^epsilon P'(L > epsilon), with L = r G - r/(1+r) G' where the data are the release's own and
L = r/(1+r) G - r G' where they are the neighbour's (loss.py), G and G' of Gamma(k/2). For a given G' the tail is an
incomplete gamma function, torch's; the rest is one integral over ln G'. Shares nothing with inversion.py but L.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training.exact.late import torch

Array = NDArray[np.float64]

POINTS = 4096
NEGLIGIBLE = 120.0  # in logarithms: e^-120 < 1e-52
SERIES_FROM = 16.0
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
HALVINGS = 100


def integrate_delta(samples: int, ratio: float, epsilon: float) -> float:
    """delta of `samples` samples at ratio = alpha^2 / eta."""
    shape = samples / 2
    u, weights = _make_rule(shape)
    gamma = shape * np.exp(u)
    own = _get_tail(shape, epsilon / ratio + gamma / (1 + ratio))
    other = _get_tail(shape, (1 + ratio) * (epsilon / ratio + gamma))
    return float((weights * own).sum() - math.exp(epsilon) * (weights * other).sum())


def _make_rule(shape: float) -> tuple[Array, Array]:
    """Points u = ln(G' / shape) and weights: the trapezoidal rule times the density of u."""
    low, high = _find_end(shape, -1), _find_end(shape, 1)
    u = np.linspace(low, high, POINTS)
    step = (high - low) / (POINTS - 1)
    density = np.exp(_log_normaliser(shape) - shape * (np.expm1(u) - u))
    return u, density * step


def _find_end(shape: float, sign: int) -> float:
    """Where the density of u has fallen by NEGLIGIBLE, on one side."""
    low, high = 0.0, NEGLIGIBLE / shape + 2 * math.sqrt(2 * NEGLIGIBLE / shape)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fallen = (sign > 0 and middle > 700) or shape * (
            math.expm1(sign * middle) - sign * middle
        ) > NEGLIGIBLE
        low, high = (low, middle) if fallen else (middle, high)
    return sign * high


def _log_normaliser(shape: float) -> float:
    """ln(a^a e^-a / Gamma(a)): by Stirling's series where the terms would cancel."""
    if shape < SERIES_FROM:
        return shape * math.log(shape) - shape - math.lgamma(shape)
    series = sum(c / shape ** (2 * i + 1) for i, c in enumerate(STIRLING))
    return math.log(shape / (2 * math.pi)) / 2 - series


def _get_tail(shape: float, x: Array) -> Array:
    a = torch.full((len(x),), shape, dtype=torch.float64)
    tail: Array = torch.special.gammaincc(a, torch.from_numpy(x)).numpy()
    return tail
