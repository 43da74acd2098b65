"""What the node has asked of its trainer: only the newest training counts, and it can be called off.

A training has a token, larger than that of every earlier one; "stop" names the last token that is not wanted any more.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from node.worker.wire import Frame, FrameReader

REPLACED = "a newer request took its place"
STOPPED = "it was called off"
IDLE_S = 15.0  # well within the time that ranks of a group wait for a word


class Inbox:
    """Reads frames, also while training goes on; older trainings are refused as soon as a newer one is here."""

    def __init__(self, reader: FrameReader, descriptor: int, refuse: Callable[[int, str], None]) -> None:
        self._reader, self._descriptor = reader, descriptor
        self._refuse = refuse
        self._newest: Frame | None = None  # not begun yet
        self._stopped = 0
        self._ended = False

    def wait(self, idle: Callable[[], None] = lambda: None) -> Frame | None:
        """Return the next training [number, "train", token, ...]; None when the node is gone.

        `idle` is called every IDLE_S meanwhile.
        """
        while self._newest is None and not self._ended:
            if select.select([self._descriptor], [], [], IDLE_S)[0]:
                self._receive()
            else:
                idle()
        frame, self._newest = self._newest, None
        return None if self._ended else frame

    def find_reason_to_stop(self, token: int) -> str:
        """Why the training that goes on is not wanted any more; empty if it is. Never waits."""
        while not self._ended and select.select([self._descriptor], [], [], 0)[0]:
            self._receive()
        if self._newest is not None:
            return REPLACED
        return STOPPED if self._ended or token <= self._stopped else ""

    def _receive(self) -> None:
        if not self._reader.fill():
            self._ended = True
        while (frame := self._reader.take()) is not None:
            self._accept(frame)

    def _accept(self, frame: Frame) -> None:
        number, kind, token = frame[:3]
        if kind == "stop":
            self._stopped = max(self._stopped, token)
        elif token <= self._stopped:
            self._refuse(number, STOPPED)
        elif self._newest is not None and token < self._newest[2]:  # repeated after a crash, out of order
            self._refuse(number, REPLACED)
        else:
            if self._newest is not None:
                self._refuse(self._newest[0], REPLACED)
            self._newest = frame
        if self._newest is not None and self._newest[2] <= self._stopped:
            self._refuse(self._newest[0], STOPPED)
            self._newest = None
