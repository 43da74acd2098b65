"""A Gram matrix released in private: by Gaussian sampling or by Gaussian noise; symmetric, on steps of 2^-24.

Sampling: k vectors g of N(0, Y Y^T + eta I), Z = 1/k sum g g^T - eta I. Their sum is a Wishart matrix, so it is drawn
by Bartlett's decomposition in O(n^3) whatever k is: L T T^T L^T with L the Cholesky factor and T lower trapezoidal,
chi of k, k-1, ... degrees on its diagonal and normal below. Source: arXiv 2305.04701 (and Alabi et al. for sampling);
the public ridge is ours. Everything after the draw, rounding and projection included, needs no privacy of its own.

Which of both is better is public, too: it must not depend on the data. `expect_error` has the errors that decide it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.errors import PrivacyRefused
from training.private.gaussian import draw_symmetric, find_noise
from training.private.gram import Array, Terms, check_records, check_scale, clip_records, make_gram
from training.private.noise import SecretNoise
from training.private.samples import Accounted, count_samples

Mechanism = Literal["sampling", "gaussian"]
STEP = 2.0**-24
LARGEST = 2.0**28  # of an entry: 2^52 steps


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be drawn, found without the data. `accounted` is None where not one sample is allowed."""

    terms: Terms
    mechanism: Mechanism
    accounted: Accounted | None
    sigma: float  # of the Gaussian mechanism

    @property
    def delta(self) -> float:
        """What the mechanism spends."""
        if self.mechanism == "sampling":
            assert self.accounted is not None
            return self.accounted.delta
        return self.terms.delta

    @property
    def samples(self) -> int:
        return self.accounted.samples if self.accounted else 0


def try_to_count(terms: Terms) -> Accounted | None:
    """The samples that sampling may draw; None where not even one is allowed."""
    try:
        return count_samples(terms)
    except PrivacyRefused:
        return None


def make_plan(terms: Terms, mechanism: Mechanism) -> Plan:
    """Raises PrivacyRefused for sampling without a sample, with what would make it possible."""
    accounted = count_samples(terms) if mechanism == "sampling" else try_to_count(terms)
    return Plan(terms, mechanism, accounted, find_noise(terms))


def release(plan: Plan, records_nd: Array, noise: SecretNoise, project: bool = False) -> Array:
    """Z [n, n] on steps of 2^-24; `project` makes it positive semidefinite to within its rounding.

    Raises PrivacyRefused for records that are no numbers, too many or too large, and for a Z beyond the grid.
    """
    check_records(records_nd)
    check_scale(plan.terms, *records_nd.shape)
    gram = make_gram(clip_records(records_nd, plan.terms.alpha))
    if plan.mechanism == "sampling":
        z = sample_gram(gram, plan.terms.eta, plan.samples, noise)
    else:
        z = gram + draw_symmetric(len(gram), plan.sigma, noise)
    return round_release(project_positive(z) if project else z)


def sample_gram(gram: Array, eta: float, samples: int, noise: SecretNoise) -> Array:
    """1/k sum of g g^T - eta I, for k samples g of N(0, gram + eta I)."""
    n = len(gram)
    factor = np.linalg.cholesky(gram + eta * np.eye(n))
    root = factor @ (draw_bartlett(n, samples, noise) / math.sqrt(samples))
    z: Array = root @ root.T - eta * np.eye(n)
    return z


def draw_bartlett(n: int, samples: int, noise: SecretNoise) -> Array:
    """T [n, min(n, k)] with T T^T of the Wishart distribution of k degrees: Bartlett 1933, also for k < n."""
    width = min(n, samples)
    t = np.tril(noise.draw_normal(n * width).reshape(n, width), -1)
    for i in range(width):
        t[i, i] = math.sqrt(noise.draw_chi_square(samples - i))
    return t


def project_positive(z: Array) -> Array:
    """The nearest positive semidefinite matrix, in the Frobenius norm."""
    values, vectors = np.linalg.eigh((z + z.T) / 2)
    projected: Array = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return projected


def round_release(z: Array) -> Array:
    """Symmetric, on steps of 2^-24."""
    if not np.abs(z).max() < LARGEST:
        raise PrivacyRefused(
            "alpha", f"released entries below {LARGEST:g} expected: scale Y, alpha and eta down"
        )
    lower = np.tril(np.round(z / STEP) * STEP)
    rounded: Array = lower + np.tril(lower, -1).T + 0.0  # no negative zero
    return rounded
