"""How parameters become scores: linearly, by a design that is never written out as one matrix.

R rows of C scores, p parameters. With (A1 (x) A2) a row's scores are A2 X' A1_j: so the matrix form is the vector form
over n designs A1_j (x) A2, none of which is formed (2307.02419's tensor trick).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from training.derivatives.rows import Curvature
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor


class Design(Protocol):
    """A linear map from parameters [p] to scores [R, C]."""

    @property
    def size(self) -> int:
        """p."""

    def apply(self, x: Tensor) -> Tensor:
        """The scores [R, C] of parameters."""

    def pull(self, slope_RC: Tensor) -> Tensor:
        """The transpose's image [p]: a gradient in the parameters of one in the scores."""

    def make_hessian(self, curvature: Curvature) -> Tensor:
        """The Hessian [p, p] in the parameters of one in the scores."""


class VectorDesign:
    """One row of n scores A x, with A [n, d]."""

    def __init__(self, a_nd: Tensor) -> None:
        self.a_nd = a_nd

    @property
    def size(self) -> int:
        return self.a_nd.shape[1]

    def apply(self, x: Tensor) -> Tensor:
        return (self.a_nd @ x)[None, :]

    def pull(self, slope_RC: Tensor) -> Tensor:
        return slope_RC[0] @ self.a_nd

    def make_hessian(self, curvature: Curvature) -> Tensor:
        """Costs n d^2."""
        d = self.a_nd.shape[1]
        right = self._right
        torch.mul(self.a_nd, curvature.diagonal_RC[0][:, None], out=right[:, :d])
        right[:, d], right[:, d + 1] = curvature.first_RC[0], curvature.second_RC[0]
        product = self.a_nd.T @ right
        p, q = product[:, d], product[:, d + 1]
        hessian = product[:, :d] + float(curvature.scale_R1) * torch.outer(p, p)
        hessian.addr_(q, p, alpha=-1).addr_(p, q, alpha=-1)
        return 0.5 * (hessian + hessian.T)

    @cached_property
    def _right(self) -> Tensor:
        """Room for D A, f and g side by side: a tall A is read once. Kept, as the system takes long to give it anew."""
        return self.a_nd.new_empty((self.a_nd.shape[0], self.a_nd.shape[1] + 2))


class MatrixDesign:
    """n1 rows of n2 scores A1 X A2', with A1 [n1, d1], A2 [n2, d2] and X [d1, d2] flattened row by row."""

    def __init__(self, a1_nd: Tensor, a2_nd: Tensor) -> None:
        self.a1_nd, self.a2_nd = a1_nd, a2_nd

    @property
    def size(self) -> int:
        return self.a1_nd.shape[1] * self.a2_nd.shape[1]

    def apply(self, x: Tensor) -> Tensor:
        shape = self.a1_nd.shape[1], self.a2_nd.shape[1]
        return self.a1_nd @ x.view(shape) @ self.a2_nd.T

    def pull(self, slope_RC: Tensor) -> Tensor:
        return (self.a1_nd.T @ (slope_RC @ self.a2_nd)).reshape(-1)

    def make_hessian(self, curvature: Curvature) -> Tensor:
        """Two products over all pairs of columns: n1 n2 d2^2 / 2 and n1 d1^2 d2^2 / 4."""
        d1, d2 = self.a1_nd.shape[1], self.a2_nd.shape[1]
        p, q = curvature.first_RC @ self.a2_nd, curvature.second_RC @ self.a2_nd
        blocks = curvature.diagonal_RC @ self._pairs2  # A2' B_j A2 of every row j, above its diagonal
        left, right = self._upper2
        blocks += (
            curvature.scale_R1 * p[:, left] * p[:, right]
            - q[:, left] * p[:, right]
            - p[:, left] * q[:, right]
        )
        packed = self._pairs1.T @ blocks  # sum over rows j of A1_j A1_j' (x) its block
        rows, columns = _unpack(d1).view(-1, 1), _unpack(d2).view(1, -1)
        return packed[rows, columns].view(d1, d1, d2, d2).permute(0, 2, 1, 3).reshape(d1 * d2, d1 * d2)

    @cached_property
    def _upper2(self) -> tuple[Tensor, Tensor]:
        left, right = torch.triu_indices(self.a2_nd.shape[1], self.a2_nd.shape[1])
        return left, right

    @cached_property
    def _pairs1(self) -> Tensor:
        left, right = torch.triu_indices(self.a1_nd.shape[1], self.a1_nd.shape[1])
        return self.a1_nd[:, left] * self.a1_nd[:, right]

    @cached_property
    def _pairs2(self) -> Tensor:
        left, right = self._upper2
        return self.a2_nd[:, left] * self.a2_nd[:, right]


def _unpack(size: int) -> Tensor:
    """Where in the packed upper half the entries of a symmetric matrix are: numbers [size, size]."""
    left, right = torch.triu_indices(size, size)
    numbers = torch.empty((size, size), dtype=torch.int64)
    numbers[left, right] = torch.arange(len(left))
    numbers[right, left] = torch.arange(len(left))
    return numbers
