"""GossipSub with our rules: the gate decides, every inbound frame is bounded, and no frame can end the host.

What stock 0.8.1 does instead, read in its source: `push_msg` runs a validator per copy, caches a timeout as
invalid for 300 s and knows no IGNORE; a frame that does not parse raises through the host; the message cache
is keyed by sender and number while the seen cache is keyed by content, so every gossiped id is fetched again;
control frames grow tables for topics that do not exist; a PRUNE may name peers that we then dial.
"""

import logging
import time
from weakref import WeakKeyDictionary

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.validators import signature_validator
from libp2p.tools.timed_cache.last_seen_cache import LastSeenCache
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from node.p2p.gate import Admission, GossipGate, compute_message_id
from node.p2p.hardening import reset_stream
from node.p2p.limits import Clock, Tally, TokenBuckets, TransportLimits
from node.p2p.transport import Verdict

log = logging.getLogger(__name__)

MESHSUB = TProtocol("/meshsub/1.1.0")  # 1.2 costs twice the work for small messages
HEARTBEAT_S = 1
DEGREE, DEGREE_LOW, DEGREE_HIGH = 6, 4, 12  # the GossipSub paper's values
GOSSIP_WINDOW, GOSSIP_HISTORY = 3, 5  # heartbeats
MAX_GRAFTS = 16
MAX_ID_BYTES = 64
MAX_BACKOFF_S = 3600


def get_message_id(message: rpc_pb2.Message) -> bytes:
    """Get the id of a libp2p message."""
    return compute_message_id(message.topicIDs[0] if message.topicIDs else "", message.data)


class _ContentCache(MessageCache):
    """The message cache under our ids, so that an offered id is the id that receivers look up."""

    def put(self, msg: rpc_pb2.Message) -> None:
        message_id = get_message_id(msg)
        if message_id not in self.msgs:
            self.msgs[message_id] = msg
            self.history[0].append(CacheEntry(message_id, msg.topicIDs))


class _Seen(LastSeenCache):
    """The router asks here whether to fetch an offered id. No thread, no table of its own."""

    def __init__(self, gate: GossipGate) -> None:
        self._gate = gate

    def has(self, key: bytes) -> bool:
        return self._gate.is_known(key)

    def add(self, key: bytes) -> bool:
        is_new = not self._gate.is_known(key)
        self._gate.settle(key)
        return is_new

    def stop(self) -> None:
        pass


class GuardedGossipSub(GossipSub):
    """A router that reads only the control messages it has use for."""

    def __init__(self, limits: TransportLimits, clock: Clock) -> None:
        super().__init__(
            protocols=[MESHSUB],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            gossip_window=GOSSIP_WINDOW,
            gossip_history=GOSSIP_HISTORY,
            heartbeat_interval=HEARTBEAT_S,
            heartbeat_initial_delay=0.1,
            spam_protection_enabled=False,  # it counts our own messages; the gate counts per peer
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
        )
        self.mcache = _ContentCache(GOSSIP_WINDOW, GOSSIP_HISTORY)
        self._max_ids = limits.max_control_ids
        self._wanted = TokenBuckets(limits.message_rate_per_s * 2, limits.message_burst * 2, clock)

    async def handle_rpc(self, rpc: rpc_pb2.RPC, sender_peer_id: ID) -> None:
        useful = rpc_pb2.RPC()
        useful.control.CopyFrom(self._pick_useful(rpc.control, sender_peer_id))
        await super().handle_rpc(useful, sender_peer_id)

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()  # one entry per message, read only by what we turned off

    def remove_peer(self, peer_id: ID) -> None:
        super().remove_peer(peer_id)
        now = time.time()  # the clock that the base class writes these times with
        for topic, until in self.back_off.items():  # peers that never come back would stay for ever
            self.back_off[topic] = {peer: end for peer, end in until.items() if end > now}

    async def heartbeat(self) -> None:
        while True:
            try:
                await super().heartbeat()
            except Exception:  # border: tables that a peer's leaving changed under it
                log.exception("gossip heartbeat failed")
                await trio.sleep(HEARTBEAT_S)

    async def on_peer_subscribed(self, peer_id: ID, topic: str) -> None:
        try:
            await super().on_peer_subscribed(peer_id, topic)
        except Exception:  # border
            log.debug("graft of %s failed", peer_id, exc_info=True)

    async def flush_pending_messages(self, peer_id: ID) -> None:
        try:
            await super().flush_pending_messages(peer_id)
        except Exception:  # border
            log.debug("flush to %s failed", peer_id, exc_info=True)

    def _pick_useful(self, control: rpc_pb2.ControlMessage, sender: ID) -> rpc_pb2.ControlMessage:
        useful = rpc_pb2.ControlMessage()
        left = self._max_ids
        for ihave in control.ihave:
            if ihave.topicID in self.mesh:
                ids = [i for i in ihave.messageIDs[:left] if len(i) <= MAX_ID_BYTES]
                left -= len(ids)
                useful.ihave.add(topicID=ihave.topicID, messageIDs=ids)
        for iwant in control.iwant:
            ids = [i for i in iwant.messageIDs[: self._max_ids] if self._wanted.take(str(sender))]
            useful.iwant.add(messageIDs=ids)
        for graft in control.graft[:MAX_GRAFTS]:
            if graft.topicID in self.mesh:
                useful.graft.add(topicID=graft.topicID)
        for prune in control.prune[:MAX_GRAFTS]:
            if prune.topicID in self.mesh:  # without the peers it names: we choose whom to dial
                useful.prune.add(topicID=prune.topicID, backoff=min(prune.backoff, MAX_BACKOFF_S))
        return useful


class GatedPubsub(Pubsub):
    """Pubsub whose messages are judged by the gate, in tasks of the transport's nursery."""

    def __init__(
        self, host: IHost, router: GuardedGossipSub, gate: GossipGate, limits: TransportLimits
    ) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,  # else the origin could be forged, and nobody sends a message to its origin
            msg_id_constructor=get_message_id,
            max_subscriptions_per_rpc=limits.max_topics_per_peer,
            max_subscriptions_per_peer=limits.max_topics_per_peer,
            max_inbound_rpc_size=limits.max_frame_bytes,
        )
        self.seen_messages.stop()  # a thread
        self.seen_messages = _Seen(gate)
        self._gate, self._limits = gate, limits
        self._readers = Tally(1 << 30, limits.max_gossip_streams_per_peer)
        self._write_locks: WeakKeyDictionary[INetStream, trio.Lock] = WeakKeyDictionary()
        self.nursery: trio.Nursery | None = None  # set while the transport runs

    async def stream_handler(self, stream: INetStream) -> None:
        peer_id = stream.muxed_conn.peer_id
        if not self._readers.enter(str(peer_id)):
            await reset_stream(stream)
            return
        try:
            await self.continuously_read_stream(stream)
        except (StreamError, IOException, RawConnError) as error:
            log.debug("gossip stream from %s ended: %r", peer_id, error)
        except Exception as error:  # border: whatever a parser may raise
            log.info("bad gossip frame from %s: %r", peer_id, error)
        finally:
            self._readers.leave(str(peer_id))
            await reset_stream(stream)

    async def continuously_read_stream(self, stream: INetStream) -> None:
        peer_id = stream.muxed_conn.peer_id
        while True:
            frame = await read_varint_prefixed_bytes_limited(stream, self.max_inbound_rpc_size)
            rpc = rpc_pb2.RPC()
            rpc.ParseFromString(frame)
            for message in rpc.publish:
                self._take(peer_id, message)
            for subscription in rpc.subscriptions[: self.max_subscriptions_per_rpc]:
                self.handle_subscription(peer_id, subscription)
            if rpc.HasField("control"):
                await self.router.handle_rpc(rpc, peer_id)

    def handle_subscription(self, origin_id: ID, sub_message: rpc_pb2.RPC.SubOpts) -> None:
        if len(sub_message.topicid) <= self._limits.max_topic_chars:
            super().handle_subscription(origin_id, sub_message)

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: RpcQueue) -> None:
        queue.max_message_size = self._limits.max_frame_bytes  # what the other side reads
        await super().handle_sending_messages(peer_id, stream, queue)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Send our own message; those of others come in through `_take`."""
        self._gate.settle(get_message_id(msg))
        await self.router.publish(msg_forwarder, msg)

    async def write_msg(self, stream: INetStream, rpc_msg: rpc_pb2.RPC) -> bool:
        """Stock writes to one stream from several tasks; what takes more than one muxer frame then mixes."""
        async with self._write_locks.setdefault(stream, trio.Lock()):
            return await super().write_msg(stream, rpc_msg)

    def _take(self, forwarder: ID, message: rpc_pb2.Message) -> None:
        if len(message.topicIDs) != 1 or self.nursery is None:
            return
        admission = self._gate.admit(str(forwarder), message.topicIDs[0], message.data)
        if admission is None:
            return
        if not self._is_signed(message):
            self._gate.withdraw(admission)
            return
        self.nursery.start_soon(self._judge, forwarder, message, admission)

    def _is_signed(self, message: rpc_pb2.Message) -> bool:
        try:
            return ID(message.from_id) != self.my_id and signature_validator(message)
        except Exception as error:  # border: odd keys and empty origins raise what they like
            log.debug("unreadable signature: %r", error)
            return False

    async def _judge(self, forwarder: ID, message: rpc_pb2.Message, admission: Admission) -> None:
        if await self._gate.judge(admission) is not Verdict.ACCEPT:
            return
        try:
            await self.router.publish(forwarder, message)
        except Exception:  # border
            log.debug("forwarding failed", exc_info=True)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        try:
            super()._handle_dead_peer(peer_id)
        except Exception:  # border: called from tasks whose faults would end the host
            log.debug("removal of %s failed", peer_id, exc_info=True)
