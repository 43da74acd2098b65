"""Grover's algorithm as a quantum computer runs it, on all n amplitudes: what the plane of grover.py is tested against.

Amplitudes stay real: the oracle turns the sign of marked ones, the diffusion mirrors all at their mean.
"""

from __future__ import annotations

import numpy as np

from training.kronecker.factors import Floats, Ids

MOST_ITEMS = 1 << 14


def run_grover(n: int, marked: Ids, iterations: int) -> Floats:
    """The amplitudes [n] after so many iterations on the uniform superposition. Raises ValueError above MOST_ITEMS."""
    if n > MOST_ITEMS:
        raise ValueError(f"at most {MOST_ITEMS} items expected, {n} came")
    state = np.full(n, 1 / np.sqrt(n))
    for _ in range(iterations):
        state[marked] *= -1
        state = 2 * state.mean() - state
    return state


def measure_states(n: int, marked: Ids, iterations: int, rng: np.random.Generator) -> int:
    """What grover.measure_plane does, by a draw from all n outcomes."""
    ends = np.cumsum(run_grover(n, marked, iterations) ** 2)
    outcome = min(int(np.searchsorted(ends, rng.random() * ends[-1], side="right")), n - 1)
    places = np.flatnonzero(marked == outcome)
    return int(places[0]) if places.size else -1
