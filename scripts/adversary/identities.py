"""Attacks with many identities, and with what is revealed of an update."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attack import ATTACKER, NO_MORE, NOTHING, PER_SHARE, SHARES, Attack, Honest, encode
from lab import Integers
from market import Judge, Offer, View


class Split(Attack):
    """Eight identities with one update and one share each: an honest miner's shares and training, cut up."""

    name = "8 identities, shares split"
    bar = PER_SHARE
    identities = 8
    shares = 1

    def make_delta(self, view: View) -> Integers:
        return self.train_honestly(view)


class Sybils(Split):
    """Eight identities with an honest miner's shares each, and one training for all."""

    name = "8 identities, 1 training"
    shares = SHARES


class Whale(Split):
    """One identity with twice the shares and one training."""

    name = "twice the shares"
    identities = 1
    shares = 2 * SHARES


class NonRevealer(Honest):
    """Trains and commits, and never publishes its payload."""

    name = "never reveal"
    bar = NOTHING

    def reveals(self, offer: Offer, judge: Judge) -> bool:
        return False


class SelectiveRevealer(Honest):
    """Publishes its payload only if that alone would be credited on the samples, which are known by then."""

    name = "reveal what pays"
    bar = NO_MORE

    def reveals(self, offer: Offer, judge: Judge) -> bool:
        return judge.credit_alone(offer) > 0


class Chooser(Attack):
    """Eight identities of one share commit to eight trainings; only the one that the samples like best is revealed."""

    name = "reveal the best of 8"
    bar = PER_SHARE
    identities = 8
    shares = 1

    def make_offers(self, view: View) -> Sequence[Offer]:
        rngs = [self.market.make_rng("attacker", view.round, i) for i in range(self.identities)]
        deltas = [self.lab.train(view.base, self.lab.train_images, rng) for rng in rngs]
        self._offers = [Offer(ATTACKER + i, 1, encode(delta)) for i, delta in enumerate(deltas)]
        self._best: Offer | None = None
        return self._offers

    def reveals(self, offer: Offer, judge: Judge) -> bool:
        self._best = self._best or max(self._offers, key=judge.credit_alone)
        return offer is self._best


class Garbage(Attack):
    """A payload that is none: NaNs as float32."""

    name = "NaN bytes"
    bar = NOTHING

    def make_offers(self, view: View) -> Sequence[Offer]:
        payload = np.full(len(view.base), np.nan, np.float32).tobytes()
        return [Offer(ATTACKER, SHARES, payload)]


class WrongSize(Attack):
    """An honest payload of another size than committed to."""

    name = "oversize"
    bar = NOTHING

    def make_offers(self, view: View) -> Sequence[Offer]:
        payload = encode(self.train_honestly(view))
        return [Offer(ATTACKER, SHARES, payload, size=len(payload) - 1)]
