"""`explain` and `verify`: why something on the chain is as it is, told by a node, or by a replay that trusts nobody."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.chain import check_chain_file
from node.cli.options import connect, reading
from node.cli.output import print_facts, print_json
from node.cli.verify import run_verifier, show_progress
from node.exits import Exit, UserError
from node.rpc.client import Json, quote_part

TEXT_FACTS = 70  # characters: longer values are for --json


@click.command()
@click.argument("thing", metavar="ID")
@reading
def explain(thing: str, node: str | None, as_json: bool) -> None:
    """Why a job, update, transaction, block, ticket or share is as it is: paid, unpaid, refused or waiting.

    ID is a height, or six or more digits of an id. The node is believed; verify believes nobody.
    """
    story = connect(node).get(f"/v1/explain/{quote_part(thing)}")
    print_json(story) if as_json else print_story(story)


@click.command()
@click.argument("thing", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--path", type=click.Choice(["fused", "portable"]), default="fused", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
def verify(thing: str, file: Path, path: str, as_json: bool) -> int:
    """Compute the verdict on ID again from an exported chain, without a node: ticket, share, update, merge, payment.

    FILE is what chain export wrote. Everything from genesis on is replayed, training included, and the story told from
    the replay.
    """
    check_chain_file(file)
    with show_progress("replaying") as progress:
        verdict = run_verifier(file, progress, path, explain=thing)
    if as_json:
        print_json(verdict.answer)
        return verdict.exit_code
    if not verdict.is_verified:
        raise UserError(
            f"{file} is not a chain to trust: {verdict.answer.get('error', 'no reason given')}",
            "see where: gradientcoin chain verify FILE",
            verdict.exit_code,
        )
    story = verdict.answer.get("story")
    if story is None:
        raise UserError(str(verdict.answer.get("not_found")), "ids are shown by explain", Exit.NOT_FOUND)
    print_story(story)
    click.echo(f"  computed again from genesis to height {verdict.answer['blocks']:,}, by this machine alone")
    return Exit.DONE


def print_story(story: Json) -> None:
    click.echo(
        f"{click.style(story['kind'], bold=True)} {story['id']}  {click.style(story['verdict'], bold=True)}"
    )
    for sentence in story["sentences"]:
        click.echo(f"  {sentence}")
    facts = [(key.replace("_", " "), value) for key, value in story["facts"].items()]
    print_facts((key, value) for key, value in facts if is_short(value))


def is_short(value: object) -> bool:
    return not isinstance(value, list | dict) and value is not None and len(str(value)) <= TEXT_FACTS
