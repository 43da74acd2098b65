"""How late the event loop runs: a timer that measures its own lateness, for `GET /v1/status` and the benchmarks.

What delays it delays everything else in the loop, whether a task that computes too long or a busy machine.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import trio

INTERVAL_S = 0.02
WINDOW = 3000  # beats kept: a minute


@dataclass(frozen=True, slots=True)
class LoopLag:
    """Lateness over the window, in milliseconds."""

    p50: float
    p99: float
    max: float


class Pulse:
    """Beats every `interval_s` and remembers how late the last beats were."""

    def __init__(self, interval_s: float = INTERVAL_S, window: int = WINDOW) -> None:
        self._interval_s = interval_s
        self._late_ms: deque[float] = deque(maxlen=window)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            due_s = trio.current_time() + self._interval_s
            await trio.sleep_until(due_s)
            self.note((trio.current_time() - due_s) * 1000)

    def note(self, late_ms: float) -> None:
        self._late_ms.append(late_ms)

    def measure(self) -> LoopLag | None:
        """Return the lateness of the beats in the window; None before the first."""
        ordered = sorted(self._late_ms)
        if not ordered:
            return None
        return LoopLag(pick_rank(ordered, 0.5), pick_rank(ordered, 0.99), ordered[-1])


def pick_rank(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
