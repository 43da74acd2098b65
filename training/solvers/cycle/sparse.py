"""A tensor by the cells that are not 0: everything is linear in their number, and takes memory for a chunk of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.solvers.cycle.factors import (
    CHUNK,
    MODES,
    Factors,
    Floats,
    Ids,
    cut,
    multiply_planes,
    split_planes,
)
from training.solvers.cycle.hashes import Bases, Hash, draw_hash, shorten

if TYPE_CHECKING:
    from torch import Tensor


class SparseTensor:
    """See CycleTensor in tensors.py; cells [N, 3] each once, in the order of the array, and their values [N]."""

    def __init__(self, sizes: tuple[int, int, int], cells: Ids, values: Floats) -> None:
        self.sizes, self.values = sizes, values
        self.columns = np.ascontiguousarray(cells.T)

    @cached_property
    def squared_norm(self) -> float:
        return float(self.values @ self.values)

    def rotate(self, columns: int, rows: int, rng: np.random.Generator) -> tuple[Bases, Tensor]:
        """By two sketches, of every mode's columns for its basis, and of the rows of all modes for the core:
        C_T = A(T_1, T_2, T_3), then times the pinv(T_m Q_m)."""
        hashes = [draw_hash(size, columns, rng) for size in self.sizes]
        sketches = (
            self._sketch(mode, hashes[(mode + 1) % MODES], hashes[(mode + 2) % MODES])
            for mode in range(MODES)
        )
        first, second, third = (torch.linalg.qr(sketch).Q for sketch in sketches)
        shorter = [shorten(size, rows, rng) for size in self.sizes]
        core = torch.from_numpy(self._shrink(shorter))
        for hashed, basis in zip(shorter, (first, second, third), strict=True):
            # Its mode goes last.
            core = torch.tensordot(core, torch.linalg.pinv(hashed.apply(basis)), ([0], [1]))
        return (first, second, third), core.contiguous()

    def _sketch(self, mode: int, second: Hash, third: Hash) -> Tensor:
        length, size = second.length, self.sizes[mode]
        sketch = np.zeros(size * length)
        for chunk in cut(len(self.values)):
            rows, y, z = (self.columns[(mode + other) % MODES][chunk] for other in range(3))
            lanes = (second.buckets[y] + third.buckets[z]) % length
            signed = self.values[chunk] * second.signs[y] * third.signs[z]
            np.add.at(sketch, rows * length + lanes, signed)
        return torch.from_numpy(sketch.reshape(size, length))

    def _shrink(self, hashes: Iterable[Hash]) -> Floats:
        first, second, third = hashes
        lengths = first.length, second.length, third.length
        core = np.zeros(int(np.prod(lengths)))
        for chunk in cut(len(self.values)):
            a, b, c = self.columns[:, chunk]
            places = (first.buckets[a] * lengths[1] + second.buckets[b]) * lengths[2] + third.buckets[c]
            signed = self.values[chunk] * first.signs[a] * second.signs[b] * third.signs[c]
            np.add.at(core, places, signed)
        return core.reshape(lengths)

    def contract(self, mode: int, factors: Factors) -> Tensor:
        k, size = factors.rank, self.sizes[mode]
        second, third = (split_planes(factors[mode + other]) for other in (1, 2))
        total = np.zeros((k, k, size))
        for chunk in cut(len(self.values), max(CHUNK, size)):  # a sum as long as the mode for each
            rows, y, z = (self.columns[(mode + other) % MODES][chunk] for other in range(3))
            product = multiply_planes(second, y, third, z)
            product *= self.values[chunk]
            for j in range(k):
                for i in range(k):
                    total[i, j] += np.bincount(rows, product[j, i], size)
        return torch.from_numpy(np.ascontiguousarray(total.transpose(2, 0, 1)))

    def get_values(self, cells: Ids) -> Floats:
        keys, wanted = (np.ravel_multi_index(tuple(each), self.sizes) for each in (self.columns, cells.T))
        if not len(keys):
            return np.zeros(len(cells))
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        values: Floats = np.where(keys[found] == wanted, self.values[found], 0.0)
        return values

    def list_cells(self) -> Ids | None:
        return self.columns.T
