"""Jobs whose inputs are ids: cells of a tensor, for cycle_rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.jobs import PreparedJob, load_job_file, prepare
from training.objectives.registry import get_objective
from training.pitfalls import list_pitfalls
from training.section import JobFileError
from training.splits import parse_dataset

LIMIT = 1 << 19
JOB = """\
title = "Cells"
[objective]
name = "cycle_rank"
first = 9
second = 10
third = 11
rank = {rank}
[data]
file = "cells.npz"
inputs = {inputs}
targets = "values"
[split]
train = 40
judge = 16
holdout = 4
[rule]
steps = 64
shard = 40
learning_rate = 0.1
[market]
burn = 1
escrow = 100
lifetime_blocks = 500
judging_sample = 16
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, draw_cells())
    return tmp_path


def draw_cells() -> np.ndarray:
    return np.random.default_rng(1).integers(0, (9, 10, 11), (60, 3))


def write(folder: Path, cells: np.ndarray, values: np.ndarray | None = None) -> None:
    drawn = cells.sum(1) / 16
    np.savez(folder / "cells.npz", cells=cells, values=drawn if values is None else values)


def make(folder: Path, rank: int = 2, inputs: str = '"cells"') -> PreparedJob:
    path = folder / "job.toml"
    path.write_text(JOB.format(rank=rank, inputs=inputs))
    return prepare(load_job_file(path), LIMIT)


def test_ids_reach_the_objective_as_they_are(folder: Path) -> None:
    job = make(folder)
    train = parse_dataset(job.blob, get_objective("cycle_rank", job.spec.params).layout).train
    assert train.inputs.tolist() == draw_cells()[job.parts.train].tolist()
    assert job.spec.params == (9, 10, 11, 2)
    assert job.facts.parameter_count == 30 * 4


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (10, "id 10 in place 2 of the cell; whole numbers 0 to 9"),
        (-1, "id -1"),
        (1.5, "id 1.5"),
        (1e9, "id 1e"),
    ],
)
def test_id_that_is_none_is_refused_by_place(folder: Path, wrong: float, told: str) -> None:
    cells = draw_cells().astype(float)
    cells[17, 1] = wrong
    write(folder, cells)
    with pytest.raises(JobFileError, match=f"sample 17: {told}"):
        make(folder)


@pytest.mark.parametrize(
    "extra", ["multiply = 2", "fraction_bits = 4", "constant = true", 'divide = "deviation"']
)
def test_nothing_is_done_to_ids(folder: Path, extra: str) -> None:
    with pytest.raises(JobFileError, match=r"\[data"):
        make(folder, inputs=f'{{ array = "cells", {extra} }}')


def test_rank_that_holds_any_tensor_is_refused(folder: Path) -> None:
    with pytest.raises(JobFileError, match=r"\[objective\] rank: 3 or less expected, got 4"):
        make(folder, rank=4)
    make(folder, rank=3)


def test_what_an_owner_may_not_have_meant_is_said(folder: Path) -> None:
    cells = draw_cells()
    cells[:, 0] %= 7
    cells[1:] = np.where(
        np.arange(59)[:, None] < 30, cells[0], cells[1:]
    )  # one cell many times, of several values
    write(folder, cells, np.arange(60) / 16)
    job = make(folder)
    notes = list_pitfalls(job.file, job.blob)
    assert any("occur with different targets" in note for note in notes)
    assert any("ids are in no training sample" in note for note in notes)
    write(folder, draw_cells(), np.zeros(60))
    job = make(folder)
    assert any("are 0" in note for note in list_pitfalls(job.file, job.blob))
