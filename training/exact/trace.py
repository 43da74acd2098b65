"""The trace: a sum over every exact product of a run, which no shortcut knows without computing them (section 7)."""

import torch
from torch import Tensor

from training.exact.counter import GAMMA, WORD, make_signed, mix_words


class Trace:
    """Folds products in the order they are declared; counts entries from 1."""

    def __init__(self) -> None:
        self.total = 0
        self.count = 0

    def add(self, product: Tensor) -> None:
        """Fold one product's exact integers, row-major, before they are rescaled or saturated."""
        x = product.contiguous().to(torch.int64).flatten()
        index = torch.arange(self.count + 1, self.count + 1 + x.numel(), dtype=torch.int64)
        folded = mix_words(x + index * make_signed(GAMMA))
        self.total = (self.total + int(folded.sum().item())) % WORD
        self.count += x.numel()


def fold(product: Tensor, trace: Trace | None) -> Tensor:
    """The product itself, folded into the trace if there is one."""
    if trace is not None:
        trace.add(product)
    return product
