"""`job evaluate`: what weights are worth on samples that nobody could train on, beside the public judging split."""

from __future__ import annotations

import base64
from pathlib import Path

import click

from node.cli.job_files import read_at_most
from node.cli.job_names import get_job
from node.cli.options import connect, reading
from node.cli.output import count_of, format_loss, print_json, print_next, print_table, shorten
from node.cli.suggest import complete_jobs
from node.cli.waiting import waiting
from node.exits import Exit, UserError
from node.rpc.client import Json, NodeClient
from node.rpc.errors import ApiError

MAX_TRANCHE_BYTES = 12_000_000  # in base64 it must fit into a request of 16 MiB
FIRST_AND_NEWEST, MOST_VERSIONS = 2, 64
EVALUATE_TIMEOUT_S = 150.0  # the node gives up after as long


@click.command()
@click.argument("job_id", metavar="JOB", shell_complete=complete_jobs)
@click.argument(
    "files",
    metavar="TRANCHE_FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
)
@click.option(
    "--all", "every", is_flag=True, help="All versions (at most 64), not only the first and the newest."
)
@reading
def evaluate(job_id: str, files: tuple[Path, ...], every: bool, node: str | None, as_json: bool) -> None:
    """Measure a job's weights on tranches of its secret evaluation split.

    The job's owner committed to them at its submission and hands out their files when it suits: one that was still
    secret while the job was trained tells whether the weights only fit the judging split, which is public.
    """
    client = connect(node)
    summary = get_job(client, job_id)
    if summary["evaluation"] is None:
        raise UserError(
            f"job {shorten(summary['id'])} committed to no evaluation split: nothing can be a tranche of it",
            f"what each class costs on its judging split: gradientcoin job slices {shorten(summary['id'])}",
            Exit.FAILED,
        )
    limit = MOST_VERSIONS if every else FIRST_AND_NEWEST
    with waiting("the node measures the weights"):
        answers = [measure(client, summary["id"], file, limit) for file in files]
    answer = {"id": summary["id"], "title": summary["title"], "evaluation": summary["evaluation"]}
    if as_json:
        print_json({**answer, "tranches": [strip(measured) for measured in answers]})
        return
    print_evaluation(summary, answers)


def measure(client: NodeClient, job_id: str, file: Path, limit: int) -> Json:
    """What the node says of one file; a refusal names it."""
    data = read_tranche_file(file)
    body = {"tranche_base64": base64.b64encode(data).decode()}
    try:
        return client.post(f"/v1/jobs/{job_id}/evaluate?limit={limit}", body, timeout_s=EVALUATE_TIMEOUT_S)
    except ApiError as error:
        if error.code == "bad_file":
            raise UserError(f"{file}: {error.message}", error.hint, Exit.BAD_FILE) from None
        raise


def read_tranche_file(file: Path) -> bytes:
    try:
        data = read_at_most(file, MAX_TRANCHE_BYTES)
    except OSError as error:
        raise bad_input(file, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    if data is None:
        raise bad_input(file, f"has more than {MAX_TRANCHE_BYTES:,} bytes, the most that a tranche has")
    return data


def bad_input(file: Path, what: str) -> UserError:
    return UserError(f"{file} {what}", "name the files that the job's owner handed out", Exit.BAD_FILE)


def strip(answer: Json) -> Json:
    """A tranche's answer without what all have in common."""
    return {name: answer[name] for name in answer if name not in ("id", "title", "evaluation")}


def print_evaluation(summary: Json, answers: list[Json]) -> None:
    first = answers[0]
    click.echo(
        f"{click.style(summary['title'], bold=True)}  committed to {count_of(first['tranches'], 'tranche')}, "
        f"root {shorten(summary['evaluation'])}"
    )
    names = [f"tranche {answer['tranche']} ({answer['samples']:,})" for answer in answers]
    print_table(("version", f"judging ({first['judge_samples']:,})", *names), list_rows(answers))
    worse = find_worse(answers)
    if worse:
        versions = first["versions"]
        click.echo(
            f"the judging loss fell from v{versions[0]['version']} to v{versions[-1]['version']}, but rose on tranche "
            f"{', '.join(map(str, worse))}: the weights may fit only what judges them"
        )
    print_next(f"gradientcoin job slices {shorten(summary['id'])}")


def list_rows(answers: list[Json]) -> list[tuple[object, ...]]:
    """A row for each version: the judging split's loss, then each tranche's; `-` if it became the newest in between."""
    shown: dict[int, list[object]] = {}
    for place, answer in enumerate(answers, 2):
        for version in answer["versions"]:
            start: list[object] = [
                f"v{version['version']}",
                show_loss(version, "judge_"),
                *["-"] * len(answers),
            ]
            shown.setdefault(version["version"], start)[place] = show_loss(version, "")
    return [tuple(shown[number]) for number in sorted(shown)]


def show_loss(version: Json, prefix: str) -> str:
    loss, accuracy = version[f"{prefix}loss"], version[f"{prefix}accuracy"]
    return format_loss(loss) + ("" if accuracy is None else f", {100 * accuracy:.1f} % right")


def find_worse(answers: list[Json]) -> list[int]:
    """The tranches whose loss rose between the first and the last version shown, while the judging split's fell."""
    found = []
    for answer in answers:
        first, last = answer["versions"][0], answer["versions"][-1]
        if last["judge_loss"] < first["judge_loss"] and last["loss"] > first["loss"]:
            found.append(answer["tranche"])
    return found
