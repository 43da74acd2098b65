"""The trace: a sum over every exact product of a run, which no shortcut knows without computing them (section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.exact.counter import U_GAMMA, WORD, mix_words
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor


class Trace:
    """Folds products in the order they are declared; counts entries from 1."""

    def __init__(self) -> None:
        self.total = 0
        self.count = 0

    def add(self, product: Tensor) -> None:
        """Fold one product's exact integers, row-major, before they are rescaled or saturated."""
        x = product.contiguous().to(torch.int64).flatten().numpy().view(np.uint64)
        index = np.arange(self.count + 1, self.count + 1 + x.size, dtype=np.uint64)
        self.total = (self.total + int(mix_words(x + index * U_GAMMA).sum())) % WORD
        self.count += x.size


def fold(product: Tensor, trace: Trace | None) -> Tensor:
    """The product itself, folded into the trace if there is one."""
    if trace is not None:
        trace.add(product)
    return product
