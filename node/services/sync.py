"""Keeps up with the network where gossip does not: compares heads, pulls what is missing.

Gossip is a hint. Every few seconds a node asks its peers for their heads, and follows the one with the most work:
headers after the last common block, then bodies in order. A peer whose claim of work does not hold is dropped; one
that does not deliver what it claims is doubted: asked after the others, and its claim counts for nothing.
Source: docs/protocol.md, section 13.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import trio

from ledger.blocks import HEARTBEAT, Block, Header
from ledger.chain import Chain, NotYet
from ledger.errors import DamagedBody, InvalidBlock, InvalidHeader, LedgerError, NoRoom, UnknownParent
from node.p2p.transport import NotServed, PeerChange, RequestError, Transport
from node.services.chain_service import ChainService
from node.services.fetch import BadPeer, Fetcher
from node.services.importer import Importer
from node.services.messages import MAX_BLOCKS, MAX_HEADERS, Status
from node.services.serve import make_status
from node.services.turns import ReplayBudget

log = logging.getLogger(__name__)

POLL_S = 3.0
BAN_S = 600.0
BATCH = MAX_BLOCKS // 2
MIN_POLL_S = 0.2  # whatever peers send that wakes us
FOLLOW_S = 60.0  # of one peer, while others wait
MAX_UNSERVED = 3  # polls in a row: a peer on another chain has no use for us
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
        self._doubts: Counter[str] = Counter()  # times a peer did not deliver what it claims to have
        self._unserved: Counter[str] = Counter()
        self._budget = ReplayBudget()
        self._wake = trio.Event()
        self._polled = False
        self.peer_heads: dict[str, tuple[int, bytes]] = {}

    def progress(self) -> SyncProgress:
        ours = self._chain.chain.head.height
        best = max((height for height, _ in self.peer_heads.values()), default=0)
        heavier = [
            status.height
            for peer_id, status in self._statuses.items()
            if status.chain_work > self._chain.chain.head.chain_work and not self._doubts[peer_id]
        ]
        behind = max(0, max(heavier, default=ours) - ours)
        state: Literal["starting", "syncing", "running"] = "running" if self._polled else "starting"
        if self._polled and behind > FAR_BEHIND:
            state = "syncing"
        return SyncProgress(behind, best, self._importer.parked, state)

    def doubts(self, peer_id: str) -> int:
        """Get how often a peer did not deliver what it claims to have."""
        return self._doubts[peer_id]

    def note_head(self, peer_id: str, height: int, block_hash: bytes) -> None:
        """A peer announced a block."""
        if self._is_connected(peer_id) and height >= self.peer_heads.get(peer_id, (0, b""))[0]:
            self.peer_heads[peer_id] = (height, block_hash)

    def note_behind(self, peer_id: str) -> None:
        """Something of this peer's could not be used: ask it at once."""
        self._wake.set()

    def note_peer(self, change: PeerChange) -> None:
        if change.is_up:
            self._wake.set()
        else:
            self._forget(change.peer.peer_id)

    def _forget(self, peer_id: str) -> None:
        for table in (self._statuses, self._doubts, self._unserved, self.peer_heads):
            table.pop(peer_id, None)

    def _is_connected(self, peer_id: str) -> bool:
        return any(peer.peer_id == peer_id for peer in self._transport.peers())

    async def run(self) -> None:
        """Follow until cancelled."""
        self._transport.on_peer(self.note_peer)
        while True:
            self._wake = trio.Event()
            await self._poll()
            self._polled = True
            for peer_id in self.rank_peers():
                await self._follow(peer_id)
            await trio.sleep(MIN_POLL_S)
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
        except NotServed as error:
            await self._note_unserved(peer_id, str(error))
            return
        except RequestError as error:
            log.debug("status of %s: %s", peer_id, error)
            self._statuses.pop(peer_id, None)
            return
        except BadPeer as error:
            await self._drop(peer_id, str(error))
            return
        if status.chain_id != ours.chain_id:
            await self._drop(peer_id, "is on another chain")
        elif self._is_connected(peer_id):  # still: what is noted of others would stay
            self._unserved.pop(peer_id, None)
            self._statuses[peer_id] = status
            self.peer_heads[peer_id] = (status.height, status.head)

    async def _note_unserved(self, peer_id: str, why: str) -> None:
        self._statuses.pop(peer_id, None)
        if self._is_connected(peer_id):
            self._unserved[peer_id] += 1
        if self._unserved[peer_id] >= MAX_UNSERVED:
            await self._drop(peer_id, f"is on another chain: {why}")

    def rank_peers(self) -> list[str]:
        """Return who told of a status, the least doubted first, of these the one with the most work."""
        ranked = sorted(self._statuses.items(), key=lambda item: (self._doubts[item[0]], -item[1].chain_work))
        return [peer_id for peer_id, _ in ranked]

    async def _follow(self, peer_id: str) -> None:
        """Pull a peer's chain if it has more work than ours, until ours has as much or it tells nothing new."""
        status = self._statuses.get(peer_id)
        if status is None or status.chain_work <= await self._chain.call(_chain_work):
            self._doubts.pop(peer_id, None)
            return
        try:
            with trio.move_on_after(FOLLOW_S) as turn:
                is_complete = await self._pull_chain(peer_id)
            if turn.cancelled_caught:
                return  # more in the next round
            if await self._chain.call(_chain_work) >= status.chain_work:
                self._doubts.pop(peer_id, None)
            elif is_complete:
                await self._drop(peer_id, "told of more work than its chain has")
            else:
                self._doubt(peer_id, "its blocks or their sidecars did not come")
        except (RequestError, UnknownParent, NotYet, NoRoom) as error:
            self._doubt(peer_id, str(error))
        except (BadPeer, InvalidHeader, InvalidBlock, DamagedBody) as error:
            await self._drop(peer_id, str(error))
        except LedgerError as error:
            log.error("sync with %s failed here: %s", peer_id, error)

    def _doubt(self, peer_id: str, why: str) -> None:
        log.info("sync with %s stopped: %s", peer_id, why)
        if self._is_connected(peer_id):
            self._doubts[peer_id] += 1

    async def _pull_chain(self, peer_id: str) -> bool:
        """Pull what we do not hold of a peer's chain; False if it ended before the end of its headers."""
        last: Header | None = None
        while True:
            locator = await self._chain.call(lambda chain: chain.index.locator())
            if last is not None:  # perhaps on a branch that has less work than ours so far
                locator.insert(0, last.hash)
            headers = [header for header, _ in await self._fetcher.fetch_headers(peer_id, locator)]
            _check_linked(headers)
            if last is not None and headers and headers[-1].work.height <= last.work.height:
                raise BadPeer("headers: the same ones again")
            new = await self._chain.call(partial(_skip_held, headers=headers))
            async with self._chain.hurry() if len(new) > BATCH else nullcontext():
                for start in range(0, len(new), BATCH):
                    if not await self._pull(peer_id, new[start : start + BATCH]):
                        return False
            if len(headers) < MAX_HEADERS:
                return True
            last = headers[-1]

    async def _pull(self, peer_id: str, headers: list[Header]) -> bool:
        wanted = [header.hash for header in headers]
        while wanted:
            blocks = await self._fetcher.fetch_blocks(peer_id, wanted)
            if not blocks:
                raise BadPeer("blocks: none of those it had named")
            for block in blocks:
                if block is None:
                    return False  # it reorganised in between; its next headers will show
                await self._wait_for_replay(block)
                if not await self._importer.add(block, peer_id):
                    return False
            wanted = wanted[len(blocks) :]
        return True

    async def _wait_for_replay(self, block: Block) -> None:
        """Of a heartbeat off the main chain, which is replayed whatever its branch will come to."""
        work = block.header.work
        if work.job_id == HEARTBEAT and work.parent != self._chain.chain.head.hash:
            await self._budget.take()

    async def _drop(self, peer_id: str, why: str) -> None:
        log.warning("peer %s is dropped: %s", peer_id, why)
        self._forget(peer_id)
        await self._transport.ban(peer_id, why, BAN_S)


def _chain_work(chain: Chain) -> int:
    return chain.head.chain_work


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
