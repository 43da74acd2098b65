"""A split as one smooth loss: it agrees with the papers' formulas for every objective, in blocks or as a whole."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import training.whole
from tests.training.derivatives.agreement import draw
from tests.training.one_thread import one_thread
from tests.training.problems import make_problem
from training.derivatives.attention import AttentionLoss
from training.derivatives.exponential import ExponentialLoss
from training.derivatives.federated import MeanLoss
from training.derivatives.hyperbolic import Hyperbolic
from training.derivatives.rescaled import Kind
from training.derivatives.softmax import RescaledSoftmaxMatrix, SoftmaxMatrix, SoftmaxVector
from training.objectives.base import Batch, Objective
from training.solvers.smooth import SmoothLoss
from training.splits import Split
from training.whole import WholeLoss

__all__ = ["one_thread"]

PRECISION = 1e-10
SIZES = {"input_bits": 11, "train": 6, "judge": 16}  # inputs within 1/4: scores stay within their domain
WEIGHT = 40  # of 256


def make(name: str, params: tuple[int, ...]) -> tuple[Objective, Split]:
    tensors = 2 if name == "attention_regression" else 1
    problem = make_problem(name, params, shard=4, rates=((1, 10),) * tensors, **SIZES)  # type: ignore[arg-type]
    objective, data = problem.make_engine("portable").get_dataset(problem.task)
    return objective, data.train


def softmax(samples: Batch, weight: float) -> SmoothLoss:
    keys = samples.keys if len(samples.keys) else torch.eye(samples.targets.shape[1], dtype=torch.float64)
    return SoftmaxMatrix(samples.inputs, keys, samples.targets, weight)


def sequences(samples: Batch, make_one: Callable[[Tensor, Tensor], SmoothLoss]) -> SmoothLoss:
    return MeanLoss([make_one(a, b) for a, b in zip(samples.inputs, samples.targets, strict=True)])


def hyperbolic(kind: Kind, samples: Batch) -> SmoothLoss:
    weights = torch.full((samples.inputs.shape[1],), WEIGHT / 256, dtype=torch.float64)
    return sequences(samples, lambda a, b: Hyperbolic(kind, a, b, weights))


def attention(samples: Batch) -> SmoothLoss:
    tokens = samples.inputs.shape[1]
    return sequences(samples, lambda a, b: AttentionLoss(a, a, a, b.expand(tokens, -1).contiguous()))


def exponential(samples: Batch) -> SmoothLoss:
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4)
    return ExponentialLoss(samples.inputs, samples.targets[:, 0], signs)


# name, params, the papers' loss, and what it has to be multiplied by: they have halves, and some of them sums
N = SIZES["train"]
CASES: dict[str, tuple[str, tuple[int, ...], Callable[[Batch], SmoothLoss], float]] = {
    "softmax": ("softmax_regression", (4, 3, 0, 0), lambda s: softmax(s, 0.0), 2 / N),
    "softmax classes": ("softmax_regression", (4, 3, 0, 1), lambda s: softmax(s, 0.0), 2 / N),
    "softmax keys": ("softmax_regression", (4, 5, 3, 0), lambda s: softmax(s, 0.0), 2 / N),
    "softmax weight": (
        "softmax_regression",
        (4, 3, 0, 0, 0, WEIGHT),
        lambda s: softmax(s, (WEIGHT / 256) ** 2),
        2 / N,
    ),
    "exp": (
        "softmax_regression",
        (4, 3, 0, 0, 1, WEIGHT),
        lambda s: RescaledSoftmaxMatrix(
            s.inputs, torch.eye(3, dtype=torch.float64), s.targets, (WEIGHT / 256) ** 2
        ),
        2 / N,
    ),
    "sequence softmax": (
        "sequence_regression",
        (5, 3, 0, 0),
        lambda s: sequences(s, lambda a, b: SoftmaxVector(a, b)),
        2,
    ),
    "sequence exp": ("sequence_regression", (5, 3, 1, WEIGHT), lambda s: hyperbolic("exp", s), 2),
    "sequence cosh": ("sequence_regression", (5, 3, 2, WEIGHT), lambda s: hyperbolic("cosh", s), 2),
    "attention rows": ("attention_regression", (3, 4, 2, 0, 0), attention, 2),
    "attention positional classes": ("attention_regression", (3, 2, 4, 1, 1), attention, 2),
    "exponential": ("exponential_regression", (4, 8), exponential, 2 / N),
}


@pytest.mark.parametrize("block_entries", [1 << 20, 1])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_formulas_of_the_papers(
    case: str, block_entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.whole, "BLOCK_ENTRIES", block_entries)
    name, params, make_formula, times = CASES[case]
    objective, split = make(name, params)
    loss = WholeLoss(objective, split)
    formula = make_formula(loss.problem.open_batch(np.arange(N)).samples)
    x, v = 0.5 * draw(1, loss.size), draw(2, loss.size)
    assert formula.size == loss.size
    assert loss.measure(x) == pytest.approx(times * formula.measure(x), rel=PRECISION)
    for ours, theirs in (
        (loss.differentiate(x), formula.differentiate(x)),
        (loss.multiply(x, v), formula.multiply(x, v)),
        (loss.multiply(x, 2 * v), formula.multiply(x, 2 * v)),  # at the point that is kept
        (loss.make_hessian(x), formula.make_hessian(x)),
    ):
        assert float((ours - times * theirs).norm()) <= PRECISION * float(times * theirs.norm())


def test_single_precision_is_near_and_points_stay_double() -> None:
    objective, split = make("softmax_regression", (4, 3, 0, 1))
    double, single = WholeLoss(objective, split), WholeLoss(objective, split, "float32")
    x = 0.5 * draw(1, double.size)
    assert single.measure(x) == pytest.approx(double.measure(x), rel=1e-5)
    for ours, theirs in (
        (single.differentiate(x), double.differentiate(x)),
        (single.multiply(x, x), double.multiply(x, x)),
    ):
        assert ours.dtype == torch.float64
        assert 0 < float((ours - theirs).norm()) <= 1e-5 * float(theirs.norm())


def test_loss_that_is_no_number_is_outside_of_the_domain() -> None:
    objective, split = make("attention_regression", (3, 4, 2, 0, 0))
    loss = WholeLoss(objective, split)
    assert loss.measure(torch.full((loss.size,), 1e308, dtype=torch.float64)) == float("inf")


def test_check_is_asked_before_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.whole, "BLOCK_ENTRIES", 1)
    asked = []
    objective, split = make("softmax_regression", (4, 3, 0, 1))
    loss = WholeLoss(objective, split, check=lambda: asked.append(1))
    loss.measure(torch.zeros(loss.size, dtype=torch.float64))
    assert len(asked) == split.count


@pytest.mark.parametrize(("function", "collapses"), [(0, False), (1, True), (2, False), (3, True)])
def test_function_that_can_be_next_to_nothing_collapses(function: int, collapses: bool) -> None:
    """exp of scores that are all far below 0; sinh of scores that are all 0. A softmax sums to 1, a cosh is above."""
    objective, split = make("sequence_regression", (2, 1, function, WEIGHT))
    positive = Split(np.abs(split.inputs) + 2048, split.rows, split.labels, split.keys)
    loss = WholeLoss(objective, positive)
    start = torch.ones(1, dtype=torch.float64)
    end = torch.full((1,), -1e3 if function < 3 else 1e-6, dtype=torch.float64)
    assert not loss.has_collapsed(start, start)
    assert loss.has_collapsed(start, end) is collapses


def test_objective_without_scores_does_not_collapse() -> None:
    objective, split = make("exponential_regression", (4, 8))
    x = torch.zeros(32, dtype=torch.float64)
    assert not WholeLoss(objective, split).has_collapsed(x + 1, x)
