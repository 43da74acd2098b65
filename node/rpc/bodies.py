"""Reads the JSON body of a request, field by field; what does not fit is a problem that names the field."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from ledger.codec import MAX_AMOUNT
from node.rpc.problems import ApiProblem

SHOWN = 80  # characters of a wrong value
MAX_AMOUNT_DIGITS = len(str(MAX_AMOUNT))


class Fields:
    """The members of a JSON object; each is taken once, and none may be left."""

    def __init__(self, body: bytes) -> None:
        try:
            value: Any = json.loads(body)  # Any: what a client sent
        except (ValueError, RecursionError):
            raise ApiProblem("bad_request", f"body: expected a JSON object, got {body[:SHOWN]!r}") from None
        if not isinstance(value, dict):
            raise ApiProblem("bad_request", f"body: expected a JSON object, got {type(value).__name__}")
        self._values: dict[str, Any] = value
        self._known: list[str] = []

    def take_text(self, name: str, default: str | None = None) -> str:
        value = self._take(name, default)
        if not isinstance(value, str) or not _is_utf8(value):
            raise self._wrong(name, "a text", value)
        return value

    def take_amount(self, name: str) -> int:
        """Return a positive amount of units, written as a decimal string."""
        value = self._take(name, None)
        if isinstance(value, int | float):
            raise self._wrong(name, 'a decimal string of units in quotes, such as "1"', value, "the number ")
        if not isinstance(value, str) or not (value.isascii() and value.isdigit()):
            raise self._wrong(name, "a decimal string of units", value)
        if len(value) > MAX_AMOUNT_DIGITS or not 1 <= int(value) <= MAX_AMOUNT:
            raise self._wrong(name, f"1 to {MAX_AMOUNT} units", value)
        return int(value)

    def take_base64(self, name: str) -> bytes:
        text = self.take_text(name)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._wrong(name, "base64", text) from None

    def expect_end(self) -> None:
        """Refuse members nobody took: a mistyped name must not pass silently."""
        if self._values:
            unknown, known = next(iter(self._values)), ", ".join(self._known)
            raise ApiProblem("bad_request", f"body: {unknown[:SHOWN]!r} is not known; there are {known}")

    def _take(self, name: str, default: str | None) -> object:
        self._known.append(name)
        if name not in self._values and default is None:
            raise ApiProblem("bad_request", f"body: {name} is missing")
        value = self._values.pop(name, default)
        return default if value is None and default is not None else value

    def _wrong(self, name: str, expected: str, value: object, kind: str = "") -> ApiProblem:
        got = f"{kind}{str(value)[:SHOWN]}" if kind else repr(str(value)[:SHOWN])
        return ApiProblem("bad_request", f"{name}: expected {expected}, got {got}")


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
