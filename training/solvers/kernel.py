"""Solvers of wide nets by their kernel: n x n systems where the weights are a thousand times as many.

Gauss-Newton solves H(W) alpha = r and moves W by -J^T alpha, which needs H = J J^T alone; plain gradient descent takes
its step from H's outer eigenvalues. Source: 2303.16504 for the descent and its theory (weights stay near the start, so
H does); its own step size is far too small to use, and the Gauss-Newton step is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from training.derivatives.exponential import MOST_AT_START, ExponentialLoss, make_limit_kernel
from training.errors import ProblemRefused
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

LEAST_SPREAD = 1e-10  # smallest over largest eigenvalue: below, rows are dependent in float64
SAME_INPUT = 1e-5  # distance of two unit inputs: their share of the spectrum is its square
RETRIES = 60  # halvings in a row: the residual cannot be lowered
HALF = 0.5


class NotInterpolable(ProblemRefused):
    """The kernel is singular: no weights near the start fit all targets. The message says which rows, if it can."""


@dataclass(frozen=True, slots=True)
class KernelStage:
    """Where a solver is: after `steps` taken steps of size `rate` at the last."""

    steps: int
    weights_DM: Tensor
    residual_norm: float
    rate: float


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The outer eigenvalues of a kernel."""

    smallest: float
    largest: float

    @property
    def rate(self) -> float:
        """The step that shrinks both ends alike: the best constant one for a kernel that does not move."""
        return 2 / (self.smallest + self.largest)

    @property
    def shrinkage(self) -> float:
        """By which such a step multiplies the residual at the most."""
        return 1 - self.rate * self.smallest


def draw_weights(wide: int, neurons: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Weights [D, M] of N(0, 1) and signs [M], as the theory has them."""
    weights = torch.from_numpy(rng.standard_normal((wide, neurons)))
    return weights, torch.from_numpy(rng.choice([-1.0, 1.0], neurons))


def run_kernel_newton(loss: ExponentialLoss, start_DM: Tensor) -> Iterator[KernelStage]:
    """Yield the start, and the weights after every step, until none lowers the residual: the caller looks and stops.

    A step costs one product of N x M x N and a Cholesky of N x N. Raises ValueError for a start outside of the domain,
    NotInterpolable where the kernel is singular at the start or on the way.
    """
    active_NM = _activate_start(loss, start_DM)
    measure_spectrum(loss, loss.make_kernel(active_NM))
    return _follow(loss, start_DM, active_NM, partial(_solve, loss), 1.0, True)


def run_gradient_descent(
    loss: ExponentialLoss, start_DM: Tensor, rate: float | None = None
) -> Iterator[KernelStage]:
    """As `run_kernel_newton`, by plain gradient descent at a constant rate; without one, of the kernel at the start.

    Where a step overflows or raises the residual, it is taken back and the rate halved for good.
    """
    active_NM = _activate_start(loss, start_DM)
    if rate is None:
        rate = measure_spectrum(loss, loss.make_kernel(active_NM)).rate
    if not rate > 0:
        raise ValueError(f"rate: above 0 expected, got {rate}")
    return _follow(loss, start_DM, active_NM, loss.pull_back, rate, False)


def measure_spectrum(loss: ExponentialLoss, kernel_NN: Tensor) -> Spectrum:
    """The kernel's outer eigenvalues; raises NotInterpolable with the reason where the smallest is none."""
    values = torch.linalg.eigvalsh(kernel_NN)
    smallest, largest = float(values[0]), float(values[-1])
    if not smallest >= LEAST_SPREAD * largest:
        share = smallest / largest if largest > 0 else 0.0
        raise NotInterpolable(
            "inputs",
            f"not interpolable: the kernel's smallest eigenvalue is {share:.1e} of its largest, at least"
            f" {LEAST_SPREAD:g} expected; {_find_reason(loss)}",
        )
    return Spectrum(smallest, largest)


def measure_drift(weights_DM: Tensor, start_DM: Tensor) -> float:
    """How far the farthest neuron is from its start."""
    return float((weights_DM - start_DM).norm(dim=0).max())


def measure_deviation(loss: ExponentialLoss, kernel_NN: Tensor) -> float:
    """|H/m - its limit| over the limit's smallest eigenvalue: below 1 the theory's picture holds."""
    limit_NN = make_limit_kernel(loss.inputs_ND)
    values = torch.linalg.eigvalsh(limit_NN)
    return float(torch.linalg.matrix_norm(kernel_NN / loss.shape[1] - limit_NN, 2) / values[0])


# --- the walk ---------------------------------------------------------------------------------------------------------


def _follow(
    loss: ExponentialLoss,
    start_DM: Tensor,
    active_NM: Tensor,
    direct: Callable[[Tensor, Tensor], Tensor],
    rate: float,
    again: bool,
) -> Iterator[KernelStage]:
    """Steps along -direct(E, r), halved until the residual falls; `again` begins every step with the first rate."""
    weights_DM, first = start_DM, rate
    residual_N = loss.get_residual(active_NM)
    norm, steps = float(residual_N.norm()), 0
    while True:
        yield KernelStage(steps, weights_DM, norm, rate)
        direction_DM = direct(active_NM, residual_N)
        rate = first if again else rate
        for _ in range(RETRIES):
            moved_DM = torch.add(weights_DM, direction_DM, alpha=-rate)
            found = _look(loss, moved_DM)
            if found is not None and found[2] < norm:
                break
            rate *= HALF
        else:
            return
        weights_DM, (active_NM, residual_N, norm), steps = moved_DM, found, steps + 1


def _look(loss: ExponentialLoss, weights_DM: Tensor) -> tuple[Tensor, Tensor, float] | None:
    """E, the residual and its norm; None outside of the domain."""
    active_NM = loss.activate(weights_DM)
    if active_NM is None:
        return None
    residual_N = loss.get_residual(active_NM)
    return active_NM, residual_N, float(residual_N.norm())


def _solve(loss: ExponentialLoss, active_NM: Tensor, residual_N: Tensor) -> Tensor:
    """J^T alpha [D, M] with H alpha = r."""
    factor_NN, failed = torch.linalg.cholesky_ex(loss.make_kernel(active_NM))
    if int(failed):
        raise NotInterpolable(
            "inputs", f"not interpolable: the kernel became singular on the way; {_find_reason(loss)}"
        )
    alpha_N = torch.cholesky_solve(residual_N[:, None], factor_NN)[:, 0]
    return loss.pull_back(active_NM, alpha_N)


def _activate_start(loss: ExponentialLoss, start_DM: Tensor) -> Tensor:
    if start_DM.dtype != torch.float64 or tuple(start_DM.shape) != loss.shape:
        what = f"{start_DM.dtype} of shape {list(start_DM.shape)}"
        raise ValueError(f"start: float64 of shape {list(loss.shape)} expected, got {what}")
    active_NM = loss.activate(start_DM, MOST_AT_START)
    if active_NM is None:
        raise ValueError(
            f"start: exponents of at most {MOST_AT_START:g} in size expected; draw smaller weights"
        )
    return active_NM


def _find_reason(loss: ExponentialLoss) -> str:
    """Why a kernel is singular, and what helps."""
    count, (wide, neurons) = loss.inputs_ND.shape[0], loss.shape
    if count > wide * neurons:
        return f"{count} samples and only {wide * neurons} weights: take more neurons"
    exact = "donot_use_mm_for_euclid_dist"  # the fast way loses what is to be found: 1e-8 of a norm
    near_NN = torch.cdist(loss.inputs_ND, loss.inputs_ND, compute_mode=exact).fill_diagonal_(torch.inf)
    first, second = divmod(int(near_NN.argmin()), count)
    alike = "equal" if float(near_NN[first, second]) < SAME_INPUT else "the nearest to each other"
    pair = sorted((first, second))
    apart = float((loss.targets_N[first] - loss.targets_N[second]).abs())
    return (
        f"inputs {pair[0]} and {pair[1]} are {alike}, their targets differ by {apart:.3g}: "
        "merge such rows (norms do not count, directions do), or take more neurons"
    )
