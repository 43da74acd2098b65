"""Newton and Steihaug: how far they come, and what they say when they stop."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.derivatives.agreement import draw, draw_distributions
from tests.training.solvers.problems import Quadratic, Saddle, make_planted, make_softmax
from training.derivatives.hyperbolic import Hyperbolic
from training.derivatives.rescaled import LIMIT, Kind
from training.derivatives.softmax import RescaledSoftmaxMatrix, SoftmaxMatrix, SoftmaxVector
from training.solvers.newton import run_newton
from training.solvers.outcome import Limits, Outcome, Stage, run_to_end
from training.solvers.smooth import SmoothLoss
from training.solvers.steihaug import Apply, run_steihaug

Run = Callable[..., Iterator[Stage]]
SOLVERS: list[Run] = [run_newton, run_steihaug]
both = pytest.mark.parametrize("run", SOLVERS)


def solve(run: Run, problem: SmoothLoss, start: Tensor, limits: Limits | None = None) -> tuple[Stage, Stage]:
    """First and last stage."""
    stages = list(run(problem, start, limits or Limits()))
    losses = [stage.loss for stage in stages]
    assert all(after <= before * (1 + 1e-14) for before, after in pairwise(losses))
    assert all(stage.outcome is None for stage in stages[:-1])
    return stages[0], stages[-1]


@both
@pytest.mark.parametrize("condition", [1.0, 30.0])
def test_gradient_falls_by_ten_digits_where_the_loss_stays_positive(run: Run, condition: float) -> None:
    problem = make_softmax(1, 40, 4, condition)
    first, last = solve(run, problem, torch.zeros(16, dtype=torch.float64))
    assert last.outcome is Outcome.CONVERGED
    assert last.gradient_norm <= 1e-10 * first.gradient_norm
    assert last.loss > 1e-3
    assert last.steps < 40


@both
def test_gradient_decides_where_the_loss_cannot(run: Run) -> None:
    """Beside a lift of 10^8 no decrease of this bowl below 10^-8 can be seen."""
    hessian = torch.diag(torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64))
    start = torch.ones(3, dtype=torch.float64)
    first, last = solve(run, Quadratic(hessian, 1e8), start)
    assert last.outcome is Outcome.CONVERGED
    assert last.gradient_norm <= 1e-10 * first.gradient_norm


@both
@pytest.mark.parametrize("kind", ["exp", "cosh", "sinh"])
def test_planted_solution_is_recovered_to_ten_digits(run: Run, kind: Kind) -> None:
    problem, planted, start = make_planted(kind, 3, 300, 8, 30.0)
    _, last = solve(run, problem, start, Limits(tolerance=1e-14))
    assert float((last.x - planted).norm() / planted.norm()) <= 1e-10


@both
def test_softmax_and_rescaled_exp_share_their_planted_solution(run: Run) -> None:
    """With b = softmax(A x*) both losses are 0 at x*, and there alone where A's columns and 1 are independent."""
    rescaled, planted, start = make_planted("exp", 3, 300, 8, 30.0)
    softmax = SoftmaxVector(rescaled.a_nd, torch.softmax(rescaled.a_nd @ planted, 0))
    for problem in (rescaled, softmax):
        _, last = solve(run, problem, start, Limits(tolerance=1e-14))
        assert float((last.x - planted).norm() / planted.norm()) <= 1e-8


@both
def test_planted_matrix_is_recovered(run: Run) -> None:
    a1, a2, planted = draw(1, 30, 3), draw(2, 30, 3), draw(3, 9)
    targets = torch.softmax(a1 @ planted.view(3, 3) @ a2.T, 1)
    _, last = solve(run, SoftmaxMatrix(a1, a2, targets), 0 * planted, Limits(tolerance=1e-14))
    assert float((last.x - planted).norm() / planted.norm()) <= 1e-10


@both
def test_unreachable_tolerance_ends_as_stalled(run: Run) -> None:
    first, last = solve(
        run, make_softmax(1, 20, 3, 1.0), torch.zeros(9, dtype=torch.float64), Limits(tolerance=1e-30)
    )
    assert last.outcome is Outcome.STALLED
    assert last.gradient_norm <= 1e-12 * first.gradient_norm


@both
def test_stationary_start_is_said_and_not_left(run: Run) -> None:
    a, targets = draw(1, 20, 3), draw_distributions(2, 20)
    for tiny in (0.0, 1e-17):
        first, last = solve(run, Hyperbolic("cosh", a, targets), torch.full((3,), tiny, dtype=torch.float64))
        assert last.outcome is Outcome.STATIONARY_START
        assert (last.steps, last.loss) == (0, first.loss)


@both
def test_an_optimum_as_start_is_stationary(run: Run) -> None:
    problem = make_softmax(1, 20, 3, 1.0)
    _, last = solve(run, problem, torch.zeros(9, dtype=torch.float64))
    _, again = solve(run, problem, last.x)
    assert again.outcome is Outcome.STATIONARY_START


@both
def test_negative_curvature_is_followed_away_from_a_saddle(run: Run) -> None:
    _, last = solve(run, Saddle(), torch.tensor([1e-3, 0.1, -0.2], dtype=torch.float64))
    assert last.outcome is Outcome.CONVERGED
    assert float(last.x[0]) == pytest.approx(1.0)


@both
def test_collapse_of_the_rescaled_loss_is_reported(run: Run) -> None:
    """With a constant column everything can be moved to exp(-300): the loss falls, and says nothing."""
    a1 = torch.cat([draw(1, 12, 2), torch.ones(12, 1, dtype=torch.float64)], 1)
    a2 = torch.cat([draw(2, 12, 2), torch.ones(12, 1, dtype=torch.float64)], 1)
    targets = draw_distributions(3, 12, 12)
    _, last = solve(run, RescaledSoftmaxMatrix(a1, a2, targets), torch.zeros(9, dtype=torch.float64))
    assert last.outcome is Outcome.COLLAPSED
    _, held = solve(run, RescaledSoftmaxMatrix(a1, a2, targets, 10.0), torch.zeros(9, dtype=torch.float64))
    assert held.outcome is Outcome.CONVERGED


@both
def test_collapse_of_sinh_to_zero_is_reported(run: Run) -> None:
    a, targets = draw(1, 20, 3), draw_distributions(2, 20)
    problem = Hyperbolic("sinh", a, targets)
    _, last = solve(run, problem, problem.draw_start(np.random.default_rng(1)))
    assert last.outcome is Outcome.COLLAPSED


@both
def test_flat_directions_are_left_alone(run: Run) -> None:
    """A constant column of A2 moves no softmax: the Hessian is singular, and x keeps to what it was there."""
    a1 = draw(1, 20, 2)
    a2 = torch.cat([draw(2, 20, 2), torch.ones(20, 1, dtype=torch.float64)], 1)
    problem = SoftmaxMatrix(a1, a2, draw_distributions(3, 20, 20))
    _, last = solve(run, problem, torch.zeros(6, dtype=torch.float64))
    assert last.outcome is Outcome.CONVERGED
    assert float(last.x.view(2, 3)[:, 2].abs().max()) <= 1e-6


@both
@pytest.mark.parametrize("steps", [0, 2])
def test_budget_ends_after_so_many_steps(run: Run, steps: int) -> None:
    start = torch.zeros(9, dtype=torch.float64)
    _, last = solve(run, make_softmax(1, 20, 3, 1.0), start, Limits(steps=steps))
    assert (last.outcome, last.steps) == (Outcome.BUDGET, steps)


@both
def test_start_outside_of_the_domain_is_refused(run: Run) -> None:
    problem, _, start = make_planted("exp", 3, 30, 2, 1.0)
    with pytest.raises(ValueError, match="start: a point within the loss's domain expected"):
        next(run(problem, 1e4 * start))


def test_preconditioner_spares_products() -> None:
    hessian = torch.diag(torch.logspace(0, 6, 60, dtype=torch.float64))
    inverse = 1 / hessian.diagonal()
    start = draw(1, 60)

    def count_products(make: Callable[[Tensor], Apply] | None) -> int:
        problem, count = Quadratic(hessian), 0
        multiply = problem.multiply

        def counted(x: Tensor, v: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return multiply(x, v)

        problem.multiply = counted  # type: ignore[method-assign]  # to count the calls
        assert run_to_end(run_steihaug(problem, start, Limits(), make)).outcome is Outcome.CONVERGED
        return count

    assert count_products(lambda x: lambda v: inverse * v) * 4 <= count_products(None)


def test_no_stages_have_no_end() -> None:
    with pytest.raises(ValueError, match="at least one expected"):
        run_to_end([])


@both
@pytest.mark.parametrize("kind", ["exp", "cosh"])
def test_start_at_the_end_of_the_domain_is_gone_down_from(kind: Kind, run: Run) -> None:
    """Squares and cubes of its gradient are formed; a start whose gradient is no number would pass for an optimum."""
    problem, _, start = make_planted(kind, 3, 20, 4, 3.0)
    start = start * (0.99 * LIMIT / float((problem.a_nd @ start).abs().max()))
    first, last = solve(run, problem, start)
    assert math.isfinite(first.gradient_norm)
    assert last.steps > 0
    assert last.loss < first.loss
