"""Parts of a split that a mean loss hides: what each class costs, exactly.

A backdoor or a poisoned class need not move the mean over all samples (docs/attacks.md); it moves a part's.
"""

from dataclasses import dataclass

import numpy as np

from training.exact.integers import Integers
from training.splits import Layout, Split


@dataclass(frozen=True, slots=True)
class SliceLoss:
    """The sum of exact losses over the samples of a class, in units of 2^-40, and their number."""

    label: int
    total: int
    count: int


def find_classes(split: Split, layout: Layout) -> Integers:
    """Every sample's class, [N]: its label, or the output that its target rows are largest at, summed over rows; of
    equals the first."""
    if layout.rows is None:
        return split.labels.astype(np.int64)
    totals = split.rows.reshape(split.count, -1, layout.classes).sum(axis=1, dtype=np.int64)
    classes: Integers = totals.argmax(axis=1)
    return classes
