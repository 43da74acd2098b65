"""`python -m training.kronecker`: pairs of a file's factors, and what it says of files that are none."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.training.kronecker.designs import draw_factor
from training.kronecker.__main__ import main
from training.kronecker.factors import open_factor
from training.kronecker.sparsify import sparsify
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


def make_job(folder: Path, weights: np.ndarray) -> tuple[Path, Path]:
    """A data file of a job, and a checkpoint."""
    first, second = draw_factor(40, 2), draw_factor(30, 2)
    found = sparsify(first, second, 0.9, np.random.default_rng(1))
    file, checkpoint = folder / "job.npz", folder / "w.safetensors"
    i, j, w = found.first[:20], found.second[:20], found.weights[:20]
    np.savez(file, A1=first.rows, A2=second.rows, first=i, second=j, weights=w)
    save_file({"w": weights}, checkpoint)
    return file, checkpoint


def test_checkpoint_is_judged_beside_the_pairs_as_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = np.zeros((20, 1))
    weights[:3, 0] = -1.5, -1, 2.5
    file, checkpoint = make_job(tmp_path, weights)
    assert main([str(file), "--checkpoint", str(checkpoint)]) == 0
    drawn, trained = re.findall(r"error ([0-9.]+)", capsys.readouterr().out)
    arrays = np.load(file)
    features = compute_features(draw_factor(40, 2), draw_factor(30, 2), arrays["first"], arrays["second"])
    counts = np.array([0, 0, 3.5] + [1] * 17)
    assert float(drawn) == pytest.approx(measure_error(features, arrays["weights"] ** 2), rel=5e-3)
    assert float(trained) == pytest.approx(measure_error(features, arrays["weights"] ** 2 * counts), rel=5e-3)


@pytest.mark.parametrize(
    ("weights", "said"),
    [(np.zeros((3, 1)), r"w [20, 1] of finite float64 expected"), (np.full((20, 1), np.nan), "finite")],
)
def test_wrong_checkpoints_are_refused(
    weights: np.ndarray, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, checkpoint = make_job(tmp_path, weights)
    assert main([str(file), "--checkpoint", str(checkpoint)]) == 3
    assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(file), "--checkpoint", str(checkpoint), "--json", "x"])
    checkpoint.write_bytes(b"no")
    assert main([str(file), "--checkpoint", str(checkpoint)]) == 3
    assert "a safetensors file expected" in capsys.readouterr().err
