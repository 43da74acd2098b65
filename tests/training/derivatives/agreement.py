"""A loss's formulas against autograd on the same loss as it stands in the paper, and against finite differences."""

from collections.abc import Callable

import torch
from torch import Tensor

from training.derivatives.scored import ScoredLoss

PRECISION = 1e-12  # relative, for everything that autograd computes too
LARGEST_SCORE = 3.0
Plain = Callable[[Tensor], Tensor]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def draw_distributions(seed: int, *shape: int) -> Tensor:
    return torch.softmax(draw(seed, *shape), -1)


def tame(problem: ScoredLoss, x: Tensor) -> Tensor:
    """x, shorter if its scores are large: of a saturated softmax the derivatives are what cancellation leaves."""
    return x * min(1.0, LARGEST_SCORE / float(problem.compute_scores(x).abs().max()))


def measure_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def check_autograd(problem: ScoredLoss, plain: Plain, x: Tensor, v: Tensor) -> None:
    assert abs(problem.measure(x) - float(plain(x))) <= PRECISION * float(plain(x))
    gradient = torch.func.grad(plain)(x)
    assert measure_error(problem.differentiate(x), gradient) <= PRECISION
    hessian = torch.func.jacrev(torch.func.grad(plain))(x)
    assert measure_error(problem.make_hessian(x), hessian) <= PRECISION
    check_product(problem.multiply(x, v), hessian, v)
    assert torch.equal(problem.make_hessian(x), problem.make_hessian(x).T)


def check_gauss_newton(problem: ScoredLoss, residuals: Plain, x: Tensor, v: Tensor) -> None:
    """`residuals`: those whose squares sum to twice the loss, the regulariser's among them."""
    jacobian = torch.func.jacrev(residuals)(x)
    check_product(problem.multiply_gauss_newton(x, v), jacobian.T @ jacobian, v)


def check_product(ours: Tensor, matrix: Tensor, v: Tensor) -> None:
    """To the precision of the matrix: of a v that it nearly annihilates no more can be known."""
    assert float((ours - matrix @ v).norm()) <= PRECISION * float(matrix.norm() * v.norm())


def check_differences(problem: ScoredLoss, x: Tensor, v: Tensor) -> None:
    """Central differences along v: an error of the step squared and of rounding over the step."""
    step = 1e-5 / float(v.norm())
    slope = (problem.measure(x + step * v) - problem.measure(x - step * v)) / (2 * step)
    assert abs(slope - float(problem.differentiate(x) @ v)) <= 1e-6 * (abs(slope) + problem.measure(x))
    bend = (problem.differentiate(x + step * v) - problem.differentiate(x - step * v)) / (2 * step)
    assert measure_error(problem.multiply(x, v), bend) <= 1e-6
