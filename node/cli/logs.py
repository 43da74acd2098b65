"""`testnet logs`: the nodes' JSON lines as lines for people, with their end followed on request."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep as wait

import click

from node.datadir import CONSOLE_FILE, LOG_FILE

POLL_S = 0.25
COLORS = ("cyan", "magenta", "yellow", "green", "blue")
LEVEL_COLORS = {"warning": "yellow", "error": "red", "critical": "red"}


class Logs:
    """The logs of several nodes as one stream."""

    def __init__(self, data_dirs: Sequence[Path], as_json: bool = False) -> None:
        self.readers = [LogReader(path, COLORS[i % len(COLORS)]) for i, path in enumerate(data_dirs)]
        self.width = max(len(reader.name) for reader in self.readers)
        self.as_json = as_json

    def print_last(self, lines: int) -> None:
        """The last lines of all, by time."""
        recent = sorted(
            (line for reader in self.readers for line in reader.read_last(lines)), key=lambda line: line[0]
        )
        for _, text, reader in recent[-lines:]:
            self.show(text, reader)

    def skip(self) -> None:
        """Pass over what is there."""
        for reader in self.readers:
            reader.read_new()

    def follow(self, until: Callable[[], bool] = lambda: False) -> None:
        """Print what is added, until the condition holds."""
        while True:
            is_over = until()
            for reader in self.readers:
                for _, text, _ in reader.read_new():
                    self.show(text, reader)
            if is_over:
                return
            wait(POLL_S)

    def show(self, text: str, reader: "LogReader") -> None:
        if self.as_json:
            line = parse(text) or {"message": text}
            click.echo(json.dumps({"node": reader.name, **line}, ensure_ascii=False))
        else:
            show(text, reader, self.width)


class LogReader:
    """One node's log file, also when it is rotated or not there yet; its console where it has no log."""

    def __init__(self, data_dir: Path, color: str) -> None:
        self.name = data_dir.name
        self.color = color
        log = data_dir / LOG_FILE
        self.path = log if log.exists() else data_dir / CONSOLE_FILE
        self.offset = 0

    def read_last(self, count: int) -> list[tuple[str, str, "LogReader"]]:
        return self.read_new()[-count:]

    def read_new(self) -> list[tuple[str, str, "LogReader"]]:
        """Whole lines since the last call, each with its time."""
        try:
            if self.path.stat().st_size < self.offset:
                self.offset = 0
            with self.path.open("rb") as file:
                file.seek(self.offset)
                raw = file.read()
        except FileNotFoundError:
            return []
        whole = raw[: raw.rfind(b"\n") + 1]
        self.offset += len(whole)
        texts = whole.decode(errors="replace").splitlines()
        return [(get_time(text), text, self) for text in texts]


def get_time(text: str) -> str:
    value = parse(text)
    return str(value.get("time", "")) if value else ""


def parse(text: str) -> dict[str, object] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def show(text: str, reader: LogReader, width: int, echo: Callable[[str], None] = click.echo) -> None:
    value = parse(text)
    head = click.style(reader.name.ljust(width), fg=reader.color)
    if value is None:
        echo(f"{head}  {text}")
        return
    level = str(value.get("level", ""))
    word = click.style(level.ljust(7), fg=LEVEL_COLORS.get(level))
    echo(f"{head}  {str(value.get('time', ''))[11:23]}  {word}  {value.get('message', text)}")
    for line in str(value.get("traceback", "")).splitlines():
        echo(f"{head}      {line}")
