"""`job submit` and `job quote`: what a job file becomes on the chain, and what it costs."""

from pathlib import Path

import click

from node.amounts import format_amount, format_coins
from node.cli.job_files import make_submission
from node.cli.options import connect, reading
from node.cli.output import count_of, format_loss, print_facts, print_json, print_next, shorten
from node.cli.suggest import complete_accounts, complete_jobs
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


parent_option = click.option(
    "--from-job",
    "parent",
    metavar="JOB",
    shell_complete=complete_jobs,
    help="Continue a job that has ended, from its last weights: an id or its first digits.  [default: FILE's parent]",
)


@click.command()
@file_argument
@from_option
@parent_option
@click.option("--wait", is_flag=True, help="Watch the job until it ends.")
@reading
def submit(
    file: Path, sender: str | None, parent: str | None, wait: bool, node: str | None, as_json: bool
) -> int:
    """Submit the job that FILE (TOML) describes, with the data it names."""
    body = make_submission(file, sender, parent)
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
            *list_tranches(answer, "in"),
            *list_start(answer),
            ("spec", answer["spec_sha256"]),
            (
                "cost",
                f"{format_amount(answer['escrow'])} in escrow, fee {format_coins(answer['fee'])}, "
                f"paid by {answer['from']}",
            ),
            ("burn", describe_burn(answer)),
            ("rounding", f"at most {rounding['max_error']:.2g}, {rounding['clipped']:,} values clipped"),
            ("trial", f"loss {format_loss(trial['before'])} -> {format_loss(trial['after'])} in one run"),
        ]
    )
    for note in answer["notes"]:
        click.echo(f"  note: {note}")


def list_start(answer: Json) -> list[tuple[str, object]]:
    return [("continues", f"job {answer['parent']}, from its last weights")] if answer["parent"] else []


def list_tranches(answer: Json, where: str) -> list[tuple[str, object]]:
    """The fact of the secret evaluation split: how many samples nobody gets, and where its owner has them."""
    split = answer["evaluation"]
    if split is None:
        return []
    parts = count_of(split["tranches"], "tranche")
    return [("evaluation", f"{split['samples']:,} secret samples in {parts}, {where} {split['folder']}")]


def describe_burn(answer: Json) -> str:
    if answer["market_only"]:
        return (
            f"nothing: no block is drawn for it; updates earn up to {format_amount(answer['budget'])} a round"
        )
    return f"{format_amount(answer['burn'])} for each block drawn for it"


@click.command()
@file_argument
@from_option
@parent_option
@reading
def quote(file: Path, sender: str | None, parent: str | None, node: str | None, as_json: bool) -> int:
    """Say what submitting FILE would cost and whether the chain would take it; nothing is sent.

    Exit code 1 if it would be refused.
    """
    client = connect(node)
    with waiting(PREPARING):
        body = make_submission(file, sender, parent)
        answer = client.post("/v1/jobs/quote", body, timeout_s=PREPARE_TIMEOUT_S)
    if as_json:
        print_json(answer)
    else:
        print_quote(answer, f"{file} --from-job {parent}" if parent else str(file))
    return Exit.DONE if answer["accepted"] else Exit.FAILED


def print_quote(answer: Json, arguments: str) -> None:
    """Print what was quoted; `arguments` are those that submit the same."""
    click.echo(
        f"quote for {click.style(answer['title'], bold=True)}  {answer['objective']}; nothing was sent"
    )
    print_facts(list_costs(answer))
    for note in answer["notes"]:
        click.echo(f"  note: {note}")
    for problem in answer["problems"]:
        click.echo(f"  {click.style('refused', fg='red')}  {problem}")
    if answer["accepted"]:
        print_next(f"gradientcoin job submit {arguments}")


def list_costs(answer: Json) -> list[tuple[str, object]]:
    trial = answer["trial"]
    return [
        (
            "data",
            f"{answer['data_bytes']:,} bytes; {answer['train']:,} to train, {answer['judge']:,} to judge",
        ),
        *list_start(answer),
        *list_tranches(answer, "to be written into"),
        (
            "work",
            f"{int(answer['work']):,} multiply-adds {'of its trial' if answer['market_only'] else 'a ticket'}",
        ),
        (
            "total",
            f"{format_amount(answer['total'])}: escrow {format_coins(answer['escrow'])} "
            f"(at least {format_coins(answer['least_escrow'])}), fee {format_coins(answer['fee'])}",
        ),
        *(list_market_terms(answer) if answer["market_only"] else list_slot_terms(answer)),
        ("target", f"loss {format_loss(answer['target_loss'])}"),
        ("trial", f"loss {format_loss(trial['before'])} -> {format_loss(trial['after'])} in one run"),
        ("paid by", f"{answer['from']}, which has {format_amount(answer['available'])} to spend"),
    ]


def list_market_terms(answer: Json) -> list[tuple[str, object]]:
    """What becomes of the escrow of a job that updates alone train."""
    return [
        ("never back", "the fee, rents and what updates earn"),
        (
            "a round",
            f"{answer['round_blocks']} blocks; rent {format_coins(answer['rent'])}, and at most "
            f"{format_amount(answer['budget'])} for its updates",
        ),
        (
            "lasts",
            f"{count_of(answer['rounds'], 'round')} or more, whatever updates earn; "
            f"ends after {answer['lifetime_blocks']:,} blocks at the latest, what is left comes back",
        ),
        ("slots", "none: updates alone train it"),
    ]


def list_slot_terms(answer: Json) -> list[tuple[str, object]]:
    """What becomes of the escrow of a job for which heights are drawn."""
    drawn = answer["slot_share"] * answer["round_blocks"]
    return [
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
    ]
