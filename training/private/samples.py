"""How many samples a release may average: the largest k that both accountants allow."""

from __future__ import annotations

from dataclasses import dataclass

from training.errors import PrivacyRefused
from training.private.gram import Terms
from training.private.inversion import invert_delta
from training.private.loss import count_by_paper
from training.private.quadrature import integrate_delta

# Further the accountants have not been compared, and float64 has no digits left to gain.
MOST_SAMPLES = 10**12
MARGIN = 1e-6  # relative, added to every delta: far more than the accountants differ by
HALVINGS = 200


@dataclass(frozen=True, slots=True)
class Accounted:
    """A number of samples, 1 or more, with the delta that each accountant finds for it, MARGIN not yet added."""

    samples: int
    inverted: float
    integrated: float
    by_paper: int  # the samples that the paper's condition allows

    @property
    def delta(self) -> float:
        """What is spent: the larger of both, and MARGIN."""
        return max(self.inverted, self.integrated) * (1 + MARGIN)


def count_samples(terms: Terms) -> Accounted:
    """The most samples for which delta(epsilon) <= delta. PrivacyRefused where not even one is allowed."""
    if not _is_allowed(terms, 1):
        raise PrivacyRefused("eta", _explain_none(terms))
    low, high = 1, 2
    while high <= MOST_SAMPLES and _is_allowed(terms, high):
        low, high = high, 2 * high
    high = min(high, MOST_SAMPLES + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_allowed(terms, middle) else (low, middle)
    return account(terms, low)


def account(terms: Terms, samples: int) -> Accounted:
    """What `samples` samples spend."""
    inverted = invert_delta(samples, terms.ratio, terms.epsilon)
    integrated = integrate_delta(samples, terms.ratio, terms.epsilon)
    return Accounted(samples, inverted, integrated, count_by_paper(terms))


def find_least_eta(alpha: float, epsilon: float, delta: float) -> float:
    """The least ridge at which one sample is allowed, to three digits, rounded up."""
    low, high = 1e-6, 1e6  # of alpha^2 / eta
    while high / low > 1.0005:
        middle = (low * high) ** 0.5
        allowed = invert_delta(1, middle, epsilon) * (1 + MARGIN) <= delta
        low, high = (middle, high) if allowed else (low, middle)
    return float(f"{1.002 * alpha * alpha / low:.4g}")


def _is_allowed(terms: Terms, samples: int) -> bool:
    """By the quicker accountant first: mostly the other need not be asked."""
    if invert_delta(samples, terms.ratio, terms.epsilon) * (1 + MARGIN) > terms.delta:
        return False
    return integrate_delta(samples, terms.ratio, terms.epsilon) * (1 + MARGIN) <= terms.delta


def _explain_none(terms: Terms) -> str:
    least = find_least_eta(terms.alpha, terms.epsilon, terms.delta)
    return (
        f"not one sample is within epsilon {terms.epsilon:g}, delta {terms.delta:g} at alpha^2 / eta = {terms.ratio:g}:"
        f" an eta of {least:g} or more makes it possible, or a smaller alpha, or a larger epsilon or delta;"
        " or take the Gaussian mechanism, which needs no eta"
    )
