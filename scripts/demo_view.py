"""What the demo shows while it runs: in a terminal a live table of nodes and the loss curve, else lines."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from node.cli.progress import ENDED, Snapshot, describe, shorten_cid
from node.cli.watch import render
from node.rpc.client import Json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

LINE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as it answered, or why it did not."""

    name: str
    state: str
    status: Json | None = None
    job: Json | None = None

    @property
    def weights_cid(self) -> str | None:
        return self.job["weights_cid"] if self.job else None

    @property
    def has_ended(self) -> bool:
        return self.job is not None and self.job["status"] in ENDED


class View(Protocol):
    """Shows states, and says what happens."""

    def show(self, snapshot: Snapshot, nodes: list[NodeView], elapsed_s: float) -> None: ...

    def say(self, elapsed_s: float, text: str) -> None: ...


@contextmanager
def make_view() -> Iterator[View]:
    if not sys.stdout.isatty():
        yield PlainView()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, refresh_per_second=4) as live:
        yield LiveView(console, live)


class PlainView:
    """A line every few seconds."""

    def __init__(self) -> None:
        self.shown_s = 0.0

    def show(self, snapshot: Snapshot, nodes: list[NodeView], elapsed_s: float) -> None:
        if time.monotonic() - self.shown_s < LINE_EVERY_S:
            return
        self.shown_s = time.monotonic()
        running = sum(node.status is not None for node in nodes)
        print(f"{elapsed_s:6.1f} s  {describe(snapshot)}  nodes {running}/{len(nodes)}", flush=True)

    def say(self, elapsed_s: float, text: str) -> None:
        print(f"{elapsed_s:6.1f} s  * {text}", flush=True)


class LiveView:
    """A table of nodes above the job's curve; what happened scrolls by above both."""

    def __init__(self, console: "Console", live: "Live") -> None:
        self.console = console
        self.live = live

    def show(self, snapshot: Snapshot, nodes: list[NodeView], elapsed_s: float) -> None:
        from rich.console import Group

        self.live.update(Group(make_table(nodes), render(snapshot, self.console.width)), refresh=True)

    def say(self, elapsed_s: float, text: str) -> None:
        self.console.print(f"{elapsed_s:6.1f} s  {text}")


def make_table(nodes: list[NodeView]) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("node", "state", "height", "peers", "runs/s", "blocks won", "version", "weights"):
        table.add_column(
            title, justify="left" if title in ("node", "state", "weights") else "right", no_wrap=True
        )
    for node in nodes:
        style = "" if node.status is not None else ("red" if node.state == "killed" else "yellow")
        table.add_row(node.name, node.state, *get_cells(node), style=style)
    return table


def get_cells(node: NodeView) -> list[str]:
    if node.status is None or node.job is None:
        return ["-"] * 6
    mining = node.status["mining"]
    return [
        str(node.status["head"]["height"]),
        str(node.status["peers"]),
        f"{mining['runs_per_s']:.0f}",
        str(mining["blocks"]),
        str(node.job["version"]),
        shorten_cid(node.weights_cid),
    ]
