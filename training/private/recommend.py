"""Which mechanism, and what error to expect of it: from public numbers alone, as the choice is public.

Error per entry is the root of the mean square of Z - M over all entries. By sampling, with S = M + eta I,

    E |Z - M|_F^2 = ((tr S)^2 + |S|_F^2) / k,

which grows with M: least at M = 0, largest at d equal records of length alpha. By Gaussian noise it is, for any M,
sigma^2 n (n + 1) / 2. As eta grows, k grows as eta^2 and the samples' average becomes Gaussian: sampling then tends to
the Gaussian mechanism from above, by 1 + tr M / (n eta). What is left to it is an error relative to M + eta I, a
positive semidefinite Z + eta I, and where records are very few a smaller error: 0.1 % at epsilon 1, delta 1e-5, and a
sixth at epsilon 16, delta 1e-3, with the best eta and M = 0. [our derivation and figures]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.private.gaussian import find_noise
from training.private.gram import Terms
from training.private.release import Mechanism, Plan, try_to_count

CONFIDENCE = 0.01  # gamma: bounds fail with at most this probability


@dataclass(frozen=True, slots=True)
class Expected:
    """Errors per entry of Z: root mean square. Those of sampling are infinite where no sample is allowed."""

    sampling_least: float
    sampling_most: float
    gaussian: float


def expect_error(plan: Plan, n: int, d: int) -> Expected:
    """Of both mechanisms, for n rows and d records."""
    gaussian = plan.sigma * math.sqrt((n + 1) / (2 * n))
    if not plan.samples:
        return Expected(math.inf, math.inf, gaussian)
    eta, most = plan.terms.eta, d * plan.terms.alpha**2
    squares = ((n * eta) ** 2 + n * eta**2, (n * eta + most) ** 2 + n * eta**2 + 2 * eta * most + most**2)
    least, largest = (math.sqrt(square / plan.samples) / n for square in squares)
    return Expected(least, largest, gaussian)


def recommend(terms: Terms, n: int, d: int) -> tuple[Plan, str]:
    """The plan whose largest expected error is the lower one, and why, as a sentence."""
    accounted, sigma = try_to_count(terms), find_noise(terms)
    plan = Plan(terms, "gaussian", accounted, sigma)
    if accounted is None:
        return (
            plan,
            "not one sample is within epsilon and delta at this eta, so there is nothing to choose from",
        )
    expected = expect_error(plan, n, d)
    mechanism: Mechanism = "sampling" if expected.sampling_most < expected.gaussian else "gaussian"
    return Plan(terms, mechanism, accounted, sigma), explain(expected)


def explain(expected: Expected) -> str:
    least, most, gaussian = (
        f"{value:.3g}" for value in (expected.sampling_least, expected.sampling_most, expected.gaussian)
    )
    errors = f"expected error per entry: Gaussian {gaussian}, sampling {least} to {most} by what the data are"
    if expected.sampling_most < expected.gaussian:
        return f"{errors}; sampling is better whatever the data are"
    if expected.sampling_least < expected.gaussian:
        return f"{errors}; only the Gaussian mechanism's is sure to be so low"
    return f"{errors}; the Gaussian mechanism is better whatever the data are"


def bound_entry(plan: Plan, n: int, d: int) -> float:
    """What no entry of Z - M exceeds with probability 1 - CONFIDENCE, whatever the data are.

    Sampling: an entry is a difference of two quadratic forms of S, each off by a chi-square's share u of itself, so by
    at most u max S_ii; u = 2 sqrt(x/k) + 2 x/k with n^2 such forms (Laurent and Massart). Gaussian:
    n (n + 1) / 2 entries, none of a larger deviation than sigma.
    """
    if plan.mechanism == "gaussian":
        return plan.sigma * math.sqrt(2 * math.log(n * (n + 1) / CONFIDENCE))
    x = math.log(2 * n * n / CONFIDENCE)
    share = 2 * math.sqrt(x / plan.samples) + 2 * x / plan.samples
    return share * (d * plan.terms.alpha**2 + plan.terms.eta)
