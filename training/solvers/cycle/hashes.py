"""CountSketch of an unfolding's columns, and of a mode: every index goes to a bucket, with a sign, drawn from a seed.

A column is a pair of indices: its bucket is the sum of theirs, its sign the product (TensorSketch: Pham and Pagh 2013).
So tables are as long as a mode, not as its square, and an array's columns can be sketched one index after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.solvers.cycle.factors import Floats, Ids

if TYPE_CHECKING:
    from torch import Tensor


Bases = tuple["Tensor", "Tensor", "Tensor"]  # of the three modes


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


def draw_hash(size: int, length: int, rng: np.random.Generator) -> Hash:
    return Hash(length, rng.integers(0, length, size), rng.choice([-1.0, 1.0], size))


def shorten(size: int, length: int, rng: np.random.Generator) -> Hash:
    """A sketch of a mode to this length; where it is no longer anyway, it stays as it is."""
    if size > length:
        return draw_hash(size, length, rng)
    return Hash(size, np.arange(size), np.ones(size))


def add_lanes(sketched: Tensor, other: Hash) -> Tensor:
    """[n, s] of [s, m, n], in which one mode of a pair is sketched to s: the other one, m long, is added."""
    lanes, _, size = sketched.shape
    signed = sketched * torch.from_numpy(other.signs)[:, None]
    buckets = sketched.new_zeros(lanes, other.length, size)
    buckets.index_add_(1, torch.from_numpy(other.buckets), signed)
    added = sketched.new_zeros(lanes, size)
    for bucket in range(other.length):  # a lane and a bucket together are a lane
        added += torch.roll(buckets[:, bucket], bucket, 0)
    return added.T
