"""One table of a job file, read key by key: every refusal names the section, the key, what was expected and what came.

Numbers are decimals, so that 0.1 coins are exactly 10,000,000 units.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from training.data import describe_choice
from training.errors import TrainingError

COIN_DIGITS = 8  # decimals of a coin
MAX_DECIMALS = 64  # of any number: beyond that it is a mistake
MAX_AMOUNT = 2**63 - 1  # units
PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,80})?", re.ASCII)  # an amount in quotes
MAX_SHOWN = 60  # characters of a value in a message

Table = dict[str, object]


class JobFileError(TrainingError):
    """A job file, or a job with its data, that cannot become a submission. The message is meant for the user."""


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file together with its name, for messages."""

    path: Path
    name: str
    table: Table

    def fail(self, key: str, problem: str) -> JobFileError:
        """The error about a key of this section."""
        place = f"[{self.name}] {key}" if self.name else key
        return JobFileError(f"{self.path}: {place}: {problem}")

    def expect(self, known: Iterable[str]) -> None:
        """Refuse keys that are not known, with the closest one that is."""
        names = list(known)
        for key in self.table:
            if key not in names:
                raise self.fail(key, f"unknown key{describe_choice(key, names)}")

    def take_section(self, key: str) -> "Section":
        name = f"{self.name}.{key}" if self.name else key
        expected = f"a section [{name}]"
        value = self._take(key, expected)
        if not isinstance(value, dict):
            raise self.expected(key, expected, value)
        return Section(self.path, name, value)

    def take_text(self, key: str, default: str | None = None) -> str:
        expected = "a text in quotes"
        value = self._take(key, expected, default)
        if not isinstance(value, str):
            raise self.expected(key, expected, value)
        return value

    def take_word(self, key: str, words: tuple[str, ...], default: str | None) -> str:
        """One of a few words."""
        expected = f"one of {', '.join(map(repr, words))}"
        word = self._take(key, expected, default)
        if not isinstance(word, str) or word not in words:
            raise self.expected(key, expected, word)
        return word

    def take_flag(self, key: str, *, default: bool) -> bool:
        value = self.table.get(key, default)
        if not isinstance(value, bool):
            raise self.expected(key, "true or false", value)
        return value

    def take_integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        expected = f"a whole number from {low} to {high}"
        value = self._take(key, expected, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.expected(key, expected, value)
        return value

    def take_decimal(self, key: str, low: Decimal, high: Decimal, default: Decimal | None = None) -> Decimal:
        expected = f"a number from {low:f} to {describe_limit(high)}"
        value = self._take(key, expected, default)
        if isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if not isinstance(value, Decimal) or not _is_plain(value) or not low <= value <= high:
            raise self.expected(key, expected, value)
        return value

    def take_coins(self, key: str, default: int | None = None) -> int:
        """An amount in units from coins, as a number or as a string."""
        expected = 'an amount in coins, such as 2.5 or "2.5"'
        value = self._take(key, expected, default)
        coins = _read_decimal(value)
        if coins is None:
            raise self.expected(key, expected, value)
        most = Decimal(MAX_AMOUNT).scaleb(-COIN_DIGITS)
        if not _is_plain(coins) or not 0 <= coins <= most:
            raise self.expected(key, f"0 to {most} coins", value)
        units = Fraction(coins) * 10**COIN_DIGITS
        if units.denominator != 1:
            raise self.expected(key, f"at most {COIN_DIGITS} decimals", value)
        return int(units)

    def expected(self, key: str, expected: str, came: object) -> JobFileError:
        """The error about a value of the wrong kind or size."""
        return self.fail(key, f"expected {expected}, got {show_value(came)}")

    def _take(self, key: str, expected: str, default: object = None) -> object:
        value = self.table.get(key, default)
        if value is None:
            raise self.fail(key, f"missing: expected {expected}; docs/job-files.md describes every key")
        return value


def describe_limit(high: Decimal) -> str:
    """A limit in a few digits: one just below a whole number is that number, left out."""
    whole = high.to_integral_value()
    return f"{whole:f}, less than that" if high < whole < high + Decimal("1e-6") else f"{high.normalize():f}"


def show_value(value: object) -> str:
    """A value in a few characters, as the file writes it."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**MAX_SHOWN:  # str() refuses thousands of digits
        return f"a number of over {MAX_SHOWN} digits"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " ..."


def _read_decimal(value: object) -> Decimal | None:
    """The decimal that a number or a string of plain digits is."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    if isinstance(value, str) and not PLAIN_NUMBER.fullmatch(value):
        return None
    return Decimal(value)


def _is_plain(value: Decimal) -> bool:
    """Finite, and short enough to become a fraction."""
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and -MAX_DECIMALS <= exponent <= MAX_DECIMALS
