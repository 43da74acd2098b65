"""`job slices`: what each class costs, version by version: what the mean loss does not show."""

from __future__ import annotations

import click

from node.cli.job_names import get_job
from node.cli.options import connect, reading
from node.cli.output import format_loss, print_json, print_next, print_table
from node.cli.suggest import complete_jobs
from node.cli.waiting import waiting
from node.rpc.client import Json, quote_part

MOST_VERSIONS = 64


@click.command()
@click.argument("job_id", metavar="[JOB]", required=False, shell_complete=complete_jobs)
@click.option(
    "-n", "--limit", type=click.IntRange(1, MOST_VERSIONS), default=6, show_default=True, help="Versions."
)
@reading
def slices(job_id: str | None, limit: int, node: str | None, as_json: bool) -> None:
    """What each class of the judging samples costs at the last versions of the weights (by default the newest job's).

    A poisoned class, or one that updates neglect, does not show in the mean loss that they are paid for.
    """
    client = connect(node)
    summary = get_job(client, job_id)
    with waiting("the node measures every class"):
        answer = client.get(f"/v1/jobs/{quote_part(summary['id'])}/slices?limit={limit}")
    if as_json:
        print_json(answer)
        return
    versions = answer["versions"]
    print_table(
        ("class", "samples", *(f"v{version['version']}" for version in versions), "change"), list_rows(answer)
    )
    worse = find_worse(answer)
    if worse:
        names = ", ".join(str(label) for label in worse)
        click.echo(f"the loss fell from v{versions[0]['version']}, but rose for class {names}")
    print_next(f"gradientcoin job provenance {answer['id'][:10]}")


def list_rows(answer: Json) -> list[tuple[object, ...]]:
    """A row for each class, and one for all of them."""
    versions = answer["versions"]
    rows: list[tuple[object, ...]] = []
    for i, part in enumerate(answer["slices"]):
        losses = [version["losses"][i] for version in versions]
        rows.append((part["class"], part["samples"], *map(format_loss, losses), show_change(losses)))
    losses = [version["loss"] for version in versions]
    samples = sum(part["samples"] for part in answer["slices"])
    return [*rows, ("all", samples, *map(format_loss, losses), show_change(losses))]


def show_change(losses: list[float]) -> str:
    change = losses[-1] - losses[0]
    text = f"{change:+.4f}"
    return click.style(text, fg="red") if change > 0 else text


def find_worse(answer: Json) -> list[int]:
    """The classes whose loss rose between the first and the last version shown, while the mean fell."""
    first, last = answer["versions"][0], answer["versions"][-1]
    if last["loss"] >= first["loss"]:
        return []
    return [
        part["class"] for i, part in enumerate(answer["slices"]) if last["losses"][i] > first["losses"][i]
    ]
