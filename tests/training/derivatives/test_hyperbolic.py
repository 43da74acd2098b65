"""Rescaled hyperbolic regression's derivatives, and the pitfalls that are refused with a remedy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.derivatives.agreement import (
    check_derivatives,
    check_differences,
    draw,
    draw_distributions,
)
from training.derivatives.hyperbolic import START_NORM, Hyperbolic
from training.derivatives.rescaled import Kind
from training.errors import ProblemRefused

KINDS: list[Kind] = ["exp", "cosh", "sinh"]
FUNCTIONS = {"exp": torch.exp, "cosh": torch.cosh, "sinh": torch.sinh}


def draw_inside(kind: Kind, a: Tensor, seed: int) -> Tensor:
    x = draw(seed, a.shape[1])
    return -x if kind == "sinh" and float(torch.sinh(a @ x).sum()) < 0 else x


def make_problem(kind: Kind, n: int, d: int, seed: int, weighted: bool) -> tuple[Hyperbolic, Tensor]:
    a, weights, center = draw(seed, n, d), draw(seed + 1, n), draw(seed + 2, d)
    targets = draw_distributions(seed + 3, n)
    problem = Hyperbolic(kind, a, targets, weights if weighted else None, center if weighted else None)
    return problem, draw_inside(kind, a, seed + 4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(n=st.integers(2, 8), d=st.integers(1, 5), weighted=st.booleans(), seed=st.integers(0, 2**30))
def test_derivatives_equal_autograd(kind: Kind, n: int, d: int, weighted: bool, seed: int) -> None:
    problem, x = make_problem(kind, n, d, seed, weighted)
    a, weights, center = draw(seed, n, d), draw(seed + 1, n), draw(seed + 2, d)
    targets = draw_distributions(seed + 3, n)

    def residuals(x: Tensor) -> Tensor:
        values = FUNCTIONS[kind](a @ x)
        left = values - values.sum() * targets
        return torch.cat([left, weights * (a @ (x - center))]) if weighted else left

    check_derivatives(problem, residuals, x, draw(seed + 5, d))


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_agree_with_finite_differences(kind: Kind) -> None:
    problem, x = make_problem(kind, 7, 3, 2, weighted=True)
    check_differences(problem, x, draw(9, 3))


def test_cosh_at_zero_is_refused_and_a_start_is_offered() -> None:
    problem, _ = make_problem("cosh", 20, 3, 1, weighted=False)
    zero = torch.zeros(3, dtype=torch.float64)
    assert float(problem.differentiate(zero).norm()) == 0
    with pytest.raises(ProblemRefused, match=r"start: x = 0 is stationary for cosh: take draw_start's"):
        problem.check_start(zero)
    start = problem.draw_start(np.random.default_rng(1))
    problem.check_start(start)
    assert float(start.norm()) == pytest.approx(START_NORM)
    assert torch.equal(start, problem.draw_start(np.random.default_rng(1)))
    assert float(problem.differentiate(start).norm()) > 0


def test_sinh_at_zero_is_refused_as_trivial() -> None:
    problem, x = make_problem("sinh", 20, 3, 1, weighted=False)
    problem.check_start(x)
    with pytest.raises(ProblemRefused, match="trivial optimum"):
        problem.check_start(0 * x)


def test_sinh_with_weights_and_no_center_is_refused() -> None:
    a, targets, weights = draw(1, 20, 3), draw_distributions(2, 20), draw(3, 20)
    for center in (None, torch.zeros(3, dtype=torch.float64)):
        with pytest.raises(ProblemRefused, match="a center with A x != 0 expected"):
            Hyperbolic("sinh", a, targets, weights, center)


def test_center_without_weights_is_refused() -> None:
    with pytest.raises(ProblemRefused, match="weights expected"):
        Hyperbolic("exp", draw(1, 20, 3), draw_distributions(2, 20), None, draw(3, 3))


def test_sinh_with_a_sum_below_zero_is_outside_and_its_mirror_is_the_remedy() -> None:
    problem, x = make_problem("sinh", 20, 3, 1, weighted=False)
    assert problem.measure(-x) == math.inf
    with pytest.raises(ProblemRefused, match="start from -x"):
        problem.check_start(-x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.1, 1e3])
def test_drawn_start_is_within_the_domain(kind: Kind, scale: float) -> None:
    problem = Hyperbolic(kind, scale * draw(1, 20, 3), draw_distributions(2, 20))
    for seed in range(6):
        start = problem.draw_start(np.random.default_rng(seed))
        problem.check_start(start)
        assert math.isfinite(problem.measure(start))


def test_start_beyond_the_limit_is_refused() -> None:
    problem, x = make_problem("exp", 20, 3, 1, weighted=False)
    with pytest.raises(ProblemRefused, match="scale it down"):
        problem.check_start(1e3 * x)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ProblemRefused, match="kind: one of exp, cosh, sinh expected, tanh came"):
        Hyperbolic("tanh", draw(1, 4, 2), draw_distributions(2, 4))  # type: ignore[arg-type]  # on purpose
