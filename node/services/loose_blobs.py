"""Blobs that only a transaction brought: removed again unless the transaction waits or a block refers to them.

Else anybody could fill a disk with the data of submissions that are refused, replaced or never mined.
Source: docs/protocol.md, section 13.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable

from ledger.chain import Chain
from ledger.hashing import cid_text
from ledger.mempool import Mempool

log = logging.getLogger(__name__)


class LooseBlobs:
    """What may have to go. As many as submissions wait and are being judged: both have bounds of their own.

    Everything but `release` belongs to the chain's thread.
    """

    def __init__(self) -> None:
        self._cids: set[bytes] = set()
        self._held: Counter[bytes] = Counter()
        self._released: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._cids)

    def hold(self, cids: Iterable[bytes]) -> None:
        """Note blobs before they are fetched for a transaction; they stay until they are released."""
        for cid in cids:
            self._cids.add(cid)
            self._held[cid] += 1

    def release(self, cids: Iterable[bytes]) -> None:
        """Say that the transaction was judged; on any thread, and without waiting."""
        self._released.extend(cids)

    def collect(self, chain: Chain, mempool: Mempool) -> None:
        """Remove what nothing needs; forget what a block refers to, for that stays."""
        while self._released:
            cid = self._released.popleft()
            self._held[cid] -= 1
            if not self._held[cid]:
                del self._held[cid]
        candidates = self._cids - self._held.keys()
        if not candidates:
            return
        for cid in candidates - mempool.list_sidecars():
            if self._let_go(chain, cid):
                self._cids.discard(cid)

    def _let_go(self, chain: Chain, cid: bytes) -> bool:
        if chain.is_sidecar(cid):
            return True
        try:
            chain.blobs.remove(cid)
        except OSError as error:
            log.warning("blob %s cannot be removed: %s", cid_text(cid), error)
            return False
        log.info("blob %s removed: no transaction that waits and no block refers to it", cid_text(cid))
        return True
