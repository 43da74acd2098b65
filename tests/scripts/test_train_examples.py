"""The script that trains all examples: one that fails costs nobody else's figures. No network is started."""

import argparse
import json
from pathlib import Path

import pytest

from node.exits import Exit, UserError
from tests.scripts.loading import SCRIPTS, load

train_examples = load(SCRIPTS / "train_examples.py")
GOOD = train_examples.Trained("good", "done", 1.0, 2.0, 1.5, 3, 9, 2, 1.25, 30, 40.0, True, 2.0)


def use(monkeypatch: pytest.MonkeyPatch, file: Path, names: list[str]) -> None:
    options = argparse.Namespace(names=names, timeout=1.0, pictures=False, json=file)
    monkeypatch.setattr(train_examples, "parse_arguments", lambda: options)


def train(name: str, timeout_s: float) -> tuple[object, str]:
    if name == "bad":
        raise UserError("the target was not reached in time", "--timeout 1200")
    return GOOD, "<svg/>"


def test_example_that_fails_is_named_and_the_others_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, tmp_path / "figures.json", ["bad", "good"])
    monkeypatch.setattr(train_examples, "train", train)
    assert train_examples.main() == Exit.FAILED
    assert "bad: the target was not reached in time (--timeout 1200)" in capsys.readouterr().out
    assert [each["name"] for each in json.loads((tmp_path / "figures.json").read_text())] == ["good"]


def test_all_examples_that_are_done_end_with_0(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, tmp_path / "figures.json", ["good"])
    monkeypatch.setattr(train_examples, "train", train)
    assert train_examples.main() == Exit.DONE


def test_network_of_an_example_that_fails_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(network: object, name: str, timeout_s: float) -> None:
        assert list((tmp_path / "nets").iterdir())
        raise UserError("no")

    monkeypatch.setattr(train_examples, "FOLDER", tmp_path / "nets")
    monkeypatch.setattr(train_examples, "run_job", fail)
    with pytest.raises(UserError, match="no"):
        train_examples.train("teacher", 1.0)
    assert list((tmp_path / "nets").iterdir()) == []
