"""Terms of privacy as an operator writes them."""

import pytest

from node import privacy
from node.privacy import WrongTerms, count_terms, read_terms
from training.private import cost
from training.private.cost import PrivacyTerms


@pytest.mark.parametrize(
    ("value", "counted"),
    [
        ({"epsilon": 8, "delta": 1e-5}, (8000, 10**10, 32, 1)),
        ("epsilon=8, delta=1e-5", (8000, 10**10, 32, 1)),
        (["epsilon=0.5", "delta=1e-15", "updates=7", "steps=2"], (500, 1, 7, 2)),
        ({"epsilon": 0.0019, "delta": 0.9999999999999999}, (1, 10**15 - 1, 32, 1)),
    ],
)
def test_terms_are_counted_rounded_down(value: object, counted: tuple[int, ...]) -> None:
    assert count_terms(read_terms(value)) == counted
    PrivacyTerms(*counted)


def test_no_terms_are_counted_as_none() -> None:
    assert count_terms({}) == ()


@pytest.mark.parametrize(
    "value",
    [
        {"epsilon": 0, "delta": 1e-5},
        {"epsilon": -1, "delta": 1e-5},
        {"epsilon": 65, "delta": 1e-5},
        {"epsilon": float("nan"), "delta": 1e-5},
        {"epsilon": float("inf"), "delta": 1e-5},
        {"epsilon": 8},
        {"delta": 1e-5},
        {"epsilon": 8, "delta": 0},
        {"epsilon": 8, "delta": 1},
        {"epsilon": 8, "delta": 1e-16},
        {"epsilon": "8", "delta": 1e-5},
        {"epsilon": True, "delta": 1e-5},
        {"epsilon": 8, "delta": 1e-5, "updates": 0},
        {"epsilon": 8, "delta": 1e-5, "updates": 2.5},
        {"epsilon": 8, "delta": 1e-5, "steps": 65},
        {"epsilon": 8, "delta": 1e-5, "clip": 1},
        {},
        "",
        " , ",
        [],
        "epsilon=8",
        "epsilon=snan,delta=1e-5",
        "epsilon=8,delta=1e-5,updates=nan",
        "epsilon=8,delta=1e-5,updates=inf",
        "epsilon=1,delta=1e-5,epsilon=64",
        "epsilon=eight,delta=1e-5",
        "epsilon=8,delta=1e-5,updates=2.5",
        7,
    ],
)
def test_terms_that_promise_nothing_are_refused(value: object) -> None:
    with pytest.raises(WrongTerms, match=r"epsilon 0\.001 to 64, delta 1e-15 to below 1"):
        read_terms(value)


def test_limits_are_those_of_the_accountant() -> None:
    assert (privacy.EPSILON_UNITS, privacy.DELTA_UNITS) == (cost.EPSILON_UNITS, cost.DELTA_UNITS)
    assert (privacy.MOST_UPDATES, privacy.MOST_STEPS) == (cost.MOST_UPDATES, cost.MOST_STEPS)
    assert privacy.MOST_EPSILON * cost.EPSILON_UNITS == cost.MOST_EPSILON
    assert privacy.DEFAULTS == {"updates": cost.DEFAULT_UPDATES, "steps": cost.DEFAULT_STEPS}
