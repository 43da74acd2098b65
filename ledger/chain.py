"""The chain: known blocks, the head with its state and weights, connecting and reorganising.

Synchronous; one caller at a time. Work is recomputed by the verifier that is passed in, time is an argument. A block
that turns out invalid, or a failure of the disk, leaves database and memory as they were.
Source: docs/protocol.md, sections 3, 5, 8; in the manner of consensus-specs' `on_block`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ledger.archive import (
    PRUNE_EVERY,
    load_delta,
    load_weights,
    make_steps,
    prune,
    store_effects,
)
from ledger.blobs import BlobStore
from ledger.blocks import (
    Block,
    Header,
    check_body,
    decode_block,
    decode_header,
    verify_header_signature,
)
from ledger.errors import (
    DamagedData,
    InvalidBlock,
    InvalidHeader,
    LedgerError,
    MissingBlobs,
    UnknownParent,
)
from ledger.genesis import Genesis
from ledger.headers import check_follows
from ledger.history import SettlementRecord, decode_settlement
from ledger.index import BlockIndex, Entry
from ledger.params import ChainParams
from ledger.records import JOB, JobRecord, decode_job
from ledger.rules import Ancestor, Rules
from ledger.sidecars import list_sidecars
from ledger.sidespace import make_room
from ledger.state import Changes, Overlay, State, check_supply
from ledger.storage import BlockRow, Storage
from ledger.tickets import check_ticket, check_without_state
from ledger.transition import apply_block, genesis_state
from ledger.undo import Undo, decode_undo, take_step_back
from ledger.work import WorkVerifier

JUDGE_DEPTH = 8  # blocks below the head on whose state a header can still be judged


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
        self.rules = Rules(
            genesis.chain_id,
            genesis.params,
            verifier,
            self.load_weights,
            self._load_delta,
            self._find_ancestor,
        )
        self._ancestors: dict[bytes, Ancestor]  # of the head that `_ancestors_of` names
        self._ancestors_of = b""
        self.index = BlockIndex(genesis.chain_id)
        self._touched = False  # whether memory has left the database's last committed state
        self._open()

    @property
    def head(self) -> Entry:
        return self.index.head

    @property
    def state(self) -> State:
        """The state after the head; read only."""
        return self._state

    def set_durable(self, durable: bool) -> None:
        """Wait for the disk at every block, or not while many come that others have; see `Storage.set_durable`."""
        self._storage.set_durable(durable)

    # opening

    def _open(self) -> None:
        stored = self._storage.get_meta("genesis")
        if stored is None:
            self._create()
        elif stored != self.genesis.encode():
            raise LedgerError("the database belongs to another chain: use its own data directory")
        try:
            self._load_index()
            self._load_head()
            self._check_head()
            check_supply(self._state.entries().items())
        except (LedgerError, LookupError, ValueError, TypeError, OverflowError) as error:
            reason = str(error) if isinstance(error, LedgerError) else f"unreadable rows ({error!r})"
            raise DamagedData(f"the database is damaged: {reason}") from error

    def _load_index(self) -> None:
        for row in self._storage.iterate_blocks():
            entry = self.index.add(decode_header(row.header), bool(row.invalid), row.size_bytes)
            if (entry.hash, entry.height) != (row.hash, row.height):
                raise DamagedData(f"the header of block {row.hash.hex()} is another's")

    def _load_head(self) -> None:
        self._state = State(self._storage.load_state())
        self._ancestors = {}  # they look through a state that may have left the database's
        self.index.set_main([self.genesis.chain_id, *(h for _, h in self._storage.iterate_main())])

    def _check_head(self) -> None:
        """Check that the main chain is one, and the state the one that was written with its head."""
        main = self.index.main
        for height in range(1, len(main)):
            entry = self.index[main[height]]
            if entry.parent != main[height - 1] or entry.invalid:
                raise DamagedData(f"block {height} of the main chain does not follow the one before it")
        if self._storage.get_meta("state") != self.head.hash + self._state.root:
            raise DamagedData(f"the state is not the one written at height {self.head.height}")

    def _create(self) -> None:
        with self._storage.transaction():
            self._storage.put_state(dict(genesis_state(self.genesis).entries()))
            self._storage.put_meta("genesis", self.genesis.encode())
            self._storage.put_meta("state", self.genesis.chain_id + genesis_state(self.genesis).root)

    # judging headers

    def check_header(self, header: Header, now_ms: int) -> None:
        """Check what parent and clock say about a header: InvalidHeader, UnknownParent or NotYet."""
        work = header.work
        parent = self.index.get(work.parent)
        if parent is None:
            raise UnknownParent(f"parent {work.parent.hex()} of height {work.height} is not known")
        if parent.invalid:
            raise InvalidHeader(f"parent {work.parent.hex()} is invalid")
        check_follows(header, parent, self.params)
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
        _check_state_root(header, self._root_after(header.work.parent))
        check_ticket(state, header, self.rules)

    def _view_at(self, block_hash: bytes) -> Overlay:
        """Return the state after a main-chain block near the head."""
        entry = self.index[block_hash]
        if not self.index.on_main(entry) or self.head.height - entry.height > JUDGE_DEPTH:
            raise CannotJudge(f"the state after {block_hash.hex()} is not at hand")
        return self._look_back(entry)

    def _find_ancestor(self, block_hash: bytes) -> Ancestor | None:
        """Return a block of the main chain that a share of the next block may build on."""
        entry = self.index.get(block_hash)
        if entry is None or not self.index.on_main(entry):
            return None
        if self.head.height - entry.height > self.params.share_age:
            return None
        if self._ancestors_of != self.head.hash:
            self._ancestors, self._ancestors_of = {}, self.head.hash
        if block_hash not in self._ancestors:
            state = self._look_back(entry)
            self._ancestors[block_hash] = Ancestor(entry.height, entry.time_ms, entry.anchor_time_ms, state)
        return self._ancestors[block_hash]

    def _look_back(self, entry: Entry) -> Overlay:
        """Return the state after a main-chain block: the undo of all later ones laid over the head's."""
        changes: Changes = {}
        for height in range(self.head.height, entry.height, -1):
            changes |= self.load_changes(self.index.main[height])
        return Overlay(self._state, changes)

    def _root_after(self, block_hash: bytes) -> bytes:
        """Return the state root after a main-chain block: the next one's header has it."""
        if block_hash == self.head.hash:
            return self._state.root
        header, _ = self.load_header(self.index.main[self.index[block_hash].height + 1])
        return header.work.state_root

    # adding blocks

    def add_block(self, block: Block, now_ms: int) -> Added:
        """Check and keep a block; make it the head if it then has the most work.

        InvalidHeader and InvalidBlock: wrong for ever. DamagedBody: this copy only. UnknownParent, NotYet, NoRoom: not
        now. Off the main chain a heartbeat is replayed before it is kept, a job's ticket once its branch has the most
        work.
        MissingBlobs: the block is kept and parked; add it again once they are there. After any failure the head is
        what it was; a good block below the failing one connects when it is added again.
        """
        known = self.index.get(block.hash)
        if known is not None and known.invalid:
            raise InvalidBlock(f"block {block.hash.hex()} was found invalid before")
        if known is None:
            self.check_header(block.header, now_ms)
            check_body(block, self.genesis.chain_id)
            data = self._encode(block)
            if block.header.work.parent != self.head.hash:  # else it is judged at once, with the state
                check_without_state(block.header, self.params, self.rules.verifier)
            self._keep(block, data)
        entry = self.index[block.hash]
        if entry.chain_work <= self.head.chain_work:
            return Added(known=known is not None)
        connected, disconnected = self._reorganise(entry)
        return Added(known is not None, connected, disconnected)

    def _encode(self, block: Block) -> bytes:
        """Return a block's bytes. One put together from single transactions may be too long; a decoded one is not."""
        data = block.encode()
        if len(data) > self.params.block_limit:
            raise InvalidBlock(f"block of {len(data)} bytes, at most {self.params.block_limit} are allowed")
        return data

    def _keep(self, block: Block, data: bytes) -> None:
        header, size = block.header, len(data)
        row = BlockRow(block.hash, header.work.height, header.work.parent, header.encode(), 0, size)
        evicted = make_room(self.index, self.index[header.work.parent], size)
        with self._storage.transaction():
            for entry in evicted:
                self._storage.delete_block(entry.hash)
            self._storage.put_block(row, data, _name_sidecars(block, self.params))
        for entry in evicted:
            self.index.remove(entry.hash)
        self.index.add(header, size_bytes=size)

    def _reorganise(self, tip: Entry) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
        """Make `tip` the head, or raise and leave everything as it was."""
        fork, branch = self.index.path_from_main(tip)
        disconnected: list[Block] = []
        connected: list[Block] = []
        entry = tip
        try:
            if fork.hash != self.head.hash:  # nothing is taken back for a branch that cannot be completed
                for entry in branch:
                    self._require_sidecars(self._load_block(entry.hash))
            with self._all_or_nothing():
                while self.head.hash != fork.hash:
                    disconnected.append(self._disconnect_head())
                for entry in branch:
                    block = self._load_block(entry.hash)
                    self._connect(block)
                    connected.append(block)
                self._storage.put_meta("state", tip.hash + self._state.root)
                if any(e.height % PRUNE_EVERY == 0 for e in branch):
                    keep = self.params.versions_kept
                    prune(self._storage, self._state.entries(), self.head.height, keep)
        except (InvalidHeader, InvalidBlock):
            self._mark_invalid(entry.hash)
            raise
        return tuple(connected), tuple(disconnected)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self._touched = False
        try:
            with self._storage.transaction():
                yield
        except BaseException:
            if self._touched:
                self._load_head()
            raise

    def _connect(self, block: Block) -> None:
        _check_state_root(block.header, self._state.root)
        overlay = Overlay(self._state)
        run = check_ticket(overlay, block.header, self.rules)  # what cost no work is not parked
        self._require_sidecars(block)
        effects = apply_block(overlay, block, run, self.rules)
        store_effects(self._storage, block, effects, self.index.main)
        steps = tuple(make_steps(self._storage, effects))
        self._touched = True
        undo = Undo(self._state.apply(overlay.changes), steps)
        self._storage.put_undo(block.hash, undo.encode())
        self._storage.put_state(overlay.changes)
        self._storage.put_main(block.header.work.height, block.hash)
        for position, tx in enumerate(block.transactions):
            self._storage.put_transaction(tx.txid, block.header.work.height, position)
        self.index.extend_main(block.hash)

    def _require_sidecars(self, block: Block) -> None:
        wanted = dict.fromkeys(cid for cid, _ in list_sidecars(block, self.params))
        missing = [cid for cid in wanted if not self.blobs.has(cid)]
        if missing:
            raise MissingBlobs(missing)

    def _disconnect_head(self) -> Block:
        block = self._load_block(self.head.hash)
        undo = self._load_undo(block.hash)
        for step in undo.steps:
            self._storage.put_weights(step.old, take_step_back(step, self.load_weights(step.new)))
        self._touched = True
        self._state.apply(undo.changes)
        self._storage.put_state(undo.changes)
        self._storage.delete_undo(block.hash)
        self._storage.delete_main(block.header.work.height)
        self._storage.delete_settlements(block.hash, block.header.work.height)
        for tx in block.transactions:
            self._storage.delete_transaction(tx.txid)
        self.index.shorten_main()
        return block

    def _mark_invalid(self, block_hash: bytes) -> None:
        family = self.index.with_descendants(block_hash)
        with self._storage.transaction():
            for entry in family:
                self._storage.mark_invalid(entry.hash)
        for entry in family:
            entry.invalid = True

    # reading

    def load_weights(self, cid: bytes) -> bytes:
        """Return a version's weights; LedgerError if it is older than the versions kept."""
        return load_weights(self._storage, cid)

    def _load_delta(self, seed: bytes) -> bytes:
        return load_delta(self._storage, seed)

    def _load_undo(self, block_hash: bytes) -> Undo:
        data = self._storage.get_undo(block_hash)
        if data is None:
            raise DamagedData(f"undo of block {block_hash.hex()} is missing")
        return decode_undo(data)

    def _load_block(self, block_hash: bytes) -> Block:
        block = self.get_block(block_hash)
        if block is None:
            raise DamagedData(f"block {block_hash.hex()} is missing")
        return block

    def load_header(self, block_hash: bytes) -> tuple[Header, bytes]:
        """Return the header and signature of a block that is kept."""
        row = self._storage.get_signed_header(block_hash)
        if row is None:
            raise DamagedData(f"block {block_hash.hex()} is missing")
        header = decode_header(row[0])
        if header.hash != block_hash:
            raise DamagedData(f"the header of block {block_hash.hex()} is another's")
        return header, row[1]

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
            found.append(self.load_header(block_hash))
        return found

    def is_sidecar(self, cid: bytes) -> bool:
        """Get whether a kept block refers to a blob; one that none refers to may go."""
        return self._storage.is_sidecar(cid)

    def find_transaction(self, txid: bytes) -> tuple[int, int] | None:
        """Return (height, position) of a transaction in the main chain."""
        return self._storage.find_transaction(txid)

    def load_changes(self, block_hash: bytes) -> Changes:
        """Return the entries that a main-chain block changed, as they were before it."""
        return self._load_undo(block_hash).changes

    def load_touched_jobs(self, block_hash: bytes) -> dict[bytes, JobRecord]:
        """Return the jobs that a main-chain block changed, as they were before it."""
        changes = self.load_changes(block_hash)
        return {k[1:]: decode_job(old) for k, old in changes.items() if k[0] == JOB and old is not None}

    def list_settlements(self, job_id: bytes) -> list[SettlementRecord]:
        return [decode_settlement(*row) for row in self._storage.load_settlements(job_id)]


def _name_sidecars(block: Block, params: ChainParams) -> list[bytes]:
    try:
        return [cid for cid, _ in list_sidecars(block, params)]
    except InvalidBlock:  # found out again when the block connects; nothing is fetched for it
        return []


def _check_state_root(header: Header, root: bytes) -> None:
    if header.work.state_root != root:
        raise InvalidHeader(f"state root: expected {root.hex()}, got {header.work.state_root.hex()}")
