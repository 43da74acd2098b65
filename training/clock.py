"""Seconds of each stage of a command, by the wall."""

from __future__ import annotations

import time


class Clock:
    """Seconds from one stop to the next, by name; those of the same name together."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last_s = time.monotonic()

    def stop(self, name: str) -> None:
        now_s = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now_s - self._last_s
        self._last_s = now_s
