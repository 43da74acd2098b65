"""One request and one reply over a fresh stream: four bytes of length, then so many bytes, each way."""

import struct
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from libp2p.abc import INetStream
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.stream.exceptions import StreamEOF, StreamError

from node.p2p.desk import MAX_REASON_BYTES, RequestDesk, Status, decode_reply, encode_refusal
from node.p2p.hardening import close_write, reset_stream
from node.p2p.limits import TransportLimits
from node.p2p.transport import PeerUnreachable, ReplyTooLarge, RequestRefused, RequestTimeout

LENGTH = struct.Struct(">I")
CHUNK_BYTES = 256 << 10
BROKEN = (StreamError, IOException, RawConnError, trio.BrokenResourceError, trio.ClosedResourceError)

A = TypeVar("A")
R = TypeVar("R")


async def exchange(stream: INetStream, payload: bytes, max_reply: int, limits: TransportLimits) -> bytes:
    """Send a request and return the reply. Raises a RequestError. The stream is spent afterwards."""
    try:
        reply = await _talk(stream, payload, max_reply, limits.stall_timeout_s)
        await stream.close()
    except StreamEOF:
        raise PeerUnreachable("the peer ended the stream before the reply was complete") from None
    except BROKEN as error:
        raise PeerUnreachable(f"the stream broke: {error!r}") from error
    except trio.TooSlowError:
        raise RequestTimeout(f"no bytes for {limits.stall_timeout_s} s") from None
    finally:
        await reset_stream(stream)  # we have all we want; the other side must not wait for more
    return decode_reply(reply)


async def _talk(stream: INetStream, payload: bytes, max_reply: int, stall_s: float) -> bytes:
    """Write and read at the same time: a refusal may come while we still send."""
    reply, failure = b"", None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_request, stream, payload, stall_s)
        try:
            reply = await _receive_reply(stream, max_reply, stall_s)
        except Exception as error:  # carried out of the nursery, which would wrap it in a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return reply


async def _send_request(stream: INetStream, payload: bytes, stall_s: float) -> None:
    try:
        await _write(stream, LENGTH.pack(len(payload)) + payload, stall_s)
        await close_write(stream)
    except (*BROKEN, trio.TooSlowError):
        pass  # the reading side learns more: a refusal, an end, or the caller's deadline


async def _receive_reply(stream: INetStream, max_reply: int, stall_s: float) -> bytes:
    size = LENGTH.unpack(await _read(stream, LENGTH.size, None))[0]
    if size <= max(max_reply, MAX_REASON_BYTES) + 1:  # a refusal's text has its own limit
        reply = await _read(stream, size, stall_s)
        if size <= max_reply + 1 or reply[0] != Status.OK:
            return reply
    raise ReplyTooLarge(f"reply of {size - 1} bytes; at most {max_reply} were asked for")


async def answer(stream: INetStream, protocol: str, desk: RequestDesk, limits: TransportLimits) -> None:
    """Read a request from a stream and answer it. Raises what broken streams raise."""
    try:
        reply = await _compute_reply(stream, protocol, desk, limits.stall_timeout_s)
        await _write(stream, LENGTH.pack(len(reply)) + reply, limits.stall_timeout_s)
        await close_write(stream)
        await _drain(stream, limits.stall_timeout_s)
    finally:
        await reset_stream(stream)


async def _compute_reply(stream: INetStream, protocol: str, desk: RequestDesk, stall_s: float) -> bytes:
    peer_id = str(stream.muxed_conn.peer_id)
    try:
        with desk.seat(peer_id):
            size = LENGTH.unpack(await _read(stream, LENGTH.size, stall_s))[0]
            desk.check_size(protocol, size)
            payload = await _read(stream, size, stall_s)
            return bytes([Status.OK]) + await desk.answer(peer_id, protocol, payload)
    except RequestRefused as refusal:
        return encode_refusal(refusal)


async def _drain(stream: INetStream, timeout_s: float) -> None:
    """Wait for the other side's end: a reset now would take the unread reply with it."""
    with trio.move_on_after(timeout_s):
        try:
            while await stream.read(CHUNK_BYTES):
                pass
        except BROKEN:
            pass


async def _read(stream: INetStream, size: int, stall_s: float | None) -> bytes:
    """Read exactly so many bytes; memory grows with what arrives, not with what is announced."""
    data = bytearray()
    while len(data) < size:
        chunk = await _within(stall_s, stream.read, min(CHUNK_BYTES, size - len(data)))
        if not chunk:
            raise StreamEOF
        data += chunk
    return bytes(data)


async def _write(stream: INetStream, data: bytes, stall_s: float) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        await _within(stall_s, stream.write, data[start : start + CHUNK_BYTES])


async def _within(seconds: float | None, call: Callable[[A], Awaitable[R]], argument: A) -> R:
    if seconds is None:
        return await call(argument)
    with trio.fail_after(seconds):
        return await call(argument)
