"""A miner's own samples come onto a job's grid as the job's own did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training import own_samples
from training.engine import Engine
from training.errors import TrainingError
from training.jobs import PreparedJob, load_job_file, make_task, prepare
from training.own_samples import encode_samples
from training.samples import read_samples

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT = 1 << 20


def load(name: str) -> PreparedJob:
    return prepare(load_job_file(EXAMPLES / f"{name}.toml"), LIMIT)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "teacher"])
def test_the_jobs_own_file_gives_the_jobs_own_samples(name: str) -> None:
    prepared = load(name)
    objective, data = Engine(lambda _: prepared.blob, "portable").get_dataset(make_task(prepared.spec))
    npz, count, loss = encode_samples(prepared, prepared.file.data.file)
    own = read_samples(npz, objective.layout, data.train.keys)
    assert own.count == count == loss.values // own.inputs[0].size
    rows = prepared.parts.train
    assert np.array_equal(own.inputs[rows], data.train.inputs)
    if objective.layout.rows is None:
        assert np.array_equal(own.labels[rows], data.train.labels)
    else:
        assert np.array_equal(own.rows[rows], data.train.rows)


def test_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=np.zeros((3, 8, 7)), labels=np.zeros(3))
    with pytest.raises(TrainingError, match=r"own\.npz"):
        encode_samples(load("digits"), tmp_path / "own.npz")


def test_command_writes_the_file_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = EXAMPLES / "data" / "digits.npz", tmp_path / "samples.npz"
    words = ["own_samples", str(EXAMPLES / "digits.toml"), str(data), "-o", str(output)]
    monkeypatch.setattr("sys.argv", words)
    assert own_samples.main() == 0
    assert "1797 samples for 'Handwritten digits, 8x8'" in capsys.readouterr().out
    assert output.exists()
    monkeypatch.setattr("sys.argv", [*words[:2], str(tmp_path / "none.npz")])
    assert own_samples.main() == 3
    assert "none.npz" in capsys.readouterr().err
