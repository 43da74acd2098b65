"""The attention matrix D(Z)^-1 exp(Z) of a released Z, by the exact softmax: the same bits on every machine.

Z stands on steps of 2^-24 with at most 52 bits, so differences of its entries are exact, and training/exact takes them
as it takes scores of a job; the result stands on steps of 2^-20. It depends on the data through Z alone, so it costs no
privacy, and whoever has Z can compute it again.
"""

from __future__ import annotations

import math

import numpy as np

from training.errors import PrivacyRefused
from training.exact.functions import ATTENTION_F, softmax
from training.exact.late import torch
from training.private.gram import Array
from training.private.recommend import bound_entry
from training.private.release import LARGEST, STEP, Plan

STEP_BITS = 24
CLAIM_LIMIT = 0.1  # of r: the paper's own bound is for less


def make_attention(z_nn: Array) -> Array:
    """Rows of softmax(Z) [n, n] on steps of 2^-20. Raises PrivacyRefused for a Z that is not on its grid."""
    units = z_nn / STEP
    if z_nn.ndim != 2 or z_nn.shape[0] != z_nn.shape[1] or not np.abs(z_nn).max(initial=0.0) < LARGEST:
        raise PrivacyRefused("Z", f"a square matrix of numbers below {LARGEST:g} expected, {z_nn.shape} came")
    if not np.array_equal(units, np.round(units)):
        raise PrivacyRefused("Z", "steps of 2^-24 expected, numbers between them came")
    attention: Array = softmax(torch.from_numpy(units), STEP_BITS).numpy() * 2.0**-ATTENTION_F
    return attention


def estimate_error(z_nn: Array, plan: Plan) -> float:
    """Root mean square error per entry that the noise alone makes, to first order, with Z in the place of M: public.

    d A_ij = A_ij (E_ij - sum_l A_il E_il), with rows E_i of covariance (S_ii S + S_i S_i^T) / k by sampling, and
    sigma^2 / 2 (I + e_i e_i^T) by Gaussian noise. Of no use where the noise exceeds 1: then it is an upper estimate.
    """
    n = len(z_nn)
    attention = make_attention(z_nn)
    own = z_nn + plan.terms.eta * np.eye(n)
    total = 0.0
    for i in range(n):
        a = attention[i]
        if plan.mechanism == "sampling":
            spread = (own[i, i] * own + np.outer(own[i], own[i])) / plan.samples
        else:
            spread = plan.sigma**2 / 2 * np.eye(n)
            spread[i, i] *= 2
        image = spread @ a
        total += float((a * a * np.maximum(np.diag(spread) - 2 * image + a @ image, 0.0)).sum())
    return math.sqrt(total) / n


def claim_error(plan: Plan, n: int, d: int) -> tuple[float | None, str]:
    """What no entry of the attention is off by, with probability 0.99, and a sentence; None if nothing can be said.

    If no entry of Z is off by more than e, entries of the softmax change by a factor within exp(+-2 e), so by at most
    (exp(2 e) - 1) / exp(-2 r) / n where no entry of M exceeds r = d alpha^2. [ours; the paper's 4 (1 + rho + 2 r) r is
    for a data set whose own least eigenvalue is eta, without a ridge]
    """
    r = d * plan.terms.alpha**2
    if r >= CLAIM_LIMIT:
        return (
            None,
            f"none: r = d alpha^2 = {r:.3g} is not below {CLAIM_LIMIT:g}, where the theory's bounds hold",
        )
    error = bound_entry(plan, n, d)
    most = math.expm1(min(2 * error, 700.0)) * math.exp(2 * r) / n
    if most >= 1:
        return None, "none: the noise is so large that nothing is excluded"
    return most, f"at most {most:.3g} in every entry, with probability 0.99"
