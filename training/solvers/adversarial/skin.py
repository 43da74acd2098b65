"""Candidates for any number of inputs: lists made once, with a skin of scores that weights may drift through.

A neuron r is on sample i's list if <w_r, x_i> + b_r + reach_r + skin > tau, reach_r being what the adversary can add in
its ball. So whoever is active there stays on the list while no score can have drifted by more than the skin: with w'_r
the weights that the list was made of, |w_r - w'_r| |x_i| + |w_r - w'_r|* radius <= skin, in the norm dual to the ball's
for the second. That is looked at after every step; then all is made anew, by matrix products. Over-parameterised
training moves weights little, so it seldom is.

Source: ours, in the place of 2208.05395's search structure, which in more than a few dimensions reads nearly all.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training.solvers.adversarial import moves
from training.solvers.adversarial.lists import Lists, select
from training.solvers.adversarial.net import Floats, Ids, ShiftedNet
from training.solvers.adversarial.search import Reach, SearchName, list_above, make_room

SEARCH_COST = 0.5  # of a step's on its lists
LEAST_TAU = 0.5  # below, more skin adds more candidates than a normal tail tells
LEAST_SKIN, MOST_SKIN = 0.01, 0.25
MOST_SHARE = 0.25  # of all pairs of a sample and a neuron: beyond, products over all are as fast
MOST_IDS = 1 << 28  # 1 GiB
REST = 16  # steps without lists after they were too many


class SkinSearch:
    """See Search. `skin` is in units of a score; None: chosen by how fast weights drift."""

    name: SearchName = "skin"

    def __init__(self, net: ShiftedNet, inputs: Floats, reach: Reach, skin: float | None = None) -> None:
        self.rebuilds, self._moved = 0, 0.0
        self.skin = LEAST_SKIN if skin is None else skin
        self._net, self._inputs, self._reach, self._fixed = net, inputs, reach, skin is not None
        self._lists: Lists | None = None
        self._watch: moves.Watch | None = None
        self._room = make_room(net, len(inputs))
        self._age = self._rest = 0

    @property
    def drift(self) -> float:
        """By how much a score can have moved, as a share of the skin."""
        return self._moved / self.skin if self.skin else float(self._moved > 0)

    def find(self, samples: NDArray[np.int64]) -> Lists | None:
        self._age += 1
        if self._rest:
            self._rest -= 1
            return None
        if self._lists is None or self._moved > self.skin:
            self._rebuild()
        if self._lists is None or len(samples) == len(self._inputs):
            return self._lists
        return Lists(*select(*self._lists, samples))

    def move(self, touched: Ids) -> None:
        if self._watch is not None:
            drift = moves.measure_drift(self._net.weights, self._watch, touched)
            self._moved = max(self._moved, float(drift))

    def _rebuild(self) -> None:
        if not self._fixed and self._lists is not None:
            self.skin = choose_skin(self._moved / max(1, self._age - 1), self._net.tau)
        lifts = self._reach.measure_lifts(self._net) + self._net.weights.dtype.type(self.skin)
        pairs = len(self._inputs) * self._net.width
        most = min(int(MOST_SHARE * pairs), MOST_IDS)
        self._lists = list_above(self._net, self._inputs, self._net.tau, lifts, most, self._room)
        self.rebuilds, self._moved, self._age = self.rebuilds + 1, 0.0, 1
        if self._lists is None:
            self._rest, self._watch = REST, None
            self.skin = self.skin if self._fixed else LEAST_SKIN
        elif self._watch is None:
            self._watch = self._reach.watch(self._net.weights.copy())
        else:
            self._watch.reference[:] = self._net.weights


def choose_skin(drift: float, tau: float) -> float:
    """The skin that costs least where scores drift by so much in a step.

    It lasts skin / drift steps, and about tau * skin times as many candidates more are looked at in each of them: where
    scores are normal, whose density falls off by that.
    """
    wanted = math.sqrt(SEARCH_COST * drift / max(tau, LEAST_TAU))
    return min(max(wanted, LEAST_SKIN), MOST_SKIN)
