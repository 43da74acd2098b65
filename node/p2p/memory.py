"""The transport's twin for simulations: whole networks in one process, without sockets.

It promises what the real one does and runs the same gate, desk and roster. Links have a latency, drop
gossip, and can be cut; a cut link keeps its connection and swallows what is sent. What a link does to its
n-th message is computed from the seed, both ends and n, not drawn in the order in which tasks happen to
run; under trio's MockClock a run therefore repeats, if the code above it sends in the same order on each link.
"""

import hashlib
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from node.p2p.desk import RequestDesk, decode_reply, encode_refusal
from node.p2p.gate import GossipGate, compute_message_id
from node.p2p.limits import DEFAULT_LIMITS, Clock, TransportLimits
from node.p2p.roster import Roster
from node.p2p.transport import (
    DEFAULT_VALIDATION_S,
    DialError,
    Handler,
    MessageTooLarge,
    NotServed,
    PeerCallback,
    PeerInfo,
    PeerUnreachable,
    ReplyTooLarge,
    RequestRefused,
    RequestTimeout,
    Validator,
    Verdict,
)

PORT = 4001  # any; the address alone says who it is


@dataclass(slots=True)
class Weather:
    """What links do. Change it while the network runs."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    drop_share: float = 0.0  # of gossip messages; requests and connections are reliable, as on TCP


@asynccontextmanager
async def open_memory_network(
    seed: int = 0, *, clock: Clock = trio.current_time
) -> AsyncIterator["MemoryNetwork"]:
    """Run a network for the length of the block; its transports end with it."""
    async with trio.open_nursery() as nursery:
        yield MemoryNetwork(nursery, seed, clock)
        nursery.cancel_scope.cancel()


class MemoryNetwork:
    """The wires between memory transports."""

    def __init__(self, nursery: trio.Nursery, seed: int, clock: Clock) -> None:
        self.weather = Weather()
        self.clock = clock
        self._nursery, self._seed = nursery, seed
        self._hosts: dict[str, MemoryTransport] = {}
        self._numbers: dict[str, int] = {}
        self._sent: dict[tuple[str, str], int] = {}
        self._sides: list[frozenset[str]] = []

    @asynccontextmanager
    async def open_transport(
        self, seed: bytes, limits: TransportLimits = DEFAULT_LIMITS
    ) -> AsyncIterator["MemoryTransport"]:
        """Put a node on the network for the length of the block. The same seed gets the same address."""
        peer_id = "mem" + hashlib.sha256(seed).hexdigest()[:32]
        if peer_id in self._hosts:
            raise ValueError(f"{peer_id} is on the network already")
        number = self._numbers.setdefault(peer_id, len(self._numbers) + 1)
        address = f"/ip4/10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/tcp/{PORT}/p2p/{peer_id}"
        transport = MemoryTransport(self, peer_id, address, limits)
        self._hosts[peer_id] = transport
        try:
            yield transport
        finally:
            del self._hosts[peer_id]
            for peer in transport.peers():
                self.unlink(peer_id, peer.peer_id)

    def partition(self, *sides: Iterable[str]) -> None:
        """Cut all links between the sides; nodes in none of them stay in touch with all. None heals."""
        self._sides = [frozenset(side) for side in sides]

    def can_reach(self, a: str, b: str) -> bool:
        """Get whether the partition leaves a way from a to b."""
        side_a = next((side for side in self._sides if a in side), None)
        side_b = next((side for side in self._sides if b in side), None)
        return side_a is None or side_b is None or side_a is side_b

    def get_host(self, peer_id: str) -> "MemoryTransport | None":
        """Get a node that is on the network now."""
        return self._hosts.get(peer_id)

    def link(self, dialer: "MemoryTransport", listener: "MemoryTransport") -> None:
        """Connect two nodes."""
        now = self.clock()
        dialer.roster.mark_up(PeerInfo(listener.peer_id, listener.address, "out", now))
        listener.roster.mark_up(PeerInfo(dialer.peer_id, dialer.address, "in", now))

    def unlink(self, a: str, b: str) -> None:
        """Disconnect two nodes."""
        for here, there in ((a, b), (b, a)):
            host = self._hosts.get(here)
            if host is not None:
                host.roster.mark_down(there)

    def post(self, source: str, target: str, topic: str, data: bytes) -> None:
        """Send a gossip message on its way."""
        dice = self._throw(source, target)
        if dice.random() >= self.weather.drop_share:
            self._nursery.start_soon(self._deliver, source, target, topic, data, self._latency(dice))

    async def travel(self, source: str, target: str) -> None:
        """Wait for as long as a request or a reply is on its way; over a cut link, for ever."""
        latency_s = self._latency(self._throw(source, target))
        if not self.can_reach(source, target):
            await trio.sleep_forever()
        await trio.sleep(latency_s)

    async def _deliver(self, source: str, target: str, topic: str, data: bytes, latency_s: float) -> None:
        await trio.sleep(latency_s)
        host = self._hosts.get(target)
        if host is not None and self.can_reach(source, target) and host.roster.get_peer(source):
            await host.take(source, topic, data)

    def _throw(self, source: str, target: str) -> random.Random:
        number = self._sent.get((source, target), 0)
        self._sent[source, target] = number + 1
        return random.Random(f"{self._seed}/{source}/{target}/{number}")

    def _latency(self, dice: random.Random) -> float:
        return self.weather.latency_s + self.weather.jitter_s * dice.random()


class MemoryTransport:
    """See `node.p2p.transport.Transport`. Made by `MemoryNetwork.open_transport`."""

    def __init__(self, network: MemoryNetwork, peer_id: str, address: str, limits: TransportLimits) -> None:
        self._network, self._peer_id, self._limits = network, peer_id, limits
        self.address = address
        self.roster = Roster(network.clock, limits.max_bans)
        self._gate = GossipGate(limits, network.clock)
        self.desk = RequestDesk(limits)

    @property
    def peer_id(self) -> str:
        return self._peer_id

    def addresses(self) -> list[str]:
        return [self.address]

    def peers(self) -> list[PeerInfo]:
        return self.roster.peers()

    def on_peer(self, callback: PeerCallback) -> None:
        self.roster.on_peer(callback)

    def is_banned(self, peer_id: str) -> bool:
        return self.roster.is_banned(peer_id)

    async def connect(self, address: str) -> str:
        peer_id = address.rpartition("/p2p/")[2]
        if peer_id == self._peer_id:
            raise DialError(f"{address} is this node itself")
        if self.is_banned(peer_id):
            raise DialError(f"peer {peer_id} is banned")
        with trio.move_on_after(self._limits.dial_timeout_s):
            await self._network.travel(self._peer_id, peer_id)
            host = self._network.get_host(peer_id)
            if host is None or host.address != address or host.is_banned(self._peer_id):
                raise DialError(f"cannot connect to {address}: refused")
            self._network.link(self, host)
            return peer_id
        raise DialError(f"{address} did not answer in {self._limits.dial_timeout_s} s")

    async def disconnect(self, peer_id: str) -> None:
        self._network.unlink(self._peer_id, peer_id)
        await trio.lowlevel.checkpoint()

    async def ban(self, peer_id: str, why: str, seconds: float) -> None:
        self.roster.ban(peer_id, why, seconds)
        await self.disconnect(peer_id)

    async def subscribe(
        self, topic: str, validator: Validator, *, deadline_s: float = DEFAULT_VALIDATION_S
    ) -> None:
        self._gate.open_topic(topic, validator, deadline_s)
        await trio.lowlevel.checkpoint()

    async def publish(self, topic: str, data: bytes) -> None:
        if len(data) > self._limits.max_message_bytes:
            raise MessageTooLarge(f"message of {len(data)} bytes, over {self._limits.max_message_bytes}")
        self._gate.settle(compute_message_id(topic, data))
        self._spread(topic, data, "")
        await trio.lowlevel.checkpoint()

    async def take(self, source: str, topic: str, data: bytes) -> None:
        """Judge a message from a peer and pass it on."""
        admission = self._gate.admit(source, topic, data)
        if admission is not None and await self._gate.judge(admission) is Verdict.ACCEPT:
            self._spread(topic, data, source)

    def serve(self, protocol: str, handler: Handler, *, max_request: int) -> None:
        self.desk.serve(protocol, handler, max_request)

    async def request(
        self, peer_id: str, protocol: str, payload: bytes, *, max_reply: int, timeout_s: float
    ) -> bytes:
        with trio.move_on_after(timeout_s):
            host = self._network.get_host(peer_id)
            if host is None or self.roster.get_peer(peer_id) is None:
                raise PeerUnreachable(f"peer {peer_id} is not connected")
            await self._network.travel(self._peer_id, peer_id)
            if not host.desk.is_served(protocol):
                raise NotServed(f"{protocol} is not served by {peer_id}")
            reply = await _reply_of(host, self._peer_id, protocol, payload)
            await self._network.travel(peer_id, self._peer_id)
            if self.roster.get_peer(peer_id) is None:
                raise PeerUnreachable(f"connection to {peer_id} broke")
            if len(reply) > max_reply + 1 and reply[0] == 0:
                raise ReplyTooLarge(f"reply of {len(reply) - 1} bytes; at most {max_reply} were asked for")
            return decode_reply(reply)
        raise RequestTimeout(f"no answer from {peer_id} to {protocol} in {timeout_s} s")

    def _spread(self, topic: str, data: bytes, source: str) -> None:
        for peer in self.roster.peers():
            if peer.peer_id != source:
                self._network.post(self._peer_id, peer.peer_id, topic, data)


async def _reply_of(host: MemoryTransport, caller: str, protocol: str, payload: bytes) -> bytes:
    try:
        with host.desk.seat(caller):
            host.desk.check_size(protocol, len(payload))
            return b"\0" + await host.desk.answer(caller, protocol, payload)
    except RequestRefused as refusal:
        return encode_refusal(refusal)
