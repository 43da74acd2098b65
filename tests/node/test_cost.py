"""The estimate of cost: its terms by hand, and what it refuses."""

from dataclasses import replace

import pytest

from node.cost import Assumptions, estimate_cost
from node.safety import compute_exact_risk

GIVEN = Assumptions(1.75e11, 3.2e6, 100, 0.10, 2, 5e11, 60, 0.3, 6)


def test_terms_are_those_computed_by_hand() -> None:
    terms = {term.key: term.value for term in estimate_cost(GIVEN)}
    assert terms["gradient_flops"] == pytest.approx(3.36e18)
    assert terms["gradient_kwh"] == pytest.approx(1.8667, abs=1e-4)
    assert terms["block_kwh"] == pytest.approx(200 * terms["gradient_kwh"])
    assert terms["block_price"] == pytest.approx(0.1 * terms["block_kwh"])
    assert terms["year_price"] == pytest.approx(terms["block_price"] * 525_960)
    assert terms["attack_price"] == pytest.approx(6 * terms["block_price"] * 3 / 7)
    assert terms["success_price"] == pytest.approx(terms["attack_price"] / compute_exact_risk(0.3, 6))


def test_success_that_never_comes_costs_more_than_any_number() -> None:
    terms = {term.key: term.value for term in estimate_cost(replace(GIVEN, attacker=1e-4, confirmations=200))}
    assert terms["attack_risk"] == 0
    assert terms["success_price"] == float("inf")


@pytest.mark.parametrize(
    "name", ["params", "tokens", "nodes", "price", "gradients", "flops_a_joule", "block_s"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_assumptions_without_sense_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: a number above 0"):
        replace(GIVEN, **{name: value})


def test_attacker_and_confirmations_out_of_range_are_refused() -> None:
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="attacker: a share"):
            replace(GIVEN, attacker=share)
    for confirmations in (0, 10_001, 10**400):  # more would take its time, or no float
        with pytest.raises(ValueError, match="confirmations: 1 to 10,000 expected"):
            replace(GIVEN, confirmations=confirmations)
