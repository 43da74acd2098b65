"""Running the verifier in a process of its own, and showing how far it is."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from node.cli.child import read_lines
from node.cli.output import count_of, format_duration, print_facts, warn
from node.cli.progress import shorten_cid
from node.exits import Exit, UserError
from node.rpc.client import Json

PLAIN_PROGRESS_S = 5.0

Progress = Callable[[int, int], None]  # blocks replayed, blocks in all


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verifier's last word; `answer` holds the fields docs/api.md lists."""

    exit_code: int
    answer: Json
    seconds: float

    @property
    def is_verified(self) -> bool:
        return self.exit_code == Exit.DONE and self.answer.get("verified") is True


def run_verifier(
    file: Path, progress: Progress, path: str = "fused", explain: str = "", stories: Path | None = None
) -> Verdict:
    """Replay a chain file in a fresh process; it ends with us, whatever happens here.

    With the id of something to `explain`, the answer has its `story`, or `not_found`; with a file for `stories`, it has
    how many were written there.
    """
    more = ["--explain", explain] if explain else []
    more += ["--stories", str(stories)] if stories else []
    return run_module("node.verify", [str(file), "--path", path, *more], progress)


def run_module(module: str, arguments: list[str], progress: Progress) -> Verdict:
    """Run a verifier's module in a fresh process until its verdict; UserError if it ends without one."""
    begin = time.monotonic()
    answer: Json = {}

    def take(value: Json) -> None:
        nonlocal answer
        if "of" in value:
            progress(int(value["height"]), int(value["of"]))
        else:
            answer = value

    status, complaint = read_lines(module, arguments, take)
    if "verified" not in answer:
        raise crashed(module, status, complaint)
    return Verdict(status, answer, time.monotonic() - begin)


def crashed(module: str, status: int, complaint: str) -> UserError:
    return UserError(
        f"the verifier ended with exit code {status} and no verdict: {complaint}",
        f"run it by hand for its whole output: python -m {module} -h",
        Exit.FAILED,
    )


@contextmanager
def show_progress(title: str) -> Iterator[Progress]:
    """A bar on a terminal, a line now and then elsewhere; always on stderr."""
    if not sys.stderr.isatty():
        yield PlainProgress(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda height, count: bar.update(task, completed=height, total=count)


class PlainProgress:
    """Progress as lines, not too many."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.shown_s = time.monotonic()

    def __call__(self, height: int, count: int) -> None:
        if time.monotonic() - self.shown_s >= PLAIN_PROGRESS_S:
            self.shown_s = time.monotonic()
            warn(f"{self.title}: block {height:,} of {count:,}")


def print_verdict(verdict: Verdict) -> None:
    answer = verdict.answer
    if not verdict.is_verified:
        word = "DAMAGED FILE" if verdict.exit_code == Exit.DAMAGED else "NOT VERIFIED"
        click.echo(f"{click.style(word, fg='red', bold=True)} at height {answer.get('height', '?')}")
        click.echo(f"  {answer.get('error', 'no reason given')}")
        if verdict.exit_code == Exit.DAMAGED:
            click.echo("  write it again: gradientcoin chain export FILE --force")
        return
    click.echo(
        click.style("VERIFIED", fg="green", bold=True)
        + f"  every block, every ticket and every settlement, computed again in {format_duration(verdict.seconds)}"
    )
    print_facts(
        [
            ("blocks", f"{answer['blocks']:,}, {count_of(answer['settlements'], 'settlement')}"),
            ("runs", f"{answer['replayed']:,} replayed; about {answer['runs']:,} were done to find them"),
            ("head", answer["head"]),
            ("state", answer["state_root"]),
            *(
                (f"job {job_id[:10]}", f"weights {shorten_cid(cid)}")
                for job_id, cid in answer["weights"].items()
            ),
            *(("stories", f"{number:,} {kind}") for kind, number in answer.get("stories", {}).items()),
        ]
    )
