"""`python -m training.cycle_rank`: factors of a file's tensor, and what it says of files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.one_thread import one_thread
from training.cycle_rank import main
from training.solvers.cycle.factors import draw_factors

__all__ = ["one_thread"]


def plant(sizes: tuple[int, int, int] = (20, 18, 22)) -> np.ndarray:
    values: np.ndarray = draw_factors(sizes, 2, np.random.default_rng(1)).compute_dense().numpy()
    return values + 1e-3 * np.random.default_rng(2).standard_normal(sizes)


def test_array_is_approximated_and_its_factors_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values, file = plant(), tmp_path / "t.npz"
    np.savez(file, tensor=values)
    factors, table = tmp_path / "factors.npz", tmp_path / "t.json"
    arguments = [str(file), "--rank", "2", "--output", str(factors), "--json", str(table)]
    assert main(arguments) == 0
    found = np.load(factors)
    rebuilt = np.einsum("aij,bjl,cli->abc", found["U"], found["V"], found["W"])
    error = float(np.linalg.norm(rebuilt - values) / np.linalg.norm(values))
    report = json.loads(table.read_text())
    assert error < 2e-3
    assert report["error"] == pytest.approx(error, rel=1e-6)
    assert report["sampled_error"] == pytest.approx(error, rel=0.1)
    assert list(report["seconds"]) == ["read", "rotate", "alternate", "polish", "residual"]
    assert "of |A|" in capsys.readouterr().out


def test_cells_are_approximated_as_the_array_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, file = plant(), tmp_path / "t.npz"
    cells = np.argwhere(np.ones(values.shape))
    errors = []
    for arrays in (
        {"tensor": values},
        {"cells": cells, "values": values.ravel(), "shape": list(values.shape)},
    ):
        np.savez(file, **arrays)
        assert main([str(file), "--rank", "2"]) == 0
        errors.append([line for line in capsys.readouterr().out.splitlines() if line.startswith("error")])
    assert errors[0] == errors[1] != []


def test_exact_tensor_is_said_to_be_below_what_is_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.npz"
    np.savez(file, tensor=np.ones((9, 9, 9)))
    assert main([str(file), "--rank", "1"]) == 0
    assert "below 1e-07 of |A|" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": np.ones(3)}, "arrays `tensor`, or `cells` and `values`"),
        ({"tensor": np.ones((9, 9, 9)), "values": np.ones(3)}, "arrays `tensor`, or"),
        ({"tensor": np.ones((9, 9))}, "tensor: shape n1 x n2 x n3 expected, 9x9 came"),
        (
            {"tensor": np.ones((9, 9, 8))},
            "rank: rank^2 of at most the smallest side of 9x9x8 expected, 9 came",
        ),
        ({"cells": [[0, 0, -1]], "values": [1]}, "cells: numbers from 0 expected, -1 came"),
        ({"cells": [[0, 0, 1]], "values": [1], "shape": [9.0, 9, 9]}, "shape: three whole numbers expected"),
        ({"tensor": np.array([{}])}, "file: .npz without pickled arrays expected"),
    ],
)
def test_wrong_files_are_refused(
    arrays: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    assert main([str(file)]) == 3
    assert capsys.readouterr().err.startswith(f"error: {file}: ")
    main([str(file)])
    assert said in capsys.readouterr().err


def test_files_that_are_no_npz_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (
        ("none.npz", None),
        ("text.npz", b"a,b,c\n"),
        ("empty.npz", b""),
        ("cut.npz", b"PK\3\4 "),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert main([str(tmp_path / name)]) == 3
        assert "file: " in capsys.readouterr().err
    np.save(tmp_path / "one.npy", np.ones((9, 9, 9)))
    assert main([str(tmp_path / "one.npy")]) == 3
    assert "a single array came" in capsys.readouterr().err


def test_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.npz"
    np.savez(file, tensor=np.ones((9, 9, 9)))
    assert main([str(file), "--rank", "1", "--output", str(tmp_path / "no" / "f.npz")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_negative_seed_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["t.npz", "--seed", "-1"])
    assert "--seed: a number from 0 expected, got -1" in capsys.readouterr().err
