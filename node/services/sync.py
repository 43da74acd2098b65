"""Keeps up with the network where gossip does not: compares heads, pulls what is missing.

Gossip is a hint. Every few seconds a node asks its peers for their heads, and follows the one with the most work:
headers after the last common block, then bodies in order. A peer whose claim of work does not hold is dropped.
Source: docs/protocol.md, section 13.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import Literal

import trio

from ledger.blocks import Header
from ledger.chain import Chain, NotYet
from ledger.errors import DamagedBody, InvalidBlock, InvalidHeader, LedgerError, UnknownParent
from node.p2p.transport import PeerChange, RequestError, Transport
from node.services.chain_service import ChainService
from node.services.fetch import BadPeer, Fetcher
from node.services.importer import Importer
from node.services.messages import MAX_BLOCKS, MAX_HEADERS, Status
from node.services.serve import make_status

log = logging.getLogger(__name__)

POLL_S = 3.0
BAN_S = 600.0
BATCH = MAX_BLOCKS // 2
MAX_ROUNDS = 1 << 16
FAR_BEHIND = 3  # blocks: below this a node is following, not syncing


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """How far the node is behind the best head a peer has told of."""

    behind: int
    best_peer_height: int
    parked: int
    state: Literal["starting", "syncing", "running"]


class Sync:
    """Follows the peer with the most work."""

    def __init__(
        self,
        chain: ChainService,
        transport: Transport,
        fetcher: Fetcher,
        importer: Importer,
        poll_s: float = POLL_S,
    ) -> None:
        self._chain, self._transport = chain, transport
        self._fetcher, self._importer = fetcher, importer
        self._poll_s = poll_s
        self._statuses: dict[str, Status] = {}
        self._wake = trio.Event()
        self._polled = False
        self.peer_heads: dict[str, tuple[int, bytes]] = {}

    def progress(self) -> SyncProgress:
        ours = self._chain.chain.head.height
        best = max((height for height, _ in self.peer_heads.values()), default=0)
        heavier = [
            s.height for s in self._statuses.values() if s.chain_work > self._chain.chain.head.chain_work
        ]
        behind = max(0, max(heavier, default=ours) - ours)
        state: Literal["starting", "syncing", "running"] = "running" if self._polled else "starting"
        if self._polled and behind > FAR_BEHIND:
            state = "syncing"
        return SyncProgress(behind, best, self._importer.parked, state)

    def note_head(self, peer_id: str, height: int, block_hash: bytes) -> None:
        """A peer announced a block."""
        if height >= self.peer_heads.get(peer_id, (0, b""))[0]:
            self.peer_heads[peer_id] = (height, block_hash)

    def note_behind(self, peer_id: str) -> None:
        """Something of this peer's could not be used: ask it at once."""
        self._wake.set()

    def note_peer(self, change: PeerChange) -> None:
        if change.is_up:
            self._wake.set()
        else:
            self._statuses.pop(change.peer.peer_id, None)
            self.peer_heads.pop(change.peer.peer_id, None)

    async def run(self) -> None:
        """Follow until cancelled."""
        self._transport.on_peer(self.note_peer)
        while True:
            self._wake = trio.Event()
            await self._poll()
            self._polled = True
            peer_id = self._choose_peer()
            if peer_id is not None:
                await self._follow(peer_id)
            with trio.move_on_after(self._poll_s):
                await self._wake.wait()

    async def _poll(self) -> None:
        ours = await self._chain.call(make_status)
        async with trio.open_nursery() as nursery:
            for peer in self._transport.peers():
                nursery.start_soon(self._ask_status, peer.peer_id, ours)

    async def _ask_status(self, peer_id: str, ours: Status) -> None:
        try:
            status = await self._fetcher.fetch_status(peer_id, ours)
        except RequestError as error:
            log.debug("status of %s: %s", peer_id, error)
            self._statuses.pop(peer_id, None)
            return
        except BadPeer as error:
            await self._drop(peer_id, str(error))
            return
        if status.chain_id != ours.chain_id:
            await self._drop(peer_id, "is on another chain")
            return
        self._statuses[peer_id] = status
        self.peer_heads[peer_id] = (status.height, status.head)

    def _choose_peer(self) -> str | None:
        ours = self._chain.chain.head.chain_work
        best = max(self._statuses.items(), key=lambda item: item[1].chain_work, default=None)
        return best[0] if best is not None and best[1].chain_work > ours else None

    async def _follow(self, peer_id: str) -> None:
        """Pull the peer's chain until ours has as much work, or it stops telling us anything new."""
        claimed = self._statuses[peer_id].chain_work
        try:
            for _ in range(MAX_ROUNDS):
                if not await self._follow_step(peer_id):
                    break
        except RequestError as error:
            log.info("sync with %s stopped: %s", peer_id, error)
            self._statuses.pop(peer_id, None)
        except (UnknownParent, NotYet) as error:
            log.info("sync with %s waits: %s", peer_id, error)
        except (BadPeer, InvalidHeader, InvalidBlock, DamagedBody) as error:
            await self._drop(peer_id, str(error))
        except LedgerError as error:
            log.error("sync with %s failed here: %s", peer_id, error)
        else:
            if self._chain.chain.head.chain_work < claimed and not self._importer.parked:
                log.info("peer %s told of more work than its chain has by now", peer_id)
                self._statuses.pop(peer_id, None)

    async def _follow_step(self, peer_id: str) -> bool:
        """Pull one run of headers and their bodies; False when there is nothing new or a block is parked."""
        locator = await self._chain.call(lambda chain: chain.index.locator())
        headers = [header for header, _ in await self._fetcher.fetch_headers(peer_id, locator)]
        _check_linked(headers)
        new = await self._chain.call(lambda chain: _skip_held(chain, headers))
        for start in range(0, len(new), BATCH):
            if not await self._pull(peer_id, new[start : start + BATCH]):
                return False
        return bool(new) and len(headers) == MAX_HEADERS

    async def _pull(self, peer_id: str, headers: list[Header]) -> bool:
        wanted = [header.hash for header in headers]
        while wanted:
            blocks = await self._fetcher.fetch_blocks(peer_id, wanted)
            if not blocks:
                raise BadPeer("blocks: none of those it had named")
            for block in blocks:
                if block is None:
                    return False  # it reorganised in between; its next headers will show
                if not await self._importer.add(block, peer_id):
                    return False
            wanted = wanted[len(blocks) :]
        return True

    async def _drop(self, peer_id: str, why: str) -> None:
        log.warning("peer %s is dropped: %s", peer_id, why)
        self._statuses.pop(peer_id, None)
        self.peer_heads.pop(peer_id, None)
        await self._transport.ban(peer_id, why, BAN_S)


def _check_linked(headers: list[Header]) -> None:
    for earlier, later in itertools.pairwise(headers):
        if later.work.parent != earlier.hash:
            raise BadPeer("headers: they do not follow one another")


def _skip_held(chain: Chain, headers: list[Header]) -> list[Header]:
    """Drop leading headers whose blocks are held already (off the main chain, perhaps)."""
    for position, header in enumerate(headers):
        if chain.index.get(header.hash) is None:
            return headers[position:]
    return headers[-1:]  # all held: adding the last again lets a heavier branch take over
