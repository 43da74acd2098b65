"""Attacks that train nothing, next to nothing, or from weights that are out of date."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attack import NOTHING, Attack
from lab import Integers, Practice
from market import View

from training.merge import STEPS_KNOWN


class Sharpener(Attack):
    """Makes the weights larger by a twentieth: more certain outputs lower the loss without any training."""

    name = "sharpen"

    def make_delta(self, view: View) -> Integers:
        return view.base // 20


class Stale(Attack):
    """Trains as honest miners do, but from V_(k-2), as the tickets do, which is what it costs not to look ahead."""

    name = "stale by a round"

    def make_delta(self, view: View) -> Integers:
        rng = self.market.make_rng("attacker", view.round)
        return self.lab.train(view.stale, self.lab.train_images, rng)


class HeadStart(Attack):
    """Trains from a quarter of the way that the last four steps went, once more: a guess at where others will lead."""

    name = "start from the momentum"
    bar = None

    def make_delta(self, view: View) -> Integers:
        known = view.steps[-STEPS_KNOWN:]
        start = view.base + sum(known, np.zeros_like(view.base)) // 4
        rng = self.market.make_rng("attacker", view.round)
        return start + self.lab.train(start, self.lab.train_images, rng) - view.base


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
        return self.train_on(view, self.lab.train_images, Practice(steps=1))


class LazyStepScaled(LazyStep):
    """One step of Adam, sixteen times as long."""

    name = "one Adam step x16"

    def make_delta(self, view: View) -> Integers:
        return super().make_delta(view) * 16
