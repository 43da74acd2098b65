"""The door: a TCP listener that counts sockets before, during and after the handshake.

libp2p 0.8.1 has one counter for inbound connections and gives its slots back only when the host stops: after
250 connections in its lifetime a node would take no more. `WatchedStream` says when a socket is closed, so
that the slot, and the accepting task with it, can end then.
"""

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable

import trio
from libp2p.abc import IListener
from libp2p.custom_types import THandler
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.trio import TrioTCPStream
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from node.p2p.limits import Tally, TransportLimits
from node.p2p.transport import ListenError

log = logging.getLogger(__name__)

Endpoint = tuple[str, int]
CLEANUP_S = 1.0


class Door:
    """Counts inbound sockets, in total, per address group, and while they are half-open."""

    def __init__(self, limits: TransportLimits) -> None:
        self._is_loopback_exempt = limits.is_loopback_exempt
        self._open = Tally(limits.max_inbound + limits.max_half_open, limits.max_connections_per_ip)
        self._open_loopback = Tally(limits.max_inbound + limits.max_half_open, limits.max_inbound)
        self._half_open = Tally(limits.max_half_open, limits.max_half_open_per_ip)
        self._half_open_loopback = Tally(limits.max_half_open, limits.max_half_open)
        self._max_half_open, self._max_inbound = limits.max_half_open, limits.max_inbound
        self._waiting: dict[Endpoint, str] = {}

    @property
    def open_count(self) -> int:
        """Get the number of inbound sockets, half-open ones included."""
        return self._open.total + self._open_loopback.total

    def enter(self, remote: Endpoint) -> bool:
        """Let a socket in, half-open, or return False."""
        group = group_address(remote[0])
        opened, half_open = self._tallies(group)
        if len(self._waiting) >= self._max_half_open:
            return False
        if self.open_count - len(self._waiting) >= self._max_inbound:
            return False
        if not opened.enter(group):
            return False
        if not half_open.enter(group):
            opened.leave(group)
            return False
        self._waiting[remote] = group
        return True

    def establish(self, remote: Endpoint) -> None:
        """Note that a socket's handshake is done; unknown sockets are those we dialed."""
        group = self._waiting.pop(remote, None)
        if group is not None:
            self._tallies(group)[1].leave(group)

    def leave(self, remote: Endpoint) -> None:
        """Note that a socket is closed."""
        self.establish(remote)
        group = group_address(remote[0])
        self._tallies(group)[0].leave(group)

    def _tallies(self, group: str) -> tuple[Tally, Tally]:
        if self._is_loopback_exempt and group == "loopback":
            return self._open_loopback, self._half_open_loopback
        return self._open, self._half_open


def group_address(host: str) -> str:
    """Get what counts as one address: an IPv4 address, an IPv6 /64 network, or all of loopback."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return "loopback"
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def check_port_is_free(address: str) -> None:
    """Raise ListenError if somebody listens there already.

    libp2p sets SO_REUSEPORT: two nodes of one user would share the port, and each connection go to either.
    """
    parts = Multiaddr(address)
    family = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6}.get(next(iter(parts.protocols())).name)
    if family is None:
        raise ListenError(f"cannot listen on {address}: it must start with /ip4/ or /ip6/")
    host = str(parts.value_for_protocol("ip4" if family == socket.AF_INET else "ip6"))
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not matter
        try:
            probe.bind((host, int(str(parts.value_for_protocol("tcp")))))
        except OSError as error:
            raise ListenError(f"cannot listen on {address}: {error.strerror}") from error


class WatchedStream(ReadWriteCloser):
    """A TCP stream that says when it was closed, and knows its IPv6 peer, which libp2p's does not."""

    def __init__(self, inner: TrioTCPStream, remote: Endpoint) -> None:
        self._inner, self._remote = inner, remote
        self.closed = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        return await self._inner.read(n)

    async def write(self, data: bytes) -> None:
        await self._inner.write(data)

    async def close(self) -> None:
        self.closed.set()
        await self._inner.close()

    def get_remote_address(self) -> Endpoint:
        return self._remote


class GuardedTCP(TCP):
    """TCP whose listeners ask the door first and end each accepting task with its socket."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door

    # the base class names the concrete listener, which is what super() returns
    def create_listener(self, handler_function: THandler) -> IListener:  # type: ignore[override]
        async def accept(stream: ReadWriteCloser) -> None:
            await self._accept(stream, handler_function)

        return super().create_listener(accept)

    async def _accept(self, stream: ReadWriteCloser, handler: Callable[..., Awaitable[None]]) -> None:
        assert isinstance(stream, TrioTCPStream)  # what TCPListener of this version makes
        try:
            remote: Endpoint = stream.stream.socket.getpeername()[:2]
        except OSError:  # gone already
            await stream.close()
            return
        if not self._door.enter(remote):
            log.debug("no place for another connection from %s", remote[0])
            await stream.close()
            return
        await self._hold(WatchedStream(stream, remote), handler)

    async def _hold(self, stream: WatchedStream, handler: Callable[..., Awaitable[None]]) -> None:
        """Run libp2p's handler, which waits for the end of the host, until its socket is closed."""
        done = trio.Event()

        async def handle() -> None:
            try:
                await handler(stream)
            finally:
                done.set()
                with trio.CancelScope(shield=True), trio.move_on_after(CLEANUP_S):
                    await stream.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle)
            try:
                await stream.closed.wait()
            finally:
                self._door.leave(stream.get_remote_address())
            with trio.move_on_after(CLEANUP_S):  # a handshake that was cut cleans up after itself
                await done.wait()
            nursery.cancel_scope.cancel()
