"""Attacks that offer what others trained."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attack import HONEST, NOTHING, Attack
from lab import Integers
from market import View

from training.payload import decode_payload


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
