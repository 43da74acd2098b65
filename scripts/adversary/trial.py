"""One attack in one market, and what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from attack import ATTACKER, HONEST, SHARES, Attack, make_honest_offers, make_market
from attacks import list_attacks
from lab import Miners
from market import Judge, Market, Offer, View

from ledger.params import COIN

CLEAN = "no attack"


@dataclass(frozen=True)
class Trial:
    """A market of some rounds. Incomes in coins, net of bonds and fines; the attacker's is of all its identities."""

    attack: str
    seed: int
    identities: int
    shares: int  # of an attacker's identity
    income: float
    honest_income: float  # mean of the honest miners
    loss: float  # mean over the judging split, at the end
    accuracy: float  # on held-out images
    measured: dict[str, float] = field(default_factory=dict)
    clean_measured: dict[str, float] = field(default_factory=dict)
    training: float = field(
        default=0.0, compare=False
    )  # processor time of all its offers, an honest miner's being 1

    @property
    def per_identity(self) -> float:
        """Income of an identity, honest miners' being 1."""
        return self.income / self.identities / self.honest_income

    @property
    def per_share(self) -> float:
        """Income of a share, honest miners' being 1."""
        return self.income / (self.identities * self.shares) / (self.honest_income / SHARES)


@dataclass
class Clock:
    """Processor seconds that honest miners and attackers took to make their offers."""

    honest: float = 0.0
    attack: float = 0.0

    @property
    def ratio(self) -> float:
        return self.attack / (self.honest / HONEST) if self.honest else 0.0


def run_trial(name: str, seed: int, rounds: int, miners: Miners = "adam") -> Trial:
    """Play a market with an attack, or without one where the name is CLEAN."""
    kind = None if name == CLEAN else list_attacks()[name]
    market, clock = make_market(seed, miners), Clock()
    attack = kind(market) if kind else None
    for _ in range(rounds):
        play(market, attack, clock)
    return replace(describe(market, attack, name, seed), training=clock.ratio)


def play(market: Market, attack: Attack | None, clock: Clock) -> None:
    def make_offers(view: View) -> list[Offer]:
        start = time.process_time()
        honest = make_honest_offers(market, view)
        middle = time.process_time()
        offers = [*honest, *(attack.make_offers(view) if attack else ())]
        clock.honest += middle - start
        clock.attack += time.process_time() - middle
        return offers

    def reveals(offer: Offer, judge: Judge) -> bool:
        return attack is None or offer.identity < ATTACKER or attack.reveals(offer, judge)

    market.play_round(make_offers, reveals)


def describe(market: Market, attack: Attack | None, name: str, seed: int) -> Trial:
    lab, weights = market.lab, market.weights[-1]
    honest = sum(market.earned[who] for who in range(HONEST))
    everybody = sum(market.earned.values())
    probes = [probe(market) for probe in list_attacks().values()] if attack is None else []
    return Trial(
        attack=name,
        seed=seed,
        identities=attack.identities if attack else 1,
        shares=attack.shares if attack else SHARES,
        income=(everybody - honest) / COIN,
        honest_income=honest / HONEST / COIN,
        loss=lab.measure_loss(weights),
        accuracy=lab.measure_accuracy(weights, lab.held_out),
        measured=attack.measure(weights) if attack else {},
        clean_measured={key: value for each in probes for key, value in each.measure(weights).items()},
    )
