"""`job`: list, show, watch, cancel; the verbs with files have modules of their own."""

import sys

import click

from node.amounts import format_amount, format_coins
from node.cli.evaluate import evaluate
from node.cli.job_names import get_job, list_parent
from node.cli.options import connect, reading
from node.cli.output import count_of, format_loss, print_facts, print_json, print_next, print_table, shorten
from node.cli.proof import proof
from node.cli.provenance import provenance
from node.cli.result import result
from node.cli.slices import slices
from node.cli.solve import solve
from node.cli.submit import quote, submit
from node.cli.suggest import complete_jobs
from node.cli.wallet import wait_confirmed
from node.cli.watch import watch_job
from node.exits import Exit, UserError
from node.rpc.client import Json


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def job() -> None:
    """Solve, quote, submit and cancel training jobs, watch them, fetch results."""


for command in (quote, solve, submit, result, slices, evaluate, provenance, proof):
    job.add_command(command)


@job.command("list")
@reading
def list_jobs(node: str | None, as_json: bool) -> None:
    """All jobs of the chain."""
    answer = connect(node).get("/v1/jobs")
    if as_json:
        print_json(answer)
    elif not answer["jobs"]:
        click.echo("no jobs on this chain yet")
        print_next("gradientcoin job submit examples/digits.toml")
    else:
        print_table(
            ("JOB", "TITLE", "STATUS", "VERSION", "LOSS", "TARGET", "BLOCKS"),
            [
                (
                    shorten(item["id"]),
                    item["title"],
                    item["status"],
                    item["version"],
                    format_loss(item["loss"]),
                    format_loss(item["target_loss"] or None),
                    item["tickets"],
                )
                for item in answer["jobs"]
            ],
        )


@job.command()
@click.argument("job_id", metavar="[JOB]", required=False, shell_complete=complete_jobs)
@reading
def show(job_id: str | None, node: str | None, as_json: bool) -> None:
    """Everything about one job; JOB is an id or its first characters, by default the newest job."""
    answer = get_job(connect(node), job_id)
    if as_json:
        print_json(answer)
        return
    click.echo(f"{click.style(answer['title'], bold=True)}  {answer['status']}: {answer['reason'] or '-'}")
    print_facts(list_job_facts(answer))
    if answer["next_step"]:
        click.echo(f"  {answer['next_step']}")


def list_job_facts(answer: Json) -> list[tuple[str, object]]:
    samples = answer["samples"]
    target = format_loss(answer["target_loss"] or None)
    return [
        ("job", answer["id"]),
        (
            "objective",
            f"{answer['objective']}, {samples['train']:,} samples to train, {samples['judge']:,} to judge",
        ),
        ("owner", answer["owner"]),
        *list_parent(answer["parent"]),
        *list_evaluation(answer["evaluation"]),
        (
            "loss",
            f"{format_loss(answer['loss'])}, began at {format_loss(answer['first_loss'])}, target {target}",
        ),
        (
            "version",
            f"{answer['version']} after {answer['settlements']} settlements; round {answer['round']}",
        ),
        *([] if answer["market_only"] else list_tickets(answer)),
        ("money", describe_money(answer)),
        ("price", describe_price(answer)),
        ("updates", describe_updates(answer)),
        ("weights", answer["weights_cid"] or "-"),
        ("submitted", f"height {answer['submitted']}, ends by height {answer['lifetime_ends']}"),
    ]


def list_evaluation(root: str | None) -> list[tuple[str, object]]:
    """The fact of a secret evaluation split, none where the job committed to none."""
    if root is None:
        return []
    return [("evaluation", f"a secret split, root {root}; its tranches are for: gradientcoin job evaluate")]


def list_tickets(answer: Json) -> list[tuple[str, object]]:
    """What only a job has for which heights are drawn."""
    return [
        ("blocks", f"{answer['tickets']} won, {answer['pending_tickets']} wait for their settlement"),
        ("drawn", f"{answer['drawn']} of the last heights, {answer['lost']} lost to the heartbeat"),
        ("burn", f"{format_amount(answer['burn'])} for each height drawn"),
    ]


def describe_money(answer: Json) -> str:
    if answer["market_only"]:
        return f"{format_amount(answer['escrow'])} left in escrow"
    return (
        f"{format_amount(int(answer['escrow']) + int(answer['lock']))} left: "
        f"lock {format_coins(answer['lock'])}, which pays burns first; escrow {format_coins(answer['escrow'])}"
    )


def describe_price(answer: Json) -> str:
    if not int(answer["price"]) or not int(answer["budget"]):
        return "nothing is paid for updates"
    return (
        f"{format_amount(answer['price'])} for a loss brought to nothing, in parts; at most "
        f"{format_amount(answer['budget'])} a round"
    )


def describe_updates(answer: Json) -> str:
    paid = f"{count_of(answer['updates'], 'update')} paid, {format_amount(answer['paid'])} together"
    return f"{paid}; {answer['pending_updates']} wait for their settlement"


@job.command()
@click.argument("job_id", metavar="[JOB]", required=False, shell_complete=complete_jobs)
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
@reading
def updates(job_id: str | None, limit: int, node: str | None, as_json: bool) -> None:
    """Who sent updates to a job (by default the newest), and what became of them; newest first."""
    client = connect(node)
    summary = get_job(client, job_id)
    answer = client.get(f"/v1/jobs/{summary['id']}/updates?limit={limit}")
    if as_json:
        print_json(answer)
        return
    if not answer["updates"]:
        click.echo(f"{summary['title']}: no updates yet; {describe_price(summary)}")
        return
    header = ["round", "update", "miner", "shares", "bytes", "state", "credit", "coins"]
    print_table(header, [list_update(update) for update in answer["updates"]])


def list_update(update: Json) -> list[object]:
    """Return a row: the credit is the part of the loss that the update took away."""
    waits = update["credit"] is None
    sign = "-" if update["state"] in ("fined", "void", "unrevealed") else ""
    state = update["state"] + (", private" if update["privacy"] else "")
    return [
        update["round"],
        shorten(update["commitment"]),
        update["miner"],
        update["shares"],
        f"{update['payload_bytes']:,}",
        f"{state}, settles at {update['settles_at']}" if waits else state,
        "" if waits else f"{100 * update['credit']:.3f} %",
        "" if waits else sign + format_coins(update["amount"]),
    ]


@job.command()
@click.argument("job_id", metavar="[JOB]", required=False, shell_complete=complete_jobs)
@reading
def watch(job_id: str | None, node: str | None, as_json: bool) -> int:
    """Follow a job (by default the newest) until it ends: loss curve, rounds, speed.

    --json prints a line for each change.
    """
    client = connect(node)
    return watch_job(client, job_id or get_job(client, None)["id"], as_json)


@job.command()
@click.argument("job_id", metavar="JOB", shell_complete=complete_jobs)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Wait until the cancellation is in a block.")
@reading
def cancel(job_id: str, yes: bool, wait: bool, node: str | None, as_json: bool) -> int:
    """Close a job of yours at its next boundaries: the escrow comes back, the lock is burned.

    Its weights stay on the chain, and so do the rounds that settled.
    """
    client = connect(node)
    summary = get_job(client, job_id)
    if not yes and sys.stdin.isatty() and not as_json:
        question = (
            f"cancel {summary['title']!r} ({shorten(summary['id'])}, {summary['status']})? "
            f"{format_amount(summary['escrow'])} come back, {format_coins(summary['lock'])} are burned"
        )
        if not click.confirm(question, err=True):
            raise UserError("nothing was cancelled", exit_code=Exit.FAILED)
    answer = client.post(f"/v1/jobs/{summary['id']}/cancel", {})
    if wait:
        wait_confirmed(client, answer["txid"])
    if as_json:
        print_json(answer)
        return Exit.DONE
    click.echo(f"{summary['title']}: {'cancelled' if wait else 'cancellation sent'}")
    print_facts(
        [
            ("transaction", answer["txid"]),
            (
                "closes",
                f"from height {answer['closes_at']:,}; its last round settles by {answer['ends_at']:,}",
            ),
            ("comes back", f"{format_amount(answer['refund'])}, less what is burned until then"),
            ("burned", f"the lock, {format_amount(answer['burned'])}"),
        ]
    )
    print_next(f"gradientcoin job watch {shorten(answer['id'])}")
    return Exit.DONE
