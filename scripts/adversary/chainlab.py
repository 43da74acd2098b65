"""A real chain in one process, on which chain-level attacks are played: miners race for blocks in virtual time.

Headers, shares, transactions, blocks, pool and settlements are the ledger's, work is exact runs of the engine, miners
make commitments and reveals as the node does (node/services/update_plan.py). What is simulated is time alone: runs
end as those of miners of some power would (competing Poisson processes, so nobody's last run is worth anything when
a block is found), and a block is everywhere at once. Parameters are the local preset's, but for a start target that is
64 times as large, so that a block takes dozens of runs instead of thousands.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from lab import Integers, Lab, get_lab, read_integers

from ledger.blobs import BlobStore
from ledger.blocks import Block, Header
from ledger.chain import Chain
from ledger.errors import LedgerError
from ledger.genesis import Genesis
from ledger.hashing import tagged_hash
from ledger.jobspec import JobSpec, encode_spec, trial_seed
from ledger.keys import KeyPair
from ledger.mempool import Mempool
from ledger.params import COIN, LOCAL, ChainParams
from ledger.records import JobRecord
from ledger.settlement import Outcome, Settlement
from ledger.sidecars import least_fee
from ledger.slots import round_at
from ledger.state import Overlay
from ledger.storage import open_storage
from ledger.template import Template, assemble_block
from ledger.transactions import Body, SubmitJob, Transaction, sign_transaction
from ledger.work import JobFacts, Settled, SettleTask, TicketRun, TicketTask, WorkVerifier
from node.services.share_box import ShareBox
from node.services.update_plan import foresee
from node.work import EngineVerifier
from training.engine import Engine

ALLOCATION = 1_000_000 * COIN
ESCROW = 100_000 * COIN
START_TARGET = 1 << 254  # four standard units of work a block
UNIT = 1 << LOCAL.work_unit_bits
POWER = 4 * UNIT / LOCAL.interval_ms  # multiply-adds a ms, of all miners: a block an interval
START_MS = 1_700_000_000_000
PARAMS: ChainParams = replace(LOCAL, start_target=START_TARGET)


class Remembering:
    """The engine's verifier, that remembers its last runs: a share is looked at many times. Counts what it replays."""

    KEPT = 4096

    def __init__(self, inner: WorkVerifier) -> None:
        self._inner, self._runs = inner, dict[tuple[bytes, bytes], TicketRun]()
        self.replays = 0  # runs that nobody had done yet

    @property
    def heartbeat_work(self) -> int:
        return self._inner.heartbeat_work

    def inspect(self, spec: JobSpec) -> JobFacts:
        return self._inner.inspect(spec)

    def settle(self, task: SettleTask) -> Settled:
        return self._inner.settle(task)

    def run(self, task: TicketTask) -> TicketRun:
        key = (task.seed, task.weights)
        if key not in self._runs:
            self.replays += 1
            self._runs[key] = self._inner.run(task)
            while len(self._runs) > self.KEPT:
                del self._runs[next(iter(self._runs))]
        return self._runs[key]


@cache
def get_small_lab() -> Lab:
    """The zoo's lab, for its images and its training."""
    return get_lab()


def make_spec(lab: Lab, budget: int, price: int) -> JobSpec:
    """The digits with the smallest tickets that jobs may have: a quarter of a standard unit, a millisecond."""
    rates = tuple((mantissa, shift - 3) for mantissa, shift in lab.spec.rates)  # of an eighth of the shard
    return replace(
        lab.spec, steps=2, shard=8, rates=rates, sample=32, budget=budget, price=price, burn=LOCAL.min_burn, target=0,
        lifetime=1_000_000,
    )  # fmt: skip


@dataclass
class Books:
    """What a miner's blocks, runs and updates came to; units, and multiply-adds of work."""

    blocks: int = 0
    dropped: int = 0  # own blocks that it kept to itself
    work: float = 0.0
    chance: float = 0.0  # of a block, summed over valid runs: what luck does not move
    made: list[int] = field(default_factory=list)  # the rounds of its updates
    landed: int = 0  # commitments in a settled round
    unrevealed: int = 0
    shares: int = 0  # of settled updates
    market: int = 0  # earned, less fines and lost bonds
    fees: int = 0  # and prepaid judging


class Racer(Protocol):
    """A miner as the race sees it (chain_players.py)."""

    key: KeyPair
    box: ShareBox

    def act(self) -> None:
        """Send what is due on a new head."""

    def make_template(self, common: tuple[Transaction, ...]) -> Template | None:
        """What it mines on the head; None to rest. `common` are the pool's transactions for the next block."""

    def rate(self, template: Template | None) -> float:
        """Its runs a ms."""

    def date(self, now_ms: int) -> int:
        """The time that it writes into its headers, if that is later than the parent's."""

    def publishes(self, block: Block) -> bool:
        """Whether it gives a block that it found to the others."""


@dataclass
class World:
    """A chain, a pool that everybody sees, and the race for the next block. `players` is filled by the caller."""

    seed: int
    budget: int = 50 * COIN
    price: int = 200 * COIN
    params: ChainParams = PARAMS
    players: list[Racer] = field(default_factory=list)
    clock_ms: float = START_MS
    books: dict[bytes, Books] = field(default_factory=dict)  # by address

    def __post_init__(self) -> None:
        self.lab = get_small_lab()
        self.rng = np.random.default_rng([self.seed, 7])
        self._folder = tempfile.TemporaryDirectory()
        self.keys = [KeyPair.from_seed(self.draw_seed("key", i)) for i in range(12)]
        allocations = tuple(sorted((key.address, ALLOCATION) for key in self.keys))
        blobs = BlobStore(Path(self._folder.name, "blobs"))
        self.verifier = Remembering(EngineVerifier(Engine(blobs.get)))
        self._storage = open_storage(":memory:")
        self.chain = Chain(self._storage, blobs, Genesis(self.params, allocations), self.verifier)
        self.pool = Mempool(self.chain.rules)
        self.spec = make_spec(self.lab, self.budget, self.price)
        self.job_id = b""
        self._foreseen: tuple[bytes, bytes] = (b"", b"")

    def close(self) -> None:
        self._storage.close()
        self._folder.cleanup()

    # what everybody can see

    @property
    def height(self) -> int:
        """Of the next block."""
        return self.chain.head.height + 1

    @property
    def round(self) -> int:
        return round_at(self.job_id, self.height, self.params)

    @property
    def record(self) -> JobRecord:
        record = Overlay(self.chain.state).get_job(self.job_id)
        assert record is not None
        return record

    def foresee(self) -> Integers:
        """The weights that this round's updates will be merged onto, as well as the chain tells now."""
        head = self.chain.head.hash
        if self._foreseen[0] != head:
            self._foreseen = head, foresee(self.chain, self.job_id, self.record)[0]
        return read_integers(self._foreseen[1])

    def draw_seed(self, label: str, *numbers: int) -> bytes:
        return tagged_hash(f"gc/zoo/{label}", b"".join(n.to_bytes(8, "big") for n in (self.seed, *numbers)))

    def get_books(self, key: KeyPair) -> Books:
        return self.books.setdefault(key.address, Books())

    # transactions

    def sign(self, key: KeyPair, body: Body, times_fee: int = 1) -> Transaction:
        """A transaction with the sender's next nonce and a multiple of the least fee."""
        nonce = self.pool.next_nonce(self.chain.state, key.address)
        draft = sign_transaction(key, self.chain.genesis.chain_id, nonce, 1 << 40, body)
        fee = times_fee * least_fee(draft, self.params)
        return sign_transaction(key, self.chain.genesis.chain_id, nonce, fee, body)

    def send(self, key: KeyPair, body: Body, times_fee: int = 1) -> Transaction | None:
        """Put a transaction into the pool; None if it does not take it."""
        tx = self.sign(key, body, times_fee)
        try:
            self.pool.add(tx, self.chain.state, self.height)
        except LedgerError:
            return None
        return tx

    def open_job(self, owner: KeyPair) -> None:
        """Submit the job and mine until its first round begins."""
        blob = self.lab.blobs[self.lab.spec.data_cid]
        self.chain.blobs.put(blob)
        spec = self.spec
        data = encode_spec(spec)
        facts = self.verifier.inspect(spec)
        run = self.verifier.run(TicketTask(trial_seed(data), bytes(32), spec, facts.weights))
        tx = self.send(owner, SubmitJob(data, ESCROW, run.digest, run.before, run.after))
        assert tx is not None, "the job was refused"
        self.job_id = tx.txid
        self.mine_block(act=False)
        while self.round < self.record.first_round:
            self.mine_block(act=False)

    # the race

    def mine_block(self, act: bool = True) -> Block:
        """Let all miners run until one of them publishes the next block."""
        if act:
            for player in self.players:
                player.act()
        common = tuple(self.pool.select(self.chain.state, self.height))
        templates = [player.make_template(common) for player in self.players]
        rates = np.array([p.rate(t) for p, t in zip(self.players, templates, strict=True)])
        total = rates.sum()
        while True:
            self.clock_ms += self.rng.exponential(1 / total)
            number = int(self.rng.choice(len(rates), p=rates / total))
            block = self._run(self.players[number], templates[number])
            if block is not None:
                self._take(block)
                return block

    def _run(self, player: Racer, template: Template | None) -> Block | None:
        """One run of a miner; its block if that wins and the miner publishes it."""
        assert template is not None
        time_ms = max(player.date(int(self.clock_ms)), self.chain.head.time_ms + 1)
        nonce = int(self.rng.integers(1 << 62))
        template = replace(template, work=replace(template.work, nonce=nonce, time_ms=time_ms))
        run = self.verifier.run(
            TicketTask(template.work.seed, template.work.parent, template.spec, template.weights)
        )
        books = self.get_books(player.key)
        books.work += self.work_of(template)
        if run.after >= run.before:
            return None
        books.chance += template.threshold / 2**256
        header = Header(template.work, run.digest, run.before, run.after)
        if header.ticket < self.params.share_factor * template.threshold:
            player.box.add(header)
        if header.ticket >= template.threshold:
            return None
        block = assemble_block(template, nonce, run, player.key, self.chain.genesis.chain_id)
        if not player.publishes(block):
            books.dropped += 1
            return None
        books.blocks += 1
        return block

    def work_of(self, template: Template) -> int:
        """Declared multiply-adds of a run."""
        return self.verifier.heartbeat_work if template.spec is None else self.record.work

    def _take(self, block: Block) -> None:
        added = self.chain.add_block(block, int(self.clock_ms))
        assert added.connected, "a block of the race did not connect"
        for tx in block.transactions:
            for key in self.keys:
                if key.public == tx.sender:
                    self.get_books(key).fees += tx.fee
        self.pool.remove([tx.txid for tx in block.transactions])
        self.pool.update(self.chain.state, self.height, [])

    # what came of it

    def book_settlements(self) -> list[Settlement]:
        """Enter what the settled updates earned and cost into the books; call once, at the end."""
        events = [record.settlement for record in self.chain.list_settlements(self.job_id)]
        for result in (result for event in events for result in event.updates):
            books = self.books.setdefault(result.update.miner, Books())
            books.landed += 1
            books.shares += result.update.shares
            books.unrevealed += result.outcome is Outcome.UNREVEALED
            books.fees += result.update.prepaid
            sign = {Outcome.PAID: 1, Outcome.UNPAID: 0}.get(result.outcome, -1)
            books.market += sign * result.amount
        return events
