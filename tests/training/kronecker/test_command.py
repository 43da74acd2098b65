"""`python -m training.kronecker`: pairs of a file's factors, and what it says of files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.kronecker.designs import draw_factor
from training.kronecker.__main__ import main
from training.kronecker.factors import open_factor
from training.kronecker.spectral import compute_features, measure_error


def test_pairs_are_written_and_queries_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, pairs, table = tmp_path / "a.npz", tmp_path / "pairs.npz", tmp_path / "a.json"
    first, second = draw_factor(4000, 2), draw_factor(30, 3)
    np.savez(file, A1=first.rows, A2=second.rows)
    arguments = [str(file), "--epsilon", "0.4", "--output", str(pairs), "--json", str(table)]
    assert main(arguments) == 0
    said, report, found = capsys.readouterr().out, json.loads(table.read_text()), np.load(pairs)
    features = compute_features(first, second, found["first"], found["second"])
    assert report["error"] == pytest.approx(measure_error(features, found["weights"] ** 2))
    assert report["pairs"] == len(found["weights"])
    assert report["row_reads"] == 4030
    assert report["total"] == sum(report["queries"]["A1"].values()) + sum(report["queries"]["A2"].values())
    assert "sampling, certifying" in said
    assert "A1: 4,000 rows of 2" in said
    assert "all rows read                    30  (too few to halve them)" in said or report["queries"][
        "A2"
    ] != {"rows read": 30}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"A1": np.ones((5, 1))}, "arrays `A1` and `A2` expected, got A1"),
        ({"A1": np.ones((5, 1)), "A2": np.ones((5, 2))}, "A2: independent columns expected"),
    ],
)
def test_wrong_files_are_refused(
    arrays: dict[str, np.ndarray], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes a flag for one of them
    assert main([str(file)]) == 3
    assert said in capsys.readouterr().err


def test_missing_file_and_senseless_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.npz")]) == 3
    assert "cannot be read" in capsys.readouterr().err
    file = tmp_path / "a.npz"
    np.savez(file, A1=open_factor(np.eye(3), "A").rows, A2=np.eye(2))
    assert main([str(file), "--epsilon", "2"]) == 3
    assert "epsilon: 0.01 to 0.9 expected, 2 came" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(file), "--seed", "-1"])
