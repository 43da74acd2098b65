"""The mean of users' losses is what its formulas say, and refuses losses that have no mean."""

import pytest
import torch

from tests.training.derivatives.agreement import check_derivatives, draw, draw_distributions
from training.derivatives.federated import MeanLoss
from training.derivatives.softmax import SoftmaxVector
from training.errors import ProblemRefused


class WithGaussNewton(MeanLoss):
    """As the agreement's checks want it."""

    def multiply_gauss_newton(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.stack([user.multiply_gauss_newton(x, v) for user in self.users]).mean(0)


def test_mean_of_softmax_users_agrees_with_autograd() -> None:
    data = [(draw(u, 6, 3), draw_distributions(9 + u, 6), 0.1 * draw(20 + u, 6)) for u in range(3)]
    users = WithGaussNewton([SoftmaxVector(*part) for part in data])

    def residuals(x: torch.Tensor) -> torch.Tensor:
        parts = [torch.cat([torch.softmax(a @ x, 0) - b, weights * (a @ x)]) for a, b, weights in data]
        return torch.cat(parts) / 3**0.5

    assert users.size == 3
    check_derivatives(users, residuals, draw(30, 3), draw(31, 3))


def test_users_of_no_number_or_of_several_sizes_are_refused() -> None:
    with pytest.raises(ProblemRefused, match="users: at least one"):
        MeanLoss([])
    users = [SoftmaxVector(draw(1, 6, d), draw_distributions(2, 6)) for d in (2, 3)]
    with pytest.raises(ProblemRefused, match=r"one size expected, these came: \[2, 3\]"):
        MeanLoss(users)
