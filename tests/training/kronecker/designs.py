"""Factors to sample from: even ones, and ones where three rows alone have the first column."""

import numpy as np

from training.kronecker.factors import Factor, open_factor


def draw_factor(n: int, d: int, seed: int = 1, heavy: int = 0) -> Factor:
    rng = np.random.default_rng([n, d, seed])
    rows = rng.standard_normal((n, d)) * np.geomspace(1, 30, d)
    if heavy:
        rows[:, 0] = 0
        rows[rng.permutation(n)[:heavy], 0] = 50
    return open_factor(rows, "A")
