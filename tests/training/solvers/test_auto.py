"""The choice of a solver by size, and several starts."""

import numpy as np
import pytest
import torch

from tests.training.derivatives.agreement import draw, draw_distributions
from tests.training.solvers.problems import Saddle, draw_spread, make_planted
from training.derivatives.softmax import SoftmaxMatrix
from training.solvers.auto import Method, choose_solver, run_solver
from training.solvers.newton import run_newton
from training.solvers.outcome import Outcome, Stage, run_to_end
from training.solvers.starts import Trial, draw_direction, draw_starts, find_best, run_starts


@pytest.mark.parametrize(
    ("size", "method"),
    [(1, Method.NEWTON), (64, Method.NEWTON), (65, Method.STEIHAUG), (10**6, Method.STEIHAUG)],
)
def test_solver_is_chosen_by_size_with_a_reason(size: int, method: Method) -> None:
    choice = choose_solver(size)
    assert choice.method is method
    assert choice.reason.startswith(f"{size:,} parameters")


@pytest.mark.parametrize("method", Method)
def test_chosen_solver_runs(method: Method) -> None:
    problem, _, start = make_planted("exp", 1, 200, 4, 10.0)
    assert run_to_end(run_solver(method, problem, start)).outcome is Outcome.CONVERGED


def test_late_step_is_cut_short_and_taken() -> None:
    """The first of the products that make a step is enough for one."""
    problem, _, start = make_planted("exp", 1, 200, 4, 10.0)
    stages = run_solver(Method.STEIHAUG, problem, start, is_late=lambda: True)
    first, second = next(stages), next(stages)
    assert (first.steps, second.steps) == (0, 1)
    assert second.loss < first.loss


def test_sixteen_hundred_parameters_converge_without_a_hessian() -> None:
    a1, a2 = (draw_spread(seed, 50, 40, 3.0) / 40**0.5 for seed in (1, 3))
    targets = torch.softmax(a1 @ draw(5, 40, 40) @ a2.T, 1)
    problem, choice = SoftmaxMatrix(a1, a2, targets), choose_solver(1600)
    assert choice.method is Method.STEIHAUG
    start = torch.zeros(1600, dtype=torch.float64)
    last = run_to_end(run_solver(choice.method, problem, start))
    assert last.outcome is Outcome.CONVERGED
    assert last.loss < 1e-12


def test_hessian_of_too_many_parameters_is_refused() -> None:
    a1, a2 = draw(1, 3, 40), draw(2, 3, 40)
    problem = SoftmaxMatrix(a1, a2, draw_distributions(3, 3, 3))
    with pytest.raises(ValueError, match="newton: at most 1,500 parameters expected, 1,600 came"):
        run_solver(Method.NEWTON, problem, torch.zeros(1600, dtype=torch.float64))


def test_starts_are_the_seed_s() -> None:
    first, again = (list(draw_starts(5, 3, 0.01, np.random.default_rng(7))) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert float(draw_direction(5, 0.1, np.random.default_rng(7)).norm()) == pytest.approx(0.1)


def test_best_of_several_starts_wins() -> None:
    """From below zero the other of the saddle's two optima is found; both are as good."""
    starts = [torch.tensor([side, 0.0, 0.0], dtype=torch.float64) for side in (0.0, -0.5, 0.5)]
    problem = Saddle()
    best = find_best(run_starts(problem, starts, lambda start: run_newton(problem, start)))
    assert best is not None
    assert best.start in (1, 2)
    assert best.stage.loss < 1e-20


def test_start_outside_of_the_domain_is_passed_over() -> None:
    problem, _, start = make_planted("exp", 1, 50, 2, 1.0)
    trials = list(run_starts(problem, [1e4 * start, start], lambda start: run_newton(problem, start)))
    assert {trial.start for trial in trials} == {1}
    assert find_best([]) is None


def test_collapsed_end_loses_against_any_other() -> None:
    x = torch.zeros(1, dtype=torch.float64)
    collapsed = Trial(0, Stage(9, x, 0.0, 0.0, Outcome.COLLAPSED))
    other = Trial(1, Stage(9, x, 1.0, 0.1, Outcome.BUDGET))
    assert find_best([collapsed, other]) is other
    assert find_best([collapsed]) is collapsed
