"""Small losses for the solvers: planted ones, one that is a bowl, one with a saddle."""

import numpy as np
import torch
from torch import Tensor

from tests.training.derivatives.agreement import draw
from training.derivatives.hyperbolic import Hyperbolic
from training.derivatives.rescaled import Kind, compute_values
from training.derivatives.softmax import SoftmaxMatrix


class Quadratic:
    """1/2 x'Hx + lift: `lift` hides small decreases behind the loss's rounding."""

    def __init__(self, hessian: Tensor, lift: float = 0.0) -> None:
        self.hessian, self.lift = hessian, lift

    @property
    def size(self) -> int:
        return len(self.hessian)

    def measure(self, x: Tensor) -> float:
        return 0.5 * float(x @ self.hessian @ x) + self.lift

    def differentiate(self, x: Tensor) -> Tensor:
        return self.hessian @ x

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        return self.hessian @ v

    def make_hessian(self, x: Tensor) -> Tensor:
        return self.hessian


class Saddle:
    """(x0^2 - 1)^2 + x1^2 + ...: stationary at 0, lowest at x0 = +-1."""

    size = 3

    def measure(self, x: Tensor) -> float:
        return float((x[0] ** 2 - 1) ** 2 + x[1:] @ x[1:])

    def differentiate(self, x: Tensor) -> Tensor:
        gradient = 2 * x
        gradient[0] = 4 * x[0] * (x[0] ** 2 - 1)
        return gradient

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        return self.make_hessian(x) @ v

    def make_hessian(self, x: Tensor) -> Tensor:
        return torch.diag(torch.tensor([12 * float(x[0]) ** 2 - 4, 2, 2], dtype=torch.float64))


def draw_spread(seed: int, n: int, d: int, condition: float) -> Tensor:
    """A [n, d] of rows of norm around 1, its singular values spread evenly in logarithm over the condition number."""
    left, right = torch.linalg.qr(draw(seed, n, d)).Q, torch.linalg.qr(draw(seed + 1, d, d)).Q
    sizes = torch.logspace(0, -float(np.log10(condition)), d, dtype=torch.float64)
    spread: Tensor = (left * sizes) @ right * float(np.sqrt(n))
    return spread


def make_planted(
    kind: Kind, seed: int, n: int, d: int, condition: float
) -> tuple[Hyperbolic, Tensor, Tensor]:
    """A loss that is 0 at the returned point, and a start near it."""
    a, x = draw_spread(seed, n, d, condition), draw(seed + 2, d) / float(np.sqrt(d))
    if float(compute_values(kind, a @ x).sum()) < 0:
        x = -x
    values = compute_values(kind, a @ x)
    return Hyperbolic(kind, a, values / values.sum()), x, x + 0.1 * draw(seed + 3, d) / float(np.sqrt(d))


def make_softmax(seed: int, n: int, d: int, condition: float) -> SoftmaxMatrix:
    """A matrix problem whose targets no X meets."""
    a1, a2 = draw_spread(seed, n, d, condition), draw_spread(seed + 2, n, d, condition)
    scores = a1 @ draw(seed + 4, d, d) @ a2.T + 0.3 * draw(seed + 5, n, n)
    return SoftmaxMatrix(a1, a2, torch.softmax(scores, 1))
