"""Running the verifier in a process of its own, and showing how far it is."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from node.cli.output import count_of, format_duration, print_facts, warn
from node.cli.progress import shorten_cid
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.testnet.environment import add_kernel_cache

PLAIN_PROGRESS_S = 5.0
STOP_S = 5.0

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
    argv = [sys.executable, "-P", "-m", module, *arguments]
    begin = time.monotonic()
    answer: Json = {}
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=complaints, text=True, env=add_kernel_cache(dict(os.environ))
        )
        try:
            for line in child.stdout or ():
                answer = read_line(line, answer, progress)
            status = child.wait()
        finally:
            end(child)
        if "verified" not in answer:
            raise crashed(module, status, complaints)
    return Verdict(status, answer, time.monotonic() - begin)


def read_line(line: str, answer: Json, progress: Progress) -> Json:
    try:
        value = json.loads(line)
    except ValueError:
        return answer
    if "of" in value:
        progress(int(value["height"]), int(value["of"]))
        return answer
    return dict(value)


def end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stdout:
        child.stdout.close()


def crashed(module: str, status: int, complaints: IO[bytes]) -> UserError:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").strip().splitlines()
    return UserError(
        f"the verifier ended with exit code {status} and no verdict: {lines[-1] if lines else 'it said nothing'}",
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
