"""The privacy loss of k Gaussian samples, at the pair of neighbours where it is largest; the paper's rule for k.

The release tells as much as k samples of N(0, S), S = Y Y^T + eta I, whose outer products it averages. A neighbour
replaces y by y': with C what the others and the ridge make, S = C + y y^T and S' = C + y' y'^T, C >= eta I. Whitened by
C, with u = C^-1/2 y and v = C^-1/2 y', |u|^2 and |v|^2 are at most r = alpha^2 / eta. Of S'^-1/2 S S'^-1/2 all
eigenvalues but two are 1, and ln p(g) / p'(g) of k samples is, for independent chi-square numbers of k degrees,

    L = 1/2 sum_i [(lam_i - 1) chi2_k - k ln lam_i]                               where the samples are drawn from S.

Largest: lam_1 = max_x (1 + <u,x>^2) / (1 + <v,x>^2) <= 1 + r, and lam_2 >= 1 / (1 + r), likewise. Telling N(0, lam)
from N(0, 1) becomes only harder as lam moves towards 1: x -> s x + noise of variance 1 - s^2 turns the one into
1 + s^2 (lam - 1) and keeps the other. The two directions are independent, so by post-processing no pair of neighbours
is told apart better than the one with eigenvalues 1 + r and 1 / (1 + r), at any epsilon. It exists where n >= 2: other
records 0, y and y' orthogonal of length alpha. Swapped it has the same eigenvalues, so both directions are one. Adding
or removing a record (v = 0: 1 + r and 1) is covered. [our derivation; the paper bounds the Frobenius norm instead]

There the logarithms cancel: L = r G - r/(1+r) G', G and G' of Gamma(k/2), and E exp(s L) = (1 - q s (s+1))^(-k/2) with
q = r^2 / (1 + r), finite for -1 - 1/r < s < 1/r.
"""

from __future__ import annotations

import math

from training.private.gram import Terms


def get_eigenvalues(ratio: float) -> tuple[float, float]:
    """The two eigenvalues that differ from 1 at the worst pair of neighbours, for ratio = alpha^2 / eta."""
    return 1 + ratio, 1 / (1 + ratio)


def get_spread(ratio: float) -> float:
    """The paper's Delta at the worst pair: the Frobenius norm of S^1/2 S'^-1 S^1/2 - I."""
    high, low = get_eigenvalues(ratio)
    return math.hypot(high - 1, 1 - low)


def count_by_paper(terms: Terms) -> int:
    """The most samples that the paper's condition allows, 0 for none: its Theorem, with Delta as above.

    Delta <= min(epsilon / sqrt(8 k ln(1/delta)), epsilon / (8 ln(1/delta))).
    """
    logarithm, spread = -math.log(terms.delta), get_spread(terms.ratio)
    if spread > terms.epsilon / (8 * logarithm):
        return 0
    return int(terms.epsilon**2 / (8 * spread**2 * logarithm))


def bound_delta(samples: int, ratio: float, epsilon: float, order: float) -> float:
    """An upper bound of delta from the Renyi divergence of order 1 + `order`, 0 < order < 1/ratio. In closed form.

    E (1 - e^(epsilon - L))+ <= E e^(s (L - epsilon)) s^s / (1 + s)^(1 + s): the largest of (1 - e^-x) e^(-s x).
    """
    s, q = order, ratio * ratio / (1 + ratio)
    logarithm = -samples / 2 * math.log1p(-q * s * (s + 1)) - s * epsilon
    return math.exp(min(0.0, logarithm + s * math.log(s) - (1 + s) * math.log1p(s)))
