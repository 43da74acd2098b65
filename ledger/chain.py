"""The chain: known blocks, the head with its state and weights, connecting and reorganising.

Synchronous; one caller at a time. Work is recomputed by the verifier that is passed in, time is an argument. A block
that turns out invalid, or a failure of the disk, leaves database and memory as they were.
Source: docs/protocol.md, sections 3, 5, 8; in the manner of consensus-specs' `on_block`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ledger.blobs import BlobStore
from ledger.blocks import (
    HEARTBEAT,
    Block,
    Header,
    check_body,
    decode_block,
    decode_header,
    verify_header_signature,
)
from ledger.difficulty import next_target, threshold
from ledger.errors import InvalidBlock, InvalidHeader, LedgerError, MissingBlobs, UnknownParent
from ledger.genesis import Genesis
from ledger.history import SettlementRecord, TicketPlace, decode_settlement, encode_settlement
from ledger.index import BlockIndex, Entry
from ledger.params import ChainParams
from ledger.state import Overlay, State, check_supply
from ledger.storage import BlockRow, Storage
from ledger.transition import (
    BlockEffects,
    Rules,
    apply_block,
    check_ticket_claim,
    genesis_state,
    replay_ticket,
    sidecars_of,
)
from ledger.undo import Undo, WeightStep, decode_undo, make_step, take_step_back
from ledger.work import WorkVerifier

JUDGE_DEPTH = 8  # blocks below the head on whose state a header can still be judged
DELTAS_KEPT = 1024  # blocks: a reorganisation deeper than this finds no deltas to settle with
PRUNE_EVERY = 16  # blocks
MAX_SIDE_BLOCKS = 10_000  # stored blocks off the main chain


class NotYet(LedgerError):
    """A header that is too far ahead of the clock; it may be right later."""


class CannotJudge(LedgerError):
    """A header whose parent's state is not at hand: neither right nor wrong."""


@dataclass(frozen=True, slots=True)
class Added:
    """What adding a block did. `connected` and `disconnected` are empty for a block off the main chain."""

    known: bool
    connected: tuple[Block, ...] = ()
    disconnected: tuple[Block, ...] = ()


class Chain:
    """All known blocks, and the state after the head."""

    def __init__(self, storage: Storage, blobs: BlobStore, genesis: Genesis, verifier: WorkVerifier) -> None:
        self.params: ChainParams = genesis.params
        self.genesis = genesis
        self.blobs = blobs
        self._storage = storage
        self.rules = Rules(genesis.chain_id, genesis.params, verifier, self.load_weights, self._load_delta)
        self.index = BlockIndex(genesis.chain_id)
        self._open()

    @property
    def head(self) -> Entry:
        return self.index.head

    @property
    def state(self) -> State:
        """The state after the head; read only."""
        return self._state

    # opening

    def _open(self) -> None:
        stored = self._storage.get_meta("genesis")
        if stored is None:
            self._create()
        elif stored != self.genesis.encode():
            raise LedgerError("the database belongs to another chain: use its own data directory")
        self._state = State(self._storage.load_state())
        for row in self._storage.iterate_blocks():
            self.index.add(decode_header(row.header), bool(row.invalid))
        self.index.main = [self.genesis.chain_id, *(h for _, h in self._storage.iterate_main())]
        check_supply(self._state.entries().items())

    def _create(self) -> None:
        with self._storage.transaction():
            self._storage.put_state(dict(genesis_state(self.genesis).entries()))
            self._storage.put_meta("genesis", self.genesis.encode())

    # judging headers

    def check_header(self, header: Header, now_ms: int) -> None:
        """Check what parent and clock say about a header: InvalidHeader, UnknownParent or NotYet."""
        work = header.work
        parent = self.index.get(work.parent)
        if parent is None:
            raise UnknownParent(f"parent {work.parent.hex()} of height {work.height} is not known")
        if parent.invalid:
            raise InvalidHeader(f"parent {work.parent.hex()} is invalid")
        if work.height != parent.height + 1:
            raise InvalidHeader(f"height: expected {parent.height + 1}, got {work.height}")
        if work.time_ms <= parent.time_ms:
            raise InvalidHeader(f"time: expected later than {parent.time_ms}, got {work.time_ms}")
        target = next_target(self.params, parent.height, parent.time_ms, parent.first_time_ms)
        if work.target != target:
            raise InvalidHeader(f"target: expected {target:x}, got {work.target:x}")
        most = threshold(target, self.params.work_max << self.params.work_unit_bits, False, self.params)
        if header.ticket >= most or header.after >= header.before:
            raise InvalidHeader("ticket: not under any threshold of this target")
        ahead_ms = self.params.future_intervals * self.params.interval_ms
        if work.time_ms > now_ms + ahead_ms:
            raise NotYet(
                f"time: {work.time_ms - now_ms} ms ahead of the clock, at most {ahead_ms} are accepted"
            )

    def judge_header(self, header: Header, signature: bytes, now_ms: int) -> None:
        """Check a header to the end, replay included, without its body.

        InvalidHeader if it is wrong; UnknownParent, NotYet, CannotJudge or MissingBlobs if nothing can be said yet.
        """
        self.check_header(header, now_ms)
        if not verify_header_signature(header, signature, self.genesis.chain_id):
            raise InvalidHeader("signature: not the miner's")
        state = self._view_at(header.work.parent)
        check_ticket_claim(state, header, self.rules)
        replay_ticket(state, header, self.rules)

    def _view_at(self, block_hash: bytes) -> Overlay:
        """Return the state after a main-chain block near the head."""
        entry = self.index[block_hash]
        if not self.index.on_main(entry) or self.head.height - entry.height > JUDGE_DEPTH:
            raise CannotJudge(f"the state after {block_hash.hex()} is not at hand")
        changes: dict[bytes, bytes | None] = {}
        for height in range(self.head.height, entry.height, -1):
            changes |= self._load_undo(self.index.main[height]).changes
        return Overlay(self._state, changes)

    # adding blocks

    def add_block(self, block: Block, now_ms: int) -> Added:
        """Check and keep a block; make it the head if it then has the most work.

        InvalidHeader and InvalidBlock: wrong for ever. DamagedBody: this copy only. UnknownParent, NotYet: not now.
        MissingBlobs: the block is kept and parked; add it again once they are there.
        """
        known = self.index.get(block.hash)
        if known is not None and known.invalid:
            raise InvalidBlock(f"block {block.hash.hex()} was found invalid before")
        if known is None:
            self.check_header(block.header, now_ms)
            check_body(block, self.genesis.chain_id)
            self._keep(block)
        entry = self.index[block.hash]
        if entry.chain_work <= self.head.chain_work:
            return Added(known=known is not None)
        connected, disconnected = self._reorganise(entry)
        return Added(known is not None, connected, disconnected)

    def _keep(self, block: Block) -> None:
        if len(self.index) - len(self.index.main) > MAX_SIDE_BLOCKS:
            raise LedgerError(f"more than {MAX_SIDE_BLOCKS} blocks off the main chain; this one is not kept")
        header = block.header
        row = BlockRow(block.hash, header.work.height, header.work.parent, header.encode(), 0)
        with self._storage.transaction():
            self._storage.put_block(row, block.encode())
        self.index.add(header)

    def _reorganise(self, tip: Entry) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
        """Make `tip` the head, or raise and leave everything as it was."""
        fork, branch = self.index.path_from_main(tip)
        disconnected: list[Block] = []
        connected: list[Block] = []
        entry = tip
        try:
            with self._all_or_nothing():
                while self.head.hash != fork.hash:
                    disconnected.append(self._disconnect_head())
                for entry in branch:
                    block = self._load_block(entry.hash)
                    self._connect(block)
                    connected.append(block)
        except (InvalidHeader, InvalidBlock):
            self._mark_invalid(entry.hash)
            raise
        if self.head.height % PRUNE_EVERY == 0:
            self._prune()
        return tuple(connected), tuple(disconnected)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        main = list(self.index.main)
        try:
            with self._storage.transaction():
                yield
        except BaseException:
            self._state = State(self._storage.load_state())
            self.index.main = main
            raise

    def _connect(self, block: Block) -> None:
        self._require_sidecars(block)
        if block.header.work.state_root != self._state.root:
            raise InvalidBlock(
                f"state root: expected {self._state.root.hex()}, got {block.header.work.state_root.hex()}"
            )
        overlay = Overlay(self._state)
        effects = apply_block(overlay, block, self.rules)
        self._store_effects(block, effects)
        steps = tuple(self._steps_of(effects))
        undo = Undo(self._state.apply(overlay.changes), steps)
        self._storage.put_undo(block.hash, undo.encode())
        self._storage.put_state(overlay.changes)
        self._storage.put_main(block.header.work.height, block.hash)
        for position, tx in enumerate(block.transactions):
            self._storage.put_transaction(tx.txid, block.header.work.height, position)
        self.index.main.append(block.hash)

    def _require_sidecars(self, block: Block) -> None:
        wanted = [cid for tx in block.transactions for cid, _ in sidecars_of(tx, self.params)]
        missing = [cid for cid in wanted if not self.blobs.has(cid)]
        if missing:
            raise MissingBlobs(missing)

    def _store_effects(self, block: Block, effects: BlockEffects) -> None:
        height = block.header.work.height
        if block.header.work.job_id != HEARTBEAT:
            self._storage.put_delta(block.header.seed, height, zlib.compress(effects.run.delta, 1))
        for cid, weights in effects.weights.items():
            self._storage.put_weights(cid, weights)
        for event in effects.settlements:
            places = tuple(self._place_of(seed) for seed in event.tickets)
            replaced = event.old_weights if event.old_weights != event.new_weights else None
            data = encode_settlement(event, places)
            self._storage.put_settlement(event.job_id, height, block.hash, data, replaced)

    def _place_of(self, seed: bytes) -> TicketPlace:
        height = self._storage.get_delta_height(seed)
        return TicketPlace(seed, height, self.index.main[height])

    def _steps_of(self, effects: BlockEffects) -> Iterator[WeightStep]:
        for event in effects.settlements:
            if event.old_weights != event.new_weights:
                new, old = effects.weights[event.new_weights], self.load_weights(event.old_weights)
                yield make_step(event.new_weights, new, event.old_weights, old)

    def _disconnect_head(self) -> Block:
        block = self._load_block(self.head.hash)
        undo = self._load_undo(block.hash)
        for step in undo.steps:
            self._storage.put_weights(step.old, take_step_back(step, self.load_weights(step.new)))
        self._state.apply(undo.changes)
        self._storage.put_state(undo.changes)
        self._storage.delete_undo(block.hash)
        self._storage.delete_main(block.header.work.height)
        self._storage.delete_settlements(block.hash, block.header.work.height)
        for tx in block.transactions:
            self._storage.delete_transaction(tx.txid)
        self.index.main.pop()
        return block

    def _mark_invalid(self, block_hash: bytes) -> None:
        with self._storage.transaction():
            for bad in self.index.mark_invalid(block_hash):
                self._storage.mark_invalid(bad)

    def _prune(self) -> None:
        """Drop deltas and versions of weights that only a very deep reorganisation could ask for."""
        with self._storage.transaction():
            self._storage.delete_deltas_below(self.head.height - DELTAS_KEPT)
            for job_id, record in Overlay(self._state).active_jobs():
                self._storage.prune_weights(job_id, record.weights, self.params.versions_kept, PRUNE_EVERY)

    # reading

    def load_weights(self, cid: bytes) -> bytes:
        """Return a version's weights; LedgerError if it is older than the versions kept."""
        weights = self._storage.get_weights(cid)
        if weights is None:
            raise LedgerError(f"weights {cid.hex()} are not kept any more")
        return weights

    def _load_delta(self, seed: bytes) -> bytes:
        delta = self._storage.get_delta(seed)
        if delta is None:
            raise LedgerError(f"the delta of ticket {seed.hex()} is not kept any more")
        return zlib.decompress(delta)

    def _load_undo(self, block_hash: bytes) -> Undo:
        data = self._storage.get_undo(block_hash)
        if data is None:
            raise LedgerError(f"undo of {block_hash.hex()} is missing: the database is damaged")
        return decode_undo(data)

    def _load_block(self, block_hash: bytes) -> Block:
        block = self.get_block(block_hash)
        if block is None:
            raise LedgerError(f"block {block_hash.hex()} is missing: the database is damaged")
        return block

    def get_block(self, block_hash: bytes) -> Block | None:
        data = self.get_block_bytes(block_hash)
        return None if data is None else decode_block(data, self.params)

    def get_block_bytes(self, block_hash: bytes) -> bytes | None:
        return self._storage.get_body(block_hash)

    def get_main_hash(self, height: int) -> bytes | None:
        main = self.index.main
        return main[height] if 0 <= height < len(main) else None

    def headers_after(self, locator: Sequence[bytes], limit: int) -> list[tuple[Header, bytes]]:
        """Return main-chain headers with signatures after the first hash of the locator that is on the main chain."""
        start = 0
        for block_hash in locator:
            entry = self.index.get(block_hash)
            if entry is not None and self.index.on_main(entry):
                start = entry.height
                break
        found = []
        for block_hash in self.index.main[start + 1 : start + 1 + limit]:
            block = self._load_block(block_hash)
            found.append((block.header, block.signature))
        return found

    def find_transaction(self, txid: bytes) -> tuple[int, int] | None:
        """Return (height, position) of a transaction in the main chain."""
        return self._storage.find_transaction(txid)

    def list_settlements(self, job_id: bytes) -> list[SettlementRecord]:
        return [decode_settlement(*row) for row in self._storage.load_settlements(job_id)]
