"""Data of the benchmarks of solvers: matrices of a given condition number, drawn from the seed."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

ROW_NORM = math.sqrt(2)  # so that scores have a deviation of 1 to 2 for parameters of deviation 1


def make_rng(seed: str, label: str = "") -> np.random.Generator:
    return np.random.default_rng(list((f"{seed}/{label}" if label else seed).encode()))


def draw_spread(rng: np.random.Generator, n: int, d: int, condition: float) -> Tensor:
    """A [n, d] with rows of norm ROW_NORM in the mean square, its singular values evenly spread in logarithm."""
    spread = draw_unit_spread(rng, n, d, condition)
    scaled: Tensor = spread * (ROW_NORM * math.sqrt(n) / spread.norm())
    return scaled


def draw_unit_spread(rng: np.random.Generator, n: int, d: int, condition: float) -> Tensor:
    """The same with a largest singular value of 1."""
    left = torch.linalg.qr(torch.from_numpy(rng.standard_normal((n, d)))).Q
    right = torch.linalg.qr(torch.from_numpy(rng.standard_normal((d, d)))).Q
    sizes = torch.logspace(0, -math.log10(condition), d, dtype=torch.float64)
    spread: Tensor = (left * sizes) @ right
    return spread
