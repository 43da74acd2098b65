"""`confirmations`: how many blocks to wait before a payment counts, by the attacker one fears."""

from __future__ import annotations

from typing import Any

import click

from node.cli.options import json_option
from node.cli.output import print_facts, print_json, print_table
from node.exits import Exit, UserError
from node.safety import (
    LEAST_RISK,
    MOST_CONFIRMATIONS,
    compute_catch_up,
    compute_exact_risk,
    compute_nakamoto_risk,
    find_confirmations,
)

ROWS = 10  # of the table, and where the risk is reached later, that one


@click.command()
@click.option("--attacker", type=float, required=True, help="The attacker's share of all power, such as 0.2.")
@click.option("--risk", type=float, default=0.001, show_default=True, help="That is accepted.")
@click.option("--most", type=click.IntRange(1, 1000), default=ROWS, show_default=True, help="Rows to show.")
@json_option
def confirmations(attacker: float, risk: float, most: int, as_json: bool) -> None:
    """How many blocks to wait before a payment counts.

    Both probabilities that an attacker overtakes so many confirmations: exact (Rosenfeld), and Nakamoto's estimate,
    which is lower where it is small. The number to wait for is by the exact one. Of one who is already so many blocks
    behind, CATCH UP is the probability that he ever draws level.
    """
    check("--attacker", attacker, 0.0, 1.0)
    check("--risk", risk, LEAST_RISK, 1.0)
    enough = find_confirmations(attacker, risk)
    shown = [*range(1, most + 1), *([enough] if enough is not None and enough > most else [])]
    rows = [describe(attacker, count) for count in shown]
    answer = {"attacker": attacker, "risk": risk, "confirmations": enough, "table": rows}
    if as_json:
        print_json(answer)
    else:
        show(attacker, risk, enough, rows)


def check(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UserError(
            f"{option}: a number in [{least:g}, {most:g}] expected, got {value:g}",
            "gradientcoin confirmations --attacker 0.2 --risk 0.001",
            Exit.USAGE,
        )


def describe(attacker: float, count: int) -> dict[str, Any]:  # Any: JSON
    return {
        "confirmations": count,
        "catch_up": compute_catch_up(attacker, count),
        "nakamoto": compute_nakamoto_risk(attacker, count),
        "exact": compute_exact_risk(attacker, count),
    }


def show(attacker: float, risk: float, enough: int | None, rows: list[dict[str, Any]]) -> None:  # Any: JSON
    print_table(
        ("CONFIRMATIONS", "CATCH UP", "NAKAMOTO", "EXACT"),
        [
            (row["confirmations"], *(format_risk(row[key]) for key in ("catch_up", "nakamoto", "exact")))
            for row in rows
        ],
    )
    click.echo()
    wait = str(enough) if enough is not None else explain_none(attacker)
    print_facts([("attacker", f"{attacker:g} of all power"), (f"wait, for a risk of {risk:g}", wait)])


def explain_none(attacker: float) -> str:
    if attacker >= 0.5:
        return "no number is enough: a majority overtakes any"
    return f"more than {MOST_CONFIRMATIONS:,}: too near to a majority"


def format_risk(value: float) -> str:
    """Seven decimals as in Nakamoto's paper, and digits that count where those are zeros."""
    return f"{value:.7f}" if value >= 1e-4 or value == 0 else f"{value:.3e}"
