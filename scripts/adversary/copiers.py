"""Attacks that offer what others trained."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attack import HONEST, NOTHING, Attack
from lab import Integers
from market import View
from numpy.typing import NDArray

from training.merge import STEPS_KNOWN
from training.payload import decode_payload

ENTRY = round(0.03 * 2**24)  # master units: an entry of an honest delta, roughly; the clip does the rest


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
    """Commits to the last step of the weights, which the reveals foresee ("momentum")."""

    name = "copy the last step"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers | None:
        return view.steps[-1] if view.steps else None


class OlderHistoryCopier(Attack):
    """The step before the last, eight times as long, so that what the projection leaves is as long as an update."""

    name = "copy the step before x8"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers | None:
        return view.steps[-2] * 8 if len(view.steps) > 1 else None


class OldestHistoryCopier(Attack):
    """The newest step that settlements do not take out any more, eight times as long."""

    name = "copy an old step x8"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers | None:
        return view.steps[-1 - STEPS_KNOWN] * 8 if len(view.steps) > STEPS_KNOWN else None


class DriftCopier(Attack):
    """All that the weights have moved since the job began: momentum of the longest kind."""

    name = "copy the whole way"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers | None:
        return sum(view.steps, np.zeros_like(view.base)) if view.steps else None


class HistorySigner(Attack):
    """The signs of the last step, each entry as long as an honest one: no multiple of what is projected out."""

    name = "sign of the last step"
    bar = NOTHING

    def make_delta(self, view: View) -> Integers | None:
        return np.sign(view.steps[-1]) * ENTRY if view.steps else None


class TicketCopier(Attack):
    """Commits to the mean of the deltas of this round's winning tickets, which are on the chain."""

    name = "copy the tickets"
    bar = NOTHING
    scale: ClassVar[int] = 1

    def make_delta(self, view: View) -> Integers:
        return sum(view.tickets, np.zeros_like(view.base)) * self.scale // len(view.tickets)


class TicketSigner(TicketCopier):
    """The signs of the tickets' mean, each entry as long as an honest one."""

    name = "sign of the tickets"

    def make_delta(self, view: View) -> Integers:
        return np.sign(sum(view.tickets, np.zeros_like(view.base))) * ENTRY


class TicketAdam(TicketCopier):
    """What Adam makes of the tickets of all rounds: their running mean over the root of their running mean square."""

    name = "Adam of the tickets"
    keep_mean: ClassVar[float] = 0.7
    keep_square: ClassVar[float] = 0.9

    def start(self) -> None:
        self._mean = self._square = np.zeros(self.lab.facts.parameter_count)

    def make_delta(self, view: View) -> Integers:
        deltas = np.array(view.tickets, np.float64)
        rounds = view.round + 1
        self._mean = mix(self._mean, deltas.mean(axis=0), self.keep_mean)
        self._square = mix(self._square, (deltas**2).mean(axis=0), self.keep_square)
        mean = self._mean / (1 - self.keep_mean**rounds)
        root = np.sqrt(self._square / (1 - self.keep_square**rounds))
        return np.rint(ENTRY * mean / np.maximum(root, 1)).astype(np.int64)


def mix(old: NDArray[np.float64], new: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    return keep * old + (1 - keep) * new


class ScaledTicketCopier(TicketCopier):
    """The tickets' mean, sixteen times as long."""

    name = "copy the tickets x16"
    scale = 16
