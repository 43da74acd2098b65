"""Answers requests: who serves what, how many at once, and what a failing handler tells the caller."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

import trio

from node.p2p.limits import Tally, TransportLimits
from node.p2p.transport import BadReply, Handler, RequestRefused, TransportError

log = logging.getLogger(__name__)

MAX_REASON_BYTES = 256  # of a refusal: enough for a sentence


class Status(IntEnum):
    """First byte of every reply."""

    OK = 0
    REFUSED = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Service:
    """A handler and the largest request it wants to see."""

    handler: Handler
    max_request: int


class RequestDesk:
    """The services of one transport and the requests being answered."""

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self._services: dict[str, Service] = {}
        self._busy = Tally(limits.max_requests_in, limits.max_requests_in_per_peer)

    def serve(self, protocol: str, handler: Handler, max_request: int) -> None:
        """Add a service; a second one for the same protocol is a programming error."""
        if protocol in self._services:
            raise TransportError(f"{protocol} is already served")
        self._services[protocol] = Service(handler, max_request)

    @contextmanager
    def seat(self, peer_id: str) -> Iterator[None]:
        """Hold one of the limited places for a request. Raises RequestRefused when there is none."""
        if not self._busy.enter(peer_id):
            raise RequestRefused("busy: too many requests at once")
        try:
            yield
        finally:
            self._busy.leave(peer_id)

    def is_served(self, protocol: str) -> bool:
        """Get whether there is a service of this name."""
        return protocol in self._services

    def check_size(self, protocol: str, size: int) -> None:
        """Refuse what nobody serves and what is over the service's limit."""
        service = self._services.get(protocol)
        if service is None:
            raise RequestRefused(f"{protocol} is not served here")
        if size > service.max_request:
            raise RequestRefused(f"request of {size} bytes; at most {service.max_request} are taken")

    async def answer(self, peer_id: str, protocol: str, payload: bytes) -> bytes:
        """Run the handler. Raises RequestRefused only; its other faults stay here, in the log."""
        try:
            with trio.fail_after(self._limits.handler_timeout_s):
                return await self._services[protocol].handler(peer_id, payload)
        except RequestRefused:
            raise
        except trio.TooSlowError:
            log.warning("handler of %s took over %s s", protocol, self._limits.handler_timeout_s)
        except Exception:  # border: one request must not end the node
            log.exception("handler of %s failed on a request from %s", protocol, peer_id)
        raise HandlerFailed("the peer failed to answer")


class HandlerFailed(RequestRefused):
    """The handler broke; the caller learns no more than that."""


def encode_refusal(refusal: RequestRefused) -> bytes:
    """Encode a refusal as a reply."""
    status = Status.FAILED if isinstance(refusal, HandlerFailed) else Status.REFUSED
    return bytes([status]) + str(refusal).encode()[:MAX_REASON_BYTES]


def decode_reply(reply: bytes) -> bytes:
    """Get the body of a reply. Raises RequestRefused with the peer's reason, or BadReply."""
    if not reply:
        raise BadReply("empty reply; at least a status byte was expected")
    if reply[0] == Status.OK:
        return reply[1:]
    if reply[0] in (Status.REFUSED, Status.FAILED):
        raise RequestRefused(reply[1 : 1 + MAX_REASON_BYTES].decode(errors="replace"))
    raise BadReply(f"reply with unknown status {reply[0]}")
