"""The sampled Hessian is the whole one up to a factor; rows that matter are found."""

import numpy as np
import torch

from tests.training.derivatives.agreement import draw
from tests.training.solvers.problems import draw_spread, make_planted
from training.solvers.outcome import Limits, Outcome, run_to_end
from training.solvers.sketch import estimate_leverage, invert, make_sketched
from training.solvers.steihaug import run_steihaug

WINDOW = (0.3, 3.0)


def test_estimated_leverage_is_near_the_exact_one() -> None:
    a = draw_spread(1, 2000, 12, 1e3)
    a[7] = 50 * a[7]
    exact = torch.linalg.qr(a).Q.square().sum(1)
    estimated = estimate_leverage(a, np.random.default_rng(1))
    shares, wanted = estimated / estimated.sum(), exact / exact.sum()
    assert int(estimated.argmax()) == 7
    assert float((shares / wanted).min()) > 0.1
    assert float((shares / wanted).max()) < 5


def test_leverage_of_a_rank_deficient_design_is_finite() -> None:
    a = draw(1, 200, 3)
    a = torch.cat([a, a[:, :1], torch.zeros(200, 1, dtype=torch.float64)], 1)
    assert bool(torch.isfinite(estimate_leverage(a, np.random.default_rng(1))).all())


def test_preconditioned_hessian_has_its_spectrum_near_one() -> None:
    problem, planted, _ = make_planted("exp", 1, 4000, 16, 100.0)
    apply = make_sketched(problem, np.random.default_rng(1))(planted)
    hessian = problem.make_hessian(planted)
    images = torch.stack([apply(column) for column in hessian.T], 1)
    values = torch.linalg.eigvals(images).real
    assert WINDOW[0] < float(values.min())
    assert float(values.max()) < WINDOW[1]


def test_sketched_solver_finds_the_planted_solution() -> None:
    problem, planted, start = make_planted("cosh", 1, 2000, 16, 30.0)
    make = make_sketched(problem, np.random.default_rng(1))
    last = run_to_end(run_steihaug(problem, start, Limits(tolerance=1e-14), make))
    assert float((last.x - planted).norm() / planted.norm()) <= 1e-10


def test_indefinite_matrix_is_inverted_by_its_absolute_eigenvalues() -> None:
    vectors = torch.linalg.qr(draw(1, 3, 3)).Q
    values = torch.tensor([2.0, -4.0, 1.0], dtype=torch.float64)
    apply = invert((vectors * values) @ vectors.T)
    expected = (vectors / values.abs()) @ vectors.T
    assert torch.allclose(torch.stack([apply(e) for e in torch.eye(3, dtype=torch.float64)]), expected)


def test_same_seed_draws_the_same_path() -> None:
    problem, _, start = make_planted("exp", 1, 1000, 8, 30.0)
    ends = [
        run_to_end(run_steihaug(problem, start, Limits(), make_sketched(problem, np.random.default_rng(5))))
        for _ in range(2)
    ]
    assert torch.equal(ends[0].x, ends[1].x)
    assert ends[0].outcome is Outcome.CONVERGED
