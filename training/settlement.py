"""The arithmetic of a settlement: clip the deltas, average them, search along the mean (section 10, steps 1 to 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from training.exact.grids import MASTER
from training.exact.integers import Integers, clip_to_median, compute_mean, shift_half_even

SumLosses = Callable[[Integers], int]
SCALE_BITS = 3
# In eighths, tried in this order; the last one is the weights themselves.
SCALES = (32, 16, 8, 4, 2, 1, 0)
SCALE_NAMES = ("4", "2", "1", "1/2", "1/4", "1/8", "0")


@dataclass(frozen=True, slots=True)
class LineSearch:
    """The weights a line search ends with, which scale won, and the sum of losses at every scale."""

    weights: Integers
    index: int
    losses: tuple[int, ...]


def merge_deltas(deltas: Sequence[Integers]) -> Integers:
    """The mean of the clipped deltas."""
    return compute_mean(clip_to_median(deltas))


def move_weights(weights: Integers, mean: Integers, scale: int) -> Integers:
    """sat(V + scale * mean), the scale in eighths."""
    moved: Integers = np.clip(
        weights + shift_half_even(mean * scale, SCALE_BITS), -MASTER.limit, MASTER.limit
    )
    return moved


def search_line(weights: Integers, mean: Integers, sum_losses: SumLosses) -> LineSearch:
    """Choose the scale with the lowest sum of losses; of equals the smaller, so that weights move only for less."""
    candidates = [move_weights(weights, mean, scale) for scale in SCALES]
    losses = tuple(sum_losses(candidate) for candidate in candidates)
    index = min(range(len(SCALES)), key=lambda i: (losses[i], SCALES[i]))
    return LineSearch(candidates[index], index, losses)
