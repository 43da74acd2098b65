"""`python -m training.graph`: what it says of a file that it learns, and of files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.graph.__main__ import main

Arrays = dict[str, object]


def make_arrays(nodes: int = 60) -> Arrays:
    """A ring, its edges in one direction, whose neighbours are mostly of the same class."""
    ring = np.arange(nodes)
    labels = ring // 10 % 2
    features = np.eye(2)[labels] + 0.3 * np.random.default_rng(1).standard_normal((nodes, 2))
    mask = np.arange(nodes) >= 40
    return {
        "edges": np.stack([ring, np.roll(ring, -1)]),
        "features": features,
        "labels": labels,
        "train": np.arange(40),
        "test": mask,
    }


def test_file_is_learnt_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, table = tmp_path / "g.npz", tmp_path / "g.json"
    np.savez(file, **make_arrays())  # type: ignore[arg-type]  # numpy types a keyword of its own
    arguments = [
        str(file),
        "--layer",
        "sage",
        "--hidden",
        "8",
        "--epochs",
        "60",
        "--both-ways",
        "--json",
        str(table),
    ]
    assert main(arguments) == 0
    report = json.loads(table.read_text())
    assert (report["nodes"], report["edges"], report["features"]) == (60, 120, 2)
    assert set(report["accuracy"]) == {"train", "test"}
    assert report["accuracy"]["test"] > 0.9
    assert report["majority"] <= 0.9
    assert report["losses"][1] < report["losses"][0]
    assert list(report["seconds"]) == ["read", "sort", "train", "score"]
    assert set(report["slices"].values()) == {1}
    assert report["peak_mb"] is None or report["peak_mb"] > 10
    said = capsys.readouterr().out
    assert "graph of 60 nodes and 120 edges, 2 features a node" in said
    assert f"test       {100 * report['accuracy']['test']:.1f} % right" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"edges": None},
            "file: arrays edges, features, labels, train, test expected, got features, labels, test",
        ),
        ({"edges": np.zeros((3, 2), np.int64)}, "edges: shape [2, E] expected, [3, 2] came"),
        ({"edges": np.zeros((2, 2))}, "edges: whole numbers expected, float64 came"),
        ({"edges": np.array([[0], [60]])}, "edges: numbers of 60 nodes, from 0, expected, 60 came"),
        ({"features": np.full((60, 2), np.nan)}, "features: finite numbers expected"),
        ({"features": np.array(["a"] * 60)}, "features: real numbers expected"),
        ({"labels": np.zeros(59, np.int64)}, "labels: int64 [60] expected"),
        ({"train": np.zeros(59, np.bool_)}, "train: numbers of nodes, or 60 times true or false"),
        ({"test": np.array([-1])}, "test: numbers of 60 nodes, from 0, expected, -1 came"),
    ],
)
def test_wrong_files_are_refused(
    changed: Arrays, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.npz"
    arrays = {name: value for name, value in (make_arrays() | changed).items() if value is not None}
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy types a keyword of its own
    assert main([str(file), "--epochs", "1"]) == 3
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--hidden", "--epochs", "--threads"])
def test_numbers_below_one_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["none.npz", option, "0"])
    assert caught.value.code == 2
    assert f"{option}: 1 to " in capsys.readouterr().err


def test_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["none.npz"]) == 3
    assert "error: none.npz: file: cannot be read: No such file or directory" in capsys.readouterr().err
