"""A tensor as an array of all its cells: what is asked of it are matrix products over it, and it is never copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.solvers.cycle.factors import MODES, Factors, Floats, Ids
from training.solvers.cycle.hashes import Bases, draw_hash, pair

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 1e-13  # of a norm: what is no further from a span is in it


class DenseTensor:
    """See CycleTensor in tensors.py; `values` is [n1, n2, n3] float64, contiguous; `squared_norm` its squares' sum."""

    def __init__(self, values: Tensor, squared_norm: float | None = None) -> None:
        self.values, self._squared_norm = values, squared_norm
        self._seen: tuple[Tensor, Tensor] | None = None  # W and A x_3 W: modes 1 and 2 both need it
        self._rotated: tuple[Tensor, Tensor] | None = None  # Q_3 and A x_3 Q_3

    @property
    def sizes(self) -> tuple[int, int, int]:
        first, second, third = self.values.shape
        return first, second, third

    @property
    def squared_norm(self) -> float:
        if self._squared_norm is None:
            flat = self.values.flatten()
            self._squared_norm = float(flat @ flat)
        return self._squared_norm

    def rotate(self, columns: int, rows: int, rng: np.random.Generator) -> tuple[Bases, Tensor]:
        """One mode after the other, each on what the bases before have left of the array: it is read twice for the
        last mode and hardly again. Rows are not sketched: reading the array takes as long as a product with it."""
        left, found = self.values, []
        self._rotated = None
        for _ in range(MODES):
            basis = torch.linalg.qr(_sketch_last(left, columns, rng)).Q
            found.append(basis)
            product = left @ basis
            self._rotated = self._rotated or (basis, product)
            left = product.permute(2, 0, 1).contiguous()  # the mode before it comes last
        third, second, first = found
        return (first, second, third), left

    def contract(self, mode: int, factors: Factors) -> Tensor:
        u, v, w = factors
        k, (first, second, third) = factors.rank, self.sizes
        product: Tensor
        if mode == 2:
            tall = (u.flatten(1).T @ self.values.reshape(first, -1)).reshape(k, k, second, third)
            product = torch.tensordot(tall, v, ([2, 1], [0, 1])).permute(1, 2, 0)
        elif mode == 0:
            product = torch.tensordot(self._contract_last(w), v, ([1, 2], [0, 2]))
        else:
            product = torch.tensordot(self._contract_last(w), u, ([0, 3], [0, 1])).transpose(1, 2)
        return product

    def _contract_last(self, w: Tensor) -> Tensor:
        """[n1, n2, l, i]."""
        if self._seen is None or self._seen[0] is not w:
            product = self._contract_lifted(w)
            self._seen = w, torch.tensordot(self.values, w, 1) if product is None else product
        return self._seen[1]

    def _contract_lifted(self, w: Tensor) -> Tensor | None:
        """Without reading the array, where W is in the span of Q_3: as a core's factors are, lifted."""
        if self._rotated is None:
            return None
        basis, product = self._rotated
        small = torch.tensordot(basis.T, w, 1)
        if float((torch.tensordot(basis, small, 1) - w).norm()) > ROUNDING * float(w.norm()):
            return None
        lifted: Tensor = torch.tensordot(product, small, 1)
        return lifted

    def get_values(self, cells: Ids) -> Floats:
        values: Floats = self.values.numpy()[tuple(cells.T)]
        return values

    def list_cells(self) -> Ids | None:
        return None


def _sketch_last(values: Tensor, columns: int, rng: np.random.Generator) -> Tensor:
    """Y [n3, s] of an array [n1, n2, n3]: its last mode's unfolding, the columns sketched, in a pass without a copy."""
    first, second = (draw_hash(size, columns, rng) for size in values.shape[:2])
    lanes, signs = pair(first, second)
    order = np.argsort(lanes, kind="stable")
    begins = np.searchsorted(lanes[order], np.arange(columns))
    summed = torch.nn.functional.embedding_bag(
        torch.from_numpy(order),
        values.flatten(0, 1),
        torch.from_numpy(begins),
        mode="sum",
        per_sample_weights=torch.from_numpy(signs[order]),
    )
    return summed.T
