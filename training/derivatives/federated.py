"""The mean of several users' losses: what a federation lowers, and what a central solver lowers with all data pooled.

Source: after 2308.10502 (L = mean over users of L_u); any smooth losses of the same parameters will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.errors import ProblemRefused
from training.exact.late import torch
from training.solvers.smooth import SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class MeanLoss:
    """The mean of losses of the same size, every one counting alike; see training/solvers/smooth.py.

    Raises ProblemRefused for none, or for sizes that differ.
    """

    users: Sequence[SmoothLoss]

    def __post_init__(self) -> None:
        if not self.users:
            raise ProblemRefused("users", "at least one expected, none came")
        sizes = {user.size for user in self.users}
        if len(sizes) > 1:
            raise ProblemRefused("users", f"losses of one size expected, these came: {sorted(sizes)}")

    @property
    def size(self) -> int:
        return self.users[0].size

    def measure(self, x: Tensor) -> float:
        return sum(user.measure(x) for user in self.users) / len(self.users)

    def differentiate(self, x: Tensor) -> Tensor:
        return torch.stack([user.differentiate(x) for user in self.users]).mean(0)

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        return torch.stack([user.multiply(x, v) for user in self.users]).mean(0)

    def make_hessian(self, x: Tensor) -> Tensor:
        return torch.stack([user.make_hessian(x) for user in self.users]).mean(0)
