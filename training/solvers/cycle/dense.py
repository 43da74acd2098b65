"""A tensor as an array of all its cells: what is asked of it are matrix products over it, and it is never copied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.solvers.cycle.factors import Factors, Floats, Ids
from training.solvers.cycle.hashes import Hashes, roll_together

if TYPE_CHECKING:
    from torch import Tensor


class DenseTensor:
    """See CycleTensor in tensors.py; `values` is [n1, n2, n3] float64, contiguous."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self._seen: tuple[Tensor, Tensor] | None = None  # W and A x_3 W: modes 1 and 2 both need it

    @property
    def sizes(self) -> tuple[int, int, int]:
        first, second, third = self.values.shape
        return first, second, third

    @property
    def squared_norm(self) -> float:
        flat = self.values.flatten()
        return float(flat @ flat)

    def sketch_unfoldings(self, hashes: Hashes) -> list[Tensor]:
        first, second, third = hashes
        wide = self.values @ third.apply(torch.eye(self.sizes[2], dtype=torch.float64)).T  # [n1, n2, s]
        tall = torch.zeros((first.length, *self.sizes[1:]), dtype=torch.float64)  # [s, n2, n3]
        for row, bucket, sign in zip(self.values, first.buckets.tolist(), first.signs.tolist(), strict=True):
            tall[bucket].add_(row, alpha=sign)
        return [
            roll_together(wide, second),
            roll_together(wide.transpose(0, 1), first),
            roll_together(tall.permute(2, 1, 0), second),
        ]

    def make_core(self, bases: Iterable[Tensor], length: int, rng: np.random.Generator) -> Tensor:
        """Without a sketch: reading the array takes as long as a product with it."""
        first, second, third = bases
        core = torch.einsum("abz,by->azy", self.values @ third, second)
        return torch.einsum("azy,ax->xyz", core, first)

    def contract(self, mode: int, factors: Factors) -> Tensor:
        u, v, w = factors
        k, (first, second, third) = factors.rank, self.sizes
        if mode == 2:
            tall = (u.flatten(1).T @ self.values.reshape(first, -1)).reshape(k, k, second, third)
            return torch.einsum("ijbc,bjl->cli", tall, v)
        wide = self._contract_last(w)  # [n1, n2, l, i]
        if mode == 0:
            return torch.einsum("abli,bjl->aij", wide, v)
        return torch.einsum("abli,aij->bjl", wide, u)

    def _contract_last(self, w: Tensor) -> Tensor:
        if self._seen is None or self._seen[0] is not w:
            self._seen = w, torch.tensordot(self.values, w, 1)
        return self._seen[1]

    def get_values(self, cells: Ids) -> Floats:
        values: Floats = self.values.numpy()[tuple(cells.T)]
        return values

    def list_cells(self) -> Ids | None:
        return None
