"""Whose announced headers are judged when: one of a peer at a time, and only so many a second.

A forged header costs its maker a few hashes and us a training run. Its maker is banned for the first one, so what waits
behind it must not be run any more; and whoever sends right ones faster than a chain grows is not worth the runs.
Heartbeats of branches have a budget of their own: they come by the hundred, and where targets are easy they are cheap.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from node.p2p.limits import Clock, TokenBuckets

REPLAYS_PER_S = 4.0  # of one peer; a chain grows by a block a second at most, branches included a few
REPLAY_BURST = 32.0  # what a peer may have gathered while we did not listen
BRANCH_REPLAYS_PER_S = 100.0  # of about 1 ms: a tenth of a core
BRANCH_REPLAY_BURST = 1024.0  # those of 4096 blocks where jobs win all others; a second of a core


class ReplayTurns:
    """Turns of peers; as many wait as the transport lets messages be judged."""

    def __init__(
        self,
        is_banned: Callable[[str], bool],
        clock: Clock = trio.current_time,
        rate_per_s: float = REPLAYS_PER_S,
        burst: float = REPLAY_BURST,
    ) -> None:
        self._is_banned = is_banned
        self._buckets = TokenBuckets(rate_per_s, burst, clock)
        self._locks: dict[str, trio.Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def take(self, peer_id: str) -> AsyncIterator[bool]:
        """Wait for the peer's turn; False if nothing of it is to be judged now."""
        lock = self._locks.setdefault(peer_id, trio.Lock())
        try:
            async with lock:
                yield not self._is_banned(peer_id) and self._buckets.take(peer_id)
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._locks.pop(peer_id, None)


class ReplayBudget:
    """So many replays a second after a burst, whoever causes them: a new identity costs nothing. Others wait."""

    def __init__(
        self,
        clock: Clock = trio.current_time,
        rate_per_s: float = BRANCH_REPLAYS_PER_S,
        burst: float = BRANCH_REPLAY_BURST,
    ) -> None:
        self._bucket = TokenBuckets(rate_per_s, burst, clock, max_keys=1)
        self._pause_s = 1 / rate_per_s

    async def take(self) -> None:
        """Wait until there is a replay to spend."""
        while not self._bucket.take(""):
            await trio.sleep(self._pause_s)
