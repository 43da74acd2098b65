"""The race against an attacker: published tables, big fractions, and the race itself, run."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.safety import (
    MOST_CONFIRMATIONS,
    compute_catch_up,
    compute_exact_risk,
    compute_nakamoto_risk,
    find_confirmations,
)

LOST = 60  # so far behind, a win has probability (3/7)^60


@pytest.mark.parametrize(
    ("attacker", "confirmations", "risk"),
    [
        (0.1, 0, 1.0),
        (0.1, 1, 0.2045873),
        (0.1, 2, 0.0509779),
        (0.1, 6, 0.0002428),
        (0.1, 10, 0.0000012),
        (0.3, 5, 0.1773523),
        (0.3, 10, 0.0416605),
        (0.3, 50, 0.0000006),
    ],
)
def test_nakamoto_risk_is_that_of_his_paper(attacker: float, confirmations: int, risk: float) -> None:
    assert compute_nakamoto_risk(attacker, confirmations) == pytest.approx(risk, abs=0.6e-7)


def count_exactly(attacker: Fraction, confirmations: int) -> Fraction:
    """Rosenfeld's sum as it is written."""
    q, p, z = attacker, 1 - attacker, confirmations
    return 1 - sum((comb(m + z - 1, m) * (p**z * q**m - p**m * q**z) for m in range(z)), start=Fraction(0))


@given(st.integers(1, 499), st.integers(1, 80))
def test_exact_risk_is_rosenfelds_sum(thousandths: int, confirmations: int) -> None:
    attacker = Fraction(thousandths, 1000)
    expected = float(count_exactly(attacker, confirmations))
    assert compute_exact_risk(float(attacker), confirmations) == pytest.approx(expected, rel=1e-11, abs=0)


def test_exact_risk_of_two_confirmations_is_higher_than_nakamotos() -> None:
    assert compute_exact_risk(0.1, 2) == pytest.approx(0.0560, abs=1e-12)


def test_risks_fall_with_confirmations_where_sums_change_over() -> None:
    for attacker, around in ((0.3, 7), (0.45, 100), (0.49, 2500)):
        risks = [compute_exact_risk(attacker, z) for z in range(around - 5, around + 5)]
        assert all(np.diff(risks) < 0)


@pytest.mark.parametrize("compute", [compute_exact_risk, compute_nakamoto_risk, compute_catch_up])
def test_majority_always_wins_and_nobody_never(compute: object) -> None:
    assert callable(compute)
    assert compute(0.5, 100) == compute(0.9, 3) == compute(1.0, 1) == 1
    assert compute(0.0, 1) == 0
    assert compute(0.2, 0) == 1
    with pytest.raises(ValueError, match="attacker: a share"):
        compute(1.1, 1)
    with pytest.raises(ValueError, match="confirmations: 0 or more"):
        compute(0.1, -1)


def run_race(attacker: float, confirmations: int, runs: int, rng: np.random.Generator) -> float:
    """The share of races that the attacker wins, block by block."""
    honest, secret = np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    racing, won = np.ones(runs, bool), 0
    while racing.any():
        found = rng.random(runs) < attacker
        secret += found & racing
        honest += ~found & racing
        caught = racing & (honest >= confirmations) & (secret >= honest)
        won += int(caught.sum())
        racing &= ~caught & (honest - secret < LOST)
    return won / runs


def test_races_that_are_run_agree_with_the_exact_risk() -> None:
    runs, risk = 100_000, compute_exact_risk(0.3, 5)
    observed = run_race(0.3, 5, runs, np.random.default_rng(5))
    error = (risk * (1 - risk) / runs) ** 0.5
    assert abs(observed - risk) <= 3 * error
    assert abs(observed - compute_nakamoto_risk(0.3, 5)) > 10 * error


@given(st.floats(0.01, 0.47), st.floats(1e-12, 0.9))
def test_confirmations_found_are_the_fewest(attacker: float, risk: float) -> None:
    found = find_confirmations(attacker, risk)
    assert found is not None
    assert compute_exact_risk(attacker, found) <= risk
    assert compute_exact_risk(attacker, found - 1) > risk


def test_confirmations_are_none_where_no_number_is_enough() -> None:
    assert find_confirmations(0.5, 0.001) is None
    assert find_confirmations(0.4999, 0.001) is None
    assert compute_exact_risk(0.4999, MOST_CONFIRMATIONS) > 0.001
    assert find_confirmations(0.0, 0.001) == 1
    assert find_confirmations(0.3, 1.0) == 0
    with pytest.raises(ValueError, match="risk: in"):
        find_confirmations(0.1, 0.0)
