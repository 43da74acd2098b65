"""Our own training runs that can still give an update weight. Source: docs/protocol.md, section 7.1."""

from __future__ import annotations

from collections import deque

from ledger.blocks import Header
from ledger.chain import Chain
from ledger.state import Overlay

MAX_SHARES = 256


class ShareBox:
    """The last shares, newest at the end; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._shares: deque[Header] = deque(maxlen=MAX_SHARES)

    def __len__(self) -> int:
        return len(self._shares)

    def add(self, share: Header) -> None:
        self._shares.append(share)

    def choose(self, chain: Chain, most: int, taken: frozenset[bytes]) -> tuple[Header, ...]:
        """Return up to `most` shares that the next block can take, the oldest first: they expire first.

        `taken` are those that wait in a transaction, encoded. What no later block can take is dropped.
        """
        state, age = Overlay(chain.state), chain.params.share_age
        height = chain.head.height + 1
        chosen: list[Header] = []
        kept: deque[Header] = deque(maxlen=MAX_SHARES)
        for share in self._shares:
            own = share.work.height
            if own < height - age or share.seed in state.get_spent(own):
                continue
            kept.append(share)
            on_main = chain.get_main_hash(own - 1) == share.work.parent
            if on_main and own <= height and share.encode() not in taken and len(chosen) < most:
                chosen.append(share)
        self._shares = kept
        return tuple(chosen)
