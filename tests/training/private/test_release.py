"""Clipping, the ridge, Wishart draws, rounding, projection; what is refused; which mechanism is recommended."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import PrivacyRefused
from training.private.gram import MEMORY_LIMIT, Terms, check_records, check_scale, clip_records, make_gram
from training.private.noise import SecretNoise
from training.private.recommend import bound_entry, expect_error, recommend
from training.private.release import STEP, Mechanism, draw_bartlett, make_plan, release, round_release

SEED = bytes(range(32))
TERMS = Terms(1.0, 50.0, 1.0, 1e-5)
MECHANISMS: tuple[Mechanism, ...] = ("sampling", "gaussian")


def draw_records(n: int, d: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-300, 300))
def test_clipped_records_keep_direction_and_are_no_longer_than_alpha(
    seed: int, alpha: float, power: float
) -> None:
    records = draw_records(3, 4, seed) * 10.0**power
    clipped = clip_records(records, alpha)
    norms = np.sqrt(np.square(clipped).sum(0))
    assert (norms <= alpha * (1 + 1e-12)).all()
    kept = np.abs(records).max(0) * math.sqrt(3) <= alpha
    assert np.array_equal(clipped[:, kept], records[:, kept])
    assert ((clipped * records >= 0) | (clipped == 0)).all()


def test_records_of_zeros_stay() -> None:
    assert np.array_equal(clip_records(np.zeros((2, 3)), 1.0), np.zeros((2, 3)))


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("d", [1, 40])
def test_release_is_symmetric_and_on_its_grid(mechanism: Mechanism, d: int) -> None:
    z = release(make_plan(TERMS, mechanism), draw_records(5, d), SecretNoise())
    assert np.array_equal(z, z.T)
    assert np.array_equal(z / STEP, np.round(z / STEP))
    assert not np.signbit(z[z == 0]).any()


def test_sampling_has_a_positive_semidefinite_matrix_above_the_ridge() -> None:
    plan = make_plan(TERMS, "sampling")
    z = release(plan, draw_records(30, 5), SecretNoise())
    assert np.linalg.eigvalsh(z + TERMS.eta * np.eye(30))[0] >= -30 * STEP


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_projected_release_is_positive_semidefinite_to_within_rounding(mechanism: Mechanism) -> None:
    z = release(make_plan(TERMS, mechanism), draw_records(8, 20), SecretNoise(), project=True)
    assert np.linalg.eigvalsh(z)[0] >= -8 * STEP


@pytest.mark.parametrize("samples", [2, 3, 40])
def test_bartlett_has_the_moments_of_a_wishart_matrix(samples: int) -> None:
    noise, n, count = SecretNoise(SEED), 3, 6000
    drawn = np.array([t @ t.T for t in (draw_bartlett(n, samples, noise) for _ in range(count))])
    variances = samples * (np.ones((n, n)) + np.eye(n))
    assert (np.abs(drawn.mean(0) - samples * np.eye(n)) < 5 * np.sqrt(variances / count)).all()
    assert drawn.var(0) == pytest.approx(variances, rel=0.25)
    assert all(np.linalg.matrix_rank(matrix) == min(n, samples) for matrix in drawn[:20])


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_errors_of_releases_are_those_expected(mechanism: Mechanism) -> None:
    terms, records, noise = Terms(1.0, 50.0, 1.0, 1e-5), np.zeros((6, 2)), SecretNoise(SEED)
    plan = make_plan(terms, mechanism)
    errors = [float(np.square(release(plan, records, noise)).mean()) for _ in range(1500)]
    expected = expect_error(plan, 6, 2)
    wanted = expected.sampling_least if mechanism == "sampling" else expected.gaussian
    assert math.sqrt(np.mean(errors)) == pytest.approx(wanted, rel=0.05)


def test_largest_expected_error_is_that_of_equal_records() -> None:
    plan, noise = make_plan(TERMS, "sampling"), SecretNoise(SEED)
    records = np.zeros((4, 60))
    records[0] = 1.0
    gram = make_gram(records)
    errors = [float(np.square(release(plan, records, noise) - gram).mean()) for _ in range(1500)]
    assert math.sqrt(np.mean(errors)) == pytest.approx(expect_error(plan, 4, 60).sampling_most, rel=0.06)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_entries_stay_within_their_bound(mechanism: Mechanism) -> None:
    plan, records, noise = make_plan(TERMS, mechanism), draw_records(4, 30), SecretNoise(SEED)
    gram = make_gram(clip_records(records, TERMS.alpha))
    errors = [np.abs(release(plan, records, noise) - gram).max() for _ in range(500)]
    assert np.mean(np.array(errors) > bound_entry(plan, 4, 30)) <= 0.03  # 0.01, and five deviations


def test_records_do_not_change_the_plan() -> None:
    assert make_plan(TERMS, "sampling") == make_plan(TERMS, "sampling")
    assert recommend(TERMS, 16, 100) == recommend(TERMS, 16, 100)


@pytest.mark.parametrize(
    ("terms", "d", "mechanism", "words"),
    [
        (Terms(1.0, 1000.0, 1.0, 1e-5), 1, "sampling", "sampling is better whatever"),
        (Terms(1.0, 1000.0, 1.0, 1e-5), 4096, "gaussian", "only the Gaussian mechanism's is sure"),
        (Terms(1.0, 20.0, 1.0, 1e-5), 1, "gaussian", "the Gaussian mechanism is better whatever"),
        (Terms(1.0, 1.0, 1.0, 1e-5), 1, "gaussian", "not one sample"),
    ],
)
def test_recommended_is_the_lower_largest_error(terms: Terms, d: int, mechanism: str, words: str) -> None:
    plan, reason = recommend(terms, 16, d)
    assert plan.mechanism == mechanism
    assert words in reason


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"epsilon": 0.0}, "epsilon", "above 0 expected, 0 came"),
        ({"epsilon": -1.0}, "epsilon", "-1 came"),
        ({"epsilon": math.nan}, "epsilon", "nan came"),
        ({"epsilon": 65.0}, "epsilon", "at most 64"),
        ({"delta": 0.0}, "delta", "below 1 expected, 0 came"),
        ({"delta": 1.0}, "delta", "1 came"),
        ({"delta": math.nan}, "delta", "nan came"),
        ({"delta": 1e-50}, "delta", "at least 1e-40"),
        ({"alpha": 0.0}, "alpha", "0 came"),
        ({"alpha": math.inf}, "alpha", "inf came"),
        ({"eta": -2.0}, "eta", "-2 came"),
        ({"eta": 1e-9}, "eta", "alpha\\^2 / eta within"),
    ],
)
def test_terms_out_of_range_are_refused(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(PrivacyRefused, match=words) as caught:
        Terms(**({"alpha": 1.0, "eta": 1.0, "epsilon": 1.0, "delta": 1e-5} | changes))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (np.full((2, 2), np.nan), "NaN came"),
        (np.full((2, 2), np.inf), "infinities"),
        (np.zeros(3), "a matrix"),
        (np.zeros((0, 3)), "a matrix"),
        (np.zeros((2, 2), np.float32), "float64 expected"),
        (np.broadcast_to(np.zeros(()), (MEMORY_LIMIT, 1)), "bytes, at most"),
    ],
)
def test_records_that_are_none_are_refused(records: np.ndarray, words: str) -> None:
    with pytest.raises(PrivacyRefused, match=words) as caught:
        check_records(records)
    assert caught.value.field == "Y"


def test_scales_beyond_float64_and_the_grid_are_refused() -> None:
    with pytest.raises(PrivacyRefused, match="rounding cannot hide the ridge"):
        check_scale(Terms(1.0, 1e-6, 1.0, 1e-5), 1000, 10**6)
    with pytest.raises(PrivacyRefused, match="scale Y, alpha and eta down"):
        check_scale(Terms(1e4, 1e7, 1.0, 1e-5), 4, 10)
    with pytest.raises(PrivacyRefused, match="released entries below"):
        round_release(np.array([[2.0**28]]))
