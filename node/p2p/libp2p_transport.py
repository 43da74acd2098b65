"""The transport on real sockets: TCP, noise, yamux, GossipSub of libp2p 0.8.1, with its faults fenced in."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.rcmgr import Direction
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from node.p2p.desk import RequestDesk
from node.p2p.gate import GossipGate
from node.p2p.gossip import GatedPubsub, GuardedGossipSub
from node.p2p.hardening import BoundedYamux, close_connection, quiet_libp2p
from node.p2p.host import Libp2pConfig, make_host, swarm_of
from node.p2p.limits import Clock
from node.p2p.listener import Door, check_port_is_free
from node.p2p.roster import Roster
from node.p2p.streams import BROKEN, answer, exchange
from node.p2p.transport import (
    DEFAULT_VALIDATION_S,
    DialError,
    Handler,
    ListenError,
    MessageTooLarge,
    NotServed,
    PeerCallback,
    PeerInfo,
    PeerUnreachable,
    RequestTimeout,
    Validator,
)

STOP_S = 0.8  # for saying goodbye to all peers at once


@asynccontextmanager
async def open_libp2p_transport(
    config: Libp2pConfig, *, clock: Clock = trio.current_time
) -> AsyncIterator["Libp2pTransport"]:
    """Run a transport for the length of the block. Raises ListenError."""
    quiet_libp2p()
    for address in config.listen:
        check_port_is_free(address)
    transport = Libp2pTransport(config, clock)
    listening = True
    async with (
        transport.host.run([Multiaddr(address) for address in config.listen]),
        background_trio_service(transport.pubsub),
        background_trio_service(transport.router),
        trio.open_nursery() as nursery,
    ):
        listening = not config.listen or bool(transport.host.get_transport_addrs())
        transport.pubsub.nursery = nursery
        try:
            if listening:
                await transport.pubsub.wait_until_ready()
                yield transport
        finally:
            transport.pubsub.nursery = None
            nursery.cancel_scope.cancel()
            await transport._say_goodbye()
    if not listening:  # raised out here, where no nursery wraps it
        raise ListenError(f"cannot listen on {', '.join(config.listen)}: address in use or not ours")


class Libp2pTransport:
    """See `node.p2p.transport.Transport`. Made by `open_libp2p_transport`."""

    def __init__(self, config: Libp2pConfig, clock: Clock) -> None:
        self._limits, self._clock = config.limits, clock
        self._roster = Roster(clock, config.limits.max_bans)
        self._gate = GossipGate(config.limits, clock)
        self._desk = RequestDesk(config.limits)
        self._door = Door(config.limits)
        self._lines: dict[str, trio.CapacityLimiter] = {}
        self._conns: set[INetConn] = set()  # ours: the swarm forgets its own when it is cancelled
        self.host = make_host(config, self._door, self._is_refused)
        self._swarm = swarm_of(self.host)
        self._swarm.register_notifee(_Notifee(self))
        self.router = GuardedGossipSub(config.limits, clock)
        self.pubsub = GatedPubsub(self.host, self.router, self._gate, config.limits)

    @property
    def peer_id(self) -> str:
        return str(self.host.get_id())

    def addresses(self) -> list[str]:
        return [str(address) for address in self.host.get_addrs()]

    def peers(self) -> list[PeerInfo]:
        return self._roster.peers()

    def on_peer(self, callback: PeerCallback) -> None:
        self._roster.on_peer(callback)

    def is_banned(self, peer_id: str) -> bool:
        return self._roster.is_banned(peer_id)

    async def connect(self, address: str) -> str:
        peer_id, target = _parse_address(address)
        name = str(peer_id)
        if name == self.peer_id:
            raise DialError(f"{address} is this node itself")
        if self.is_banned(name):
            raise DialError(f"peer {name} is banned")
        if self._roster.get_peer(name) is not None:
            return name
        try:
            with trio.fail_after(self._limits.dial_timeout_s):
                await self._swarm.dial_addr(target, peer_id)
        except trio.TooSlowError:
            raise DialError(f"{address} did not answer in {self._limits.dial_timeout_s} s") from None
        except Exception as error:  # border: dialing raises what sockets, noise and yamux raise
            raise DialError(f"cannot connect to {address}: {_root_cause(error)}") from error
        return name

    async def disconnect(self, peer_id: str) -> None:
        try:
            conns = self._swarm.get_connections(ID.from_base58(peer_id))
        except ValueError:  # not a peer id, so nobody is connected under it
            return
        await self._close_all(conns, self._limits.close_timeout_s)

    async def ban(self, peer_id: str, why: str, seconds: float) -> None:
        self._roster.ban(peer_id, why, seconds)
        await self.disconnect(peer_id)

    async def subscribe(
        self, topic: str, validator: Validator, *, deadline_s: float = DEFAULT_VALIDATION_S
    ) -> None:
        self._gate.open_topic(topic, validator, deadline_s)
        await self.pubsub.subscribe(topic)

    async def publish(self, topic: str, data: bytes) -> None:
        if len(data) > self._limits.max_message_bytes:
            raise MessageTooLarge(f"message of {len(data)} bytes, over {self._limits.max_message_bytes}")
        await self.pubsub.publish(topic, data)

    def serve(self, protocol: str, handler: Handler, *, max_request: int) -> None:
        self._desk.serve(protocol, handler, max_request)

        async def on_stream(stream: INetStream) -> None:
            await answer(stream, protocol, self._desk, self._limits)

        self.host.set_stream_handler(TProtocol(protocol), on_stream)

    async def request(
        self, peer_id: str, protocol: str, payload: bytes, *, max_reply: int, timeout_s: float
    ) -> bytes:
        line = self._lines.get(peer_id)
        if line is None:
            raise PeerUnreachable(f"peer {peer_id} is not connected")
        try:
            with trio.fail_after(timeout_s):
                async with line:
                    stream = await self._open_stream(peer_id, protocol)
                    return await exchange(stream, payload, max_reply, self._limits)
        except trio.TooSlowError:
            raise RequestTimeout(f"no answer from {peer_id} to {protocol} in {timeout_s} s") from None

    async def _open_stream(self, peer_id: str, protocol: str) -> INetStream:
        if self._roster.get_peer(peer_id) is None:  # libp2p would dial
            raise PeerUnreachable(f"peer {peer_id} is not connected")
        try:
            return await self.host.new_stream(ID.from_base58(peer_id), [TProtocol(protocol)])
        except StreamFailure as error:
            if self._roster.get_peer(peer_id) is not None and "not supported" in _root_cause(error):
                raise NotServed(f"{protocol} is not served by {peer_id}") from error
            raise PeerUnreachable(f"no stream to {peer_id}: {_root_cause(error)}") from error
        except (SwarmException, *BROKEN) as error:
            raise PeerUnreachable(f"no stream to {peer_id}: {_root_cause(error)}") from error

    def _is_refused(self, peer_id: str) -> bool:
        return self.is_banned(peer_id) or peer_id == self.peer_id

    async def _note_connected(self, conn: INetConn) -> None:
        """Count a connection in, or close it at once."""
        # the swarm makes no others
        assert isinstance(conn, SwarmConn) and isinstance(conn.muxed_conn, BoundedYamux)  # noqa: PT018
        remote = conn.muxed_conn.get_remote_address()
        if remote is not None:
            self._door.establish(remote)
        if conn.is_closed:
            return
        self._conns.add(conn)
        peer_id = conn.muxed_conn.peer_id
        live = [c for c in self._swarm.get_connections(peer_id) if not c.is_closed]
        if self.is_banned(str(peer_id)) or len(live) > self._limits.max_connections_per_peer:
            await close_connection(conn, self._limits.close_timeout_s)
            return
        direction: Literal["in", "out"] = "in" if conn.direction == Direction.INBOUND else "out"
        address = _format_address(remote, peer_id)
        self._lines.setdefault(str(peer_id), trio.CapacityLimiter(self._limits.max_requests_out_per_peer))
        self._roster.mark_up(PeerInfo(str(peer_id), address, direction, self._clock()))

    def _note_disconnected(self, conn: INetConn) -> None:
        self._conns.discard(conn)
        peer_id = conn.muxed_conn.peer_id
        if all(c.is_closed for c in self._swarm.get_connections(peer_id)):
            self._lines.pop(str(peer_id), None)
            self._roster.mark_down(str(peer_id))

    async def _say_goodbye(self) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(STOP_S):
            for scope in list(self.host._identify_tasks):  # system tasks, which no nursery would end
                scope.cancel()
            for listener in list(self._swarm.listeners.values()):  # stock forgets them when it is cancelled
                await listener.close()
            await self._close_all(list(self._conns), self._limits.close_timeout_s / 2)

    async def _close_all(self, conns: list[INetConn], timeout_s: float) -> None:
        async with trio.open_nursery() as nursery:
            for conn in conns:
                nursery.start_soon(close_connection, conn, timeout_s)


class _Notifee(INotifee):
    """Hears of connections. The swarm catches what it raises."""

    def __init__(self, transport: Libp2pTransport) -> None:
        self._transport = transport

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        await self._transport._note_connected(conn)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        self._transport._note_disconnected(conn)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        pass

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        pass

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        pass

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        pass


def _parse_address(address: str) -> tuple[ID, Multiaddr]:
    try:
        target = Multiaddr(address)
        return info_from_p2p_addr(target).peer_id, target
    except Exception as error:  # border: the parsers have no common error
        raise DialError(f"{address!r} is no full address, like /ip4/1.2.3.4/tcp/9000/p2p/12D3...") from error


def _format_address(remote: tuple[str, int] | None, peer_id: ID) -> str:
    if remote is None:
        return f"/p2p/{peer_id}"
    host, port = remote
    return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}/p2p/{peer_id}"


def _root_cause(error: BaseException) -> str:
    while (cause := _get_cause(error)) is not None:
        error = cause
    if isinstance(error, OSError) and error.errno:  # without the number
        return os.strerror(error.errno).lower()
    return str(error) or repr(error)


def _get_cause(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]  # trio groups the attempts at a host's addresses
    return error.__cause__
