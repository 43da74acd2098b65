"""Secret noise has the distributions it says, differs from call to call, and is the same for the same seed."""

import hashlib
import math

import numpy as np
import pytest

from training.private.noise import FARTHEST, SecretNoise

SEED = bytes(range(32))


def get_largest_gap(drawn: np.ndarray, distribution: np.ndarray) -> float:
    """Kolmogorov's distance, times the root of the count: beyond 2.5 in one case of 100,000."""
    places = np.arange(1, len(drawn) + 1) / len(drawn)
    return float(np.abs(distribution - places).max()) * math.sqrt(len(drawn))


def test_normals_are_normal() -> None:
    drawn = np.sort(SecretNoise(SEED).draw_normal(100_000))
    distribution = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in drawn])
    assert get_largest_gap(drawn, distribution) < 2.5


@pytest.mark.parametrize("degrees", [2, 4, 10])
def test_chi_squares_are_chi_square(degrees: int) -> None:
    noise = SecretNoise(SEED)
    drawn = np.sort([noise.draw_chi_square(degrees) for _ in range(4000)])
    terms = [(drawn / 2) ** i / math.factorial(i) for i in range(degrees // 2)]
    assert get_largest_gap(drawn, 1 - np.exp(-drawn / 2) * sum(terms)) < 2.5


@pytest.mark.parametrize("degrees", [1, 3, 10**9])
def test_chi_squares_have_their_mean(degrees: int) -> None:
    noise = SecretNoise(SEED)
    drawn = [noise.draw_chi_square(degrees) for _ in range(2000)]
    assert abs(np.mean(drawn) - degrees) < 5 * math.sqrt(2 * degrees / 2000)


def test_uniform_is_the_documented_hash() -> None:
    word = int.from_bytes(hashlib.shake_256(b"gc/private-noise" + SEED + bytes(8)).digest(8), "little")
    assert SecretNoise(SEED).draw_uniform(1)[0] == ((word >> 11) + 0.5) * 2.0**-53


def test_calls_and_streams_differ_and_seeds_repeat() -> None:
    noise, again = SecretNoise(SEED), SecretNoise(SEED)
    first, second = noise.draw_normal(5), noise.draw_normal(5)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again.draw_normal(5))
    assert not np.array_equal(SecretNoise().draw_normal(5), SecretNoise().draw_normal(5))


def test_short_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes expected, 3 came"):
        SecretNoise(b"abc")


def test_normals_reach_as_far_as_the_accountant_believes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SecretNoise, "draw_uniform", lambda self, count: np.full(count, 2.0**-54))
    (farthest, *_) = SecretNoise().draw_normal(2)
    assert FARTHEST < farthest < FARTHEST + 0.1
