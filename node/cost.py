"""What a block costs in gradients and energy, and what it costs to rewrite some: a lower bound, every term by name.

The least that M racing nodes spend for a block: M K gradients, of 6 P T floating-point operations each (a model of P
parameters, T tokens: Kaplan et al. 2020), at so many operations a joule, at a price a kilowatt-hour. An attacker of a
share q of all power spends q/p of that while the honest nodes make a block, and wins with the exact risk of
node/safety.py. Source: after 2308.10502, whose own estimate could not be read; this one is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from node.safety import MOST_CONFIRMATIONS, compute_exact_risk

FLOPS_A_TOKEN = 6  # a parameter: a multiplication and an addition forwards, twice that backwards
JOULES_A_KWH = 3.6e6
SECONDS_A_YEAR = 365.25 * 86400


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the estimate rests on. All above 0; attacker in (0, 1)."""

    params: float  # of the model
    tokens: float  # of a gradient
    nodes: float  # honest ones that race for a block
    price: float  # money per kWh
    gradients: float  # of a node for a block
    flops_a_joule: float
    block_s: float
    attacker: float
    confirmations: int

    def __post_init__(self) -> None:
        for name in ("params", "tokens", "nodes", "price", "gradients", "flops_a_joule", "block_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}: a number above 0 expected, got {value:g}")
        if not 0 < self.attacker < 1:
            raise ValueError(f"attacker: a share of all power in (0, 1) expected, got {self.attacker:g}")
        if not 1 <= self.confirmations <= MOST_CONFIRMATIONS:
            came = self.confirmations if self.confirmations < 10**12 else "far more"
            raise ValueError(f"confirmations: 1 to {MOST_CONFIRMATIONS:,} expected, got {came}")


@dataclass(frozen=True, slots=True)
class Term:
    """A value of the estimate, how it comes about, and its unit ("" for a probability or a ratio)."""

    key: str
    name: str
    formula: str
    value: float
    unit: str


def estimate_cost(given: Assumptions) -> tuple[Term, ...]:
    """All terms, each from those before it."""
    flops = FLOPS_A_TOKEN * given.params * given.tokens
    gradient_kwh = flops / given.flops_a_joule / JOULES_A_KWH
    block_gradients = given.nodes * given.gradients
    block_kwh = block_gradients * gradient_kwh
    block_price = block_kwh * given.price
    blocks = SECONDS_A_YEAR / given.block_s
    honest = (
        Term("gradient_flops", "operations of a gradient", "6 x params x tokens", flops, "flop"),
        Term(
            "gradient_kwh", "energy of a gradient", "operations / flops a joule / 3.6e6", gradient_kwh, "kWh"
        ),
        Term("block_gradients", "gradients for a block", "nodes x gradients", block_gradients, ""),
        Term("block_kwh", "energy for a block", "gradients x energy of one", block_kwh, "kWh"),
        Term("block_price", "cost of a block, at least", "energy x price", block_price, "money"),
        Term("year_blocks", "blocks of a year", "31,557,600 s / block time", blocks, ""),
        Term("year_price", "cost of a year, at least", "cost x blocks", block_price * blocks, "money"),
    )
    return honest + _estimate_attack(given, block_price)


def _estimate_attack(given: Assumptions, block_price: float) -> tuple[Term, ...]:
    odds = given.attacker / (1 - given.attacker)
    honest_price = given.confirmations * block_price
    risk = compute_exact_risk(given.attacker, given.confirmations)
    try_price = odds * honest_price
    success_price = try_price / risk if risk > 0 else math.inf
    return (
        Term("rewrite_price", "cost of what is rewritten", "confirmations x cost", honest_price, "money"),
        Term("attacker_odds", "attacker's power over honest", "q / (1 - q)", odds, ""),
        Term("attack_price", "cost of one try, at least", "that x those odds", try_price, "money"),
        Term("attack_risk", "it succeeds with probability", "exact, see confirmations", risk, ""),
        Term("success_price", "cost of a success, at least", "cost of a try / risk", success_price, "money"),
    )
