"""How answers look: JSON for machines, aligned tables for people, coins, ages and short hashes.

Tables are plain columns of full width: nothing is cut off, and a pipe gets what a terminal gets.
"""

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

from node.amounts import format_coins
from node.exits import Exit, UserError

MAX_UNITS = 2**63 - 1
DECIMALS = 8
AMOUNT = re.compile(r"([0-9]{1,30})(?:\.([0-9]{0,8}))?", re.ASCII)
SHORT_HASH = 10


def print_json(value: Any) -> None:  # Any: whatever json.dumps takes
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], indent: str = "") -> None:
    """Columns as wide as their widest cell; numbers, and what starts with a digit, to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    table = [list(headers), *cells]
    widths = [max(click.unstyle(row[i]).__len__() for row in table) for i in range(len(headers))]
    right = [bool(cells) and all(is_number(row[i]) for row in cells) for i in range(len(headers))]
    for number, row in enumerate(table):
        line = "  ".join(pad(cell, widths[i], right[i]) for i, cell in enumerate(row)).rstrip()
        click.echo(indent + (click.style(line, bold=True) if number == 0 else line))


def is_number(cell: str) -> bool:
    text = click.unstyle(cell)
    return text in ("", "-") or text.replace(",", "").replace(".", "", 1).lstrip("-").isdigit()


def pad(cell: str, width: int, right: bool) -> str:
    blanks = " " * (width - len(click.unstyle(cell)))
    return blanks + cell if right else cell + blanks


def print_facts(facts: Iterable[tuple[str, object]], indent: str = "  ") -> None:
    """Name and value on a line each, values aligned."""
    pairs = [(name, str(value)) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(f"{indent}{click.style(name.ljust(width), dim=True)}  {value}")


def print_next(command: str) -> None:
    """The command a user will want to type next."""
    click.echo(f"\nnext: {click.style(command, fg='cyan', bold=True)}")


def warn(message: str) -> None:
    """A line for people, out of the way of machine output."""
    click.echo(message, err=True)


def parse_coins(text: str) -> int:
    """Coins as typed -> units; raises UserError for anything a chain could not hold."""
    match = AMOUNT.fullmatch(text)
    units = int(match[1] + (match[2] or "").ljust(DECIMALS, "0")) if match else 0
    if match is not None and units > MAX_UNITS:
        most = format_coins(MAX_UNITS)
        raise UserError(
            f"the amount {text} is too large: at most {most} coins can be", "give less", Exit.USAGE
        )
    if units == 0:
        raise UserError(
            f"the amount {text!r} is not one: expected coins above 0 with at most 8 decimals, such as 12.5",
            "write it in digits, with a point and without separators",
            Exit.USAGE,
        )
    return units


def shorten(text: str | None) -> str:
    """The first characters of a hash or id, enough to name it to a command."""
    return text[:SHORT_HASH] if text else "-"


def format_loss(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"


def format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_age(time_ms: int) -> str:
    return f"{format_duration(max(0.0, time.time() - time_ms / 1000))} ago"


def count_of(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
