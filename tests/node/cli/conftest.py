"""A fake node, and a way to run the command line against it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.cli.main import run
from tests.node.cli.fake_api import FakeApi, serve


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]
Verifier = Callable[[int, list[object]], None]


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees a node, a network or a setting of the machine it runs on."""
    monkeypatch.chdir(tmp_path)
    for name in ("GRADIENTCOIN_NODE", "GRADIENTCOIN_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRADIENTCOIN_DATA_DIR", str(tmp_path / "default"))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    """A running node in the default data directory."""
    with serve(tmp_path / "default") as fake:
        yield fake


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: str) -> Ran:
        code = run(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def verifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verifier:
    """Puts a program in the place of the interpreter that would run node.verify."""

    def make(code: int, lines: list[object]) -> None:
        program = tmp_path / "verifier"
        output = "\n".join(json.dumps(line) for line in lines)
        program.write_text(
            f"#!/bin/sh\necho 'something broke' >&2\ncat <<'END'\n{output}\nEND\nexit {code}\n"
        )
        program.chmod(0o755)
        monkeypatch.setattr("node.cli.verify.sys.executable", str(program))

    return make
