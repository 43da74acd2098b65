"""`python -m training.adversarial`: the net it writes, what it tells, and what it says of files that are none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.one_thread import one_thread
from training.adversarial import main

__all__ = ["one_thread"]

SMALL = ["--width", "512", "--precision", "float64", "--steps", "12"]


def write(folder: Path, **changed: Any) -> Path:  # Any: arrays, or what is none
    drawn, file = np.random.default_rng(1).standard_normal((10, 6)), folder / "samples.npz"
    np.savez(file, **({"inputs": drawn, "targets": np.where(np.arange(10) % 3, 1, -1)} | changed))
    return file


def test_net_is_written_and_says_what_was_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output, told = write(tmp_path), tmp_path / "net", tmp_path / "told.json"
    assert main([str(file), "--unit", *SMALL, "--output", str(output), "--json", str(told)]) == 0
    report, net, samples = json.loads(told.read_text()), np.load(output), np.load(file)
    x = samples["inputs"] / np.linalg.norm(samples["inputs"], axis=1, keepdims=True)
    scores = x @ net["weights"].T + net["biases"]
    outputs = np.maximum(scores - net["tau"], 0) @ net["signs"]
    assert report["plain_right"] == (np.sign(outputs) == samples["targets"]).mean()
    assert report["last_loss"] < report["first_loss"]
    assert (report["samples"], report["inputs"], report["width"], report["steps"]) == (10, 6, 512, 12)
    assert (report["fallbacks"], report["resting"], report["doubts"]) == (0, 0, [])
    assert list(report["seconds"]) == ["load", "search", "attack", "update", "watch"]
    assert "12 steps of rate" in capsys.readouterr().out


def test_fallback_and_doubts_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(write(tmp_path)), "--radius", "3", "--overlap", *SMALL]) == 0
    said = capsys.readouterr().out
    assert "12 steps by all neurons: more than a quarter were candidates" in said
    assert "note: 10 of 10 inputs have lengths other than 1" in said
    assert "no net tells them apart" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images": np.ones(3)}, "file: arrays `inputs` and `targets` expected, got images, inputs, targets"),
        ({"inputs": np.ones(10)}, "inputs: shape n x d expected"),
        (
            {"inputs": np.zeros((10, 6))},
            "inputs: finite lengths above 0 expected for --unit",
        ),
        ({"targets": np.arange(10)}, "targets: -1 or 1 in all expected"),
        ({"targets": np.array([{}])}, "file: .npz without pickled arrays expected"),
    ],
)
def test_wrong_files_are_refused(
    changed: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, **changed)
    assert main([str(file), "--unit", *SMALL]) == 3
    assert capsys.readouterr().err.startswith(f"error: {file}: {said}")


def test_missing_file_and_place_that_cannot_be_written_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.npz"), *SMALL]) == 3
    assert "file: cannot be read" in capsys.readouterr().err
    target = str(tmp_path / "no" / "net.npz")
    assert main([str(write(tmp_path)), "--unit", *SMALL, "--output", target]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seed", "--steps"])
def test_numbers_below_their_range_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["t.npz", option, "-1"])
    assert f"{option}: a number from" in capsys.readouterr().err
