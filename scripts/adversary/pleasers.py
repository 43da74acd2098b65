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
    """Trains on the public judging split and on nothing else."""

    name = "fit the judging split"

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self.lab.judge_images)


class PublicFitter(Attack):
    """Trains on all public images: both splits, as one."""

    name = "fit both splits"

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self.lab.public_images)


class TinyFitter(Attack):
    """Trains on 32 samples."""

    name = "fit 32 samples"

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self.lab.train_images.take(np.arange(32)), Practice(batch=32))
