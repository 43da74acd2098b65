"""`job submit` and `job quote`: what a job file becomes on the chain, and what it costs."""

from pathlib import Path

import click

from node.amounts import format_amount, format_coins
from node.cli.job_files import make_submission
from node.cli.options import connect, reading
from node.cli.output import count_of, format_loss, print_facts, print_json, print_next, shorten
from node.cli.suggest import complete_accounts
from node.cli.waiting import waiting
from node.cli.watch import watch_job
from node.exits import Exit, UserError
from node.rpc.client import Json

PREPARE_TIMEOUT_S = 150.0  # the node prepares the data and tries the rule; it gives up after as long
PREPARING = "the node prepares the data and tries the rule"

file_argument = click.argument("file", type=click.Path(path_type=Path))
from_option = click.option(
    "--from",
    "sender",
    metavar="ACCOUNT",
    shell_complete=complete_accounts,
    help="Who pays: a name or address of wallet list.  [default: the first account that can]",
)


@click.command()
@file_argument
@from_option
@click.option("--wait", is_flag=True, help="Watch the job until it ends.")
@reading
def submit(file: Path, sender: str | None, wait: bool, node: str | None, as_json: bool) -> int:
    """Submit the job that FILE (TOML) describes, with the data it names."""
    body = make_submission(file, sender)
    client = connect(node)
    try:
        with waiting(PREPARING):
            answer = client.post("/v1/jobs", body, timeout_s=PREPARE_TIMEOUT_S)
    except KeyboardInterrupt:
        raise UserError(
            "interrupted while the node prepared the job; it may be submitted all the same",
            "look: gradientcoin job list",
            Exit.INTERRUPTED,
        ) from None
    if as_json:
        print_json(answer)
    else:
        print_submitted(answer)
    if wait:
        return watch_job(client, answer["id"], as_json)
    if not as_json:
        print_next(f"gradientcoin job watch {shorten(answer['id'])}")
    return Exit.DONE


def print_submitted(answer: Json) -> None:
    rounding = answer["quantisation"]
    trial = answer["trial"]
    click.echo(f"submitted {click.style(answer['title'], bold=True)}  {answer['objective']}")
    print_facts(
        [
            ("job", answer["id"]),
            (
                "data",
                f"{answer['data_bytes']:,} bytes; {answer['train']:,} to train, {answer['judge']:,} to judge",
            ),
            ("data CID", answer["data_cid"]),
            ("spec", answer["spec_sha256"]),
            (
                "cost",
                f"{format_amount(answer['escrow'])} in escrow, fee {format_coins(answer['fee'])}, "
                f"paid by {answer['from']}",
            ),
            ("burn", f"{format_amount(answer['burn'])} for each block drawn for it"),
            ("rounding", f"at most {rounding['max_error']:.2g}, {rounding['clipped']:,} values clipped"),
            ("trial", f"loss {format_loss(trial['before'])} -> {format_loss(trial['after'])} in one run"),
        ]
    )
    for note in answer["notes"]:
        click.echo(f"  note: {note}")


@click.command()
@file_argument
@from_option
@reading
def quote(file: Path, sender: str | None, node: str | None, as_json: bool) -> int:
    """Say what submitting FILE would cost and whether the chain would take it; nothing is sent.

    Exit code 1 if it would be refused.
    """
    client = connect(node)
    with waiting(PREPARING):
        answer = client.post("/v1/jobs/quote", make_submission(file, sender), timeout_s=PREPARE_TIMEOUT_S)
    if as_json:
        print_json(answer)
    else:
        print_quote(answer, file)
    return Exit.DONE if answer["accepted"] else Exit.FAILED


def print_quote(answer: Json, file: Path) -> None:
    click.echo(
        f"quote for {click.style(answer['title'], bold=True)}  {answer['objective']}; nothing was sent"
    )
    print_facts(list_costs(answer))
    for note in answer["notes"]:
        click.echo(f"  note: {note}")
    for problem in answer["problems"]:
        click.echo(f"  {click.style('refused', fg='red')}  {problem}")
    if answer["accepted"]:
        print_next(f"gradientcoin job submit {file}")


def list_costs(answer: Json) -> list[tuple[str, object]]:
    drawn = answer["slot_share"] * answer["round_blocks"]
    trial = answer["trial"]
    return [
        (
            "data",
            f"{answer['data_bytes']:,} bytes; {answer['train']:,} to train, {answer['judge']:,} to judge",
        ),
        ("work", f"{int(answer['work']):,} multiply-adds a ticket"),
        (
            "total",
            f"{format_amount(answer['total'])}: escrow {format_coins(answer['escrow'])} "
            f"(at least {format_coins(answer['least_escrow'])}), fee {format_coins(answer['fee'])}",
        ),
        (
            "never back",
            f"the fee, burns and rents; and what burns leave of the lock, the escrow's first "
            f"{format_amount(answer['lock'])}",
        ),
        (
            "a round",
            f"{answer['round_blocks']} blocks; costs at most {format_amount(answer['round_cost'])}: "
            f"burn {format_coins(answer['burn'])} a drawn height, rent {format_coins(answer['rent'])}",
        ),
        (
            "lasts",
            f"{count_of(answer['rounds'], 'round')} if every height were drawn for it; "
            f"ends after {answer['lifetime_blocks']:,} blocks at the latest, what is left comes back",
        ),
        (
            "slots",
            f"about {drawn:.1f} of a round's {answer['round_blocks']} heights, beside the jobs live now",
        ),
        ("target", f"loss {format_loss(answer['target_loss'])}"),
        ("trial", f"loss {format_loss(trial['before'])} -> {format_loss(trial['after'])} in one run"),
        ("paid by", f"{answer['from']}, which has {format_amount(answer['available'])} to spend"),
    ]
