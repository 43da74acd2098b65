"""Makers of updates that attack the market, for local networks: each does one thing otherwise than a node.

The zoo (scripts/adversary) plays these and more in one process, against bars; here they are nodes to watch.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import numpy as np

from ledger.chain import Chain
from ledger.hashing import cid_text
from ledger.settlement import Outcome
from node.services.kept_updates import KeptUpdate
from node.services.update_maker import UpdateMaker
from node.services.update_plan import Plan
from node.trainer.client import TrainingRefused
from node.trainer.requests import Trained, TrainRequest
from training.exact.integers import Integers
from training.feedback import choose_compression
from training.payload import decode_payload, encode_payload

NOISE = 1 << 16  # master units: what an update's entries have at the most, more or less
WEIGHT_BYTES = 8


class Copier(UpdateMaker):
    """Commits to the payload that was credited most in the last settled round, its own apart."""

    async def _train(self, plan: Plan) -> Trained:
        payload = await self._chain.call(lambda chain: self._find_best(chain, plan))
        return name_payload(payload, "copied")

    def _find_best(self, chain: Chain, plan: Plan) -> bytes:
        own = self._account.keypair.address
        for record in reversed(chain.list_settlements(plan.job_id)):
            paid = [
                r for r in record.settlement.updates if r.outcome is Outcome.PAID and r.update.miner != own
            ]
            if paid:
                best = max(paid, key=lambda result: result.credit).update.payload
                if not chain.blobs.has(best):
                    raise TrainingRefused(f"the payload {cid_text(best)} is gone")
                return chain.blobs.get(best)
        raise TrainingRefused("nobody's update was paid yet: there is nothing to copy")


class Noise(UpdateMaker):
    """Commits to random numbers."""

    async def _train(self, plan: Plan) -> Trained:
        count = count_parameters(plan)
        rng = np.random.default_rng(secrets.randbits(64))
        return name_payload(pack(rng.integers(-NOISE, NOISE + 1, count), plan), "noise")


class Flip(UpdateMaker):
    """Trains as the node does, and turns the sign of the result round."""

    async def _train(self, plan: Plan) -> Trained:
        trained = await super()._train(plan)
        delta = -decode_payload(trained.payload, count_parameters(plan))
        return replace(trained, payload=pack(delta, plan), solver=f"{trained.solver}, sign turned round")


class Lazy(UpdateMaker):
    """Trains one step."""

    def _ask(self, plan: Plan) -> TrainRequest:
        return replace(super()._ask(plan), steps=1)


class Hider(UpdateMaker):
    """Never reveals what it committed to."""

    async def _reveal(self, update: KeptUpdate) -> None:
        """Keep the payload to itself."""


MAKERS: dict[str, type[UpdateMaker]] = {
    "copier": Copier,
    "noise": Noise,
    "flip": Flip,
    "lazy": Lazy,
    "hider": Hider,
}


def count_parameters(plan: Plan) -> int:
    return len(plan.weights) // WEIGHT_BYTES


def pack(delta: Integers, plan: Plan) -> bytes:
    """The payload of a delta, compressed as the node's own."""
    compression = choose_compression(len(delta), plan.limit_bytes)
    if compression is None:
        raise TrainingRefused(f"no payload of {len(delta)} parameters fits {plan.limit_bytes} bytes")
    return encode_payload(delta, compression.kept, compression.bits)


def name_payload(payload: bytes, how: str) -> Trained:
    """A payload that no training made, as the maker wants it."""
    return Trained(payload, 0.0, 0.0, 0.0, 0, how)
