"""The same training step by all neurons, in matrix products: where lists would not pay, and to compare with.

A chunk of neurons at a time, so that their scores at all points stay in the cache: half the time of whole products.

Shapes: n samples, m neurons, d inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.solvers.adversarial import kernels
from training.solvers.adversarial.net import BLOCK_POINTS, CHUNK_NEURONS, Floats, Ids, ShiftedNet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

CHUNK_SCORES, LEAST_CHUNK = CHUNK_NEURONS * BLOCK_POINTS, 256


class DenseStep:
    """An attack on some samples and the step of all weights that follows; see `kernels.attack` and `moves.update`."""

    def __init__(self, net: ShiftedNet, plan: kernels.Plan) -> None:
        self._net, self._plan = net, plan
        self._weights, self._biases, self._signs = (
            torch.from_numpy(array) for array in (net.weights, net.biases, net.signs)
        )
        self._zero = torch.zeros((), dtype=self._weights.dtype)
        self._tiny = torch.finfo(self._weights.dtype).tiny

    def attack(self, inputs: Floats, targets: Floats) -> tuple[kernels.Worst, int]:
        """The worst points and what the net says there, and how many pairs of a sample and a neuron are active.

        Lists of who is active are left out.
        """
        x, y = torch.from_numpy(inputs), torch.from_numpy(targets)
        point, has_moved = x.clone(), torch.zeros(len(x), dtype=torch.bool)
        for _ in range(self._plan.steps):
            output, toward, _ = self._look(point)
            along = torch.sign(self._differentiate(output, y))
            step, moves = self._choose_step(toward, along)
            point = torch.where(moves[:, None], self._project(x, point + step), point)
            has_moved |= moves
        output, _, active = self._look(point, is_last=True)
        worst = kernels.Worst(
            point.numpy(), output.numpy(), self._differentiate(output, y).numpy(), self._measure(output, y),
            np.zeros(1, np.int64), np.zeros(0, np.int32), np.array([int((~has_moved).sum())]),
        )  # fmt: skip
        return worst, active

    def update(self, worst: kernels.Worst, scale: float) -> Ids:
        """Take the step; returns which neurons it moved."""
        points, slopes = torch.from_numpy(worst.points), torch.from_numpy(worst.slopes)
        touched = []
        for rows in self._chunk(len(points)):
            scores = torch.addmm(self._biases[rows], points, self._weights[rows].T)
            is_active = scores > self._net.tau
            pulls = torch.where(is_active, slopes[:, None], self._zero)
            touched.append(rows.start + is_active.any(0).nonzero()[:, 0].numpy())
            self._weights[rows] += (pulls.T @ points) * (scale * self._signs[rows, None])
        return np.concatenate(touched).astype(np.int32)

    def _look(self, points: Tensor, is_last: bool = False) -> tuple[Tensor, Tensor, int]:
        """Outputs [n]; their derivatives by the points [n, d], or at the last look how many pairs are active."""
        output, toward, active = torch.zeros(len(points), dtype=points.dtype), torch.zeros_like(points), 0
        for rows in self._chunk(len(points)):
            scores = torch.addmm(self._biases[rows], points, self._weights[rows].T)
            pulls = torch.where(scores > self._net.tau, self._signs[rows], self._zero)
            if is_last:
                active += int(torch.count_nonzero(pulls))
            else:
                toward.addmm_(pulls, self._weights[rows])
            output += scores.sub_(self._net.below).mul_(pulls).sum(1)
        return output, toward, active

    def _chunk(self, points: int) -> Iterator[slice]:
        """Neurons, as many at a time as keep their scores at so many points in the cache."""
        size = min(max(CHUNK_SCORES // points, LEAST_CHUNK), CHUNK_NEURONS)
        for first in range(0, self._net.width, size):
            yield slice(first, min(first + size, self._net.width))

    def _choose_step(self, toward: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """Steps [n, d], and which samples take one."""
        if self._plan.is_euclidean:
            length = toward.norm(dim=1)
            moves = (length > 0) & (along != 0)
            return toward * (self._plan.stride * along / length.clamp(min=self._tiny))[:, None], moves
        moves = (toward != 0).any(1) & (along != 0)
        return torch.sign(toward) * (self._plan.stride * along)[:, None], moves

    def _project(self, x: Tensor, point: Tensor) -> Tensor:
        radius, move = self._plan.radius, point - x
        if not self._plan.is_euclidean:
            return torch.minimum(torch.maximum(point, x - radius), x + radius)
        far = move.norm(dim=1, keepdim=True)
        return torch.where(far > radius, x + move * (radius / far.clamp(min=self._tiny)), point)

    def _differentiate(self, output: Tensor, targets: Tensor) -> Tensor:
        if self._plan.is_logistic:
            return -targets * torch.sigmoid(-output * targets)
        return output - targets

    def _measure(self, output: Tensor, targets: Tensor) -> Floats:
        if self._plan.is_logistic:
            losses = torch.nn.functional.softplus(-output.double() * targets)
        else:
            losses = 0.5 * (output.double() - targets) ** 2
        return losses.numpy()


def measure_sharpness(net: ShiftedNet, points: Floats) -> float:
    """The largest eigenvalue of the mean over points [n, d] of g g^T, g the output's derivative by all weights: that
    of the n x n matrix of their products."""
    x, signs = torch.from_numpy(points), torch.from_numpy(net.signs)
    weights, biases = torch.from_numpy(net.weights), torch.from_numpy(net.biases)
    shared = torch.zeros(len(x), len(x), dtype=x.dtype)
    for first in range(0, net.width, CHUNK_NEURONS):
        rows = slice(first, first + CHUNK_NEURONS)
        pulls = (torch.addmm(biases[rows], x, weights[rows].T) > net.tau) * signs[rows]
        shared.addmm_(pulls, pulls.T)
    products = (shared * (x @ x.T)).double()
    return float(torch.linalg.eigvalsh(products)[-1]) / len(x)
