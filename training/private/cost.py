"""What noised sums of a miner's updates cost, and how much (epsilon, delta) allows in all: integers, rounded safely.

A sum of gradients, each clipped to length C, moves by at most 2 C when one sample is replaced. With Gaussian noise of
deviation noise * C on every entry it is as hard to see as whether a number is of N(0, 1) or N(mu, 1), mu = 2 / noise.
That composes exactly, whatever a sum is asked about after those before it: k of them are as private as one with
mu^2 = mu_1^2 + ... + mu_k^2 (Dong, Roth and Su, Gaussian differential privacy, arXiv 1905.02383; that one may stop, or
ask on, by what came out: Smith and Thakurta, arXiv 2210.17520). So *cost* is mu^2, costs add up, and the most that
(epsilon, delta) allows is where Balle's and Wang's exact delta (gaussian.py) meets delta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.errors import PrivacyRefused
from training.private.gaussian import compute_delta, compute_tail
from training.private.noise import FARTHEST

COST_F = 40  # costs are in units of 2^-40
NOISE_F = 24  # deviations, in units of 2^-24 of the clip
EPSILON_UNITS, DELTA_UNITS = 10**3, 10**15  # of one
MOST_EPSILON = 64 * EPSILON_UNITS  # e^64: a promise of less is none in any sense
MOST_UPDATES, MOST_STEPS = 1 << 20, 64
MOST_NOISE = 1 << (18 + NOISE_F)  # further, noise and sums would leave what float64 and int64 hold exactly
MOST_COST = 1 << 62
MARGIN = 1e-9  # relative, of delta: more than its computation errs by
HALVINGS = 200
CUT = 1e-3  # of delta, at the most, that where the drawn noise ends may add
DEFAULT_UPDATES, DEFAULT_STEPS = 32, 1


@dataclass(frozen=True, slots=True)
class PrivacyTerms:
    """A total for the life of some samples, and for how many updates of how many noised sums it is to last.

    `epsilon` in thousandths, `delta` in units of 10^-15.
    """

    epsilon: int
    delta: int
    updates: int = DEFAULT_UPDATES
    steps: int = DEFAULT_STEPS

    def __post_init__(self) -> None:
        _check("epsilon", self.epsilon, MOST_EPSILON, "thousandths")
        _check("delta", self.delta, DELTA_UNITS - 1, "units of 10^-15")
        _check("updates", self.updates, MOST_UPDATES, "updates")
        _check("steps", self.steps, MOST_STEPS, "noised sums in an update")


def count_total(epsilon: int, delta: int) -> int:
    """The most cost that is (epsilon, delta)-private, rounded down."""
    wanted_epsilon, wanted_delta = epsilon / EPSILON_UNITS, delta / DELTA_UNITS
    low, high = 0, MOST_COST
    while high - low > 1:
        middle = (low + high) // 2
        is_private = compute_cost_delta(middle, wanted_epsilon) * (1 + MARGIN) <= wanted_delta
        low, high = (middle, high) if is_private else (low, middle)
    return low


def compute_cost_delta(cost: int, epsilon: float) -> float:
    """delta(epsilon) of what costs so much in all."""
    return compute_delta(1.0, math.sqrt(cost * 2.0**-COST_F), epsilon) if cost else 0.0


def find_epsilon(cost: int, delta: int) -> float:
    """The least epsilon, rounded up in its last digits, for which a cost is (epsilon, delta)-private."""
    wanted, low, high = delta / DELTA_UNITS, 0.0, 1.0
    if compute_cost_delta(cost, 0.0) <= wanted:
        return 0.0
    while compute_cost_delta(cost, high) > wanted:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if compute_cost_delta(cost, middle) > wanted else (low, middle)
    return high * (1 + 1e-9)


def count_cost(noise: int, sums: int = 1) -> int:
    """What noised sums cost, each rounded up; `noise` in units of 2^-24 of the clip."""
    return sums * -(-(1 << (2 + 2 * NOISE_F + COST_F)) // noise**2)


def find_noise(terms: PrivacyTerms) -> int:
    """The least deviation for which the updates of the terms cost no more than their total.

    Raises PrivacyRefused where the noise would be beyond all use.
    """
    sums = terms.updates * terms.steps
    each = count_total(terms.epsilon, terms.delta) // sums
    noise = math.isqrt((1 << (2 + 2 * NOISE_F + COST_F)) // each) + 1 if each else MOST_NOISE
    if noise >= MOST_NOISE:
        raise PrivacyRefused(
            "privacy",
            f"an epsilon of {terms.epsilon / EPSILON_UNITS:g} is too little for {sums} noised sums: ask for fewer"
            " updates",
        )
    _check_ends(terms, noise, sums)
    return noise


def _check_ends(terms: PrivacyTerms, noise: int, sums: int) -> None:
    """Drawn noise ends where a normal number would go on: what lies beyond one neighbour's end tells it from the other.

    Raises PrivacyRefused where that is as likely as a share CUT of delta.
    """
    mu = 2.0 * 2**NOISE_F / noise
    told = sums * (compute_tail(FARTHEST - mu) - compute_tail(FARTHEST))
    if told > CUT * terms.delta / DELTA_UNITS:
        raise PrivacyRefused(
            "privacy",
            f"epsilon {terms.epsilon / EPSILON_UNITS:g} and delta {terms.delta / DELTA_UNITS:g} for {sums} noised sums"
            f" need noise beyond {FARTHEST} deviations, where ours ends: ask for a smaller epsilon, a larger delta or"
            " more updates",
        )


def _check(field: str, value: int, most: int, unit: str) -> None:
    if not 1 <= value <= most:
        raise PrivacyRefused(field, f"1 to {most} {unit} expected, {value} came")
