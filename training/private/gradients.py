"""Sums of a miner's own gradients with noise: the only code that reads samples whose privacy is to be kept.

Each sample's gradient is taken along a few directions, shortened to length C, and rounded towards zero on a grid of
C 2^-30; then integers are added, in any order, and the noise of every entry, rounded to the same grid, too. So
replacing one sample moves the sum by at most 2 C, exactly, and the noise does not depend on the samples in any bit:
floating point (Mironov, CCS 2012) has no part in the sum. What is left of it is that normal numbers are made of 159
random bits and end at 12.1 deviations (noise.py). Source of the mechanism: DP-SGD, Abadi et al., arXiv 1607.00133.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.objectives.base import Integers, Objective
from training.per_sample import differentiate_each
from training.private.cost import NOISE_F
from training.private.noise import SecretNoise
from training.splits import Split

if TYPE_CHECKING:
    from torch import Tensor

GRID_F = 30  # of the clip
SLACK = 1 - 2.0**-40  # of a clipped length: more than float64 errs by


class PrivateSamples:
    """Samples that nothing is told of but noised sums. `check` is called before every block and may raise."""

    def __init__(
        self,
        objective: Objective,
        samples: Split,
        noise: SecretNoise,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._objective, self._samples, self._noise, self._check = objective, samples, noise, check

    @property
    def count(self) -> int:
        """How many there are: not kept secret."""
        return self._samples.count

    def sum_gradients(self, weights: Tensor, directions: Tensor, clip: float, noise: int) -> Tensor:
        """The noised sum [k] of gradients along `directions` [parameters, k], float64; costs count_cost(noise)."""
        total = np.zeros(directions.shape[1], np.int64)
        for gradients in differentiate_each(self._objective, self._samples, weights):
            self._check()
            total += clip_to_grid(gradients @ directions, clip).sum(0)
        total += draw_noise(len(total), noise, self._noise)
        return torch.from_numpy(total.astype(np.float64)) * (clip * 2.0**-GRID_F)


def clip_to_grid(gradients: Tensor, clip: float) -> Integers:
    """Rows [b, k] in units of clip 2^-30, none of them longer than 2^30. Rows that are no numbers are zeros."""
    rows = gradients.double().numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = rows / clip
        lengths = np.sqrt(np.square(scaled).sum(1))
        shortened = scaled * (SLACK / np.maximum(lengths, SLACK))[:, None]
    shortened[~np.isfinite(lengths)] = 0.0  # one that is too long to be measured tells nothing, too
    units: Integers = np.trunc(np.ldexp(shortened, GRID_F)).astype(np.int64)
    return units


def draw_noise(count: int, noise: int, secret: SecretNoise) -> Integers:
    """Normal numbers of a deviation in units of 2^-24 of the clip, rounded to the grid."""
    units: Integers = np.rint(secret.draw_normal(count) * math.ldexp(noise, GRID_F - NOISE_F)).astype(
        np.int64
    )
    return units
