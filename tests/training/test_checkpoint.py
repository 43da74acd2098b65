"""A checkpoint gives back the exact weights, and nothing that is not one is taken for weights."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.training.problems import LIMIT, PROBLEMS, Problem, make_problem
from training.checkpoint import get_checkpoint_limit, read_checkpoint, write_checkpoint
from training.errors import CheckpointRefused
from training.objectives.base import Floats

SHAPES = {"X": (4, 4), "Y": (4, 2)}


@pytest.fixture
def problem() -> Problem:
    return make_problem("attention_regression", (2, 4, 2, 0, 0), shard=8, rates=((1, 9), (1, 9)))


def draw_weights(extremes: bool = False) -> bytes:
    rng = np.random.default_rng(1)
    values = rng.integers(-LIMIT, LIMIT, 24, endpoint=True)
    if extremes:
        values[:6] = [LIMIT, -LIMIT, 1, -1, 0, LIMIT - 1]
    return values.astype("<i8").tobytes()


def change(data: bytes, name: str, place: tuple[int, int], value: float) -> bytes:
    tensors: dict[str, Floats] = {key: tensor.copy() for key, tensor in load(data).items()}
    tensors[name][place] = value
    return bytes(save(tensors))


def test_checkpoint_gives_the_exact_weights_back(problem: Problem) -> None:
    for extremes in (False, True):
        weights = draw_weights(extremes)
        data = write_checkpoint(problem.task, weights, {"version": "1"})
        assert {name: tensor.shape for name, tensor in load(data).items()} == SHAPES
        assert read_checkpoint(problem.task, data) == weights
        assert len(data) < get_checkpoint_limit(problem.task)


@pytest.mark.parametrize("name", PROBLEMS)
def test_checkpoint_of_every_objective_gives_all_weights_back(name: str) -> None:
    problem = PROBLEMS[name]()
    assert (
        read_checkpoint(problem.task, write_checkpoint(problem.task, problem.weights, {})) == problem.weights
    )


def test_softmax_regression_has_one_tensor() -> None:
    problem = make_problem("softmax_regression", (4, 3, 0, 1), shard=8, rates=((1, 9),))
    data = write_checkpoint(problem.task, problem.weights, {})
    assert set(load(data)) == {"X"}
    assert read_checkpoint(problem.task, data) == problem.weights


@pytest.mark.parametrize(
    "value", [2.0**-25, 8.0, -8.0, 1e300, float("nan"), float("inf"), -float("inf"), 1 + 2.0**-40, -0.0]
)
def test_value_that_is_no_weight_is_refused_with_its_place(problem: Problem, value: float) -> None:
    data = change(write_checkpoint(problem.task, draw_weights(), {}), "Y", (3, 1), value)
    with pytest.raises(
        CheckpointRefused, match=r"Y\[3, 1\]: a multiple of 2\^-24 below 8 in size expected, got"
    ):
        read_checkpoint(problem.task, data)


def test_every_bit_of_a_value_counts(problem: Problem) -> None:
    weights = draw_weights()
    data = write_checkpoint(problem.task, weights, {})
    for bit in range(64):
        changed = bytearray(data)
        changed[-8 * 5 + bit // 8] ^= 1 << bit % 8
        got = b""
        with suppress(CheckpointRefused):
            got = read_checkpoint(problem.task, bytes(changed))
        assert got != weights


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"X": np.zeros((4, 4))}, "tensors: X, Y expected, got X"),
        (
            {"X": np.zeros((4, 4)), "Y": np.zeros((4, 2)), "Z": np.zeros(1)},
            "tensors: X, Y expected, got X, Y, Z",
        ),
        (
            {"X": np.zeros((4, 4)), "Y": np.zeros((2, 4))},
            r"Y: F64 of shape \(4, 2\) expected, got F64 of \(2, 4\)",
        ),
        (
            {"X": np.zeros((4, 4), np.float32), "Y": np.zeros((4, 2))},
            r"X: F64 .* expected, got F32 of \(4, 4\)",
        ),
    ],
)
def test_other_tensors_are_refused(problem: Problem, tensors: dict[str, Floats], match: str) -> None:
    with pytest.raises(CheckpointRefused, match=match):
        read_checkpoint(problem.task, bytes(save(tensors)))


def test_file_that_is_no_checkpoint_is_refused(problem: Problem) -> None:
    data = write_checkpoint(problem.task, draw_weights(), {})
    limit = get_checkpoint_limit(problem.task)
    for other in (b"", b"GCPROOF1", data[:-1], data + b"\0", b"\xff" * 100, bytes(limit + 1)):
        with pytest.raises(CheckpointRefused) as refused:
            read_checkpoint(problem.task, other)
        assert refused.value.field == "file"
