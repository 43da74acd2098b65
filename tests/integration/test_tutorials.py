"""Tutorials are true: every block of code is run, every command typed, in their order, beside the examples."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
COMMAND_TIMEOUT_S = 280.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    yield tmp_path
    subprocess.run(["gradientcoin", "testnet", "down"], capture_output=True, check=False, timeout=60)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_as_it_is_written(tutorial: Path, folder: Path) -> None:
    names: dict[str, object] = {"__name__": tutorial.stem}
    for kind, text in BLOCK.findall(tutorial.read_text()):
        if kind == "python":
            exec(compile(text, tutorial.name, "exec"), names)
        else:
            for command in re.findall(r"^\$ (.+)$", text, re.MULTILINE):
                type_command(command)
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        path.name.removeprefix("tutorial-") for path in list_images(tutorial)
    }


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_shows_pictures_that_are_there(tutorial: Path) -> None:
    assert all(path.is_file() for path in list_images(tutorial))


def list_images(tutorial: Path) -> list[Path]:
    return [tutorial.parent / name for name in IMAGE.findall(tutorial.read_text())]


def type_command(command: str) -> None:
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
