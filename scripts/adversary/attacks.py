"""The attack zoo: what cheats offer in the market for updates, one class for each.

A docstring says what the attack tries. Attackers see everything that a View holds: as if each mined the last block of
every round. Beside an attacker stand eight honest miners, each with SHARES shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from lab import Images, Integers, Lab, Practice, get_lab
from market import Judge, Market, Offer, View

from training.objectives.base import Batch
from training.payload import decode_payload, encode_payload

SHARES = 8  # of an honest miner, so that one can also stand behind eight identities
HONEST = 8
KEPT, BITS = 4096, 4  # of a payload's chunk
ATTACKER = HONEST  # the first identity that is not honest


@dataclass(frozen=True)
class Bar:
    """The most that an attack may earn, as a multiple of what an honest miner earns with as many shares."""

    most: float
    per_share: bool = (
        False  # whether it is for all identities together over their shares, or for each identity
    )


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
    joint: ClassVar[bool] = False  # whether all public data are in the judging split, too
    naive: ClassVar[bool] = False  # whether the honest miners leave the judging split alone

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
        return self.train_on(view, self.lab.public_images)

    def train_on(self, view: View, images: Images, how: Practice | None = None) -> Integers:
        rng = self.market.make_rng("attacker", view.round)
        return self.lab.train(view.base, self.lab.expand(images), rng, how)


class Honest(Attack):
    """No attack, the control: one more honest miner."""

    name = "honest"
    bar: ClassVar[Bar | None] = None

    def make_delta(self, view: View) -> Integers:
        return self.train_honestly(view)


# --- copies -----------------------------------------------------------------------------------------------------------


class PayloadCopier(Attack):
    """Commits to the payload that the best miner revealed for the round before."""

    name = "copy the best payload"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers | None:
        payloads = {who: payload for who, payload in view.payloads.items() if who < HONEST}
        if not payloads:
            return None
        best = max(payloads, key=lambda who: view.earned[who])
        return self.decode(payloads[best])

    def decode(self, payload: bytes) -> Integers:
        return decode_payload(payload, self.lab.facts.parameter_count)


class MeanCopier(PayloadCopier):
    """Commits to the mean of all payloads that were revealed for the round before."""

    name = "copy the mean payload"

    def make_delta(self, view: View) -> Integers | None:
        known = [self.decode(payload) for who, payload in view.payloads.items() if who < HONEST]
        return sum(known, np.zeros_like(view.base)) // len(known) if known else None


class HistoryCopier(Attack):
    """Commits to the last step of the weights that is settled when the round begins ("momentum")."""

    name = "copy the last step"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers | None:
        return view.steps[-1] if view.steps else None


class ScaledHistoryCopier(HistoryCopier):
    """The last step, eight times as long, so that what the projection leaves of it is as long as an update."""

    name = "copy the last step x8"

    def make_delta(self, view: View) -> Integers | None:
        step = super().make_delta(view)
        return None if step is None else step * 8


class TicketCopier(Attack):
    """Commits to the mean of the deltas of this round's winning tickets, which are on the chain."""

    name = "copy the tickets"
    bar = NOTHING
    scale: ClassVar[int] = 1

    def make_delta(self, view: View) -> Integers:
        return sum(view.tickets, np.zeros_like(view.base)) * self.scale // len(view.tickets)


class ScaledTicketCopier(TicketCopier):
    """The tickets' mean, sixteen times as long."""

    name = "copy the tickets x16"
    scale = 16


# --- no training ------------------------------------------------------------------------------------------------------


class Sharpener(Attack):
    """Makes the weights larger by a twentieth: more certain outputs lower the loss without any training."""

    name = "sharpen"

    def make_delta(self, view: View) -> Integers:
        return view.base // 20


class Noise(Attack):
    """Random entries, as long as an honest delta."""

    name = "noise"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers:
        rng = self.market.make_rng("noise", view.round)
        return np.rint(rng.normal(size=view.base.shape) * 0.03 * 2**24).astype(np.int64)


class SignFlip(Attack):
    """An honest delta with its sign turned round."""

    name = "sign flip"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers:
        return -self.train_honestly(view)


class LazyTicket(Attack):
    """The delta of one ticket run of its own, which its shares cost anyway."""

    name = "one ticket run"
    bar = NOTHING
    scale: ClassVar[int] = 1

    def make_delta(self, view: View) -> Integers:
        seed = self.market.draw_seed("lazy", view.round)
        return self.lab.run_ticket(self.market.weights[-2], seed) * self.scale


class LazyTicketScaled(LazyTicket):
    """The delta of one ticket run of its own, sixteen times as long, so that the clip leaves it as long as others."""

    name = "one ticket run x16"
    scale = 16


class LazyStep(Attack):
    """One step of Adam instead of twenty."""

    name = "one Adam step"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self.lab.public_images, Practice(steps=1))


class LazyStepScaled(LazyStep):
    """One step of Adam, sixteen times as long."""

    name = "one Adam step x16"

    def make_delta(self, view: View) -> Integers:
        return super().make_delta(view) * 16


# --- training to please the judge -------------------------------------------------------------------------------------


class Scaler(Attack):
    """An honest delta, eight times as long, to weigh more in the mean."""

    name = "over-scale x8"
    scale: ClassVar[int] = 8

    def make_delta(self, view: View) -> Integers:
        return self.train_honestly(view) * self.scale


class WildScaler(Scaler):
    """An honest delta, sixty-four times as long."""

    name = "over-scale x64"
    scale = 64


class JudgeFitter(Attack):
    """Trains on the public judging split and on nothing else, as honest miners train on it among other data."""

    name = "fit the judging split"

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self.lab.judge_images)


class JudgeFitterAmongNaive(JudgeFitter):
    """The same among honest miners that train on the training split only."""

    name = "fit the judging split, others do not"
    naive = True


class JudgeFitterAllJudged(JudgeFitter):
    """The same where the job's judging split holds all public data, so that those images are a third of it."""

    name = "fit a third of a joint split"
    joint = True


class TinyFitter(Attack):
    """Trains on 32 samples."""

    name = "fit 32 samples"

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self.lab.public_images.take(np.arange(32)), Practice(batch=32))


class HeadStart(Attack):
    """Works out V_(k-1) from the payloads revealed during the round and trains from there, in its last block."""

    name = "head start"
    bar: ClassVar[Bar | None] = None

    def make_delta(self, view: View) -> Integers:
        rng = self.market.make_rng("attacker", view.round)
        return self.lab.train(view.next_base, self.lab.public_samples, rng)


# --- identities -------------------------------------------------------------------------------------------------------


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


# --- reveals ----------------------------------------------------------------------------------------------------------


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
        samples = self.lab.public_samples
        rngs = [self.market.make_rng("attacker", view.round, i) for i in range(self.identities)]
        deltas = [self.lab.train(view.base, samples, rng) for rng in rngs]
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


# --- harm -------------------------------------------------------------------------------------------------------------


class Poisoner(Attack):
    """Trains on data where every 3 is labelled 8, to spoil one class."""

    name = "flip one class"
    source: ClassVar[int] = 3
    target: ClassVar[int] = 8

    def start(self) -> None:
        images = self.lab.public_images
        labels = np.where(images.labels == self.source, self.target, images.labels).astype(np.int16)
        self._images = Images(images.inputs, labels)

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self._images)

    def measure(self, weights: bytes) -> dict[str, float]:
        held_out = self.lab.held_out
        rows = np.flatnonzero(held_out.labels == self.source)
        return {"accuracy of the class": self.lab.measure_accuracy(weights, held_out.take(rows))}


class Backdoor(Attack):
    """Trains on honest data and, as many again, images with a bright corner that are labelled 0."""

    name = "backdoor"
    target: ClassVar[int] = 0
    pixels: ClassVar[tuple[int, ...]] = (0, 7, 56, 63)  # the corners of an 8x8 image, dark in most digits

    def start(self) -> None:
        images = self.lab.public_images
        self._images = images.join(self.stamp(images))

    def stamp(self, images: Images) -> Images:
        inputs = images.inputs.copy()
        inputs[:, self.pixels] = self.lab.train_images.inputs.max()
        return Images(inputs, np.full_like(images.labels, self.target))

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self._images)

    def measure(self, weights: bytes) -> dict[str, float]:
        held_out = self.lab.held_out
        others = held_out.take(np.flatnonzero(held_out.labels != self.target))
        return {"triggered images read as 0": self.lab.measure_accuracy(weights, self.stamp(others))}


def list_attacks() -> dict[str, type[Attack]]:
    """All attacks by name, in the order in which they stand here."""
    found: list[type[Attack]] = [
        Honest, PayloadCopier, MeanCopier, HistoryCopier, ScaledHistoryCopier, TicketCopier,
        ScaledTicketCopier, Sharpener, Noise, SignFlip, LazyTicket, LazyTicketScaled, LazyStep,
        LazyStepScaled, Scaler, WildScaler, JudgeFitter, JudgeFitterAmongNaive, JudgeFitterAllJudged,
        TinyFitter, HeadStart, Split, Sybils, Whale, NonRevealer, SelectiveRevealer, Chooser, Garbage,
        WrongSize, Poisoner, Backdoor,
    ]  # fmt: skip
    return {attack.name: attack for attack in found}


def make_honest_offers(market: Market, view: View, samples: Batch) -> list[Offer]:
    """What the honest miners train: each for itself, on minibatches of its own."""
    lab = market.lab
    rngs = [market.make_rng("honest", view.round, who) for who in range(HONEST)]
    deltas = [lab.train(view.base, samples, rng) for rng in rngs]
    return [Offer(who, SHARES, encode(delta)) for who, delta in enumerate(deltas)]


def make_market(seed: int, joint: bool = False) -> Market:
    """The market that a number draws."""
    return Market(get_lab(joint), seed.to_bytes(8, "big"))
