"""The choice of a solver by size, and several starts."""

import numpy as np
import pytest
import torch

from tests.training.derivatives.agreement import draw
from tests.training.solvers.problems import Saddle, draw_spread, make_planted, make_softmax
from training.derivatives.softmax import SoftmaxMatrix
from training.solvers.auto import Method, choose_solver, run_solver
from training.solvers.newton import run_newton
from training.solvers.outcome import Outcome, Stage, run_to_end
from training.solvers.starts import Trial, draw_direction, draw_starts, find_best, run_starts


@pytest.mark.parametrize(
    ("size", "rows", "method"),
    [
        (1, None, Method.NEWTON),
        (1500, None, Method.NEWTON),
        (1501, None, Method.STEIHAUG),
        (255, 10**6, Method.NEWTON),
        (256, 20_480, Method.SKETCHED),
        (256, 20_479, Method.NEWTON),
        (2000, 1000, Method.STEIHAUG),
        (2000, 160_000, Method.SKETCHED),
    ],
)
def test_solver_is_chosen_by_size_with_a_reason(size: int, rows: int | None, method: Method) -> None:
    choice = choose_solver(size, rows)
    assert choice.method is method
    assert choice.reason.startswith(f"{size:,} parameters")


@pytest.mark.parametrize(("size", "rows"), [(4, None), (1501, None), (256, 10**6)])
def test_chosen_solver_runs(size: int, rows: int | None) -> None:
    problem, _, start = make_planted("exp", 1, 200, 4, 10.0)
    stages = run_solver(choose_solver(size, rows), problem, start, np.random.default_rng(1))
    assert run_to_end(stages).outcome is Outcome.CONVERGED


def test_sixteen_hundred_parameters_converge_without_a_hessian() -> None:
    a1, a2 = (draw_spread(seed, 50, 40, 3.0) / 40**0.5 for seed in (1, 3))
    targets = torch.softmax(a1 @ draw(5, 40, 40) @ a2.T, 1)
    problem, choice = SoftmaxMatrix(a1, a2, targets), choose_solver(1600)
    assert choice.method is Method.STEIHAUG
    start = torch.zeros(1600, dtype=torch.float64)
    last = run_to_end(run_solver(choice, problem, start, np.random.default_rng(1)))
    assert last.outcome is Outcome.CONVERGED
    assert last.loss < 1e-12


def test_sketch_of_a_problem_without_rows_is_refused() -> None:
    problem = make_softmax(1, 10, 2, 1.0)
    with pytest.raises(TypeError, match="one row of scores A x expected"):
        run_solver(
            choose_solver(256, 10**6), problem, torch.zeros(4, dtype=torch.float64), np.random.default_rng(1)
        )


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
