"""CountSketch of an unfolding's columns, and of a mode: every index goes to a bucket, with a sign, drawn from a seed.

A column is a pair of indices: its bucket is the sum of theirs, its sign the product (TensorSketch: Pham and Pagh 2013).
So tables are as long as a mode, not as its square, and a dense tensor needs two passes for all three unfoldings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.solvers.cycle.factors import Floats, Ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Hash:
    """Buckets [n] below `length` and signs [n] of a mode's indices."""

    length: int
    buckets: Ids
    signs: Floats

    def apply(self, rows: Tensor) -> Tensor:
        """T X [length, ...] of X [n, ...]."""
        sketch = torch.zeros((self.length, *rows.shape[1:]), dtype=rows.dtype)
        signs = torch.from_numpy(self.signs).reshape(-1, *[1] * (rows.dim() - 1))
        return sketch.index_add_(0, torch.from_numpy(self.buckets), rows * signs)


Hashes = tuple[Hash, Hash, Hash]


def draw_hash(size: int, length: int, rng: np.random.Generator) -> Hash:
    return Hash(length, rng.integers(0, length, size), rng.choice([-1.0, 1.0], size))


def draw_hashes(sizes: tuple[int, int, int], length: int, rng: np.random.Generator) -> Hashes:
    """One for each mode, all into so many buckets: two of them together are the sketch of the third's columns."""
    first, second, third = (draw_hash(size, length, rng) for size in sizes)
    return first, second, third


def shorten(size: int, length: int, rng: np.random.Generator) -> Hash:
    """A sketch of a mode to this length; where it is no longer anyway, it stays as it is."""
    if size > length:
        return draw_hash(size, length, rng)
    return Hash(size, np.arange(size), np.ones(size))


def roll_together(sketched: Tensor, other: Hash) -> Tensor:
    """[n, s] of [n, m, s], in which one mode of a pair is sketched to s: the other one, m long, is added."""
    length = other.length
    lanes = (np.arange(length)[None] - other.buckets[:, None]) % length  # [m, s]: from where bucket comes
    moved = torch.gather(sketched, 2, torch.from_numpy(lanes).expand(len(sketched), -1, -1))
    return torch.einsum("nms,m->ns", moved, torch.from_numpy(other.signs))
