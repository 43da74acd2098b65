"""A loss's formulas against autograd on the same loss as it stands in the paper, and against finite differences."""

from collections.abc import Callable

import torch
from torch import Tensor

from training.derivatives.scored import ScoredLoss

PRECISION = 1e-12  # relative, for everything that autograd computes too
LARGEST_SCORE = 3.0
Map = Callable[[Tensor], Tensor]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def draw_distributions(seed: int, *shape: int) -> Tensor:
    return torch.softmax(draw(seed, *shape), -1)


def tame(problem: ScoredLoss, x: Tensor) -> Tensor:
    """x, shorter if its scores are large: of a saturated softmax the derivatives are what cancellation leaves."""
    return x * min(1.0, LARGEST_SCORE / float(problem.compute_scores(x).abs().max()))


def measure_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def check_derivatives(problem: ScoredLoss, residuals: Map, x: Tensor, v: Tensor) -> None:
    """`residuals`: those whose squares sum to twice the loss, the regulariser's among them.

    Errors are relative to the sizes of what a derivative is the sum of: J'r, and J'J and the rest. The sum itself can
    be next to nothing, near a stationary point or an inflection, or along a v that the Hessian annihilates.
    """

    def measure(x: Tensor) -> Tensor:
        return 0.5 * (residuals(x) ** 2).sum()

    left, jacobian = residuals(x), torch.func.jacrev(residuals)(x)
    gauss_newton, hessian = jacobian.T @ jacobian, torch.func.jacrev(torch.func.grad(measure))(x)
    size = max(float(hessian.norm()), float(gauss_newton.norm()))
    assert abs(problem.measure(x) - float(measure(x))) <= PRECISION * float(measure(x))
    check_close(problem.differentiate(x), torch.func.grad(measure)(x), float(jacobian.norm() * left.norm()))
    check_close(problem.make_hessian(x), hessian, size)
    check_close(problem.multiply(x, v), hessian @ v, size * float(v.norm()))
    check_close(problem.multiply_gauss_newton(x, v), gauss_newton @ v, size * float(v.norm()))
    assert torch.equal(problem.make_hessian(x), problem.make_hessian(x).T)


def check_close(ours: Tensor, theirs: Tensor, size: float) -> None:
    assert float((ours - theirs).norm()) <= PRECISION * size


def check_differences(problem: ScoredLoss, x: Tensor, v: Tensor) -> None:
    """Central differences along v: an error of the step squared and of rounding over the step."""
    step = 1e-5 / float(v.norm())
    slope = (problem.measure(x + step * v) - problem.measure(x - step * v)) / (2 * step)
    assert abs(slope - float(problem.differentiate(x) @ v)) <= 1e-6 * (abs(slope) + problem.measure(x))
    bend = (problem.differentiate(x + step * v) - problem.differentiate(x - step * v)) / (2 * step)
    assert measure_error(problem.multiply(x, v), bend) <= 1e-6
