"""Problems that can only waste an escrow are refused, with the remedy; what may be meant is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.continuation import Start
from training.jobs import PreparedJob, load_job_file, prepare
from training.pitfalls import list_pitfalls
from training.section import JobFileError

LIMIT = 1 << 19
JOB = """\
title = "Small"
[objective]
name = "{name}"
{params}
[data]
file = "data.npz"
inputs = "inputs"
targets = "targets"
[split]
train = 24
judge = 16
[rule]
steps = 64
shard = 24
learning_rate = 0.01
[market]
burn = 1
escrow = 100
lifetime_blocks = 500
judging_sample = 16
"""
SEQUENCE = "tokens = 4\nwidth = 3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, np.full((40, 4), 0.25))
    return tmp_path


def write(folder: Path, targets: np.ndarray, inputs: np.ndarray | None = None) -> None:
    drawn = np.random.default_rng(1).uniform(-1, 1, (40, 4, 3))
    np.savez(folder / "data.npz", inputs=drawn if inputs is None else inputs, targets=targets)


def make(
    folder: Path, params: str, name: str = "sequence_regression", start: Start | None = None
) -> PreparedJob:
    path = folder / "job.toml"
    parent = 'parent = "abcd"\n' if start else ""
    path.write_text(parent + JOB.format(name=name, params=params))
    return prepare(load_job_file(path), LIMIT, start)


def test_exp_without_a_weight_is_refused_with_one_to_begin_with(folder: Path) -> None:
    with pytest.raises(
        JobFileError, match=r"\[objective\] weight: expected more than 0 .* 0\.1 is a beginning"
    ):
        make(folder, SEQUENCE + 'function = "exp"')
    assert make(folder, SEQUENCE + 'function = "exp"\nweight = 0.1').spec.params == (4, 3, 1, 26)


def test_sinh_is_refused_without_a_parent(folder: Path) -> None:
    params = SEQUENCE + 'function = "sinh"'
    with pytest.raises(JobFileError, match="'sinh' is for jobs with a parent"):
        make(folder, params)
    weights = np.full(3, 1 << 22, "<i8").tobytes()
    job = make(folder, params, start=Start(bytes(32), "sequence_regression", (4, 3, 3, 0), weights))
    assert job.spec.params == (4, 3, 3, 0)


def test_weight_out_of_range_names_the_range(folder: Path) -> None:
    with pytest.raises(JobFileError, match=r"weight: .*15\.99"):
        make(folder, SEQUENCE + "weight = 16")


def test_weight_that_would_be_rounded_to_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(JobFileError, match=r"weight: expected 0, or 0\.0039.* or more, got 0\.001"):
        make(folder, SEQUENCE + "weight = 0.001")
    assert make(folder, SEQUENCE + "weight = 0.003").spec.params == (4, 3, 0, 1)


def test_targets_that_do_not_sum_to_one_are_said(folder: Path) -> None:
    job = make(folder, SEQUENCE)
    assert list_pitfalls(job.file, job.blob) == []
    write(folder, np.full((40, 4), 0.5))
    job = make(folder, SEQUENCE)
    (note,) = list_pitfalls(job.file, job.blob)
    assert "24 of 24 training samples do not sum to 1 (they sum to 2 to 2)" in note


def test_equal_inputs_with_different_targets_are_said(folder: Path) -> None:
    params = "features = 3\nneurons = 16"
    inputs = np.random.default_rng(2).uniform(-1, 1, (40, 3))
    write(folder, np.arange(40) / 64, inputs)
    job = make(folder, params, "exponential_regression")
    assert list_pitfalls(job.file, job.blob) == []
    write(folder, np.arange(40) / 64, np.repeat(inputs[:2], 20, axis=0))
    job = make(folder, params, "exponential_regression")
    (note,) = list_pitfalls(job.file, job.blob)
    assert note.startswith("2 inputs occur with different targets")


def test_plain_softmax_leaves_function_and_weight_out_of_the_spec(folder: Path) -> None:
    write(folder, np.arange(40) % 2, np.random.default_rng(3).uniform(-1, 1, (40, 30)))
    params = 'features = 30\noutputs = 2\ntargets = "class"\n'
    assert make(folder, params, "softmax_regression").spec.params == (30, 2, 0, 1)
    assert make(folder, params + "weight = 0.5", "softmax_regression").spec.params == (30, 2, 0, 1, 0, 128)
    with pytest.raises(JobFileError, match="outputs"):
        make(folder, params.replace("outputs = 2", "outputs = 513") + "weight = 0.5", "softmax_regression")
