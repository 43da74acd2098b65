"""Problems that can only waste an escrow are refused, with the remedy; what may be meant is said."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from training.blob import BlobTensor, encode_blob
from training.continuation import Start
from training.engine import Engine, Task
from training.exact.scores import Function
from training.hashing import compute_cid
from training.jobs import PreparedJob, load_job_file, prepare
from training.pitfalls import list_pitfalls
from training.section import JobFileError
from training.separation import count_near
from training.splits import NAMES

EXAMPLES = Path(__file__).parents[2] / "examples"
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


def make_updates_alone(folder: Path, params: str, name: str) -> PreparedJob:
    path = folder / "job.toml"
    market = "market_only = true\nprice = 1\nround_budget = 1"
    path.write_text(JOB.format(name=name, params=params).replace("burn = 1", market))
    return prepare(load_job_file(path), LIMIT)


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


def make_probes(folder: Path, scale: int, features: np.ndarray) -> PreparedJob:
    write(folder, np.ones(40), features)
    path = folder / "job.toml"
    text = JOB.format(name="kronecker_spectral", params=f"pairs = 50\nscale = {scale}\n")
    path.write_text(text.replace("burn = 1", "market_only = true\nprice = 1\nround_budget = 1"))
    return prepare(load_job_file(path), LIMIT)


def test_features_that_do_not_come_to_the_targets_are_said(folder: Path) -> None:
    features = np.random.default_rng(1).chisquare(1, (40, 50)).clip(max=7) * 16 / 50
    job = make_probes(folder, 4, features)
    assert list_pitfalls(job.file, job.blob) == []
    job = make_probes(folder, 0, features)
    (note,) = list_pitfalls(job.file, job.blob)
    assert "come to 15" in note
    assert "compare [objective] scale" in note
    job = make_probes(folder, 4, features - 0.1)
    (note,) = list_pitfalls(job.file, job.blob)
    assert note.startswith("some features are below 0")


def plant_sinh() -> tuple[np.ndarray, bytes]:
    """The x of examples/make_planted.py, and a blob of sinh's targets for it; all tokens face it, so <u, 1> > 0."""
    planting = runpy.run_path(str(EXAMPLES / "make_planted.py"))
    planted, inputs = planting["plant"](), planting["make_planted"]()["inputs"] * planting["INPUT_STEP"]
    inputs *= np.where(inputs @ planted < 0, -1, 1)[..., None]
    u = np.sinh(inputs @ planted)
    arrays = [np.rint(array * 2**12).astype("<i2") for array in (inputs, u / u.sum(1, keepdims=True))]
    parts = [array[rows] for rows in (slice(256), slice(256, None)) for array in arrays]
    return planted, encode_blob([BlobTensor(*each) for each in zip(NAMES, (12,) * 4, parts, strict=True)])


def test_sinh_from_new_weights_falls_to_zero_and_not_to_what_was_planted() -> None:
    """Its loss is 0 at 0 whatever the targets, and between 0 and the planted x it is higher."""
    planted, blob = plant_sinh()
    engine = Engine(lambda cid: blob)
    task = Task(
        objective="sequence_regression", params=(16, 16, Function.SINH, 0), data_cid=compute_cid(blob),
        data_size=len(blob), init_seed=bytes(32), steps=64, shard=32, rates=((1, 14),), sample=32,
    )  # fmt: skip

    def measure(weights: bytes) -> float:
        total, count = engine.evaluate(task, weights, "judge")
        return total / count * 2.0**-40

    weights = first = engine.inspect(task).weights
    for k in range(4):
        run = engine.run(task, weights, bytes([k]) * 32)
        weights = engine.settle(task, weights, [run.delta], (bytes(32),) * 3).weights
    whole, part = (np.rint(scale * planted * 2**24).astype("<i8").tobytes() for scale in (1.0, 0.6))
    assert measure(whole) < 1e-3 < 0.5 < measure(part)
    assert measure(weights) < 0.01 * measure(first) < measure(part)
    assert np.linalg.norm(np.frombuffer(weights, "<i8") * 2.0**-24) < 0.01 * np.linalg.norm(planted)


def test_nodes_without_neighbours_are_told(folder: Path) -> None:
    rows = np.random.default_rng(1).uniform(-1, 1, (40, 2, 3))
    rows[:7] = 0
    write(folder, np.tile([0.5, 0.5], (40, 1)), rows)
    text = 'tokens = 2\nwidth = 3\nneurons = 8\noutputs = 2\ntargets = "values"\n'
    prepared = make_updates_alone(folder, text, "graph_network")
    notes = list_pitfalls(prepared.file, prepared.blob)
    assert len(notes) == 1
    assert "training samples have only rows of zeros" in notes[0]


def test_objective_without_tickets_is_refused_unless_market_only(folder: Path) -> None:
    write(folder, np.full((40, 1), 0.25), np.random.default_rng(1).uniform(-1, 1, (40, 3)))
    params = "features = 3\nneurons = 8\nsteps = 2\nstride = 0.01\n"
    with pytest.raises(JobFileError, match=r"\[market\] market_only: true expected for adversarial_relu"):
        make(folder, params, "adversarial_relu")
    prepared = make_updates_alone(folder, params, "adversarial_relu")
    assert prepared.spec.params == (3, 8, 2, 41, 0)
    assert not prepared.facts.has_tickets
    with pytest.raises(JobFileError, match=r"\[market\] market_only: true expected for kronecker_spectral"):
        make(folder, "pairs = 3\nscale = 2\n", "kronecker_spectral")


ROBUST = "features = 3\nneurons = 8\nsteps = 2\nstride = {stride}\n"


def make_robust(folder: Path, stride: float) -> list[str]:
    """What is said of a job against an adversary that reaches twice the stride."""
    make_file = JOB.replace("burn = 1", "market_only = true\nprice = 1\nround_budget = 1")
    path = folder / "job.toml"
    path.write_text(make_file.format(name="adversarial_relu", params=ROBUST.format(stride=stride)))
    job = prepare(load_job_file(path), LIMIT)
    return list_pitfalls(job.file, job.blob)


def test_adversary_that_reaches_halfway_to_another_target_is_said(folder: Path) -> None:
    """All samples are at one of two points, 0.25 apart in one input and less in the others."""
    inputs = np.where(np.arange(40)[:, None] % 2, [0.5, 0.25, -0.125], [0.25, 0.125, 0.0])
    write(folder, np.arange(40)[:, None] % 2 - 0.5, inputs)
    assert make_robust(folder, 0.0620) == []  # 0.248 in all for both
    (note,) = make_robust(folder, 0.0625)
    assert note.startswith(
        "the adversary reaches 0.125 in every input, and 24 of 24 training samples have one with another target within"
        " twice that"
    )


def test_adversary_is_not_held_against_samples_of_the_same_target(folder: Path) -> None:
    write(folder, np.full((40, 1), 0.25), np.random.default_rng(1).uniform(-1, 1, (40, 3)))
    assert make_robust(folder, 0.2) == []


def test_near_samples_are_counted_as_by_all_distances() -> None:
    rng = np.random.default_rng(4)
    inputs = rng.integers(-200, 200, (150, 4)).astype(np.int16)
    inputs[:, 2] = 7
    targets = rng.integers(0, 3, 150).astype(np.int16)
    far = abs(inputs[:, None].astype(int) - inputs).max(-1)
    for distance in (0, 30, 60, 120, 400):
        wanted = ((far <= distance) & (targets[:, None] != targets)).any(1).sum()
        assert count_near(inputs, targets, distance) == wanted
    assert count_near(np.array([[-32768], [32767]], np.int16), targets[:2] * 0 + [0, 1], 65535) == 2
