"""What the rest of the node sees of the network: peers, gossip with verdicts, and requests.

Two implementations keep the same promises and pass the same tests: `libp2p_transport` on real sockets and
`memory` for simulations. This file knows neither of them and imports no networking library.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

DEFAULT_VALIDATION_S = 20.0  # a replay of a header's work takes seconds on a slow machine


class Verdict(Enum):
    """What a validator says about a gossip message."""

    ACCEPT = "accept"  # forwarded to other peers; never judged again
    REJECT = "reject"  # not forwarded, never judged again: the peer should have known better
    IGNORE = "ignore"  # not forwarded, no blame: another peer's copy may be judged later


Validator = Callable[[str, bytes], Awaitable[Verdict]]
Handler = Callable[[str, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer. For direction "in" the port of `address` is the dialer's and cannot be dialed."""

    peer_id: str
    address: str
    direction: Literal["in", "out"]
    since_s: float


@dataclass(frozen=True, slots=True)
class PeerChange:
    """A peer came (its first connection) or went (its last one)."""

    peer: PeerInfo
    is_up: bool


PeerCallback = Callable[[PeerChange], None]


class TransportError(Exception):
    """Root of everything this package raises on purpose."""


class ListenError(TransportError):
    """None of the addresses could be listened on."""


class DialError(TransportError):
    """No connection: a bad address, a banned peer, or nobody answered."""


class MessageTooLarge(TransportError):
    """Our own message is over the gossip limit; nobody would take it."""


class RequestError(TransportError):
    """A request had no good answer."""


class PeerUnreachable(RequestError):
    """Not connected, or the connection broke before the answer was complete."""


class RequestTimeout(RequestError):
    """The answer did not come in time, or stalled for too long between two chunks."""


class BadReply(RequestError):
    """The peer's answer is not one: its fault, not the network's."""


class ReplyTooLarge(BadReply):
    """The peer announced more bytes than we asked for; none of them were read."""


class RequestRefused(RequestError):
    """The peer said no. A handler raises it to say so; the text travels to the caller."""


class NotServed(RequestRefused):
    """The peer does not know the protocol: it is on another chain, or has just started."""


class Transport(Protocol):
    """A node's end of the network. All methods belong to the trio thread."""

    @property
    def peer_id(self) -> str:
        """Get our own id, which is bound to our key."""
        ...

    def addresses(self) -> list[str]:
        """Get the full multiaddrs others can dial, each ending in /p2p/<our id>."""
        ...

    def peers(self) -> list[PeerInfo]:
        """Get the connected peers, oldest connection first."""
        ...

    def on_peer(self, callback: PeerCallback) -> None:
        """Call back when a peer comes or goes. The callback must not block: set an event or enqueue."""
        ...

    async def connect(self, address: str) -> str:
        """Connect to a full multiaddr and return the peer's id. Raises DialError."""
        ...

    async def disconnect(self, peer_id: str) -> None:
        """Close all connections to a peer; it may come back."""
        ...

    async def ban(self, peer_id: str, why: str, seconds: float) -> None:
        """Close the connections to a peer and refuse it, in and out, for so long. Not persisted."""
        ...

    def is_banned(self, peer_id: str) -> bool:
        """Get whether a ban still stands."""
        ...

    async def subscribe(
        self, topic: str, validator: Validator, *, deadline_s: float = DEFAULT_VALIDATION_S
    ) -> None:
        """Take part in a topic.

        The validator does the work the message asks for and says whether to forward it. A message is judged
        by one call at a time, whatever the number of peers that send it. Past the deadline, or if it raises,
        the verdict is IGNORE.
        """
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Send our own message; it is not judged here. Raises MessageTooLarge. Delivery is not promised."""
        ...

    def serve(self, protocol: str, handler: Handler, *, max_request: int) -> None:
        """Answer requests of at most `max_request` bytes. One handler per protocol."""
        ...

    async def request(
        self, peer_id: str, protocol: str, payload: bytes, *, max_reply: int, timeout_s: float
    ) -> bytes:
        """Ask a connected peer. Raises a RequestError; never dials."""
        ...
