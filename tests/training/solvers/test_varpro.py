"""Eliminating Y: the same minimum with fewer parameters, and the exact derivatives of what is left."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.derivatives.agreement import check_differences, draw, measure_error
from training.derivatives.attention import AttentionLoss
from training.solvers.newton import run_newton
from training.solvers.outcome import Limits, Outcome, run_to_end
from training.solvers.starts import find_best, run_starts
from training.solvers.varpro import Projected


def make_planted(weight: float = 0.0, rows: int = 20, size: int = 3) -> AttentionLoss:
    a1, a2, a3 = (draw(seed, rows, size) for seed in (1, 2, 3))
    x, y = 0.5 * draw(4, size, size), draw(5, size, size)
    return AttentionLoss(a1, a2, a3, torch.softmax(a1 @ x @ a2.T, 1) @ a3 @ y, weight)


def make_noisy(weight: float) -> AttentionLoss:
    problem = make_planted()
    targets = problem.targets + 0.2 * draw(6, *problem.targets.shape)
    return AttentionLoss(problem.a1, problem.a2, problem.a3, targets, weight)


@pytest.mark.parametrize("weight", [0.0, 0.05])
def test_derivatives_of_what_is_left_agree_with_differences(weight: float) -> None:
    projected = Projected(make_noisy(weight))
    x, v = 0.4 * draw(7, projected.size), draw(8, projected.size)
    check_differences(projected, x, v)
    assert measure_error(projected.make_hessian(x) @ v, projected.multiply(x, v)) < 1e-10


def test_minimum_of_what_is_left_is_one_of_the_whole() -> None:
    problem = make_noisy(1e-3)
    projected = Projected(problem)
    start = problem.draw_starts(1, np.random.default_rng(1))[0]
    end = run_to_end(run_newton(projected, start[: projected.size]))
    assert end.outcome is Outcome.CONVERGED
    whole = projected.complete(end.x)
    assert float(problem.differentiate(whole).norm()) < 1e-8
    assert problem.measure(whole) == end.loss
    assert float(torch.linalg.eigvalsh(problem.make_hessian(whole))[0]) > 0


def run_from_four(problem: AttentionLoss, project: bool) -> tuple[float, Tensor]:
    """The best loss of four starts and its point [p]."""
    starts, limits = problem.draw_starts(4, np.random.default_rng(2)), Limits(1e-10, 200)
    if not project:
        best = find_best(run_starts(problem, starts, lambda start: run_newton(problem, start, limits)))
        assert best is not None
        return best.stage.loss, best.stage.x
    projected = Projected(problem)
    short = [start[: projected.size] for start in starts]
    best = find_best(run_starts(projected, short, lambda start: run_newton(projected, start, limits)))
    assert best is not None
    return best.stage.loss, projected.complete(best.stage.x)


@pytest.mark.parametrize("project", [False, True])
def test_planted_attention_is_found_from_one_of_four_starts(project: bool) -> None:
    problem = make_planted()
    loss, point = run_from_four(problem, project)
    assert loss < 1e-16
    split = problem.nonlinear_size
    scores = problem.a1 @ point[:split].view(3, 3) @ problem.a2.T
    planted = problem.a1 @ (0.5 * draw(4, 3, 3)) @ problem.a2.T
    assert measure_error(torch.softmax(scores, 1), torch.softmax(planted, 1)) < 1e-6


def test_constant_key_column_leaves_newton_a_short_step_not_a_wild_one() -> None:
    """Such a column moves no softmax: along it gradient and Hessian are rounding, and their ratio could be anything."""
    problem = make_noisy(0.0)
    keys = problem.a2.clone()
    keys[:, 0] = 1.0
    problem = AttentionLoss(problem.a1, keys, problem.a3, problem.targets)
    start = problem.draw_starts(1, np.random.default_rng(3))[0]
    end = run_to_end(run_newton(problem, start, Limits(1e-9, 300)))
    assert end.outcome is Outcome.CONVERGED
    moved = (end.x - start)[: problem.nonlinear_size].view(3, 3)
    assert float(moved[:, 0].norm()) < 0.05 * float(moved.norm())


def test_points_outside_of_the_domain_have_an_infinite_loss() -> None:
    projected = Projected(make_planted())
    assert projected.measure(torch.full((projected.size,), 1e10, dtype=torch.float64)) == float("inf")
    with pytest.raises(ValueError, match="start: a point within"):
        next(run_newton(projected, torch.full((projected.size,), float("nan"), dtype=torch.float64)))
