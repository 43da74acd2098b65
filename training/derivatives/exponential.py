"""A wide net of exponentials: F(W, x) = sum_r a_r exp(<w_r, x>), with the derivatives of 1/2 |F(W, X) - y|^2.

W is trained, the signs a stay. With E = exp(XW) and r = Ea - y, the gradient is X^T (r 1^T o E) o 1 a^T, and the
kernel H(W) = XX^T o EE^T is what gradient descent moves the residual by: H = J J^T, of which J^T J shares the spectrum.
Source: 2303.16504, where H carries 1/m. No floor on how wide the net is: the solvers look at H itself.

Shapes: N samples, D inputs of each, M neurons; a point is W_DM, flat and row-major where a solver wants it flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.derivatives.checks import check_data
from training.errors import ProblemRefused
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

MOST_AT_START = 40.0  # of |<w_r, x_i>|; of unit inputs and m = 1e6 normal neurons it is some 7
MOST_IN_STEPS = 60.0  # exp of it, squared and summed, is still far from overflow
LONGEST_INPUT = 1e3


@dataclass(frozen=True, slots=True)
class ExponentialLoss:
    """1/2 |exp(XW) a - y|^2 as a function of W; see training/solvers/smooth.py.

    inputs_ND with rows of norm 1 (see `normalise`), targets_N, signs_M of -1 and +1; all float64, else ProblemRefused.
    """

    inputs_ND: Tensor
    targets_N: Tensor
    signs_M: Tensor

    def __post_init__(self) -> None:
        check_data("inputs", self.inputs_ND, (None, None))
        check_data("targets", self.targets_N, (self.inputs_ND.shape[0],))
        check_data("signs", self.signs_M, (None,))
        if not bool((self.signs_M.abs() == 1).all()):
            raise ProblemRefused("signs", "each -1 or +1 expected")

    @property
    def shape(self) -> tuple[int, int]:
        """(D, M) of the weights."""
        return self.inputs_ND.shape[1], self.signs_M.shape[0]

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    # --- for the kernel solvers: weights as a matrix, and E computed once a step ---

    def activate(self, weights_DM: Tensor, most: float = MOST_IN_STEPS) -> Tensor | None:
        """E = exp(XW) [N, M]; None where an exponent is above `most` in size or no number."""
        exponents_NM = self.inputs_ND @ weights_DM
        low, high = torch.aminmax(exponents_NM)
        if not (float(high) <= most and float(low) >= -most):
            return None
        return exponents_NM.exp_()

    def get_residual(self, active_NM: Tensor) -> Tensor:
        """Ea - y [N]."""
        return active_NM @ self.signs_M - self.targets_N

    def pull_back(self, active_NM: Tensor, residual_N: Tensor) -> Tensor:
        """J^T r [D, M]: the gradient where r is the residual."""
        return (self.inputs_ND * residual_N[:, None]).T @ active_NM * self.signs_M

    def make_kernel(self, active_NM: Tensor) -> Tensor:
        """H = J J^T [N, N]."""
        return (self.inputs_ND @ self.inputs_ND.T) * (active_NM @ active_NM.T)

    # --- as a smooth loss of a flat point ---

    def measure(self, x: Tensor) -> float:
        active_NM = self.activate(x.view(self.shape))
        if active_NM is None:
            return float("inf")
        residual_N = self.get_residual(active_NM)
        return 0.5 * float(residual_N @ residual_N)

    def differentiate(self, x: Tensor) -> Tensor:
        active_NM = self._activate_inside(x)
        return self.pull_back(active_NM, self.get_residual(active_NM)).flatten()

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        active_NM = self._activate_inside(x)
        moved_NM = active_NM * (self.inputs_ND @ v.view(self.shape))
        bent_DM = self.pull_back(moved_NM, self.get_residual(active_NM))
        return (bent_DM + self.pull_back(active_NM, moved_NM @ self.signs_M)).flatten()

    def multiply_gauss_newton(self, x: Tensor, v: Tensor) -> Tensor:
        """J^T J v [p]: the Hessian without the residual's own bend."""
        active_NM = self._activate_inside(x)
        moved_NM = active_NM * (self.inputs_ND @ v.view(self.shape))
        return self.pull_back(active_NM, moved_NM @ self.signs_M).flatten()

    def make_jacobian(self, x: Tensor) -> Tensor:
        """J [N, p]. N p numbers: for small nets."""
        active_NM = self._activate_inside(x)
        return (self.inputs_ND[:, :, None] * (active_NM * self.signs_M)[:, None, :]).flatten(1)

    def make_hessian(self, x: Tensor) -> Tensor:
        """J^T J, and of every neuron a block of D x D. p^2 numbers: for small nets."""
        wide, neurons = self.shape
        jacobian_NP = self.make_jacobian(x)
        active_NM = self._activate_inside(x)
        weights_NM = active_NM * self.get_residual(active_NM)[:, None] * self.signs_M
        blocks_MDD = torch.einsum("nm,nc,nd->mcd", weights_NM, self.inputs_ND, self.inputs_ND)
        hessian = (jacobian_NP.T @ jacobian_NP).view(wide, neurons, wide, neurons)
        torch.diagonal(hessian, dim1=1, dim2=3).add_(blocks_MDD.permute(1, 2, 0))
        square = hessian.reshape(self.size, self.size)
        return 0.5 * (square + square.T)  # of a product's rounding too

    def _activate_inside(self, x: Tensor) -> Tensor:
        active_NM = self.activate(x.view(self.shape))
        if active_NM is None:
            raise ValueError(f"weights: exponents of at most {MOST_IN_STEPS:g} in size expected")
        return active_NM


def normalise(inputs_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of norm 1, and the norms they had [N]. ProblemRefused for a row of zeros, or longer than LONGEST_INPUT."""
    check_data("inputs", inputs_ND, (None, None))
    norms_N = inputs_ND.norm(dim=1)
    for row, norm in enumerate(norms_N.tolist()):
        if not 0 < norm <= LONGEST_INPUT:
            raise ProblemRefused(
                "inputs", f"rows of norm in (0, {LONGEST_INPUT:g}] expected, row {row} has {norm:g}"
            )
    return inputs_ND / norms_N[:, None], norms_N


def make_limit_kernel(inputs_ND: Tensor) -> Tensor:
    """What H/m tends to as m grows, of neurons drawn from N(0, I): x_i.x_j exp(|x_i + x_j|^2 / 2) [N, N].

    Positive definite where unit inputs differ: t exp(1 + t) of t = x_i.x_j has positive coefficients from t on.
    """
    products_NN = inputs_ND @ inputs_ND.T
    squares_N = products_NN.diagonal()
    return products_NN * torch.exp(0.5 * (squares_N[:, None] + squares_N[None, :]) + products_NN)
