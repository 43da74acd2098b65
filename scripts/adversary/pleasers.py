"""Attacks that train to please the judge, or to weigh more."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attack import Attack
from lab import Integers, Practice
from market import View


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

    def make_delta(self, view: View) -> Integers:
        rng = self.market.make_rng("attacker", view.round)
        return self.lab.train(view.next_base, self.lab.public_samples, rng)
