"""What noised sums cost: two accountants agree, totals are never exceeded, more noise never costs more."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import PrivacyRefused
from training.private.convolution import bracket_delta
from training.private.cost import (
    COST_F,
    MOST_EPSILON,
    PrivacyTerms,
    compute_cost_delta,
    count_cost,
    count_total,
    find_epsilon,
    find_noise,
)

EPSILONS, DELTAS = st.integers(1, MOST_EPSILON), st.integers(1, 10**14)


@pytest.mark.parametrize(
    ("noises", "epsilon"),
    [([(6.8, 32)], 8.0), ([(48.0, 32)], 1.0), ([(2.0, 1)], 0.5), ([(3.0, 2), (9.0, 50), (30.0, 7)], 2.0)],
)
def test_both_accountants_agree(noises: list[tuple[float, int]], epsilon: float) -> None:
    cost = sum(count_cost(round(noise * 2**24), count) for noise, count in noises)
    low, high = bracket_delta([(2 / noise, count) for noise, count in noises], epsilon)
    assert low < compute_cost_delta(cost, epsilon) < high
    assert high < 1.01 * low


def test_a_sum_costs_what_its_two_outcomes_can_be_told_apart_by() -> None:
    noise, epsilon = 1.5, 1.0
    x, step = np.linspace(-40, 40, 2_000_001, retstep=True)
    p, q = (
        np.exp(-((x - at) ** 2) / (2 * noise**2)) / (noise * math.sqrt(2 * math.pi)) for at in (1.0, -1.0)
    )
    seen = float(
        np.maximum(p - math.exp(epsilon) * q, 0).sum() * step
    )  # sums of one clip, and of minus one clip
    assert compute_cost_delta(count_cost(round(noise * 2**24)), epsilon) == pytest.approx(seen, rel=1e-5)


@given(EPSILONS, DELTAS)
def test_total_is_the_most_that_epsilon_and_delta_allow(epsilon: int, delta: int) -> None:
    total = count_total(epsilon, delta)
    assert compute_cost_delta(total, epsilon / 1e3) <= delta / 1e15
    assert compute_cost_delta(total + 2 + total // 10**6, epsilon / 1e3) > delta / 1e15 * (1 - 1e-9)


@given(EPSILONS, DELTAS, st.integers(1, 1000), st.integers(1, 8))
def test_noise_is_the_least_with_which_all_updates_fit(
    epsilon: int, delta: int, updates: int, steps: int
) -> None:
    terms, total = PrivacyTerms(epsilon, delta, updates, steps), count_total(epsilon, delta)
    try:
        noise = find_noise(terms)
    except PrivacyRefused as error:
        if "beyond 12.1 deviations" in str(error):
            return
        assert total * 2.0**-COST_F < 4 * (updates * steps) * 2.0**-36
        return
    assert updates * count_cost(noise, steps) <= total
    more = updates * count_cost(max(1, round(noise * (1 - 1e-6)) - 1), steps)
    assert more > total - 2 * updates * steps


@given(EPSILONS, EPSILONS, DELTAS, DELTAS)
def test_a_looser_promise_never_allows_less(first: int, second: int, delta: int, other: int) -> None:
    low, high = sorted((first, second))
    small, large = sorted((delta, other))
    assert count_total(low, small) <= count_total(high, small) <= count_total(high, large)


@given(st.integers(1, 2**42), st.integers(1, 2**42), st.integers(1, 50))
def test_more_noise_or_fewer_sums_never_cost_more(first: int, second: int, sums: int) -> None:
    low, high = sorted((first, second))
    assert count_cost(high, sums) <= count_cost(low, sums) < count_cost(low, sums + 1)


@settings(max_examples=30)
@given(EPSILONS, DELTAS)
def test_epsilon_of_a_whole_total_is_the_totals(epsilon: int, delta: int) -> None:
    total = count_total(epsilon, delta)
    if total > 10**6:  # fewer units do not tell epsilons apart
        assert find_epsilon(total, delta) == pytest.approx(epsilon / 1e3, rel=1e-4)
    assert find_epsilon(total // 2, delta) <= epsilon / 1e3 * (1 + 1e-8)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("epsilon", (0, 10**10)),
        ("epsilon", (64_001, 10**10)),
        ("delta", (8000, 0)),
        ("delta", (8000, 10**15)),
        ("updates", (8000, 10**10, 0)),
        ("steps", (8000, 10**10, 1, 65)),
    ],
)
def test_terms_out_of_range_are_refused_by_name(field: str, values: tuple[int, ...]) -> None:
    with pytest.raises(PrivacyRefused, match="expected") as caught:
        PrivacyTerms(*values)
    assert caught.value.field == field


def test_noise_beyond_all_use_is_refused() -> None:
    with pytest.raises(PrivacyRefused, match="fewer updates"):
        find_noise(PrivacyTerms(1, 1, 10**6, 64))


def test_terms_that_need_more_than_the_noise_reaches_are_refused() -> None:
    with pytest.raises(PrivacyRefused, match=r"for 1 noised sums need noise beyond 12\.1 deviations"):
        find_noise(PrivacyTerms(64_000, 10**10, updates=1))
    assert find_noise(PrivacyTerms(64_000, 10**10, updates=32)) > 0
    assert find_noise(PrivacyTerms(8_000, 1, updates=1)) > 0
