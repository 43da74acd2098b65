"""How near samples with different targets are, in the largest-entry norm: what an adversary's reach is held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.splits import Shorts

BLOCK = 64  # samples compared with all at once


def count_near(inputs: Shorts, targets: Shorts, distance: int) -> int:
    """How many of these samples [N, d] have another one, with another target [N], within `distance` in every input.

    Inputs that differ most are looked at first: few pairs are left for the others.
    """
    columns = inputs[:, np.argsort(-np.ptp(inputs.astype(np.int64), axis=0), kind="stable")].astype(np.int32)
    return sum(
        len(np.unique(_list_near(columns, targets, first, distance)))
        for first in range(0, len(inputs), BLOCK)
    )


def _list_near(columns: NDArray[np.int32], targets: Shorts, first: int, distance: int) -> NDArray[np.int64]:
    """Which samples of a block have one, each as often as it has."""
    block = slice(first, first + BLOCK)
    near = targets[block, None] != targets
    near &= abs(columns[block, :1] - columns[:, 0]) <= distance
    which, others = np.nonzero(near)
    for column in columns.T[1:]:
        if not len(which):
            break
        kept = abs(column[first + which] - column[others]) <= distance
        which, others = which[kept], others[kept]
    return which
