"""`job solve`: which loss a job can reach, found out here before anybody is paid for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from node.cli.child import read_lines
from node.cli.job_files import bad_file, read_job_file
from node.cli.options import json_option
from node.cli.output import count_of, print_facts, print_json, print_next, print_table
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.threads import VARIABLES

MODULE = "training.solve"
SECONDS = click.IntRange(1, 3600)
NEAR = 0.05  # of the lowest loss: a target that is this little below it may be met all the same

Show = Callable[[Json], None]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--solver",
    type=click.Choice(["auto", "newton", "steihaug", "sampled"]),
    default="auto",
    show_default=True,
    help="auto: by the number of parameters; sampled: on batches, as miners train.",
)
@click.option(
    "--precision",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Of the training; what it comes to is judged exactly.",
)
@click.option("--seconds", type=SECONDS, default=60, show_default=True, help="The longest that it searches.")
@click.option(
    "--starts",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Where to begin: the job's initial weights, and others beside them.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Draws the other starts, and batches.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Weights to begin at, as job result fetched them: for a job with a parent.",
)
@json_option
def solve(
    file: Path,
    solver: str,
    precision: str,
    seconds: int,
    starts: int,
    seed: int,
    checkpoint: Path | None,
    as_json: bool,
) -> int:
    """Find out which loss the job in FILE can reach: train its model on this machine, without a node.

    Says what a target_loss can be, and what would go wrong. Exit code 1 if the file's own target_loss was not reached.
    """
    read_job_file(file)
    check_checkpoint(checkpoint)
    arguments = [str(file), "--solver", solver, "--precision", precision, "--seconds", str(seconds)]
    arguments += ["--starts", str(starts), "--seed", str(seed)]
    arguments += ["--checkpoint", str(checkpoint)] if checkpoint else []
    with show_steps() as show:
        answer = run(arguments, show)
    if as_json:
        print_json(answer)
    else:
        print_answer(answer, file)
    return Exit.FAILED if answer["reached"] is False else Exit.DONE


def check_checkpoint(checkpoint: Path | None) -> None:
    if checkpoint is not None and not checkpoint.is_file():
        raise UserError(
            f"there is no file {checkpoint}", "fetch one: gradientcoin job result JOB", Exit.BAD_FILE
        )


def run(arguments: list[str], show: Show) -> Json:
    """The answer of the process that trains; raises UserError for what it refuses, and if it ends without one."""
    answer: Json = {}

    def take(value: Json) -> None:
        nonlocal answer
        if "step" in value:
            show(value)
        else:
            answer = value

    # Products are small: two threads on busy cores wait for each other.
    one_thread = dict.fromkeys(VARIABLES, "1")
    status, complaint = read_lines(MODULE, arguments, take, one_thread | os.environ)
    if "error" in answer:
        raise refused(answer, arguments)
    if status != Exit.DONE or not answer:
        raise UserError(
            f"the training ended with exit code {status} and no answer: {complaint}",
            f"run it by hand for its whole output: python -m {MODULE} {arguments[0]}",
            Exit.FAILED,
        )
    return answer


def refused(answer: Json, arguments: list[str]) -> UserError:
    message, file = answer["error"], Path(arguments[0])
    if answer["exit_code"] == Exit.USAGE:
        return UserError(message, "gradientcoin job solve --help", Exit.USAGE)
    if "only a node has them" in message:
        hint = f"gradientcoin job result PARENT, then job solve {file} --checkpoint result/checkpoint.safetensors"
        return UserError(message, hint, Exit.BAD_FILE)
    if message.startswith(f"{arguments[-1]}: "):  # the checkpoint, which stands last
        return UserError(message, "fetch its parent's: gradientcoin job result PARENT", Exit.BAD_FILE)
    return UserError(message, bad_file(file, "").hint, Exit.BAD_FILE)


@contextmanager
def show_steps() -> Iterator[Show]:
    """Where the search is, on a line of standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda point: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("preparing the data")
        yield lambda point: progress.update(task, description=describe_point(point))


def describe_point(point: Json) -> str:
    start = f"start {point['start']}, " if point["start"] > 1 else ""
    return f"{start}step {point['step']}: training loss {point['training_loss']:.4g}, judging loss {point['loss']:.4g}"


def print_answer(answer: Json, file: Path) -> None:
    click.echo(f"{click.style(answer['title'], bold=True)}  {answer['objective']}; nothing was sent")
    print_facts(list_facts(answer))
    print_table(*make_table(answer), indent="  ")
    for note in answer["notes"]:
        click.echo(f"  note: {note}")
    print_facts(list_targets(answer))
    print_next(f"gradientcoin job quote {file}")


def list_facts(answer: Json) -> list[tuple[str, object]]:
    return [
        (
            "samples",
            f"{answer['train']:,} to train, {answer['judge']:,} to judge, {answer['holdout']:,} held out",
        ),
        ("solver", f"{answer['solver']}, {answer['precision']}; {answer['reason']}"),
        ("search", describe_search(answer)),
        ("outcome", f"{answer['outcome']}: {answer['explanation']}"),
    ]


def describe_search(answer: Json) -> str:
    starts = f"best of {answer['starts']} starts: number {answer['solution']['start']}, "
    at_limit = (
        f"; {count_of(answer['at_limit'], 'weight')} of {answer['parameters']:,} at an end of their range"
    )
    return (
        f"{starts if answer['starts'] > 1 else ''}{count_of(answer['steps'], 'step')} in {answer['seconds']:.1f} s"
        f"{at_limit if answer['at_limit'] else ''}; gradient {answer['gradient']:.1g} of that at the start"
    )


def make_table(answer: Json) -> tuple[list[str], list[list[str]]]:
    """Losses, and where targets are classes how many samples are right, at the start, at the best point, at the end."""
    names = {"initial": "at the start", "lowest": "lowest on the way", "solution": "at the end"}
    header = ["loss", "step", "training", "judging", "held out"]
    rows = []
    for key, name in names.items():
        point = answer[key]
        judging = show_loss(point["loss"], point["accuracy"])
        held = show_loss(point["holdout_loss"], point["holdout_accuracy"])
        rows.append([name, f"{point['step']:g}", show_loss(point["training_loss"], None), judging, held])
    return header, rows


def show_loss(loss: float | None, accuracy: float | None) -> str:
    right = "" if accuracy is None else f", {100 * accuracy:.1f} % right"
    return "-" if loss is None else f"{loss:.4g}{right}"


def list_targets(answer: Json) -> list[tuple[str, object]]:
    lowest = f"{answer['lowest']['loss']:.4g}"
    if answer["suggested"] is None:
        reach = "nothing below the loss at the start: there is no target_loss to suggest"
    else:
        reach = (
            f"a target_loss from {lowest} up, the lowest judging loss; {answer['suggested']:.4g} leaves 10 % of the way"
            " back to the start's as a margin"
        )
    return [("in reach", reach), ("target", describe_target(answer))]


def describe_target(answer: Json) -> str:
    """What becomes of the file's own target_loss."""
    target, lowest, initial = answer["target_loss"], answer["lowest"]["loss"], answer["initial"]["loss"]
    if target is None:
        return "the file has none: the job ends when its money or its lifetime does"
    if target >= initial:
        return f"the file's {target:.4g} is not below the loss at the start: the job would be done at once"
    if answer["reached"]:
        return f"the file's {target:.4g} was reached"
    words = f"the file's {target:.4g} is below the lowest that was reached, {lowest:.4g}"
    if target >= (1 - NEAR) * lowest:
        return (
            f"{words}, by little: a chain keeps what lowers the judging loss, and may get there all the same"
        )
    more = "more time, or " if answer["outcome"] in ("out of time", "budget") else ""
    return click.style(words, fg="red") + f": choose a higher one, or {more}other data, features or objective"
