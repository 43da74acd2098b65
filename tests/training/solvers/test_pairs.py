"""Preconditioners of a softmax of A1 X A2': fewer products, the same optimum."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.derivatives.agreement import draw
from tests.training.solvers.problems import draw_spread
from training.derivatives.softmax import SoftmaxMatrix
from training.errors import ProblemRefused
from training.solvers.outcome import Limits, Outcome, run_to_end
from training.solvers.pairs import make_pair_sketch, make_whitening
from training.solvers.steihaug import MakePreconditioner, run_steihaug

SIDE, WIDTH, CONDITION = 120, 6, 30.0


class Counted(SoftmaxMatrix):
    """A loss that counts its Hessian-vector products."""

    products = 0

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        self.products += 1
        return super().multiply(x, v)


def make_problem(weight: float = 0.0) -> Counted:
    a1, a2 = (5 * draw_spread(seed, SIDE, WIDTH, CONDITION) for seed in (1, 2))
    targets = torch.softmax(a1 @ draw(3, WIDTH, WIDTH) @ a2.T + 0.3 * draw(4, SIDE, SIDE), 1)
    return Counted(a1, a2, targets, weight)


Make = Callable[[SoftmaxMatrix], MakePreconditioner]


@pytest.mark.parametrize("weight", [0.0, 1e-3])
@pytest.mark.parametrize(
    "make", [make_whitening, lambda problem: make_pair_sketch(problem, np.random.default_rng(1))]
)
def test_preconditioned_solver_takes_few_products_to_the_same_optimum(make: Make, weight: float) -> None:
    plain, helped = make_problem(weight), make_problem(weight)
    start, limits = torch.zeros(plain.size, dtype=torch.float64), Limits(tolerance=1e-9)
    expected = run_to_end(run_steihaug(plain, start, limits))
    found = run_to_end(run_steihaug(helped, start, limits, make(helped)))
    assert expected.outcome is found.outcome is Outcome.CONVERGED
    assert helped.measure(found.x) == pytest.approx(plain.measure(expected.x), rel=1e-9)
    assert 2 * helped.products < plain.products


def test_whitening_is_the_inverse_of_the_gram_matrix_of_the_product() -> None:
    problem, v = make_problem(), draw(5, WIDTH * WIDTH)
    a1, a2 = problem.design.a1_nd, problem.design.a2_nd  # type: ignore[attr-defined]  # a MatrixDesign
    gram = torch.kron(a1.T @ a1, a2.T @ a2)
    assert torch.allclose(gram @ make_whitening(problem)(v)(v), v, rtol=1e-8, atol=1e-8)


def test_many_pairs_give_the_gauss_newton_matrix() -> None:
    problem = make_problem(1e-3)
    x = 0.1 * draw(6, problem.size)
    apply = make_pair_sketch(problem, np.random.default_rng(1), 200_000)(x)
    images = torch.stack(
        [problem.multiply_gauss_newton(x, apply(e)) for e in torch.eye(problem.size).double()]
    )
    values = torch.linalg.eigvals(images).real
    assert 0.8 < float(values.min()) < float(values.max()) < 1.2


def test_dependent_columns_are_refused() -> None:
    a = draw(1, 20, 2)
    problem = SoftmaxMatrix(torch.cat([a, a[:, :1]], 1), a, torch.full((20, 20), 0.05, dtype=torch.float64))
    with pytest.raises(ProblemRefused, match="inputs: independent columns expected"):
        make_whitening(problem)
