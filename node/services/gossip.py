"""What a node does with announcements: judges, relays by its verdict, completes; and announces its own.

Source: docs/protocol.md, section 13. A header is relayed once its replay agrees, before its body is looked at; only a
header that is wrong for ever costs its relayer the connection.
"""

from __future__ import annotations

import logging

import trio

from ledger.blocks import Block, tx_root_of
from ledger.chain import CannotJudge, NotYet
from ledger.errors import (
    DamagedBody,
    DecodeError,
    FalseShare,
    FalseTrial,
    InvalidBlock,
    InvalidHeader,
    InvalidTransaction,
    LedgerError,
    MissingBlobs,
    NoRoom,
    UnknownParent,
)
from ledger.mempool import MempoolFull
from ledger.transactions import Transaction, decode_transaction, verify_signature
from node.p2p.gate import BoundedSet
from node.p2p.limits import Tally
from node.p2p.transport import RequestError, Transport, TransportError, Verdict
from node.services.chain_service import ChainService
from node.services.fetch import BadPeer, Fetcher
from node.services.importer import Importer
from node.services.messages import Announcement, Names, decode_announcement, encode_announcement
from node.services.sync import Sync
from node.services.turns import ReplayTurns

log = logging.getLogger(__name__)

BAN_S = 3600.0
MAX_COMPLETING = 32  # announced blocks being completed at once
MAX_COMPLETING_PER_PEER = 4
MAX_SEEDS = 4096  # remembered seeds of relayed headers; older headers are too deep to be judged


class Gossip:
    """Both topics of the chain."""

    def __init__(
        self,
        chain: ChainService,
        transport: Transport,
        names: Names,
        fetcher: Fetcher,
        importer: Importer,
        sync: Sync,
    ) -> None:
        self._chain, self._transport, self._names = chain, transport, names
        self._fetcher, self._importer, self._sync = fetcher, importer, sync
        self._params = chain.chain.params
        self._chain_id = chain.chain.genesis.chain_id
        self._to_complete, self._announced = trio.open_memory_channel[tuple[str, Announcement]](
            MAX_COMPLETING
        )
        self._completing = Tally(MAX_COMPLETING, MAX_COMPLETING_PER_PEER)
        self._relayed: BoundedSet[bytes] = BoundedSet(MAX_SEEDS)
        self._turns = ReplayTurns(transport.is_banned)

    async def run(self) -> None:
        """Take part until cancelled."""
        self._chain.on_transaction.append(self.publish_transaction)
        await self._transport.subscribe(self._names.blocks, self._judge_block)
        await self._transport.subscribe(self._names.transactions, self._judge_transaction)
        async with trio.open_nursery() as nursery:  # side by side: a silent peer must not hold up the others
            async for peer_id, announcement in self._announced:
                nursery.start_soon(self._complete_counted, peer_id, announcement)

    # our own

    async def publish_block(self, block: Block) -> None:
        self._relayed.add(block.header.seed)
        await self._publish(self._names.blocks, encode_announcement(block))

    async def publish_transaction(self, tx: Transaction) -> None:
        await self._publish(self._names.transactions, tx.encode())

    async def _publish(self, topic: str, data: bytes) -> None:
        try:
            await self._transport.publish(topic, data)
        except TransportError as error:
            log.warning("not announced on %s: %s", topic, error)

    # blocks of others

    async def _judge_block(self, peer_id: str, data: bytes) -> Verdict:
        try:
            announcement = decode_announcement(data, self._params)
        except DecodeError as error:
            return await self._ban(peer_id, f"announcement: {error}")
        async with self._turns.take(peer_id) as is_allowed:
            if is_allowed:
                return await self._judge_header(peer_id, announcement)
        self._sync.note_behind(peer_id)  # a right header is found there
        return Verdict.IGNORE

    async def _judge_header(self, peer_id: str, announcement: Announcement) -> Verdict:
        header, signature = announcement.header, announcement.signature
        try:
            await self._chain.call(lambda chain: chain.judge_header(header, signature, self._chain.clock()))
        except InvalidHeader as error:
            return await self._ban(peer_id, f"header {header.hash.hex()[:12]}: {error}")
        except (UnknownParent, CannotJudge, NotYet, MissingBlobs) as error:
            log.debug("header %s cannot be judged yet: %s", header.hash.hex()[:12], error)
            self._sync.note_behind(peer_id)
            return Verdict.IGNORE
        except LedgerError as error:  # our own failure: neither valid nor a reason to ban
            log.warning("header %s was not judged: %s", header.hash.hex()[:12], error)
            return Verdict.IGNORE
        self._sync.note_head(peer_id, header.work.height, header.hash)
        if self._chain.chain.index.get(header.hash) is None:
            self._plan_completion(peer_id, announcement)
        if header.seed in self._relayed:  # with another body: anybody can make any number of those
            return Verdict.IGNORE
        self._relayed.add(header.seed)
        return Verdict.ACCEPT

    def _plan_completion(self, peer_id: str, announcement: Announcement) -> None:
        if self._completing.enter(peer_id):
            self._to_complete.send_nowait((peer_id, announcement))  # has room for as many as the tally counts
        else:
            self._sync.note_behind(peer_id)

    async def _ban(self, peer_id: str, why: str) -> Verdict:
        log.warning("peer %s is banned: %s", peer_id, why)
        await self._transport.ban(peer_id, why, BAN_S)
        return Verdict.REJECT

    async def _complete_counted(self, peer_id: str, announcement: Announcement) -> None:
        try:
            await self._complete(peer_id, announcement)
        finally:
            self._completing.leave(peer_id)

    async def _complete(self, peer_id: str, announcement: Announcement) -> None:
        """Find the announced block's body and sidecars and add it; a body problem is never the relayer's fault."""
        name = announcement.header.hash.hex()[:12]
        try:
            if await self._add_announced(peer_id, announcement):
                return
            block = await self._pull(peer_id, announcement)
            if block is not None:
                await self._importer.add(block, peer_id)
                return
            log.info("block %s is left to sync: %s has no body", name, peer_id)
        except (RequestError, BadPeer, UnknownParent, NotYet, NoRoom, DamagedBody) as error:
            log.info("block %s is left to sync: %s", name, error)
        except (InvalidHeader, InvalidBlock) as error:
            log.warning("block %s is invalid: %s", name, error)
            return
        except LedgerError as error:
            log.error("block %s was not added: %s", name, error)
        self._sync.note_behind(peer_id)

    async def _add_announced(self, peer_id: str, announcement: Announcement) -> bool:
        """Add the block from what was announced and what waits here; False if that is not its body."""
        block = self._assemble(announcement)
        if block is None:
            return False
        try:
            await self._importer.add(block, peer_id)
        except DamagedBody as error:
            log.info("block %s came damaged from %s: %s", block.hash.hex()[:12], peer_id, error)
            return False
        return True

    def _assemble(self, announcement: Announcement) -> Block | None:
        transactions = announcement.transactions or tuple(
            tx for txid in announcement.txids if (tx := self._chain.mempool.get(txid)) is not None
        )
        if len(transactions) != announcement.header.work.tx_count:
            return None
        if tx_root_of(transactions) != announcement.header.work.tx_root:
            return None
        return Block(announcement.header, announcement.signature, transactions)

    async def _pull(self, peer_id: str, announcement: Announcement) -> Block | None:
        blocks = await self._fetcher.fetch_blocks(peer_id, [announcement.header.hash])
        return blocks[0] if blocks else None

    # transactions of others

    async def _judge_transaction(self, peer_id: str, data: bytes) -> Verdict:
        try:
            tx = decode_transaction(data, self._params)
        except DecodeError as error:
            return await self._ban(peer_id, f"transaction: {error}")
        if not await trio.to_thread.run_sync(verify_signature, tx, self._chain_id):
            return await self._ban(peer_id, f"transaction {tx.txid.hex()[:12]}: bad signature")
        try:
            await self._admit(tx, peer_id)
            return Verdict.ACCEPT
        except (FalseTrial, FalseShare) as error:  # its relayer had to find out as well
            return await self._ban(peer_id, f"transaction {tx.txid.hex()[:12]}: {error}")
        except (InvalidTransaction, MempoolFull, MissingBlobs) as error:
            log.debug("transaction %s: %s", tx.txid.hex()[:12], error)
        except LedgerError as error:
            log.warning("transaction %s was not judged: %s", tx.txid.hex()[:12], error)
        return Verdict.IGNORE

    async def _admit(self, tx: Transaction, peer_id: str) -> None:
        """Admit a transaction; its data are fetched only once all that can be said without them is right."""
        try:
            await self._chain.add_transaction(tx)
            return
        except MissingBlobs as error:
            cids = error.cids
        async with self._chain.hold_blobs(cids):
            await self._fetcher.fetch_blobs(cids, peer_id)
            await self._chain.add_transaction(tx)
