"""A table whose columns differ in scale: standardised over the training rows, everywhere the same, of use later."""

from __future__ import annotations

import base64
import io
import json
import math
import random
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.checkpoint import write_checkpoint
from training.data import load_arrays
from training.engine import Engine
from training.hashing import compute_tagged_hash
from training.holdout import score_holdout
from training.jobs import JobFileError, PreparedJob, load_job_file, make_task, prepare
from training.quantise import Normalisation, measure_standard
from training.scaling import describe_scaling

EXAMPLES = Path(__file__).parents[2] / "examples"
TABLE = EXAMPLES / "data" / "breast_cancer.csv"
LIMIT = 512 << 10
HOW = Normalisation(1.0, 12, centre=True, deviate=True)
JOB = """\
title = "Small table"

[objective]
name = "softmax_regression"
features = 3
outputs = 2
targets = "class"

[data]
file = "a.csv"
inputs = { columns = ["year", "share", "area"], subtract = "mean", divide = "deviation", fraction_bits = 8 }
targets = "kind"

[split]
train = 30
judge = 20
holdout = 10

[rule]
steps = 64
shard = 30
learning_rate = 0.01

[market]
burn = 1
escrow = 100
lifetime_blocks = 500
judging_sample = 20
"""
finite = st.floats(-1e9, 1e9).map(lambda x: round(x, 6))


@pytest.fixture(scope="module")
def prepared() -> PreparedJob:
    return prepare(load_job_file(EXAMPLES / "breast_cancer.toml"), LIMIT)


def make_rows(count: int = 60) -> list[list[float]]:
    drawn = random.Random(1)
    return [
        [1900 + drawn.randrange(120), drawn.random() / 100, 1e6 * drawn.random(), i % 2] for i in range(count)
    ]


def prepare_table(folder: Path, rows: list[list[float]], text: str = JOB) -> PreparedJob:
    lines = [",".join(map(repr, row)) for row in rows]
    (folder / "a.csv").write_text("\n".join(["year,share,area,kind", *lines]))
    (folder / "job.toml").write_text(text)
    return prepare(load_job_file(folder / "job.toml"), LIMIT)


# --- standardising ----------------------------------------------------------------------------------------------------


@given(st.lists(finite, min_size=2, max_size=40))
def test_standard_is_the_mean_and_deviation_of_the_numbers(column: list[float]) -> None:
    standard = measure_standard(np.array(column)[:, None], HOW)
    exact = [Fraction(x) for x in column]
    mean = sum(exact) / len(exact)
    variance = sum((x - mean) ** 2 for x in exact) / len(exact)
    if len(set(column)) == 1:
        assert standard.deviation[0] == 0
        return
    largest = max(map(abs, column))
    assert math.isclose(standard.mean[0], float(mean), rel_tol=1e-15, abs_tol=1e-15 * largest)
    assert math.isclose(standard.deviation[0], math.sqrt(variance), rel_tol=1e-9, abs_tol=1e-15 * largest)


@given(st.lists(finite, min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_standard_does_not_depend_on_order_or_layout(column: list[float], order: random.Random) -> None:
    rows = [[x, -2 * x] for x in column]
    shuffled = order.sample(rows, len(rows))
    plain = measure_standard(np.array(rows), HOW)
    other = measure_standard(np.asfortranarray(shuffled), HOW)
    assert plain.mean.tobytes() == other.mean.tobytes()
    assert plain.deviation.tobytes() == other.deviation.tobytes()


def test_standard_is_over_the_training_rows_only(tmp_path: Path) -> None:
    rows = make_rows()
    first = prepare_table(tmp_path, rows)
    for row in first.parts.judge + first.parts.holdout:
        rows[row][:3] = [2000.0, 0.02, 2e6]
    second = prepare_table(tmp_path, rows)
    assert first.input_standard is not None
    assert second.input_standard is not None
    assert first.input_standard.mean.tolist() == second.input_standard.mean.tolist()
    assert first.input_standard.deviation.tolist() == second.input_standard.deviation.tolist()


def test_stored_training_columns_have_mean_0_and_deviation_1(tmp_path: Path) -> None:
    prepared = prepare_table(tmp_path, make_rows(), JOB.replace("fraction_bits = 8", "fraction_bits = 12"))
    blob = Engine(lambda cid: prepared.blob, path="portable")._prepare(make_task(prepared.spec)).data
    stored = blob.train.inputs / 4096
    assert np.abs(stored.mean(axis=0)).max() < 2e-4
    assert np.abs(stored.std(axis=0) - 1).max() < 2e-4


def test_power_of_two_before_a_deviation_changes_nothing(tmp_path: Path) -> None:
    plain = prepare_table(tmp_path, make_rows())
    scaled = prepare_table(
        tmp_path, make_rows(), JOB.replace("fraction_bits = 8", "fraction_bits = 8, multiply = 0.25")
    )
    assert scaled.blob == plain.blob


def test_inputs_of_attention_are_standardised_entry_by_entry() -> None:
    job = load_job_file(EXAMPLES / "teacher.toml")
    how = Normalisation(1.0, 8, centre=True, deviate=True)
    inputs = replace(job.data.inputs, normalisation=how)
    prepared = prepare(replace(job, data=replace(job.data, inputs=inputs)), LIMIT)
    assert prepared.input_standard is not None
    assert prepared.input_standard.mean.shape == (8, 8)
    given = load_arrays(job.data.file, {"inputs": ("inputs",)})["inputs"][prepared.parts.holdout]
    scaled = (given - prepared.input_standard.mean) / prepared.input_standard.deviation
    assert np.abs(prepared.holdout_inputs.units / 256 - scaled).max() <= 2**-9


def test_outlier_is_clipped_and_counted(tmp_path: Path) -> None:
    rows = make_rows()
    judge = prepare_table(tmp_path, rows).parts.judge
    rows[judge[0]][2] = 1e300
    prepared = prepare_table(tmp_path, rows)
    assert prepared.report["inputs"].clipped == 1
    assert prepared.report["inputs"].max_rounding_error <= 2**-9


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([3.5] * 60, ("a.csv", "column 'share'", "30 training samples", "3.5", "is 0", "leave it out")),
        ([0.1] * 60, ("column 'share'", "is 0")),  # whose rounded mean is not 0.1
        ([1e300 * i for i in range(60)], ("column 'share'", "too large", "leave it out")),
        ([1e-300 * i for i in range(60)], ("column 'share'", "is 0")),
    ],
)
def test_column_that_cannot_be_standardised_is_named(
    tmp_path: Path, values: list[float], parts: tuple[str, ...]
) -> None:
    rows = [[row[0], value, *row[2:]] for row, value in zip(make_rows(), values, strict=True)]
    with pytest.raises(JobFileError) as error:
        prepare_table(tmp_path, rows)
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


def test_feature_of_an_array_is_named_by_its_place(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(60)[:, :3] * [1, 0, 1], y=np.arange(60) % 2)
    text = JOB.replace("a.csv", "a.npz").replace('columns = ["year", "share", "area"]', 'array = "x"')
    (tmp_path / "job.toml").write_text(text.replace('"kind"', '"y"'))
    with pytest.raises(JobFileError, match=r"a\.npz: feature \d of 'x': .*deviation to divide by is 0"):
        prepare(load_job_file(tmp_path / "job.toml"), LIMIT)


@pytest.mark.parametrize(
    ("scale", "parts"),
    [
        ("multiply = 0.0005", ("column 'share'", "0.00", "all become one number", "2^-8", "deviation")),
        ("multiply = 0.5", ("column 'year'", "60 of 60", "outside -8 .. 8", "multiply = 0.002", "deviation")),
    ],
)
def test_one_column_spoilt_among_many_is_named(tmp_path: Path, scale: str, parts: tuple[str, ...]) -> None:
    text = JOB.replace('subtract = "mean", divide = "deviation"', scale)
    names = ", ".join(f'"c{i}"' for i in range(20))
    text = text.replace('"area"', names).replace("features = 3", "features = 22")
    lines = [
        ",".join(map(repr, [row[0], row[1], *[i % 7 for i in range(20)], row[3]])) for row in make_rows()
    ]
    head = ",".join(["year", "share", *[f"c{i}" for i in range(20)], "kind"])
    (tmp_path / "a.csv").write_text("\n".join([head, *lines]))
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(JobFileError) as error:
        prepare(load_job_file(tmp_path / "job.toml"), LIMIT)
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


def test_deviation_without_mean_says_to_add_it(tmp_path: Path) -> None:
    with pytest.raises(
        JobFileError,
        match=r'outside -8 \.\. 8 after scaling, most of them in column .year.; .*add subtract = "mean"',
    ):
        prepare_table(tmp_path, make_rows(), JOB.replace('subtract = "mean", ', ""))


# --- the example ------------------------------------------------------------------------------------------------------


def test_blob_takes_nothing_from_the_held_out_rows(prepared: PreparedJob) -> None:
    parts = prepared.parts
    rows = parts.train + parts.judge + parts.holdout
    assert sorted(rows) == list(range(569))
    assert prepared.report["inputs"].clipped == 14


def test_table_is_learned_within_a_few_rounds(prepared: PreparedJob) -> None:
    """Rounds as section 10 settles them: tickets of round k start from V_(k-2) and are merged onto V_(k-1)."""
    end = score_holdout(prepared, train(prepared))
    assert end.samples == 149
    assert end.accuracy is not None
    assert end.accuracy >= 0.94
    assert end.mean_loss < 0.1


def train(prepared: PreparedJob, rounds: int = 6, tickets: int = 4) -> bytes:
    engine, task = Engine(lambda cid: prepared.blob), make_task(prepared.spec)
    older = newer = prepared.facts.weights
    for number in range(rounds):
        seeds = [compute_tagged_hash("test/ticket", bytes([number, i])) for i in range(tickets)]
        runs = [engine.run(task, older, seed) for seed in seeds]
        assert all(run.after < run.before for run in runs)
        sample = bytes(31) + bytes([number])
        settled = engine.settle(task, newer, [run.delta for run in runs], (sample,) * 3)
        older, newer = newer, settled.weights
    return newer


# --- using the result -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictor() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / "predict_table.py"))


@pytest.mark.parametrize(
    ("name", "array"),
    [("breast_cancer", None), ("digits", "images"), ("teacher", "inputs")],
)
def test_scaling_gives_the_held_out_samples_to_the_bit(
    predictor: dict[str, Any], name: str, array: str | None
) -> None:
    prepared = prepare(load_job_file(EXAMPLES / f"{name}.toml"), LIMIT)
    scaling = json.loads(json.dumps(describe_scaling(prepared)))
    data = prepared.file.data.file
    if array is None:
        given = predictor["load_table"](data, scaling).inputs
    else:
        given = load_arrays(data, {"inputs": (array,)})["inputs"].astype(np.float64)
    samples = len(given)
    scaled = predictor["scale"](given.reshape(samples, -1), scaling)[scaling["rows"]["holdout"]]
    held = prepared.holdout_inputs
    assert (scaled * 2.0**held.fraction_bits).tolist() == held.units.reshape(len(scaled), -1).tolist()


def test_prediction_from_the_checkpoint_is_the_engines(
    prepared: PreparedJob, predictor: dict[str, Any], tmp_path: Path
) -> None:
    weights = train(prepared, rounds=2)
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(write_checkpoint(make_task(prepared.spec), weights, {"job": "test"}))
    scaling = describe_scaling(prepared)
    inputs, classes, _ = predictor["load_table"](TABLE, scaling)
    guesses = predictor["predict"](
        predictor["scale"](inputs, scaling), predictor["load_weights"](checkpoint)
    ).argmax(axis=1)
    held = prepared.parts.holdout
    assert int((guesses[held] == classes[held]).sum()) == score_holdout(prepared, weights).right


def test_held_out_samples_for_the_api_are_scaled_alike(prepared: PreparedJob) -> None:
    make_held_out = runpy.run_path(str(EXAMPLES.parent / "scripts" / "demo_holdout.py"))["make_held_out"]
    packed = np.load(io.BytesIO(base64.b64decode(make_held_out(EXAMPLES / "breast_cancer.toml"))))
    weights, engine = train(prepared, rounds=1), Engine(lambda cid: prepared.blob)
    right, count = engine.accuracy(make_task(prepared.spec), weights, packed["inputs"], packed["labels"])
    assert (right, count) == (score_holdout(prepared, weights).right, 149)


def test_snippet_of_the_tutorial_counts_what_the_engine_counts(prepared: PreparedJob, tmp_path: Path) -> None:
    weights = train(prepared, rounds=1)
    (tmp_path / "result").mkdir()
    checkpoint = write_checkpoint(make_task(prepared.spec), weights, {})
    (tmp_path / "result" / "checkpoint.safetensors").write_bytes(checkpoint)
    (tmp_path / "scaling.json").write_text(json.dumps(describe_scaling(prepared)))
    (tmp_path / "examples").symlink_to(EXAMPLES)
    page = (EXAMPLES.parent / "docs" / "tutorial-table.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{score_holdout(prepared, weights).right} of 149 held-out rows right\n", (
        done.stderr
    )


def test_scaling_command_writes_one_line_a_key_and_names_mistakes(tmp_path: Path) -> None:
    prepare_table(tmp_path, make_rows())
    command = [sys.executable, "-m", "training.scaling", "job.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "scaling.json").read_text()
    assert json.loads(text)["inputs"] == ["year", "share", "area"]
    assert len(text.splitlines()) == 2 + len(json.loads(text))
    (tmp_path / "job.toml").write_text(JOB.replace('"area"', '"aera"'))
    wrong = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 3
    assert "did you mean 'area'?" in wrong.stderr
    assert "Traceback" not in wrong.stderr


# --- a constant, and columns that teach nothing -----------------------------------------------------------------------

WITH_CONSTANT = JOB.replace("fraction_bits = 8", "fraction_bits = 8, constant = true").replace(
    "features = 3", "features = 4"
)


def test_constant_is_one_after_scaling_and_leaves_the_other_features_as_they_are(tmp_path: Path) -> None:
    plain = prepare_table(tmp_path, make_rows())
    more = prepare_table(tmp_path, make_rows(), WITH_CONSTANT)
    assert more.holdout_inputs.units[:, :3].tolist() == plain.holdout_inputs.units.tolist()
    assert (more.holdout_inputs.units[:, 3] == 1 << 8).all()
    assert more.spec.params[0] == 4


def test_scaling_with_a_constant_gives_the_held_out_samples(
    predictor: dict[str, Any], tmp_path: Path
) -> None:
    prepared = prepare_table(tmp_path, make_rows(), WITH_CONSTANT)
    scaling = json.loads(json.dumps(describe_scaling(prepared)))
    given = predictor["load_table"](tmp_path / "a.csv", scaling).inputs
    scaled = predictor["scale"](given, scaling)[scaling["rows"]["holdout"]]
    assert (scaled * 2.0**8).tolist() == prepared.holdout_inputs.units.tolist()


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("features = 3", "features = 3", ("features = 4", "constant")),
        ("features = 3", "features = 1", ("[objective] features", "2 or more")),
        ("constant = true", "constant = 1", ("[data.inputs] constant", "true or false")),
    ],
)
def test_constant_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, parts: tuple[str, ...]
) -> None:
    text = WITH_CONSTANT.replace("features = 4", "features = 3").replace(old, new)
    with pytest.raises(JobFileError) as error:
        prepare_table(tmp_path, make_rows(), text)
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


def test_column_that_becomes_all_zeros_is_refused(tmp_path: Path) -> None:
    rows = [[1.0, *row[1:]] for row in make_rows()]
    rows = [[row[0], row[1], row[2] / 1e6, row[3]] for row in rows]
    text = JOB.replace(', divide = "deviation", fraction_bits = 8', "")
    with pytest.raises(JobFileError, match=r"column 'year'.* all 1 and become 0.*constant = true"):
        prepare_table(tmp_path, rows, text)


def test_target_among_the_inputs_is_refused(tmp_path: Path) -> None:
    text = JOB.replace('"area"]', '"kind"]')
    with pytest.raises(JobFileError, match=r"\[data\] inputs: column 'kind' is among the targets"):
        prepare_table(tmp_path, make_rows(), text)


def test_wrong_class_in_a_table_is_named_by_its_line(tmp_path: Path) -> None:
    rows = make_rows()
    rows[3][3] = 7
    with pytest.raises(JobFileError, match=r"'kind', line 5: class 7"):
        prepare_table(tmp_path, rows)


# --- predicting -------------------------------------------------------------------------------------------------------


def predict_with(prepared: PreparedJob, folder: Path, table: Path) -> subprocess.CompletedProcess[str]:
    weights = write_checkpoint(make_task(prepared.spec), prepared.facts.weights, {})
    (folder / "checkpoint.safetensors").write_bytes(weights)
    (folder / "scaling.json").write_text(json.dumps(describe_scaling(prepared)))
    files = [folder / "checkpoint.safetensors", folder / "scaling.json", table]
    command = [sys.executable, EXAMPLES / "predict_table.py", *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_jobs_own_table_is_scored_by_its_parts(tmp_path: Path) -> None:
    prepared = prepare_table(tmp_path, make_rows(), WITH_CONSTANT)
    done = predict_with(prepared, tmp_path, tmp_path / "a.csv")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[:3]] == ["train:", "judge:", "holdout:"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("area,year,share\n5.0,1950,0.1\n6,1960,0.2\n", 2),  # other order, no class
        ("year,share,area,kind\n1950,0.1,5,1\n", 2),  # a class: the row, and how many are right
    ],
)
def test_every_row_of_another_table_is_predicted(tmp_path: Path, text: str, count: int) -> None:
    prepared = prepare_table(tmp_path, make_rows())
    (tmp_path / "new.csv").write_text(text)
    done = predict_with(prepared, tmp_path, tmp_path / "new.csv")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == count
    assert done.stdout.startswith("line 2: ")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "new.csv: cannot be read: No such file"),
        ("", "no column 'year'"),
        ("year,share\n1,2\n", "no column 'area'"),
        ("year,share,area\n", "no rows"),
        ("year,share,area\n1,2,3\n1,2\n", "line 3: expected 3 fields"),
        ("year,share,area\n1,x,3\n", "line 2, column 'share': 'x' is not a number"),
    ],
)
def test_table_that_cannot_be_predicted_is_refused_in_words(
    tmp_path: Path, text: str | None, part: str
) -> None:
    prepared = prepare_table(tmp_path, make_rows())
    if text is not None:
        (tmp_path / "new.csv").write_text(text)
    done = predict_with(prepared, tmp_path, tmp_path / "new.csv")
    assert done.returncode == 1
    assert part in done.stderr
    assert "Traceback" not in done.stderr
