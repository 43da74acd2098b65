"""Secret randomness: normal and chi-square numbers in float64 from SHAKE-256 over a seed that nobody else may know.

numpy's generators are no such source: who sees enough of their output knows the rest. Here the words of call c are
SHAKE-256("gc/private-noise", seed, c), so they tell nothing of the seed or of one another.

What float64 leaves open: these numbers are not continuous. Normals end at 12.1 deviations (they would pass that in 1 of
10^33 draws), and which floats can come up at all depends on what noise is added to (Mironov, CCS 2012); releases are
rounded to a grid, which hides the low bits but proves nothing. The time a draw takes depends on it, too.
"""

from __future__ import annotations

import hashlib
import math
import os

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SEED_BYTES = 32
TAG = b"gc/private-noise"
UNIFORM_STEP = 2.0**-53


FARTHEST = 12.1  # deviations: no normal number that is drawn is farther out than 12.18


class SecretNoise:
    """A stream of random numbers. `seed` is for tests and auditors: the same seed twice is no secret any more."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._seed = os.urandom(SEED_BYTES) if seed is None else seed
        if len(self._seed) != SEED_BYTES:
            raise ValueError(f"seed: {SEED_BYTES} bytes expected, {len(self._seed)} came")
        self._calls = 0

    def draw_uniform(self, count: int) -> Array:
        """`count` numbers in the open interval (0, 1), the middles of 2^53 steps."""
        data = TAG + self._seed + self._calls.to_bytes(8, "big")
        self._calls += 1
        words = np.frombuffer(hashlib.shake_256(data).digest(8 * count), "<u8")
        return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * UNIFORM_STEP

    def draw_normal(self, count: int) -> Array:
        """`count` standard normal numbers, by Box and Muller."""
        pairs = (count + 1) // 2
        coarse, fine, turn = self.draw_uniform(3 * pairs).reshape(3, pairs)
        # 53 bits end at 8.6 deviations, within reach of small deltas; 53 more below them go to 12.
        distance = (coarse - UNIFORM_STEP / 2) + fine * UNIFORM_STEP
        radius, angle = np.sqrt(-2 * np.log(distance)), 2 * math.pi * turn
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]

    def draw_chi_square(self, degrees: int) -> float:
        """One chi-square number: the square of a normal, or twice a gamma number."""
        if degrees == 1:
            return float(self.draw_normal(1)[0]) ** 2
        return 2 * self._draw_gamma(degrees / 2)

    def _draw_gamma(self, shape: float) -> float:
        """Shape 1 or more. Marsaglia and Tsang, ACM TOMS 26 (2000): exact, one try in twenty or less is in vain."""
        d = shape - 1 / 3
        c = 1 / math.sqrt(9 * d)
        while True:
            x = float(self.draw_normal(1)[0])
            v = (1 + c * x) ** 3
            u = float(self.draw_uniform(1)[0])
            if v > 0 and math.log(u) < x * x / 2 + d * (1 - v + math.log(v)):
                return d * v
