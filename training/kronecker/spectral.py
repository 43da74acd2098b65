"""How far weighted pairs of rows are from A = A1 (x) A2: the eigenvalues of K S'S K' with K = R1^-T (x) R2^-T, less 1.

(1 - eps) A'A <= S'S <= (1 + eps) A'A holds for the largest of them and no smaller eps. A row of S K' is the product of
a whitened row of each factor, so nothing with n^2 rows is formed. Source: 2402.07027.
"""

from __future__ import annotations

import numpy as np

from training.kronecker.factors import Factor, Floats, Ids, whiten

BLOCK = 4096  # pairs at a time: there may be more of their features than memory


def compute_features(first: Factor, second: Factor, i: Ids, j: Ids) -> Floats:
    """Rows (a_i R1^-1) (x) (b_j R2^-1) [m, d1 d2] of pairs."""
    left, right = whiten(first, i), whiten(second, j)
    features: Floats = np.einsum("mp,mq->mpq", left, right).reshape(len(i), -1)
    return features


def measure_error(features: Floats, weights: Floats) -> float:
    """The spectral error of pairs with features [m, D], each counted `weights` [m] times (the square of a row's)."""
    return _read_gram(features.T @ (weights[:, None] * features))


def measure_pairs(first: Factor, second: Factor, i: Ids, j: Ids, weights: Floats) -> float:
    """The same of pairs (i, j) [m], of which not all features are held at a time."""
    size = first.width * second.width
    gram = np.zeros((size, size))
    for begin in range(0, len(weights), BLOCK):
        block = slice(begin, begin + BLOCK)
        features = compute_features(first, second, i[block], j[block])
        gram += features.T @ (weights[block, None] * features)
    return _read_gram(gram)


def _read_gram(gram: Floats) -> float:
    return float(np.abs(np.linalg.eigvalsh(gram) - 1).max())
