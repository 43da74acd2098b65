"""What an attack is: offers to a market beside eight honest miners, each with SHARES shares.

Honest miners train on the training split from V_(k-1), which the reveals on the chain foresee. Attackers see
everything that a View holds: as if each mined the last block of every round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lab import Images, Integers, Lab, Miners, Practice, get_lab
from market import Judge, Market, Offer, View

from training.payload import encode_payload

SHARES = 8  # of an honest miner, so that one can also stand behind eight identities
HONEST = 8
KEPT, BITS = 4096, 4  # of a payload's chunk
ATTACKER = HONEST  # the first identity that is not honest


@dataclass(frozen=True)
class Bar:
    """The most that an attack may earn, as a multiple of what an honest miner earns.

    It is for each identity; with `per_share`, for all of them together over the shares behind them.
    """

    most: float
    per_share: bool = False


NOTHING = Bar(0.05)
NO_MORE = Bar(1.0)
PER_SHARE = Bar(1.1, per_share=True)


def encode(delta: Integers) -> bytes:
    return encode_payload(delta, KEPT, BITS)


class Attack:
    """One attacker of one identity, who offers a delta a round."""

    name: ClassVar[str]
    bar: ClassVar[Bar | None] = NO_MORE
    identities: ClassVar[int] = 1
    shares: ClassVar[int] = SHARES  # of each identity

    def __init__(self, market: Market) -> None:
        self.market = market
        self.lab: Lab = market.lab
        self.start()

    def start(self) -> None:
        """Prepare what lasts for all rounds."""

    def make_offers(self, view: View) -> Sequence[Offer]:
        """The round's updates: by default the same payload for every identity, none without a delta."""
        delta = self.make_delta(view)
        if delta is None:
            return ()
        payload = encode(delta)
        return [Offer(ATTACKER + i, self.shares, payload) for i in range(self.identities)]

    def make_delta(self, view: View) -> Integers | None:
        """What to offer, in master units."""
        raise NotImplementedError

    def reveals(self, offer: Offer, judge: Judge) -> bool:
        """Whether to publish the payload, once the samples are known."""
        return True

    def measure(self, weights: bytes) -> dict[str, float]:
        """What the attack did to the model, beside its loss."""
        return {}

    # --- what attackers have in common

    def train_honestly(self, view: View) -> Integers:
        return self.train_on(view, self.lab.train_images)

    def train_on(self, view: View, images: Images, how: Practice | None = None) -> Integers:
        rng = self.market.make_rng("attacker", view.round)
        return self.lab.train(view.base, images, rng, how)


class Honest(Attack):
    """No attack, the control: one more honest miner."""

    name = "honest"
    bar: ClassVar[Bar | None] = None

    def make_delta(self, view: View) -> Integers:
        return self.train_honestly(view)


def make_honest_offers(market: Market, view: View) -> list[Offer]:
    """What the honest miners train: each for itself, on minibatches of its own."""
    lab = market.lab
    rngs = [market.make_rng("honest", view.round, who) for who in range(HONEST)]
    deltas = [lab.train(view.base, lab.train_images, rng) for rng in rngs]
    return [Offer(who, SHARES, encode(delta)) for who, delta in enumerate(deltas)]


def make_market(seed: int, miners: Miners = "adam") -> Market:
    """The market that a number draws."""
    return Market(get_lab(miners), seed.to_bytes(8, "big"))
