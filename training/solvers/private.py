"""A step that learns from private samples, told of them by noised sums alone; everything else of it is public.

Noise has the same deviation in every direction, and a model has thousands: all together they would drown the samples.
So the sums are taken along the directions in which single public samples pull most, as many as DIRECTIONS (Zhou, Wu and
Banerjee, arXiv 2007.03813); the step is Gauss-Newton's within these, with the curvature of the public samples. The
samples' mean gradient is guessed from the noised one and from that of the public samples, which is what it would be if
both were drawn alike: the difference counts by as much as it stands out of the noise, whose deviation everybody knows
(James and Stein, 1961), and by no more than a mean of clipped gradients is wide beside it. It counts by half of that
or less where the step would raise the public samples' loss by more than RISE. Clip, directions, damping, curvature and
that trial are of public samples: none of it costs privacy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.native import NativeProblem
from training.objectives.base import Objective, count_parameters
from training.per_sample import differentiate_each
from training.private.cost import NOISE_F
from training.private.gradients import GRID_F, PrivateSamples, clip_to_grid
from training.splits import Split

if TYPE_CHECKING:
    from torch import Tensor

DIRECTIONS = 64
LOOKED_AT = 256  # public samples whose gradients say directions and clip
LOOKED_AT_ENTRIES = 1 << 24  # of these gradients: 128 MiB
CURVED = 1024  # public samples whose curvature is taken
DAMPING = 0.1  # of the largest curvature
RISE = 0.01  # of the public samples' loss, that private ones may cost beside the step without them
SCALES = (1.0, 0.5, 0.25, 0.125)
FLAT = 1e-6  # of the largest curvature of gradients: directions below it are rounding
CLIP_F = 24  # clips are multiples of 2^-24
MOST_CLIP = 1 << 62


@dataclass(frozen=True, slots=True)
class Frame:
    """What is public about a step: orthonormal directions [parameters, k], the clip in units of 2^-24, and what the
    public samples' clipped gradients are along them in the mean [k]."""

    directions: Tensor
    clip: int
    clipped: Tensor


class PrivateStep:
    """Steps of one update. `noise` in units of 2^-24 of the clip; public samples are drawn by `rng`."""

    def __init__(
        self, objective: Objective, public: Split, own: PrivateSamples, noise: int, rng: np.random.Generator
    ) -> None:
        self._objective, self._public, self._own, self._noise = objective, public, own, noise
        self._problem = NativeProblem(objective, public, torch.float64)
        order = rng.permutation(public.count).astype(np.int64)
        most = max(1, LOOKED_AT_ENTRIES // count_parameters(objective))
        self._looked_at, self._curved = np.sort(order[: min(LOOKED_AT, most)]), np.sort(order[:CURVED])

    @property
    def looked_at(self) -> int:
        """How many public samples' gradients a frame takes."""
        return len(self._looked_at)

    def make_frame(self, weights: Tensor, clip: int = 0) -> Frame:
        """Directions at these weights, from public samples; and the median length there as clip, if none is given."""
        found = list(differentiate_each(self._objective, self._public, weights, self._looked_at))
        gradients = torch.cat(found)
        directions = find_directions(gradients)
        along = gradients @ directions
        median = float(np.median(np.linalg.norm(along.numpy(), axis=1)))
        clip = clip or min(max(1, round(median * 2.0**CLIP_F)), MOST_CLIP)
        length = clip * 2.0**-CLIP_F
        clipped = torch.from_numpy(clip_to_grid(along, length).mean(0)) * (length * 2.0**-GRID_F)
        return Frame(directions, clip, clipped)

    def move(self, weights: Tensor, frame: Frame, model: tuple[Tensor, Tensor]) -> Tensor:
        """The step [parameters], by the public model along the frame's directions. Costs one noised sum."""
        clip = frame.clip * 2.0**-CLIP_F
        own = self._own.sum_gradients(weights, frame.directions, clip, self._noise) / self._own.count
        deviation = clip * self._noise * 2.0**-NOISE_F / self._own.count
        gradient, curvature = model
        share = self._own.count / (self._own.count + self._public.count)
        difference = shrink(own - frame.clipped, deviation, clip) * share
        public, private = (
            frame.directions @ solve_damped(curvature, -part / 2) for part in (gradient, difference)
        )
        return public + private * self._choose_scale(weights + public, private)

    def _choose_scale(self, weights: Tensor, step: Tensor) -> float:
        """The largest scale of a step that raises the public loss by RISE at the most."""
        most = self._problem.measure_loss(weights, self._curved) * (1 + RISE)
        for scale in SCALES:
            if self._problem.measure_loss(weights + scale * step, self._curved) <= most:
                return scale
        return 0.0

    def model(self, weights: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """The public loss along the directions: its gradient [k] and half its curvature [k, k]."""
        linear = self._problem.open_batch(self._curved).linearise(weights)
        columns = [directions.T @ linear.multiply(direction) for direction in directions.T]
        return directions.T @ linear.gradient * 2, torch.stack(columns, 1)


def take_private_steps(
    step: PrivateStep, weights: Tensor, steps: int, announce: Callable[[Frame], None]
) -> Tensor:
    """The weights after some private steps. `announce` hears of the first frame, whose clip serves them all, when
    the first step's public work is done and nothing private was read."""
    clip = 0
    for _ in range(steps):
        frame = step.make_frame(weights, clip)
        model = step.model(weights, frame.directions)
        if not clip:
            clip = frame.clip
            announce(frame)
        weights = weights + step.move(weights, frame, model)
    return weights


def find_directions(gradients: Tensor) -> Tensor:
    """Orthonormal columns [parameters, k]: the principal directions of rows [n, parameters], k 1 to DIRECTIONS."""
    values, vectors = torch.linalg.eigh(gradients @ gradients.T)
    k = min(DIRECTIONS, gradients.shape[1], max(1, int((values > FLAT * values[-1]).sum())))
    directions: Tensor = torch.linalg.qr(gradients.T @ vectors[:, -k:].flip(1)).Q
    return directions


def shrink(difference: Tensor, deviation: float, length: float) -> Tensor:
    """What of a difference [k] stands out of noise of this deviation: James and Stein's positive part.

    That alone follows a k-th of the noise however loud it is; a difference of about `length` at the most bounds it.
    """
    square, k = float(difference @ difference), len(difference)
    stands_out = max(0.0, 1 - max(0, k - 2) * deviation**2 / square) if square > 0 else 0.0
    return difference * min(stands_out, length**2 / (length**2 + k * deviation**2))


def solve_damped(curvature: Tensor, right: Tensor) -> Tensor:
    """(curvature + damping) x = right, by the eigenvalues of a symmetric [k, k]; zeros where there is no curvature."""
    values, vectors = torch.linalg.eigh((curvature + curvature.T) / 2)
    largest = float(values[-1])
    if not largest > 0:
        return torch.zeros_like(right)
    solution: Tensor = vectors @ ((vectors.T @ right) / (values.clamp(min=0) + DAMPING * largest))
    return solution
