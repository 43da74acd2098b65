"""Both accountants against one another, against closed forms, limits and draws; the paper's rule; the largest k."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import PrivacyRefused
from training.private.gaussian import compute_delta
from training.private.gram import Terms
from training.private.inversion import invert_delta
from training.private.loss import bound_delta, count_by_paper, get_eigenvalues, get_spread
from training.private.quadrature import integrate_delta
from training.private.samples import account, count_samples, find_least_eta

RATIOS = st.floats(math.log(1e-5), math.log(3)).map(math.exp)
EPSILONS = st.floats(0.01, 20)
SAMPLES = st.integers(1, 10**6)


def make_terms(ratio: float, epsilon: float = 1.0, delta: float = 1e-5) -> Terms:
    return Terms(1.0, 1 / ratio, epsilon, delta)


def draw_losses(samples: int, ratio: float, count: int, seed: int) -> np.ndarray:
    """Privacy losses of real samples of the worst pair: n = 2, C = I, y and y' orthogonal."""
    rng = np.random.default_rng(seed)
    own, other = np.diag([1 + ratio, 1.0]), np.diag([1.0, 1 + ratio])
    difference = np.linalg.inv(other) - np.linalg.inv(own)
    scales = rng.chisquare(samples, (count, 2)) * np.diag(own)  # sums of squares of the samples' coordinates
    losses: np.ndarray = (scales @ np.diag(difference)) / 2
    return losses


@settings(max_examples=150, deadline=None)
@given(SAMPLES, RATIOS, EPSILONS)
def test_two_accountants_agree(samples: int, ratio: float, epsilon: float) -> None:
    first, second = invert_delta(samples, ratio, epsilon), integrate_delta(samples, ratio, epsilon)
    assert abs(first - second) <= 1e-7 * first + 1e-45


@pytest.mark.parametrize(("samples", "ratio", "epsilon"), [(1, 0.9, 0.5), (5, 0.4, 1.0), (200, 0.05, 0.3)])
def test_accountants_agree_with_drawn_losses(samples: int, ratio: float, epsilon: float) -> None:
    gains = np.maximum(0, -np.expm1(epsilon - draw_losses(samples, ratio, 400_000, samples)))
    error = float(gains.std()) / math.sqrt(len(gains))
    assert abs(float(gains.mean()) - invert_delta(samples, ratio, epsilon)) < 5 * error


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_many_samples_lose_as_gaussian_noise_does(epsilon: float) -> None:
    samples, spread = 10**10, 0.7
    ratio = spread / math.sqrt(samples)
    noise = 1 / (math.sqrt(samples / 2) * get_spread(ratio))
    assert invert_delta(samples, ratio, epsilon) == pytest.approx(
        compute_delta(noise, 1.0, epsilon), rel=1e-4
    )


@settings(max_examples=60, deadline=None)
@given(SAMPLES, RATIOS, EPSILONS, st.floats(0.05, 0.95))
def test_delta_is_below_every_renyi_bound(samples: int, ratio: float, epsilon: float, order: float) -> None:
    bound = bound_delta(samples, ratio, epsilon, order / ratio)
    assert invert_delta(samples, ratio, epsilon) <= bound * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**5), RATIOS, EPSILONS)
def test_delta_rises_with_samples_and_ratio_and_falls_with_epsilon(
    samples: int, ratio: float, epsilon: float
) -> None:
    delta = invert_delta(samples, ratio, epsilon)
    slack = 1 + 1e-9
    assert delta <= invert_delta(samples + 1, ratio, epsilon) * slack
    assert delta <= invert_delta(samples, ratio * 1.1, epsilon) * slack
    assert invert_delta(samples, ratio, epsilon * 1.1) <= delta * slack


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.01, 10))
def test_no_pair_of_neighbours_has_eigenvalues_beyond_the_worst(seed: int, n: int, eta: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 2))
    vectors /= np.maximum(1, np.linalg.norm(vectors, axis=0))
    others = rng.standard_normal((n, int(rng.integers(0, 4))))
    common = others @ others.T + eta * np.eye(n)
    own, other = (common + np.outer(v, v) for v in vectors.T)
    values = np.sort(np.linalg.eigvals(np.linalg.solve(other, own)).real)
    high, low = get_eigenvalues(1 / eta)
    assert low - 1e-9 <= values[0]
    assert values[-1] <= high + 1e-9
    assert np.allclose(values[1:-1], 1)


def test_worst_pair_exists() -> None:
    values = np.linalg.eigvals(np.linalg.solve(np.diag([1, 1.25]), np.diag([1.25, 1])))
    assert sorted(values) == pytest.approx(sorted(get_eigenvalues(0.25)))


@pytest.mark.parametrize(
    ("ratio", "epsilon", "delta"), [(1e-3, 1.0, 1e-5), (0.3, 4.0, 1e-6), (1e-2, 0.5, 1e-3)]
)
def test_issued_samples_are_the_most_that_both_allow(ratio: float, epsilon: float, delta: float) -> None:
    terms = make_terms(ratio, epsilon, delta)
    accounted = count_samples(terms)
    assert max(accounted.inverted, accounted.integrated) < accounted.delta <= delta
    assert account(terms, accounted.samples + 1).delta > delta


def test_exact_accounting_allows_ten_times_the_papers_samples() -> None:
    accounted = count_samples(make_terms(1e-3))
    assert accounted.samples >= 10 * accounted.by_paper > 0


def test_papers_rule_is_its_formula() -> None:
    terms = make_terms(1e-3)
    samples, logarithm = count_by_paper(terms), math.log(1e5)
    assert get_spread(terms.ratio) <= 1 / math.sqrt(8 * samples * logarithm)
    assert get_spread(terms.ratio) > 1 / math.sqrt(8 * (samples + 1) * logarithm)
    assert count_by_paper(make_terms(0.5)) == 0  # its second condition


def test_samples_are_bounded_where_data_hardly_matter() -> None:
    assert count_samples(make_terms(1e-6, 60.0, 0.5)).samples <= 10**12


def test_not_one_sample_is_refused_with_the_ridge_that_allows_one() -> None:
    with pytest.raises(PrivacyRefused, match=r"an eta of 7\.39") as caught:
        count_samples(make_terms(1.0))
    assert caught.value.field == "eta"
    assert count_samples(Terms(1.0, find_least_eta(1.0, 1.0, 1e-5), 1.0, 1e-5)).samples == 1
