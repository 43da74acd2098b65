"""Losses by the words of docs/protocol.md, section 9, in plain Python integers: no tensor, no kernel, none of ours."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tests.training.problems import PROBLEMS, Problem
from training.objectives.base import LOSS_CAP
from training.objectives.registry import get_objective
from training.splits import Split, parse_dataset

NAMES = [
    *("softmax classes", "softmax keys rows", "softmax saturated", "softmax with a weight", "rescaled exp"),
    *("rescaled cosh keys", "rescaled sinh saturated", "sequence softmax", "sequence exp"),
    *("sequence cosh saturated", "sequence sinh one token", "exponential", "exponential saturated"),
]
Row = list[int]


@pytest.mark.parametrize("name", NAMES)
def test_exact_loss_is_that_of_plain_integers(name: str) -> None:
    problem = PROBLEMS[name]()
    spec = get_objective(problem.task.objective, problem.task.params)
    split = parse_dataset(problem.blob, spec.layout).judge
    weights = [round_weight(n) for n in np.frombuffer(problem.weights, "<i8").tolist()]
    total = sum(compute_loss(problem, split, weights, sample) for sample in range(split.count))
    assert problem.make_engine("fused").evaluate(problem.task, problem.weights, "judge") == (
        total,
        split.count,
    )
    assert problem.make_engine("portable").evaluate(problem.task, problem.weights, "judge")[0] == total


def compute_loss(problem: Problem, split: Split, weights: Row, sample: int) -> int:
    inputs, params = split.inputs[sample].tolist(), problem.task.params
    if problem.task.objective == "exponential_regression":
        return compute_exponential(inputs, int(split.rows[sample, 0]), weights, params[1])
    if problem.task.objective == "sequence_regression":
        tokens, width, function, weight = params
        rows = [inputs[i * width : (i + 1) * width] for i in range(tokens)]
        scores = [dot(row, weights) for row in rows]
        return compute_row(scores, 28, split.rows[sample].tolist(), function, weight)
    function, weight = params[4:] or (0, 0)
    scores, f = score(inputs, weights, params[1], split.keys.tolist())
    if params[3]:
        targets = [4096 * (j == split.labels[sample]) for j in range(params[1])]
    else:
        targets = split.rows[sample].tolist()
    return compute_row(scores, f, targets, function, weight)


def score(inputs: Row, weights: Row, outputs: int, keys: list[Row]) -> tuple[Row, int]:
    """Scores of a row and their f."""
    width = len(weights) // len(inputs)
    q = [dot(inputs, weights[j::width]) for j in range(width)]
    if not keys:
        return q, 28
    q = [saturate(round_half_even(Fraction(n, 2**14)), 20) for n in q]
    return [dot(q, key) for key in keys], 26


def compute_row(scores: Row, f: int, targets: Row, function: int, weight: int) -> int:
    """Section 9.6 for one row."""
    s = [saturate(round_half_even(Fraction(n) * Fraction(2) ** (20 - f)), 22) for n in scores]
    if function == 0:
        r = [saturate(p - 256 * b, 24) for p, b in zip(take_softmax(scores, f), targets, strict=True)]
    else:
        u = [take_function(n, function) for n in s]
        alpha = sum(u)
        r = [
            saturate(round_half_even(Fraction(4096 * n - alpha * b, 4096)), 26)
            for n, b in zip(u, targets, strict=True)
        ]
    t = [saturate(round_half_even(Fraction(weight * n, 256)), 26) for n in s]
    return min(LOSS_CAP, sum(n * n for n in r) + sum(n * n for n in t))


def compute_exponential(inputs: Row, target: int, weights: Row, neurons: int) -> int:
    """Section 9.8 for one sample."""
    total = 0
    for r in range(neurons):
        s = saturate(round_half_even(Fraction(dot(inputs, weights[r::neurons]), 256)), 22)
        total += (1 if r % 2 == 0 else -1) * take_function(s, 1)
    return min(LOSS_CAP, saturate(total - 256 * target, 26) ** 2)


def take_function(s: int, function: int) -> int:
    up, down = take_exp(s * 2.0**-20), take_exp(s * -(2.0**-20))
    if function == 1:
        return round(up * 2.0**20)
    return round((up + down) * 2.0**19) if function == 2 else round((up - down) * 2.0**19)


def take_softmax(scores: Row, f: int) -> Row:
    highest = max(scores)
    terms = [round(take_exp((n - highest) * 2.0**-f) * 2.0**30) for n in scores]
    return [round((n / sum(terms)) * 2.0**20) for n in terms]


def take_exp(x: float) -> float:
    """Section 9.1, every operation on its own; Python's floats are IEEE doubles, its round is half to even."""
    x = max(x, -40.0)
    k = round(x * (1 / 0.6931471805599453))
    r = (x - k * 0.693359375) - k * -2.12194440054690583e-4
    p = 1 / math.factorial(8)
    for i in range(7, -1, -1):
        p = p * r
        p = p + 1 / math.factorial(i)
    return float(math.ldexp(p, k))


def round_weight(master: int) -> int:
    return saturate(round_half_even(Fraction(master, 256)), 19)


def round_half_even(value: Fraction) -> int:
    return round(value)


def saturate(n: int, p: int) -> int:
    limit = (1 << p) - 1
    return max(-limit, min(n, limit))


def dot(left: Row, right: Row) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))
