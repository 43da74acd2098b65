"""The adversaries of a local network on the command line: how they are asked for, and what they earn."""

import click

from node.amounts import format_coins
from node.cli.output import print_table
from node.rpc.client import Json
from node.testnet.attacks import ATTACKS, parse_attacks


def read_attacks(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, int]:
    """How many adversaries of each name."""
    return parse_attacks(value) if value is not None else {}


def print_adversaries(answer: Json) -> None:
    """Which nodes attack the market for updates, and what they earned by it."""
    adversaries = [node for node in answer["nodes"] if node["attack"]]
    if not adversaries:
        return
    click.echo("\nadversaries (node-... are honest; each node's updates since it started):\n")
    rows = [get_updates_row(node) for node in answer["nodes"]]
    print_table(("NODE", "PAID TO", "COMMITTED", "REVEALED", "PAID", "COINS"), rows)
    for name in dict.fromkeys(node["attack"] for node in adversaries):
        click.echo(f"  {name} {ATTACKS[name]}")
    click.echo("see what became of each update: gradientcoin job updates")


def get_updates_row(node: Json) -> tuple[object, ...]:
    """What a node's updates came to; addresses are those that `job updates` shows."""
    status = node["status"]
    if status is None:
        return (node["name"], "-", "-", "-", "-", "-")
    updates = status["updates"]
    earned = format_coins(updates["earned"])
    address = status["wallet"]["address"]
    return (node["name"], address, updates["committed"], updates["revealed"], updates["paid"], earned)
