"""Secret evaluation splits: drawn beside the other parts, never in the blob, scored exactly."""

from pathlib import Path

import numpy as np
import pytest

from ledger import tranches as files
from tests.training.problems import draw_integers, draw_tensor, make_problem
from training.blob import BlobTensor, decode_blob, encode_blob
from training.engine import Engine
from training.errors import BlobRefused
from training.holdout import score_holdout
from training.jobdata import deal
from training.jobfile import MAX_TRANCHES
from training.jobs import (
    MAX_TRANCHE_BYTES,
    JobFileError,
    PreparedJob,
    encode_tranche,
    load_job_file,
    make_task,
    prepare,
)
from training.splits import TRANCHE_NAMES

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT = 1 << 20


def prepare_example(folder: Path, name: str, split: str) -> PreparedJob:
    """An example whose [split] has other lines."""
    text = (EXAMPLES / f"{name}.toml").read_text().replace('file = "data/', f'file = "{EXAMPLES}/data/')
    head, _, rest = text.partition("[split]\n")
    path = folder / "job.toml"
    path.write_text(f"{head}[split]\n{split}\n[rule]{rest.partition('[rule]')[2]}")
    return prepare(load_job_file(path), LIMIT)


def list_samples(blob: bytes, prefix: str) -> set[bytes]:
    (inputs,) = (tensor for tensor in decode_blob(blob) if tensor.name == f"{prefix}.inputs")
    return {sample.astype(np.int64).tobytes() for sample in inputs.values}


def test_tranches_share_no_sample_with_any_other_part(tmp_path: Path) -> None:
    counts = "train = 1000\njudge = 500\nholdout = 97\nevaluation = 200\ntranches = 3"
    prepared = prepare_example(tmp_path, "digits", counts)
    assert [len(rows) for rows in prepared.parts.tranches] == [67, 67, 66]
    held = {image.tobytes() for image in prepared.holdout_inputs.units}
    parts = [list_samples(prepared.blob, name) for name in ("train", "judge")]
    parts += [held, *(list_samples(blob, "evaluation") for blob in prepared.tranches)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 1797
    assert prepared.spec.evaluation == b""


def test_evaluation_split_takes_nothing_from_what_is_held_out_and_survives_other_counts(
    tmp_path: Path,
) -> None:
    plain = prepare_example(tmp_path, "digits", "train = 1000\njudge = 500\nholdout = 97")
    assert (plain.tranches, plain.parts.tranches) == ((), [])
    counts = "train = {}\njudge = {}\nholdout = 97\nevaluation = 200\ntranches = 2"
    first, second = (
        prepare_example(tmp_path, "digits", counts.format(*pair)) for pair in ((1000, 500), (600, 500))
    )
    assert first.parts.holdout == second.parts.holdout == plain.parts.holdout
    assert first.parts.tranches == second.parts.tranches
    assert first.parts.train != plain.parts.train


def test_rows_are_dealt_in_order_and_evenly() -> None:
    assert deal([], 0) == []
    assert deal([5, 3, 1], 1) == [[5, 3, 1]]
    assert deal(list(range(8)), 3) == [[0, 1, 2], [3, 4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("tranches = 2", r"\[split\] tranches: there are no samples for them"),
        ("evaluation = 3\ntranches = 4", r"\[split\] tranches: expected a whole number from 1 to 3, got 4"),
        ("evaluation = 300\ntranches = 257", "expected a whole number from 1 to 256, got 257"),
        ("evaluation = 3\ntranches = 0", "expected a whole number from 1 to 3, got 0"),
        ("evaluation = -1", r"\[split\] evaluation: expected a whole number from 0"),
        ("evaluation = 298", r"train \+ judge \+ holdout \+ evaluation is 1798, but .* has 1797 samples"),
    ],
)
def test_split_that_cannot_be_is_refused_by_name(tmp_path: Path, lines: str, words: str) -> None:
    with pytest.raises(JobFileError, match=words):
        prepare_example(tmp_path, "digits", f"train = 1000\njudge = 500\n{lines}")


def test_tranche_too_large_for_a_file_is_refused_with_how_many_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.jobs.MAX_TRANCHE_BYTES", 5000)
    counts = "train = 1000\njudge = 500\nevaluation = 200\ntranches = {}"
    with pytest.raises(
        JobFileError, match=r"\[split\] tranches: the largest tranche has 13\d\d\d bytes.* use 3 "
    ):
        prepare_example(tmp_path, "digits", counts.format(1))
    assert len(prepare_example(tmp_path, "digits", counts.format(3)).tranches) == 3


def test_limits_are_those_of_the_files() -> None:
    assert MAX_TRANCHE_BYTES == files.MAX_BLOB_BYTES
    assert MAX_TRANCHES == files.MAX_TRANCHES


@pytest.mark.parametrize("path", ["fused", "portable"])
@pytest.mark.parametrize(
    "problem",
    [
        ("attention_regression", (4, 8, 10, 1, 1)),
        ("softmax_regression", (20, 10, 0, 0)),
        ("softmax_regression", (20, 10, 6, 1)),
    ],
)
def test_tranche_of_the_judging_samples_scores_as_the_judging_split(
    path: str, problem: tuple[str, tuple[int, ...]]
) -> None:
    made = make_problem(
        *problem, shard=24, rates=((1, 9),) * (2 if "attention" in problem[0] else 1), judge=48, sample=48
    )
    engine, task = made.make_engine(path), made.task
    _, _, inputs, targets, *_ = decode_blob(made.blob)
    pair = zip(TRANCHE_NAMES, (inputs, targets), strict=True)
    tranche = encode_blob([BlobTensor(name, tensor.scale, tensor.values) for name, tensor in pair])
    judging = engine.score_judging(task, made.weights)
    assert engine.score_tranche(task, made.weights, tranche) == judging
    assert (judging.total, judging.count) == engine.evaluate(task, made.weights, "judge")
    if problem[1][-1]:
        right, _ = engine.accuracy(
            task, made.weights, inputs.values.astype(np.int64) << (12 - inputs.scale), targets.values
        )
        assert judging.right == right
    else:
        assert judging.right is None


def test_held_out_samples_as_a_tranche_score_as_held_out(tmp_path: Path) -> None:
    prepared = prepare_example(tmp_path, "digits", "train = 1000\njudge = 500\nholdout = 97")
    tranche = encode_tranche(prepared.holdout_inputs, prepared.holdout_targets)
    engine = Engine(lambda cid: prepared.blob)
    score = engine.score_tranche(make_task(prepared.spec), prepared.facts.weights, tranche)
    held = score_holdout(prepared, prepared.facts.weights)
    assert (score.total * 2.0**-40 / score.count, score.right, score.count) == (
        held.mean_loss,
        held.right,
        97,
    )


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([("evaluation.inputs", (3, 20), 9)], "tensors evaluation.inputs, evaluation.targets"),
        ([("judge.inputs", (3, 20), 9), ("judge.targets", (3,), 0)], "names"),
        ([("evaluation.inputs", (3, 21), 9), ("evaluation.targets", (3,), 0)], "dims"),
        ([("evaluation.inputs", (3, 20), 9), ("evaluation.targets", (4,), 0)], "as many samples"),
    ],
)
def test_tranche_of_another_shape_is_refused(
    tensors: list[tuple[str, tuple[int, ...], int]], words: str
) -> None:
    made = make_problem("softmax_regression", (20, 10, 0, 1), shard=16, rates=((1, 4),))
    blob = encode_blob(
        [
            draw_tensor(name, shape, bits)
            if bits
            else BlobTensor(name, 0, (draw_integers(name, shape, 16) % 10).astype("u1"))
            for name, shape, bits in tensors
        ]
    )
    with pytest.raises(BlobRefused, match=words):
        made.make_engine("portable").score_tranche(made.task, made.weights, blob)
