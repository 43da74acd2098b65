"""Frames between a node and its training process: 4-byte length, then one MessagePack array.

Both ends are ours and of one version, so this is no protocol for peers; a frame is bounded all the same.
"""

from __future__ import annotations

import os
from typing import Any

import msgpack

HEAD_BYTES = 4
MAX_FRAME_BYTES = 256 << 20
READ_BYTES = 1 << 20

Frame = list[Any]  # Any: whatever MessagePack holds; each message names its fields where it is read


def pack_frame(frame: Frame) -> bytes:
    """Return a frame's bytes without their length."""
    body: bytes = msgpack.packb(frame)
    return body


def write_frame(descriptor: int, frame: Frame) -> None:
    """Write one frame whole; BrokenPipeError if the other end is gone."""
    body = pack_frame(frame)
    data = memoryview(len(body).to_bytes(HEAD_BYTES, "big") + body)
    while data:
        data = data[os.write(descriptor, data) :]


class FrameReader:
    """Takes frames out of a byte stream."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()

    def read(self) -> Frame | None:
        """Wait for the next frame; None when the other end is gone."""
        while (frame := self.take()) is None:
            if not self.fill():
                return None
        return frame

    def fill(self) -> bool:
        """Read what is there, waiting for at least a byte; False at the end of the stream."""
        data = os.read(self._descriptor, READ_BYTES)
        self._buffer += data
        return bool(data)

    def take(self) -> Frame | None:
        """Return a frame that has arrived completely."""
        if len(self._buffer) < HEAD_BYTES:
            return None
        size = int.from_bytes(self._buffer[:HEAD_BYTES], "big")
        if size > MAX_FRAME_BYTES:
            raise ValueError(f"frame of {size} bytes; at most {MAX_FRAME_BYTES}")
        if len(self._buffer) < HEAD_BYTES + size:
            return None
        body = bytes(self._buffer[HEAD_BYTES : HEAD_BYTES + size])
        del self._buffer[: HEAD_BYTES + size]
        frame: Frame = msgpack.unpackb(body)
        return frame
