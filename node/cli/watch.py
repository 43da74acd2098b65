"""Watching a job until it ends: a live loss curve in a terminal, a line for each change elsewhere."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from node.cli.curve import draw_curve
from node.cli.output import print_next, warn
from node.cli.progress import Snapshot, describe, get_next, list_facts, take_snapshot
from node.exits import Exit
from node.rpc.client import Json, NodeClient
from node.rpc.errors import NoAnswer, NodeNotRunning, TimedOut

if TYPE_CHECKING:
    from rich.console import RenderableType

POLL_S = 1.0
PATIENCE_S = 30.0  # for a node that restarts while it is watched
CURVE_HEIGHT = 12
MAX_CURVE_WIDTH = 100


def watch_job(client: NodeClient, job_id: str, as_json: bool = False) -> int:
    """Follow a job to its end; returns the exit code: 0 if it reached its target, or had none and was done."""
    snapshots = follow(client, job_id)
    if as_json:
        last = show_changes(snapshots, print_snapshot)
    elif sys.stdout.isatty():
        last = show_live(snapshots)
    else:
        last = show_changes(snapshots, lambda snapshot: click.echo(describe(snapshot)))
    if not as_json:
        print_end(last)
    return Exit.DONE if is_success(last.job) else Exit.FAILED


def is_success(job: Json) -> bool:
    """Whether a job ended as its owner wished; not if its money or its time ran out before its target."""
    return job["status"] == "done" and (job["ended_by"] == "target" or not job["target_loss"])


def follow(client: NodeClient, job_id: str) -> Iterator[Snapshot]:
    """A snapshot a second, the last one when the job has ended. A node that is away for a while is waited for."""
    lost_since: float | None = None
    while True:
        try:
            snapshot = take_snapshot(client, job_id)
        except (NoAnswer, NodeNotRunning, TimedOut):
            now = time.monotonic()
            lost_since = now if lost_since is None else lost_since
            if now - lost_since > PATIENCE_S:
                raise
            time.sleep(POLL_S)
            continue
        lost_since = None
        yield snapshot
        if snapshot.has_ended:
            return
        time.sleep(POLL_S)


def show_changes(snapshots: Iterator[Snapshot], show: Callable[[Snapshot], None]) -> Snapshot:
    """Show what differs from the one before in more than the chain's height."""
    seen: tuple[object, ...] = ()
    for snapshot in snapshots:
        job = snapshot.job
        state = (job["status"], job["version"], job["settlements"], job["tickets"])
        if state != seen:
            show(snapshot)
        seen = state
    return snapshot


def print_snapshot(snapshot: Snapshot) -> None:
    """One JSON line: the job's summary with the chain's height and the network's speed."""
    value = {**snapshot.job, "height": snapshot.height, "network_runs_per_s": snapshot.runs_per_s}
    click.echo(json.dumps(value, ensure_ascii=False))


def show_live(snapshots: Iterator[Snapshot]) -> Snapshot:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        try:
            for snapshot in snapshots:
                live.update(render(snapshot, console.width), refresh=True)
        except KeyboardInterrupt:
            live.stop()
            warn("stopped watching; the job goes on in the network")
            raise
    return snapshot


def render(snapshot: Snapshot, width: int) -> "RenderableType":
    """Title, curve and facts; also a part of the demo's view."""
    from rich.text import Text

    text = Text()
    text.append(f"{snapshot.job['title']}", style="bold")
    text.append(f"  {snapshot.job['id'][:16]}  {snapshot.job['objective']}\n", style="dim")
    curve = draw_curve(snapshot.losses, min(width - 2, MAX_CURVE_WIDTH), CURVE_HEIGHT, snapshot.target)
    if snapshot.losses:
        text.append("\n".join(curve), style="green")
    else:
        text.append("the first point of the loss curve comes with the first settlement", style="dim")
    text.append("\n")
    for name, value in list_facts(snapshot):
        text.append(f"  {name:<9}", style="dim")
        text.append(f" {value}\n")
    return text


def print_end(snapshot: Snapshot) -> None:
    job = snapshot.job
    click.echo(
        f"job {job['status']} at height {snapshot.height:,}: {job['reason'] or job['next_step'] or 'ended'}"
    )
    print_next(get_next(snapshot))
