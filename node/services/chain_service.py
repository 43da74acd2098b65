"""The chain behind one thread: the event loop never waits for the disk or for a replay.

All reads and writes of chain and mempool go through `call`, one at a time, in order of arrival.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import trio

from ledger.blobs import BlobStore, put_checked
from ledger.blocks import Block
from ledger.chain import Added, Chain
from ledger.errors import LedgerError, StorageFailed
from ledger.mempool import Mempool
from ledger.storage import STORAGE_ERRORS, explain_failure
from ledger.transactions import Transaction
from node.services.loose_blobs import LooseBlobs

log = logging.getLogger(__name__)

T = TypeVar("T")
Clock = Callable[[], int]
TransactionHook = Callable[[Transaction], Awaitable[None]]


def read_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class ChainService:
    """Chain, mempool and blobs of a node, and the news that the head or the mempool changed."""

    def __init__(self, chain: Chain, clock: Clock = read_clock_ms) -> None:
        self.chain = chain
        self.blobs: BlobStore = chain.blobs
        self.mempool = Mempool(chain.rules, has_blob=chain.blobs.has)
        self.clock = clock
        self.loose_blobs = LooseBlobs()
        self._limiter = trio.CapacityLimiter(1)
        self._changed = trio.Event()
        self.on_transaction: list[TransactionHook] = []
        self.on_storage_failure: Callable[[StorageFailed], None] = lambda failure: None

    async def call(self, fn: Callable[[Chain], T]) -> T:
        """Run `fn(chain)` in the chain's thread."""
        return await self._guard(partial(fn, self.chain), self._limiter)

    @asynccontextmanager
    async def hurry(self) -> AsyncIterator[None]:
        """Wait for the disk only at the end of the block: for what peers have anyway, should it be lost."""
        await self.call(lambda chain: chain.set_durable(False))
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await self.call(lambda chain: chain.set_durable(True))

    async def put_blob(self, cid: bytes, blob: bytes) -> None:
        """Store a blob that a peer sent for a CID; LedgerError if it is another one."""
        await self._guard(partial(put_checked, self.blobs, cid, blob))

    async def _guard(self, fn: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
        """Run `fn` in a thread; a failure of the disk is told, and raised as the StorageFailed that it is."""
        try:
            return await trio.to_thread.run_sync(fn, limiter=limiter)
        except StorageFailed as error:
            failure = error
        except STORAGE_ERRORS as error:
            failure = explain_failure(error)
        self.on_storage_failure(failure)
        raise failure

    async def wait_for_change(self) -> None:
        """Wait until the head or the mempool changes."""
        await self._changed.wait()

    def get_next_change(self) -> trio.Event:
        """Get what will be set at the next change: to be got before looking, so that none is missed."""
        return self._changed

    def _announce_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def add_block(self, block: Block) -> Added:
        """Add a block; see `Chain.add_block` for what it raises."""
        added = await self.call(lambda chain: self._add(chain, block))
        if added.connected:
            height, work = added.connected[-1].header.work.height, added.connected[-1].header.work
            log.info(
                "head %d %s job=%s txs=%d%s",
                height,
                added.connected[-1].hash.hex()[:12],
                work.job_id.hex()[:8],
                work.tx_count,
                f" reorganised {len(added.disconnected)}" if added.disconnected else "",
            )
            self._announce_change()
        return added

    def _add(self, chain: Chain, block: Block) -> Added:
        added = chain.add_block(block, self.clock())
        if added.connected:
            returned = [tx for old in reversed(added.disconnected) for tx in old.transactions]
            self.mempool.update(chain.state, chain.head.height + 1, returned)
            self.loose_blobs.collect(chain, self.mempool)
        return added

    async def send_transaction(self, sign: Callable[[Chain, Mempool], Transaction]) -> Transaction:
        """Sign and admit a transaction in one turn, so that no two choose the same nonce, and tell the network.

        Raises what `sign` and `Mempool.add` raise.
        """

        def send(chain: Chain) -> Transaction:
            tx = sign(chain, self.mempool)
            self._admit(chain, tx)
            return tx

        tx = await self.call(send)
        self._announce_change()
        for hook in self.on_transaction:
            await hook(tx)
        return tx

    async def add_transaction(self, tx: Transaction) -> None:
        """Admit a transaction whose signature was checked."""
        await self.call(lambda chain: self._admit(chain, tx))
        self._announce_change()

    def _admit(self, chain: Chain, tx: Transaction) -> None:
        self.mempool.add(tx, chain.state, chain.head.height + 1)
        self.loose_blobs.collect(chain, self.mempool)  # those of what it replaced

    @asynccontextmanager
    async def hold_blobs(self, cids: Iterable[bytes]) -> AsyncIterator[None]:
        """Store blobs and admit their transaction in here; afterwards only those that are needed stay."""
        held = tuple(cids)
        await self.call(lambda _: self.loose_blobs.hold(held))
        try:
            yield
        finally:
            self.loose_blobs.release(held)
            await self.call(lambda chain: self.loose_blobs.collect(chain, self.mempool))

    async def select_transactions(self) -> tuple[Transaction, ...]:
        """Return what the next block may carry."""

        def select(chain: Chain) -> tuple[Transaction, ...]:
            return tuple(self.mempool.select(chain.state, chain.head.height + 1))

        try:
            return await self.call(select)
        except LedgerError as error:
            log.warning("no transactions for the next block: %s", error)
            return ()
