"""Brings blocks of others into the chain: fetches what they miss, parks what cannot be completed yet.

Source: docs/protocol.md, sections 3 and 13: a block without its sidecars is parked, never rejected or banned for.
"""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from contextlib import suppress

import trio

from ledger.blocks import Block
from ledger.chain import Chain
from ledger.errors import (
    DamagedBody,
    InvalidBlock,
    InvalidHeader,
    LedgerError,
    MissingBlobs,
    StorageFailed,
    UnknownParent,
)
from ledger.hashing import cid_text
from ledger.lifecycle import load_spec
from ledger.state import Overlay
from node.services.chain_service import ChainService
from node.services.fetch import Fetcher

log = logging.getLogger(__name__)

MAX_PARKED = 64
MAX_PARKED_PER_PEER = 4
MAX_FETCHES = 64
LOOK_EVERY = 5  # turns


class Importer:
    """Adds blocks from peers, and retries the parked ones."""

    def __init__(self, chain: ChainService, fetcher: Fetcher) -> None:
        self._chain, self._fetcher = chain, fetcher
        self._parked: OrderedDict[bytes, tuple[Block, str]] = OrderedDict()

    @property
    def parked(self) -> int:
        return len(self._parked)

    async def add(self, block: Block, peer_id: str) -> bool:
        """Add a peer's block with its sidecars; True if it is now held and checked.

        Raises InvalidHeader, InvalidBlock or DamagedBody for the caller to judge the peer by; UnknownParent for
        sync to fill the gap.
        """
        for _ in range(MAX_FETCHES):  # a branch can miss sidecars of several blocks
            try:
                await self._chain.add_block(block)
                self._parked.pop(block.hash, None)
                return True
            except MissingBlobs as error:
                log.info("block %s misses %s", block.hash.hex()[:12], ", ".join(map(cid_text, error.cids)))
                if not await self._fetcher.fetch_blobs(error.cids, peer_id):
                    break
        self._park(block, peer_id)
        return False

    def _park(self, block: Block, peer_id: str) -> None:
        of_peer = [h for h, (_, owner) in self._parked.items() if owner == peer_id and h != block.hash]
        if len(of_peer) >= MAX_PARKED_PER_PEER:
            del self._parked[of_peer[0]]
        self._parked[block.hash] = (block, peer_id)
        while len(self._parked) > MAX_PARKED:
            self._parked.popitem(last=False)

    async def retry_parked(self) -> None:
        """Try to complete what is parked."""
        for block, peer_id in list(self._parked.values()):
            try:
                await self.add(block, peer_id)
            except (InvalidHeader, InvalidBlock, DamagedBody, UnknownParent) as error:
                log.info("parked block %s dropped: %s", block.hash.hex()[:12], error)
                self._parked.pop(block.hash, None)
            except LedgerError as error:
                log.info("parked block %s waits: %s", block.hash.hex()[:12], error)

    async def fetch_lost(self) -> None:
        """Fetch the data of live jobs that are gone from the disk: else only a block that needs them would."""
        lost = await self._chain.call(_list_lost)
        if lost:
            log.warning("data of live jobs are gone and fetched again: %s", ", ".join(map(cid_text, lost)))
            await self._fetcher.fetch_blobs(lost)

    async def run(self, interval_s: float) -> None:
        """Retry and look now and then until cancelled."""
        for turn in itertools.count(1):
            await trio.sleep(interval_s)
            if self._parked:
                await self.retry_parked()
            if turn % LOOK_EVERY == 0:
                with suppress(StorageFailed):  # told already: the node is about to stop
                    await self.fetch_lost()


def _list_lost(chain: Chain) -> list[bytes]:
    jobs = Overlay(chain.state).active_jobs()
    wanted = {load_spec(record, chain.params).data_cid for _, record in jobs}
    return sorted(cid for cid in wanted if not chain.blobs.has(cid))
