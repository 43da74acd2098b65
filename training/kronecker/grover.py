"""Grover search for all marked of n items, simulated exactly, every use of the marking oracle counted.

With k marked the state stays in the plane of the uniform superpositions of marked and of unmarked items: after j
iterations a measurement gives a marked one with probability sin^2((2j + 1) theta), sin theta = sqrt(k/n), and of these
each alike. So an outcome is one coin and one draw, and its law is the quantum computer's, not an estimate of it
(tests compare it with a state vector's, statevector.py). k is not known to the search: j is drawn below a bound m that
moves up with a failure (Boyer, Brassard, Hoyer and Tapp, quant-ph/9605034) and, ours, down twice as far with a success,
which keeps a third of the tries successful: a find then costs a tenth more than by the best m, and m cannot run away.
Source: 2402.07027, which takes such a search as given.

A query is one use of the oracle that marks items, as in the paper. A circuit has to read the row and to unread it
again: whoever counts that as two doubles all figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.kronecker.factors import Ids

GROWTH = 1.2  # of the bound m
PATIENCE = 9.0  # times sqrt(n) queries without a find: then all are found, but for one search in some 10^5

Measure = Callable[
    [int, Ids, int, np.random.Generator], int
]  # n, marked ids, iterations -> place among them, or -1


@dataclass(frozen=True, slots=True)
class Search:
    """Ids in the order they were found; queries up to the last find, and those after it that only certify the end."""

    found: Ids
    finding: int
    certifying: int


def compute_chance(n: int, marked: int, iterations: int) -> float:
    """The probability that a measurement after so many iterations gives a marked item."""
    angle = math.asin(math.sqrt(marked / n))
    return math.sin((2 * iterations + 1) * angle) ** 2


def measure_plane(n: int, marked: Ids, iterations: int, rng: np.random.Generator) -> int:
    """The place in `marked` of what a measurement gives; -1 for an unmarked item."""
    if len(marked) and rng.random() < compute_chance(n, len(marked), iterations):
        return int(rng.integers(len(marked)))
    return -1


def find_all(n: int, marked: Ids, rng: np.random.Generator, measure: Measure = measure_plane) -> Search:
    """Search 0..n-1 until PATIENCE ends; what was found is no longer marked. `marked` is what the oracle knows, not the
    search: only outcomes of measurements are used."""
    left, count = marked.copy(), len(marked)
    found: list[int] = []
    bound, most = 1.0, math.sqrt(n)
    finding = fruitless = 0
    while fruitless < PATIENCE * most and len(found) < n:
        iterations = int(rng.integers(math.ceil(bound)))
        fruitless += iterations + 1  # the last one looks at what was measured
        place = measure(n, left[:count], iterations, rng)
        if place < 0:
            bound = min(bound * GROWTH, most)
            continue
        found.append(int(left[place]))
        count -= 1
        left[place] = left[count]
        finding, fruitless = finding + fruitless, 0
        bound = max(bound / GROWTH**2, 1.0)
    return Search(np.array(found, np.int64), finding, fruitless)
