"""The process behind `private-attention`: the file it writes, the order it does things in, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.private import command
from training.private.attention import make_attention

Json = dict[str, Any]
TERMS = ["--epsilon=1", "--delta=1e-5", "--alpha=0.004", "--eta=0.01"]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "y.npz"
    np.savez(path, Y=np.random.default_rng(1).standard_normal((4, 50)))
    return path


@pytest.fixture
def call(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> Any:  # Any: a function with defaults
    def run(*more: str, file: Path = records, terms: list[str] = TERMS) -> tuple[int, Json]:
        code = command.main([str(file), *terms, f"--output={tmp_path / 'out.npz'}", *more])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("mechanism", ["auto", "sampling", "gaussian"])
def test_release_holds_what_anybody_needs_to_compute_the_attention_again(
    call: Any, tmp_path: Path, mechanism: str
) -> None:
    code, answer = call(f"--mechanism={mechanism}")
    assert code == 0
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"Z", "attention", "terms"}
        assert np.array_equal(make_attention(arrays["Z"]), arrays["attention"])
        terms = json.loads(str(arrays["terms"]))
    assert terms["mechanism"] == answer["mechanism"]
    assert terms["delta"] == answer["delta_spent"] <= 1e-5
    assert "true_error" not in answer
    assert mechanism in ("auto", answer["mechanism"])


def test_two_releases_differ(call: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    drawn = []
    for _ in range(2):
        call()
        drawn.append(np.load(out)["Z"])
        out.unlink()
    assert not np.array_equal(*drawn)


def test_only_array_of_a_file_is_taken_whatever_its_name(call: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", data=np.ones((2, 3), np.int32))
    assert call(file=tmp_path / "one.npz")[1]["d"] == 3


def test_compare_tells_the_true_error(call: Any) -> None:
    true = call("--compare")[1]["true_error"]
    assert 0 < true["attention_rms"] <= true["attention_max"]


def test_budget_is_kept_and_refuses(call: Any, tmp_path: Path) -> None:
    budget = [f"--budget-dir={tmp_path / 'b'}", "--total-epsilon=1.5", "--total-delta=1e-4"]
    code, answer = call(*budget)
    assert (code, answer["budget"]["epsilon"], answer["budget"]["releases"]) == (0, 1.0, 1)
    (tmp_path / "out.npz").unlink()
    other_clip = ["--epsilon=1", "--delta=1e-5", "--alpha=0.003", "--eta=0.01"]
    code, answer = call(*budget, terms=other_clip)
    assert code == 1
    assert "1 of 1.5 is spent" in answer["error"]
    assert not (tmp_path / "out.npz").exists()


def test_nothing_is_drawn_where_the_budget_cannot_be_written(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("training.private.budget.write_whole", fail)
    monkeypatch.setattr(command, "SecretNoise", None)  # calling it would be a TypeError
    code, answer = call(f"--budget-dir={tmp_path / 'b'}", "--total-epsilon=2", "--total-delta=1e-4")
    assert code == 1
    assert "no space left on device; nothing was released" in answer["error"]
    assert not (tmp_path / "out.npz").exists()


def test_budget_is_spent_before_the_release_is_written(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        assert list((tmp_path / "b").glob("*.json"))
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(command, "write_whole", fail)
    assert call(f"--budget-dir={tmp_path / 'b'}", "--total-epsilon=2", "--total-delta=1e-4")[0] == 1


def test_existing_release_is_not_overwritten(call: Any, tmp_path: Path) -> None:
    call()
    before = (tmp_path / "out.npz").read_bytes()
    code, answer = call()
    assert (code, "exists" in answer["error"]) == (2, True)
    assert (tmp_path / "out.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--epsilon=0"], 2, "epsilon: a number above 0"),
        (["--delta=2"], 2, "delta: a number above 0 and below 1"),
        (["--alpha=-1"], 2, "alpha: "),
        (["--eta=0"], 2, "eta: "),
        (["--eta=1e-5", "--mechanism=sampling"], 2, "eta: not one sample"),
        (["--total-epsilon=1"], 2, "budget_dir: a total needs a directory"),
        (["--budget-dir=b"], 1, "total_epsilon: with a budget a number above 0 expected, None came"),
    ],
)
def test_options_out_of_range_are_refused_by_name(call: Any, more: list[str], code: int, words: str) -> None:
    got, answer = call(*more)
    assert (got, answer["exit_code"]) == (code, code)
    assert answer["error"].startswith(words)


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_file_that_is_none_is_refused(call: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.npz"
    if content is not None:
        path.write_bytes(content)
    code, answer = call(file=path)
    assert code == 3
    assert answer["error"].startswith("Y: ")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(2), "b": np.zeros(2)}, "an array Y"),
        ({"Y": np.array([["x"]])}, "real numbers expected"),
        ({"Y": np.array([[1j]])}, "real numbers expected"),
        ({"Y": np.array([[object()]], dtype=object)}, "no npz file of numbers"),
        ({"Y": np.zeros(4)}, "a matrix"),
        ({"Y": np.array([[np.nan]])}, "NaN came"),
    ],
)
def test_arrays_that_are_no_records_are_refused(
    call: Any, tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for its flags
    code, answer = call(file=tmp_path / "bad.npz")
    assert code == 3
    assert words in answer["error"]
