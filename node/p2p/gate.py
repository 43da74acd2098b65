"""Which gossip messages are judged, by whom first, and which verdicts are remembered.

Both transports push every message through here. libp2p's own rules are not used: they know no IGNORE, cache
a timeout as invalid for five minutes, and mark a message as seen only after it was judged, so that racing
copies are all judged and all delivered.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from node.p2p.limits import Clock, Tally, TokenBuckets, TransportLimits
from node.p2p.transport import Validator, Verdict

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)


def compute_message_id(topic: str, data: bytes) -> bytes:
    """Compute the id under which copies of a message are one message.

    The topic is part of it: else a message sent to the wrong topic, and rejected there, could never be
    published in the right one.
    """
    name = topic.encode()
    return hashlib.sha256(len(name).to_bytes(4, "big") + name + data).digest()


class BoundedSet(Generic[K]):
    """A set that forgets its oldest members."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._members: OrderedDict[K, None] = OrderedDict()

    def add(self, key: K) -> None:
        """Add a member as the youngest."""
        self._members[key] = None
        self._members.move_to_end(key)
        if len(self._members) > self._max_size:
            self._members.popitem(last=False)

    def __contains__(self, key: object) -> bool:
        return key in self._members


@dataclass(frozen=True, slots=True)
class Admission:
    """A message that may be judged now; to be given back to `judge` or `withdraw`."""

    peer_id: str
    topic: str
    data: bytes
    message_id: bytes


class GossipGate:
    """Admits messages to their validators, one copy at a time and within the limits."""

    def __init__(self, limits: TransportLimits, clock: Clock) -> None:
        self._limits = limits
        self._validators: dict[str, tuple[Validator, float]] = {}
        self._buckets = TokenBuckets(limits.message_rate_per_s, limits.message_burst, clock)
        self._running = Tally(limits.max_validations, limits.max_validations_per_peer)
        self._in_flight: set[bytes] = set()
        self._settled: BoundedSet[bytes] = BoundedSet(limits.max_seen)
        self._ignored: BoundedSet[tuple[bytes, str]] = BoundedSet(limits.max_seen)

    def open_topic(self, topic: str, validator: Validator, deadline_s: float) -> None:
        """Judge messages of a topic from now on."""
        self._validators[topic] = (validator, deadline_s)

    def is_known(self, message_id: bytes) -> bool:
        """Get whether another copy is of no use: judged for good, or being judged."""
        return message_id in self._settled or message_id in self._in_flight

    def settle(self, message_id: bytes) -> None:
        """Remember a message as one that needs no judging, such as our own."""
        self._settled.add(message_id)

    def admit(self, peer_id: str, topic: str, data: bytes) -> Admission | None:
        """Decide cheaply whether a peer's copy is to be judged; copies of known messages cost it nothing."""
        if topic not in self._validators or len(data) > self._limits.max_message_bytes:
            return None
        message_id = compute_message_id(topic, data)
        if self.is_known(message_id) or (message_id, peer_id) in self._ignored:
            return None
        if not self._buckets.take(peer_id):
            log.debug("peer %s sends too fast; message dropped", peer_id)
            return None
        if not self._running.enter(peer_id):
            log.debug("too many messages from %s in validation; message dropped", peer_id)
            return None
        self._in_flight.add(message_id)
        return Admission(peer_id, topic, data, message_id)

    def withdraw(self, admission: Admission) -> None:
        """Give an admission back without a verdict, so that other copies get their turn."""
        self._in_flight.discard(admission.message_id)
        self._running.leave(admission.peer_id)

    async def judge(self, admission: Admission) -> Verdict:
        """Run the validator and remember what it said. Raises nothing but cancellation."""
        verdict = Verdict.IGNORE
        try:
            verdict = await self._run_validator(admission)
        finally:
            self.withdraw(admission)
        if verdict is Verdict.IGNORE:
            self._ignored.add((admission.message_id, admission.peer_id))
        else:
            self._settled.add(admission.message_id)
        return verdict

    async def _run_validator(self, admission: Admission) -> Verdict:
        validator, deadline_s = self._validators[admission.topic]
        verdict = Verdict.IGNORE
        try:
            with trio.move_on_after(deadline_s) as scope:
                verdict = await validator(admission.peer_id, admission.data)
            if scope.cancelled_caught:
                log.warning("validator of %s passed its deadline of %s s", admission.topic, deadline_s)
        except Exception:  # border: one message must not end the node
            log.exception("validator of %s failed on a message from %s", admission.topic, admission.peer_id)
        return verdict
