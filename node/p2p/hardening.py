"""What stock libp2p 0.8.1 lets a remote peer do to us, and what stops it.

Each class names the fault it answers; tests/node/p2p/test_hostile.py fires the attacks. All of it touches
private names, so the dependency is pinned exactly.
"""

import logging
from collections.abc import Callable

import trio
from libp2p.abc import IHost, IMuxedConn, INetConn, INetStream, IRawConnection, ISecureConn
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection import swarm_connection
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.security.exceptions import HandshakeFailure
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux

from node.p2p.limits import Tally, TransportLimits

log = logging.getLogger(__name__)

MAX_WINDOW_BYTES = 2 << 20  # what we grant a sender; below the stream buffer, so no honest peer hits it
CLEANUP_S = 1.0


class _StreamBuffer(bytearray):
    """Received bytes of one stream that refuses to outgrow the limits."""

    owner: "_StreamBuffers"

    # bytearray's own signature takes any iterable of integers; the muxer passes bytes
    def extend(self, data: bytes) -> None:  # type: ignore[override]
        self.owner.check(len(self), len(data))
        super().extend(data)


class _StreamBuffers(dict[int, bytearray]):
    """The buffers of one connection."""

    def __init__(self, conn: "BoundedYamux", limits: TransportLimits) -> None:
        super().__init__()
        self._conn, self._limits = conn, limits

    def __setitem__(self, stream_id: int, data: bytearray) -> None:
        buffer = _StreamBuffer(data)
        buffer.owner = self
        super().__setitem__(stream_id, buffer)

    def check(self, held: int, added: int) -> None:
        total = sum(map(len, self.values()))
        limits = self._limits
        if held + added > limits.stream_buffer_bytes or total + added > limits.connection_buffer_bytes:
            self._conn.event_shutting_down.set()  # makes the reading loop tear the connection down
            raise RawConnError("peer ignored the flow control window")


class BoundedYamux(Yamux):
    """Stock: a sender that ignores its window fills our memory; a cancelled write leaves half a frame."""

    def __init__(self, conn: ISecureConn, peer_id: ID, limits: TransportLimits) -> None:
        async def on_close() -> None:  # replaced by the swarm; the type forbids None later
            pass

        super().__init__(conn, peer_id, is_initiator=conn.is_initiator, on_close=on_close)
        self.stream_buffers = _StreamBuffers(self, limits)
        self._write_stall_s = limits.write_stall_s

    async def start(self) -> None:
        try:
            await super().start()
        except Exception:  # border: a connection's fault would end the host's task manager
            log.debug("connection to %s failed", self.peer_id, exc_info=True)
            await self._cleanup_on_error()

    async def _write_frame(self, data: bytes) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._write_stall_s) as scope:
            await super()._write_frame(data)
        if scope.cancelled_caught:
            await self.abort()
            raise RawConnError("peer stopped reading the socket")
        await trio.lowlevel.checkpoint()  # the shield hid a cancellation; it may strike between frames

    async def abort(self) -> None:
        """Close the socket without a goodbye; blocked readers and writers fail at once."""
        self.event_shutting_down.set()
        await self.secured_conn.close()


class BoundedMuxer(MuxerMultistream):
    """Stock ignores the muxer class it is given and builds its own Yamux; this one speaks yamux only."""

    def __init__(self, limits: TransportLimits) -> None:
        yamux.MAX_WINDOW_SIZE = MAX_WINDOW_BYTES  # a module constant; the same for every transport
        super().__init__({TProtocol(yamux.PROTOCOL_ID): Yamux}, int(limits.handshake_timeout_s) or 1)
        self._limits = limits

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(BoundedYamux(conn, peer_id, self._limits), conn, protocol)


class GuardedNoise(NoiseTransport):
    """Refuses a peer as soon as its key is proven, before any stream can be opened."""

    def __init__(self, key_pair: KeyPair, is_refused: Callable[[str], bool]) -> None:
        super().__init__(key_pair, noise_privkey=create_x25519_key_pair().private_key)
        self._is_refused = is_refused

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        secured = await super().secure_inbound(conn)
        if self._is_refused(str(secured.get_remote_peer())):
            await secured.close()
            raise HandshakeFailure("peer is banned")
        return secured


class NoAutoConnector(AutoConnector):
    """Stock dials peers that others told of, up to half the high watermark, even at a low watermark of zero."""

    async def maybe_connect(self) -> None:
        pass

    def record_successful_connection(self, peer_id: ID) -> None:
        pass

    def record_disconnect(self, peer_id: ID) -> None:
        pass

    def record_failed_connection(self, peer_id: ID) -> None:
        pass


def guard_streams(host: IHost, swarm: Swarm, limits: TransportLimits) -> None:
    """Keep inbound streams from ending the host and from piling up.

    Stock: an exception in any stream handler, ours or libp2p's, ends host.run().
    """
    # INetwork has no way to ask for the handler that the host installed
    inner = host._swarm_stream_handler  # type: ignore[attr-defined]
    open_streams = Tally(1 << 30, limits.max_inbound_streams_per_peer)

    async def handle(stream: INetStream) -> None:
        peer_id = str(stream.muxed_conn.peer_id)
        if not open_streams.enter(peer_id):
            log.debug("peer %s opens too many streams", peer_id)
            await reset_stream(stream)
            return
        try:
            await inner(stream)
        except Exception:  # border
            log.debug("stream from %s failed", peer_id, exc_info=True)
            await reset_stream(stream)
        finally:
            open_streams.leave(peer_id)

    swarm.set_stream_handler(handle)


async def close_write(stream: INetStream) -> None:
    """Say that we send no more; the reply can still be read."""
    assert isinstance(stream, NetStream)  # its interface forgot the method
    await stream.close_write()


async def reset_stream(stream: INetStream) -> None:
    """Drop a stream, whatever its state, even when cancelled."""
    with trio.CancelScope(shield=True), trio.move_on_after(CLEANUP_S):
        try:
            await stream.reset()
        except Exception:  # border: the connection may be gone
            log.debug("reset failed", exc_info=True)


async def close_connection(conn: INetConn, timeout_s: float) -> None:
    """Close a connection; one that does not take the goodbye in time is cut.

    The socket is closed in any case: a close that was cancelled half-way counts as done in libp2p.
    """

    async def cut() -> None:
        if isinstance(conn, SwarmConn) and isinstance(conn.muxed_conn, BoundedYamux):
            await conn.muxed_conn.abort()

    async def cut_late() -> None:
        await trio.sleep(timeout_s)
        await cut()

    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_late)
            try:
                await conn.close()
            except Exception:  # border: we wanted it gone anyway
                log.debug("close failed", exc_info=True)
            nursery.cancel_scope.cancel()
        await cut()


class _Demote(logging.Handler):
    """Passes libp2p's records on as our debug records."""

    def emit(self, record: logging.LogRecord) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s", record.name, record.getMessage())


def quiet_libp2p() -> None:
    """Send libp2p's log to ours, at debug level: remote peers can make it print at will."""
    root = logging.getLogger("libp2p")
    root.handlers[:] = [_Demote()]
    root.setLevel(logging.WARNING)
    root.propagate = False
    # This module logs through functions of `logging`, which also install a handler for the whole process.
    swarm_connection.logging = root.getChild("swarm")  # type: ignore[attr-defined, assignment]
