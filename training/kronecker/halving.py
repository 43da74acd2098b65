"""Repeated halving: from few rows of A the scores of half of A, from these few rows of it, and so on up to A itself.

I_0 = all rows, I_1 half of them, ..., I_L about 8 d log d, by the prefixes of one random permutation. The rows I_L are
read; B_L are they. For l = L-1 .. 1 rows of I_l are kept with probability p = min(1, c log(d) tau(a | B_{l+1})) and
weight 1/sqrt(p), found by Grover search: B_l is within a constant factor of A[I_l], and has some c d log d rows.
What a row's coin shows at a level is fixed before the search, so that the oracle is a function of the row.

A permutation whose prefixes can be listed without reading rows, of a keyed generator, makes the search of a level one
of n / 2^l items. Source: 2402.07027 after Apers and Gribling, 2311.03215, and Cohen and co-authors, 1408.5099.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from training.kronecker.factors import Floats, Ids
from training.kronecker.grover import find_all

KEPT = 6.0  # c: rows of B_l, for each of d log d
LAST = 8.0  # rows of I_L, for each of d log d
SLACK = 8.0  # roundings of a row's distance from a span


@dataclass(slots=True)
class Queries:
    """Row queries of one factor by stage: rows read outright, and the oracle's uses in searches, to find and to certify
    that nothing is left."""

    stages: dict[str, int] = field(default_factory=dict)

    def charge(self, stage: str, count: int) -> None:
        self.stages[stage] = self.stages.get(stage, 0) + count

    @property
    def total(self) -> int:
        return sum(self.stages.values())

    def search(self, stage: str, n: int, marked: Ids, rng: np.random.Generator) -> Ids:
        """Find all marked ids of 0..n-1, charged."""
        search = find_all(n, marked, rng)
        self.charge(f"{stage}, finding", search.finding)
        self.charge(f"{stage}, certifying", search.certifying)
        return search.found


def measure_logarithm(width: int) -> float:
    """log d, at least 1."""
    return max(1.0, math.log(width))


def count_levels(count: int, width: int) -> int:
    """L; 0 where there are too few rows to halve."""
    level, last = 0, LAST * width * measure_logarithm(width)
    while count >> level > last:
        level += 1
    return level


def compute_scores(rows: Floats, basis: Floats) -> Floats:
    """Generalised leverage scores a' (B'B)^+ a of rows [n, d] by B [k, d], at most 1, and 1 where a row is not in the
    span of B."""
    n, d = rows.shape
    if not len(basis):
        return np.ones(n)
    _, sizes, directions = np.linalg.svd(basis, full_matrices=False)
    rank = int((sizes > max(basis.shape) * np.finfo(float).eps * sizes[0]).sum())
    along: Floats = rows @ directions[:rank].T
    scores: Floats = np.minimum(1.0, ((along / sizes[:rank]) ** 2).sum(1))
    if rank < d:
        lengths = np.einsum("nd,nd->n", rows, rows)
        beyond = lengths - np.einsum("nr,nr->n", along, along)
        scores[beyond > SLACK * d * np.finfo(float).eps * lengths] = 1.0
    return scores


def halve(rows: Floats, queries: Queries, rng: np.random.Generator) -> Floats:
    """B_1 [k, d], weighted rows that say nearly what half of A does; all of A where there are too few rows to halve."""
    n, d = rows.shape
    last = count_levels(n, d)
    order = rng.permutation(n)
    basis: Floats = rows[order[: n >> last]]
    queries.charge("rows read", n >> last)
    for level in range(last - 1, 0, -1):
        basis = keep_rows(rows[order[: n >> level]], basis, queries, rng)
    return basis


def keep_rows(rows: Floats, basis: Floats, queries: Queries, rng: np.random.Generator) -> Floats:
    """B_l [k, d] of A[I_l] by B_{l+1}."""
    n, d = rows.shape
    chances = np.minimum(1.0, KEPT * measure_logarithm(d) * compute_scores(rows, basis))
    kept = queries.search("halving", n, np.flatnonzero(rng.random(n) < chances), rng)
    weighted: Floats = rows[kept] / np.sqrt(chances[kept])[:, None]
    return weighted
