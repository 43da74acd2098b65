"""`cost`: what a block of gradients costs at the least, and what rewriting some costs; every term."""

from __future__ import annotations

from dataclasses import asdict

import click

from node.cli.options import json_option
from node.cli.output import print_facts, print_json, print_table
from node.cost import Assumptions, Term, estimate_cost
from node.exits import Exit, UserError


@click.command()
@click.option("--params", type=float, required=True, help="Parameters of the model, such as 1.75e11.")
@click.option("--tokens", type=float, required=True, help="Tokens of a gradient, such as 3.2e6.")
@click.option("--nodes", type=float, required=True, help="Honest nodes that race for a block.")
@click.option("--price", type=float, required=True, help="Of a kilowatt-hour, in any money.")
@click.option("--gradients", type=float, default=1, show_default=True, help="Of a node for a block.")
@click.option(
    "--flops-per-joule", type=float, default=5e11, show_default=True, help="What the hardware achieves."
)
@click.option("--block-s", type=float, default=60, show_default=True, help="Seconds between blocks.")
@click.option("--attacker", type=float, default=0.3, show_default=True, help="His share of all power.")
@click.option("--confirmations", type=int, default=6, show_default=True, help="Blocks that he would rewrite.")
@json_option
def cost(
    params: float,
    tokens: float,
    nodes: float,
    price: float,
    gradients: float,
    flops_per_joule: float,
    block_s: float,
    attacker: float,
    confirmations: int,
    as_json: bool,
) -> None:
    """What a block of gradients costs at the least, and what it costs to rewrite some.

    Energy alone, in the money of --price: machines, networks and people come on top.
    """
    try:
        given = Assumptions(
            params, tokens, nodes, price, gradients, flops_per_joule, block_s, attacker, confirmations
        )
        terms = estimate_cost(given)
    except ValueError as error:
        example = "gradientcoin cost --params 1.75e11 --tokens 3.2e6 --nodes 100 --price 0.10"
        raise UserError(str(error), example, Exit.USAGE) from None
    if as_json:
        print_json(
            {"assumptions": asdict(given), "terms": {term.key: make_finite(term.value) for term in terms}}
        )
    else:
        show(given, terms)


def make_finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if value < float("inf") else None


def show(given: Assumptions, terms: tuple[Term, ...]) -> None:
    click.echo(click.style("assumed", bold=True))
    print_facts((name.replace("_", " "), f"{value:,g}") for name, value in asdict(given).items())
    click.echo()
    rows = [(term.name, f"{term.value:,.4g}", term.unit, term.formula) for term in terms]
    print_table(("TERM", "VALUE", "UNIT", "HOW"), rows)
