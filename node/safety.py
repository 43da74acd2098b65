"""How likely an attacker overtakes a payment's confirmations: the exact race of two miners, and Nakamoto's estimate.

An attacker finds the next block with probability q, the honest nodes with p = 1 - q. He builds in secret while z blocks
confirm the payment, and wins when his branch is as long as theirs, at any time after.

Sources: Nakamoto, Bitcoin (2008), section 11, which counts the attacker's blocks as Poisson; Rosenfeld, Analysis of
hashrate-based double spending (2014), which counts them as they come (negative binomial), and is higher wherever the
risk is small: size confirmations by that one. Its closed form, I_4pq(z, 1/2) (Grunspan and Perez-Marco, Double spend
races, 2018), is summed here as its series: (p - q) sum over k >= z of (2k choose k) (pq)^k, all terms positive.
"""

from __future__ import annotations

import math

MOST_CONFIRMATIONS = 10_000  # beyond, an attacker this near to half is called a majority
LEAST_RISK = 1e-15
ROUNDING = 1e-16


def compute_catch_up(attacker: float, behind: int) -> float:
    """The probability that one who is `behind` blocks behind ever draws level: (q/p)^behind; gambler's ruin."""
    _check(attacker, behind)
    return 1.0 if attacker >= 0.5 else (attacker / (1 - attacker)) ** behind


def compute_nakamoto_risk(attacker: float, confirmations: int) -> float:
    """Nakamoto's P: the best known, and too low where it is small. O(confirmations)."""
    _check(attacker, confirmations)
    if attacker == 0 or attacker >= 0.5 or confirmations == 0:
        return _get_limit(attacker, confirmations)
    log_odds = math.log(attacker / (1 - attacker))
    rate = confirmations * math.exp(log_odds)
    overtaken = [
        _get_poisson_log(rate, found) + (confirmations - found) * log_odds
        for found in range(confirmations + 1)
    ]
    return min(1.0, math.fsum(math.exp(part) for part in overtaken) + _sum_poisson_tail(rate, confirmations))


def compute_exact_risk(attacker: float, confirmations: int) -> float:
    """Rosenfeld's P, to some 12 digits however small it is."""
    _check(attacker, confirmations)
    if attacker == 0 or attacker >= 0.5 or confirmations == 0:
        return _get_limit(attacker, confirmations)
    lead = 1 - 2 * attacker  # p - q
    odds = 4 * attacker * (1 - attacker)
    if confirmations * lead * lead < 1:  # some 0.3 or more: what came before is the shorter sum
        head, term = 0.0, lead
        for found in range(confirmations):
            head += term
            term *= odds * (found + 0.5) / (found + 1)
        return 1 - head
    log_term = confirmations * math.log(odds) + _get_central_log(confirmations)
    return lead * math.exp(log_term) * _sum_ratios(odds, confirmations)


def find_confirmations(attacker: float, risk: float) -> int | None:
    """The fewest confirmations with an exact risk of at most `risk`; None if MOST_CONFIRMATIONS are not enough."""
    if not LEAST_RISK <= risk <= 1:
        raise ValueError(f"risk: in [{LEAST_RISK:g}, 1] expected, got {risk}")
    low, high = -1, 1  # the risk of `low` is too high
    while compute_exact_risk(attacker, high) > risk:
        if high >= MOST_CONFIRMATIONS:
            return None
        low, high = high, min(2 * high, MOST_CONFIRMATIONS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if compute_exact_risk(attacker, middle) <= risk else (middle, high)
    return high


def _check(attacker: float, blocks: int) -> None:
    if not 0 <= attacker <= 1:
        raise ValueError(f"attacker: a share of all power in [0, 1] expected, got {attacker}")
    if blocks < 0:
        raise ValueError(f"confirmations: 0 or more expected, got {blocks}")


def _get_limit(attacker: float, confirmations: int) -> float:
    """Where there is nothing to compute: no confirmation, or a majority, is a sure success."""
    return 0.0 if attacker == 0 and confirmations > 0 else 1.0


def _get_central_log(found: int) -> float:
    """The logarithm of (2k choose k) / 4^k, of which the exact risk is a series."""
    return math.lgamma(found + 0.5) - math.lgamma(found + 1) - 0.5 * math.log(math.pi)


def _sum_ratios(odds: float, found: int) -> float:
    """The terms of that series from `found` on, as shares of the first."""
    term, total = 1.0, 0.0
    while term > ROUNDING * total:
        total += term
        term *= odds * (found + 0.5) / (found + 1)
        found += 1
    return total


def _get_poisson_log(rate: float, found: int) -> float:
    return found * math.log(rate) - rate - math.lgamma(found + 1)


def _sum_poisson_tail(rate: float, above: int) -> float:
    """P(N > above) for above >= rate: terms that only fall."""
    term, total, found = math.exp(_get_poisson_log(rate, above + 1)), 0.0, above + 1
    while term > ROUNDING * total:
        total += term
        found += 1
        term *= rate / found
    return total
