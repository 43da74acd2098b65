"""The analytic Gaussian mechanism: its delta by another way, its sensitivity, its noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.private.gaussian import compute_delta, draw_symmetric, find_sigma, get_sensitivity
from training.private.noise import SecretNoise


def integrate(sigma: float, epsilon: float) -> float:
    """delta of noise sigma for a shift of 1, by the trapezoidal rule on (p - e^epsilon q)+."""
    x, step = np.linspace(-40 * sigma, 40 * sigma, 2_000_001, retstep=True)
    p, q = (np.exp(-((x - shift) ** 2) / (2 * sigma**2)) for shift in (1.0, 0.0))
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum() * step / (sigma * math.sqrt(2 * math.pi)))


@pytest.mark.parametrize(("sigma", "epsilon"), [(3.73, 1.0), (0.5, 4.0), (1.0, 0.1)])
def test_delta_is_the_integral_of_what_exceeds(sigma: float, epsilon: float) -> None:
    assert compute_delta(sigma, 1.0, epsilon) == pytest.approx(integrate(sigma, epsilon), rel=1e-4)


@given(st.floats(0.01, 30), st.floats(-60, -0.1).map(math.exp))
def test_sigma_is_the_least(epsilon: float, delta: float) -> None:
    sigma = find_sigma(1.0, epsilon, delta)
    assert compute_delta(sigma, 1.0, epsilon) <= delta
    assert compute_delta(sigma * (1 - 1e-6), 1.0, epsilon) > delta


def test_sigma_is_that_of_the_literature() -> None:
    assert find_sigma(1.0, 1.0, 1e-5) == pytest.approx(3.7306, abs=1e-4)  # Balle and Wang's own program


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_no_replaced_record_moves_the_gram_matrix_further(seed: int, alpha: float) -> None:
    y = np.random.default_rng(seed).standard_normal((2, 3))
    y *= alpha / np.linalg.norm(y, axis=1, keepdims=True)
    moved = np.linalg.norm(np.outer(y[0], y[0]) - np.outer(y[1], y[1]))
    assert moved <= get_sensitivity(alpha) * (1 + 1e-12)


def test_noise_is_white_in_the_frobenius_norm() -> None:
    noise = SecretNoise(bytes(32))
    drawn = np.array([draw_symmetric(3, 2.0, noise) for _ in range(4000)])
    assert np.array_equal(drawn, drawn.transpose(0, 2, 1))
    deviations = drawn.std(0)
    assert np.diag(deviations) == pytest.approx([2.0] * 3, rel=0.06)
    assert deviations[0, 1] == pytest.approx(math.sqrt(2), rel=0.06)
