"""The terms on which a node uses samples of its operator's: `privacy = { epsilon = 8, delta = 1e-5 }`.

Loads nothing heavy, for the command line. Limits are those of training/private/cost.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

FOLDER = Path("privacy")  # of a data directory: what was spent on which samples
EPSILON_UNITS, DELTA_UNITS = 10**3, 10**15  # of one: a thousandth, and 10^-15
MOST_EPSILON = 64
MOST_UPDATES, MOST_STEPS = 1 << 20, 64
DEFAULTS = {"updates": 32, "steps": 1}
EXPECTED = (
    f"epsilon 0.001 to {MOST_EPSILON}, delta 1e-15 to below 1, and, if they should not be {DEFAULTS['updates']} and"
    f" {DEFAULTS['steps']}, updates 1 to {MOST_UPDATES} and steps 1 to {MOST_STEPS}"
)


class WrongTerms(ValueError):
    """Terms that promise nothing, or nothing that can be kept."""


def read_terms(value: object) -> dict[str, float | int]:
    """Terms of a table, or of texts KEY=VALUE in a list or between commas. WrongTerms, also for none: whoever writes
    the word wants privacy, and samples without terms are trained on without noise."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        pairs = [_split(text) for text in value]
        value = dict(pairs)
        if len(value) != len(pairs):
            raise WrongTerms(f"each term once, of {EXPECTED}")
    if not isinstance(value, dict):
        raise WrongTerms(EXPECTED)
    terms = DEFAULTS | value
    if set(terms) != {"epsilon", "delta", *DEFAULTS} or any(
        isinstance(term, bool) or not isinstance(term, int | float) for term in terms.values()
    ):
        raise WrongTerms(EXPECTED)
    _check(terms)
    return {name: terms[name] for name in ("epsilon", "delta", *DEFAULTS)}


def count_terms(terms: Mapping[str, float | int]) -> tuple[int, ...]:
    """Epsilon in thousandths and delta in units of 10^-15, both rounded down, updates, steps; () for none."""
    if not terms:
        return ()
    epsilon, delta = _floor(terms["epsilon"], EPSILON_UNITS), _floor(terms["delta"], DELTA_UNITS)
    return (epsilon, delta, int(terms["updates"]), int(terms["steps"]))


def _check(terms: Mapping[str, Any]) -> None:  # Any: numbers, seen already
    for name, most in (("updates", MOST_UPDATES), ("steps", MOST_STEPS)):
        if type(terms[name]) is not int or not 1 <= terms[name] <= most:
            raise WrongTerms(EXPECTED)
    if not (1 / EPSILON_UNITS <= terms["epsilon"] <= MOST_EPSILON and 1 / DELTA_UNITS <= terms["delta"] < 1):
        raise WrongTerms(EXPECTED)


def _floor(value: float, units: int) -> int:
    return int((Decimal(repr(value)) * units).to_integral_value(ROUND_FLOOR))


def _split(text: object) -> tuple[str, object]:
    name, _, number = str(text).partition("=")
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise WrongTerms(EXPECTED) from None
    if not value.is_finite():
        raise WrongTerms(EXPECTED)
    return name.strip(), int(value) if name.strip() in DEFAULTS and value == int(value) else float(value)
