"""The analytic Gaussian mechanism on a Gram matrix: the least noise for its terms, by Balle and Wang (ICML 2018).

Replacing a record moves M by y y^T - y' y'^T, whose Frobenius norm is at most sqrt(2) alpha^2 (y, y' orthogonal). Noise
of deviation sigma on the diagonal and sigma / sqrt(2) beside it, symmetric, is white in that norm: with as many
coordinates as M has free entries, off-diagonal ones times sqrt(2), the mechanism is the plain one. Noise of deviation
sigma on every free entry, the textbook's way, spends as much for 1.41 times the error beside the diagonal.
"""

from __future__ import annotations

import math

from training.private.gram import Array, Terms
from training.private.noise import SecretNoise

HALVINGS = 200


def compute_delta(sigma: float, sensitivity: float, epsilon: float) -> float:
    """The exact delta(epsilon) of Gaussian noise; Balle and Wang, theorem 8."""
    mean, shift = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
    first, second = _log_phi(mean - shift), epsilon + _log_phi(-mean - shift)
    return -math.exp(first) * math.expm1(second - first) if second < first else 0.0


def compute_tail(x: float) -> float:
    """How likely a normal number is above x."""
    return math.erfc(x / math.sqrt(2)) / 2


def find_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """The least sigma for (epsilon, delta), rounded up in its last digits."""
    low, high = 0.0, sensitivity
    while compute_delta(high, sensitivity, epsilon) > delta:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if compute_delta(middle, sensitivity, epsilon) > delta else (low, middle)
    return high * (1 + 1e-9)


def get_sensitivity(alpha: float) -> float:
    """How far replacing one record moves the Gram matrix, in the Frobenius norm."""
    return math.sqrt(2) * alpha * alpha


def find_noise(terms: Terms) -> float:
    """sigma of the mechanism on a Gram matrix."""
    return find_sigma(get_sensitivity(terms.alpha), terms.epsilon, terms.delta)


def draw_symmetric(n: int, sigma: float, noise: SecretNoise) -> Array:
    """Symmetric [n, n], deviation sigma on the diagonal and sigma / sqrt(2) beside it."""
    drawn = noise.draw_normal(n * n).reshape(n, n) * (sigma / 2)
    symmetric: Array = drawn + drawn.T  # 2 of sigma/2 on the diagonal, sqrt(2) of it beside
    return symmetric


def _log_phi(x: float) -> float:
    """ln of the normal distribution function, also where that is below the smallest float."""
    if x > -30:
        return math.log(math.erfc(-x / math.sqrt(2)) / 2)
    inverse = 1 / (x * x)  # Mills' ratio, asymptotic: its error at -30 is below 1e-11
    series = 1 - inverse * (1 - 3 * inverse * (1 - 5 * inverse * (1 - 7 * inverse)))
    return -x * x / 2 - math.log(-x * math.sqrt(2 * math.pi)) + math.log(series)
