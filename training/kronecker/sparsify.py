"""Few weighted pairs of rows for A1 (x) A2, found with some sqrt(n d) row queries: 2402.07027, simulated.

1. Halving (halving.py) gives B of each factor, from which every row's score s_i = min(1, tau(a_i | B)) can be computed.
2. How often row i is drawn is Poisson(T s_i / D), D = 2 d, independently: Grover search finds the rows that are drawn
   at all. Given their number M this is M draws with probabilities s_i / sum s.
3. Both lists are shuffled and paired. A pair stands for 1 / (p_i p_j) of K pairs: its row of A has weight
   1 / sqrt(K p_i p_j), p_i = s_i / (M D / T).

Poisson numbers and the pairing are ours, and so is the estimate M D / T of sum s, which nobody knows who has not read
all rows: it makes S'S unbiased, and adds a common error of about sqrt(2 / T). The simulation itself reads
everything: what it costs is told apart, and its seconds say nothing of a quantum computer's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from training.errors import ProblemRefused
from training.kronecker.factors import Factor, Floats, Ids
from training.kronecker.halving import Queries, compute_scores, count_levels, halve

PAIRS = 10.0  # of T = PAIRS d^2 log(d) / epsilon^2; with 8 one run in 20 was above epsilon on coherent rows
EXPECTED = 2.0  # D for each column: sum s is about that, as B stands for half of the rows
EPSILONS = (0.01, 0.9)
MOST_PAIRS = 1 << 22


@dataclass(frozen=True, slots=True)
class Draws:
    """Rows of one factor, drawn with replacement in random order, and the probability of each [M]."""

    ids: Ids
    chances: Floats
    queries: Queries
    is_halved: bool  # else all rows were read


@dataclass(frozen=True, slots=True)
class Sparsifier:
    """K pairs (first[k], second[k]); `weights` [K] of their rows in S, whose squares are what a pair counts."""

    first: Ids
    second: Ids
    weights: Floats
    wanted: int  # T
    draws: tuple[Draws, Draws]

    @property
    def queries(self) -> int:
        return sum(each.queries.total for each in self.draws)


def sparsify(first: Factor, second: Factor, epsilon: float, rng: np.random.Generator) -> Sparsifier:
    """Pairs whose spectral error is about epsilon at the most; measure it (spectral.py). Raises ProblemRefused."""
    wanted = count_pairs(first, second, epsilon)
    left, right = draw_rows(first, wanted, rng), draw_rows(second, wanted, rng)
    count = min(len(left.ids), len(right.ids))
    if not count:
        raise ProblemRefused("seed", "no row was drawn of a factor; take another one")
    weights: Floats = 1 / np.sqrt(count * left.chances[:count] * right.chances[:count])
    return Sparsifier(left.ids[:count], right.ids[:count], weights, wanted, (left, right))


def count_pairs(first: Factor, second: Factor, epsilon: float) -> int:
    """T for an error of epsilon. Raises ProblemRefused."""
    low, high = EPSILONS
    if not low <= epsilon <= high:
        raise ProblemRefused("epsilon", f"{low} to {high} expected, {epsilon:g} came")
    directions = first.width * second.width
    wanted = math.ceil(PAIRS * directions * max(1.0, math.log(directions) / 2) / epsilon**2)
    if wanted > MOST_PAIRS:
        raise ProblemRefused(
            "epsilon", f"at most {MOST_PAIRS:,} pairs expected, {wanted:,} would be needed: take a larger one"
        )
    return wanted


def draw_rows(factor: Factor, wanted: int, rng: np.random.Generator) -> Draws:
    """About `wanted` rows in proportion to their scores, in random order."""
    queries = Queries()
    is_halved = count_levels(factor.count, factor.width) > 0
    scores = compute_scores(factor.rows, halve(factor.rows, queries, rng))
    expected = (EXPECTED if is_halved else 1.0) * factor.width  # of all rows the scores sum to d
    times = rng.poisson(wanted * scores / expected)
    drawn = np.flatnonzero(times)
    if is_halved:
        drawn = queries.search("sampling", factor.count, drawn, rng)
    ids = rng.permutation(np.repeat(drawn, times[drawn]))
    chances: Floats = scores[ids] * wanted / (expected * max(1, len(ids)))
    return Draws(ids, chances, queries, is_halved)
