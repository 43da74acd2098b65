"""What derivatives by formula are compared with: autograd on the loss as it is written, and finite differences."""

from collections.abc import Callable

import torch
from torch import Tensor

from training.solvers.smooth import SmoothLoss

ROUNDING = 1e-12  # of the largest entry
STEP = 1e-6

Written = Callable[[Tensor], Tensor]  # the loss, as autograd can follow it


def is_near(ours: Tensor, theirs: Tensor, tolerance: float = ROUNDING) -> bool:
    return float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


def assert_derivatives(problem: SmoothLoss, written: Written, x: Tensor, v: Tensor) -> None:
    """Loss, gradient, Hessian-vector product and Hessian, all against autograd."""
    assert is_near(torch.tensor(problem.measure(x), dtype=torch.float64), written(x))
    assert is_near(problem.differentiate(x), torch.autograd.functional.jacobian(written, x))
    hessian = torch.autograd.functional.hessian(written, x)
    assert is_near(problem.multiply(x, v), hessian @ v)
    assert is_near(problem.make_hessian(x), hessian)


def assert_gradient_by_differences(problem: SmoothLoss, x: Tensor, v: Tensor) -> None:
    """The slope along v, by central differences of the loss; and the bend, of the gradient."""
    slope = (problem.measure(x + STEP * v) - problem.measure(x - STEP * v)) / (2 * STEP)
    scale = max(1.0, abs(problem.measure(x)), abs(slope))
    assert abs(float(problem.differentiate(x) @ v) - slope) <= 1e-7 * scale
    bend = (problem.differentiate(x + STEP * v) - problem.differentiate(x - STEP * v)) / (2 * STEP)
    assert is_near(problem.multiply(x, v), bend, 1e-7)
