"""A chain with toy work, and what mines on it: for tests of the rules, of storage and of the mempool."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from ledger.blobs import BlobStore
from ledger.blocks import Block, Header, WorkHeader, sign_header, tx_root_of
from ledger.chain import Added, Chain
from ledger.genesis import LOCAL_ALLOCATION, Genesis, local_accounts
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec, encode_spec, trial_seed
from ledger.keys import KeyPair
from ledger.lifecycle import load_spec
from ledger.params import COIN, REGTEST, ChainParams
from ledger.records import Account, JobRecord, Supply
from ledger.slots import draw_job
from ledger.state import Overlay, check_supply
from ledger.storage import Storage, open_storage
from ledger.template import Template, build_template
from ledger.transactions import Body, CancelJob, SubmitJob, Transaction, Transfer, sign_transaction
from ledger.work import TicketTask
from tests.ledger.toy_work import STEADY, WORK, ToyWork

ACCOUNTS = local_accounts("toy")
ALICE, BOB, CAROL, MINER = ACCOUNTS[:4]
NOW_MS = 2**62  # late enough for every time stamp of a test
DATA = b"GCD1 toy data"
NONCES = 10_000


def make_genesis(params: ChainParams = REGTEST) -> Genesis:
    return Genesis(params, tuple(sorted((key.address, LOCAL_ALLOCATION) for key in ACCOUNTS)))


GENESIS = make_genesis()


def make_spec(number: int = 0, **changes: object) -> JobSpec:
    """Return a job spec; `number` makes its weights its own."""
    spec = JobSpec(
        title="toy",
        objective="toy",
        params=(STEADY, WORK, 1000),
        data_cid=cid_of(DATA),
        data_size=len(DATA),
        init_seed=tagged_hash("gc/test", bytes([number])),
        steps=4,
        shard=16,
        rates=((1, 9),),
        sample=16,
        price=0,
        budget=0,
        burn=REGTEST.min_burn,
        target=0,
        lifetime=100_000,
        market_only=0,
        evaluation=b"",
    )
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


@dataclass
class ChainBuilder:
    """A chain in memory (or on disk, with a path) whose blobs lie in a folder that builders may share."""

    folder: Path
    genesis: Genesis = GENESIS
    database: str = ":memory:"
    storage: Storage = field(init=False)
    blobs: BlobStore = field(init=False)
    verifier: ToyWork = field(init=False)
    chain: Chain = field(init=False)

    def __post_init__(self) -> None:
        self.blobs = BlobStore(self.folder / "blobs")
        self.blobs.put(DATA)
        self.verifier = ToyWork(self.blobs)
        self.storage = open_storage(self.database)
        self.chain = Chain(self.storage, self.blobs, self.genesis, self.verifier)

    @property
    def params(self) -> ChainParams:
        return self.genesis.params

    @property
    def height(self) -> int:
        return self.chain.head.height

    @property
    def view(self) -> Overlay:
        return Overlay(self.chain.state)

    def reopen(self) -> None:
        """Close and open again, as a node that restarts."""
        self.storage.close()
        self.storage = open_storage(self.database)
        self.chain = Chain(self.storage, self.blobs, self.genesis, self.verifier)

    def fork(self, height: int) -> ChainBuilder:
        """Return another node that has the main chain up to a height."""
        twin = ChainBuilder(self.folder, self.genesis)
        for h in range(1, height + 1):
            twin.add(self.block_at(h))
        return twin

    # reading

    def account(self, key: KeyPair) -> Account:
        return self.view.get_account(key.address)

    def job(self, job_id: bytes) -> JobRecord:
        record = self.view.get_job(job_id)
        assert record is not None
        return record

    def chain_spec(self, job_id: bytes) -> JobSpec:
        return load_spec(self.job(job_id), self.params)

    def supply(self) -> Supply:
        return self.view.get_supply()

    def drawn(self) -> bytes | None:
        """Return the job of the next height's slot."""
        return draw_job(self.view, self.chain.head.hash, self.height + 1, self.params)

    def block_at(self, height: int) -> Block:
        block_hash = self.chain.get_main_hash(height)
        assert block_hash is not None
        block = self.chain.get_block(block_hash)
        assert block is not None
        return block

    def snapshot(self) -> tuple[object, ...]:
        """Return everything that must be as before after a refused block."""
        chain, storage = self.chain, self.storage
        return (
            chain.state.root,
            dict(chain.state.entries()),
            set(chain.state.active_jobs),
            list(chain.index.main),
            storage.load_state(),
            list(storage.iterate_main()),
            *(storage.db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES),
        )

    # transactions

    def sign(self, key: KeyPair, body: Body, fee: int | None = None, nonce: int | None = None) -> Transaction:
        """Return a transaction with the sender's next nonce and a fee that is enough."""
        nonce = self.account(key).nonce if nonce is None else nonce
        fee = 10_000 if fee is None else fee
        return sign_transaction(key, self.genesis.chain_id, nonce, fee, body)

    def transfer(self, key: KeyPair, to: KeyPair, amount: int, nonce: int | None = None) -> Transaction:
        return self.sign(key, Transfer(to.address, amount), nonce=nonce)

    def submission(self, spec: JobSpec, escrow: int = 100 * COIN) -> SubmitJob:
        """Return the body with the trial's true outcome; a parent's weights are those that the spec names."""
        data = encode_spec(spec)
        start = self.verifier.inspect(spec).weights
        if spec.parent:
            start = self.chain.load_weights(spec.parent_weights)
        run = self.verifier.run(TicketTask(trial_seed(data), bytes(32), spec, start))
        return SubmitJob(data, escrow, run.digest, run.before, run.after)

    def submit(
        self, key: KeyPair, spec: JobSpec, escrow: int = 100 * COIN, nonce: int | None = None
    ) -> Transaction:
        return self.sign(key, self.submission(spec, escrow), nonce=nonce)

    def open_job(self, spec: JobSpec | None = None, escrow: int = 100 * COIN, key: KeyPair = ALICE) -> bytes:
        """Mine a block with a submission; return the job's id."""
        tx = self.submit(key, spec or make_spec(), escrow)
        self.mine(tx)
        return tx.txid

    def cancel(self, key: KeyPair, job_id: bytes) -> Transaction:
        return self.sign(key, CancelJob(job_id))

    # mining

    def template(self, *txs: Transaction, miner: KeyPair = MINER, heartbeat: bool = False) -> Template:
        now_ms = self.chain.head.time_ms + self.params.interval_ms
        return build_template(self.chain, miner.public, tuple(txs), now_ms, heartbeat)

    def make_block(
        self, *txs: Transaction, miner: KeyPair = MINER, heartbeat: bool = False, start: int = 0
    ) -> Block:
        """Return a valid block on the head, if its transactions are."""
        return self.solve(self.template(*txs, miner=miner, heartbeat=heartbeat), miner, start=start)

    def solve(
        self, template: Template, miner: KeyPair = MINER, work: WorkHeader | None = None, start: int = 0
    ) -> Block:
        """Return the block of the first nonce that wins; `work` replaces the template's header."""
        for nonce in range(start, start + NONCES):
            trial = dataclasses.replace(work or template.work, nonce=nonce)
            run = self.verifier.run(TicketTask(trial.seed, trial.parent, template.spec, template.weights))
            header = Header(trial, run.digest, run.before, run.after)
            if run.after < run.before and header.ticket < template.threshold:
                return self.seal(header, *template.transactions, miner=miner)
        raise AssertionError("no nonce wins")

    def seal(self, header: Header, *txs: Transaction, miner: KeyPair = MINER) -> Block:
        return Block(header, sign_header(miner, self.genesis.chain_id, header), txs)

    def add(self, block: Block) -> Added:
        """Add a block; the supply must be right afterwards."""
        added = self.chain.add_block(block, NOW_MS)
        check_supply(self.chain.state.entries().items())
        return added

    def mine(
        self, *txs: Transaction, miner: KeyPair = MINER, heartbeat: bool = False, start: int = 0
    ) -> Block:
        block = self.make_block(*txs, miner=miner, heartbeat=heartbeat, start=start)
        self.add(block)
        assert self.chain.head.hash == block.hash
        return block

    def mine_many(self, count: int, heartbeat: bool = False) -> list[Block]:
        return [self.mine(heartbeat=heartbeat) for _ in range(count)]

    def mine_to(self, height: int) -> None:
        while self.height < height:
            self.mine()


TABLES = ("main", "undo", "state", "settlements", "transactions", "meta")


def reroot(work: WorkHeader, txs: tuple[Transaction, ...]) -> WorkHeader:
    """Return a work header that stands for other transactions."""
    return dataclasses.replace(work, tx_root=tx_root_of(txs), tx_count=len(txs))
