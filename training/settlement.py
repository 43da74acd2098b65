"""The arithmetic of a settlement: clip and average deltas, search along the mean, take known steps out (section 10)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.exact.grids import MASTER
from training.exact.integers import (
    Delta,
    Direction,
    Integers,
    accumulate,
    compute_clip_factors,
    compute_squared_norm,
    divide_half_even,
    shift_half_even,
    stack_short,
    take_out,
    take_out_of_rows,
)

SumLosses = Callable[[Integers], int]
SCALE_BITS = 3
# In eighths, tried in this order; the last one is the weights themselves.
SCALES = (32, 16, 8, 4, 2, 1, 0)
SCALE_NAMES = ("4", "2", "1", "1/2", "1/4", "1/8", "0")
NOT_MADE = -1


@dataclass(frozen=True, slots=True)
class LineSearch:
    """The weights a line search ends with, which scale won, and the sum of losses at every scale.

    One that was not made has the weights it would have started from, index -1 and no losses.
    """

    weights: Integers
    index: int
    losses: tuple[int, ...]

    @property
    def made(self) -> bool:
        return self.index != NOT_MADE

    @property
    def scale(self) -> str:
        return SCALE_NAMES[self.index] if self.made else ""


class Merge:
    """Deltas with weights, each shrunk to their weighted lower median; held as int32, shrunk again when read."""

    def __init__(self, deltas: Sequence[Delta], weights: Sequence[int]) -> None:
        self._deltas, self._weights = deltas, weights
        norms = [compute_squared_norm(delta.astype(np.int64)) for delta in deltas]
        self._factors = compute_clip_factors(norms, weights)

    def iterate_means(self) -> Iterator[Integers]:
        """Of the first one, two, ... deltas, each sum over the weights of all; the last is the mean."""
        total = sum(self._weights)
        for summed in accumulate(self._deltas, self._factors, self._weights):
            yield divide_half_even(summed, total)

    def compute_mean(self) -> Integers:
        """The weighted mean of the shrunken deltas, half to even."""
        for summed in accumulate(self._deltas, self._factors, self._weights):
            last = summed
        return divide_half_even(last, sum(self._weights))


def merge_deltas(deltas: Sequence[Integers]) -> Integers:
    """The mean of the clipped deltas of tickets, which all weigh the same."""
    return Merge(deltas, [1] * len(deltas)).compute_mean()


def move_weights(weights: Integers, mean: Integers, scale: int) -> Integers:
    """sat(V + scale * mean), the scale in eighths."""
    moved = shift_half_even(mean * scale, SCALE_BITS)
    moved += weights
    np.maximum(moved, -MASTER.limit, out=moved)  # np.clip takes longer to begin than to do it
    return np.minimum(moved, MASTER.limit, out=moved)


def search_line(weights: Integers, mean: Integers, sum_losses: SumLosses) -> LineSearch:
    """Choose the scale with the lowest sum of losses; of equals the smaller, so that weights move only for less."""
    candidates = [move_weights(weights, mean, scale) for scale in SCALES]
    losses = tuple(sum_losses(candidate) for candidate in candidates)
    index = min(range(len(SCALES)), key=lambda i: (losses[i], SCALES[i]))
    return LineSearch(candidates[index], index, losses)


def skip_search(weights: Integers) -> LineSearch:
    """The line search of a round that has nothing to search along."""
    return LineSearch(weights, NOT_MADE, ())


def take_out_all(delta: Integers, directions: Sequence[Direction]) -> Integers:
    """What is left of a delta when known steps are taken out of it, one after the other."""
    for direction in directions:
        delta = take_out(delta, direction)
    return delta


def take_out_of_each(deltas: Sequence[Delta], directions: Sequence[Direction]) -> Iterator[Delta]:
    """What take_out_all leaves of every delta, as int32: they are many, and may be long."""
    for _, rows in stack_short(deltas):
        if len(rows) == 1:
            yield take_out_all(rows[0], directions).astype(np.int32)
            continue
        for direction in directions:
            rows = take_out_of_rows(rows, direction)
        yield from rows.astype(np.int32)
