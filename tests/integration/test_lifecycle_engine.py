"""Jobs after jobs on a chain with the real engine: one that reaches its target, one that goes on from it, and one that
updates alone train. Tickets, trials, settlements and payloads are what a network would have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest

from ledger.blobs import BlobStore
from ledger.blocks import Header
from ledger.chain import Chain
from ledger.commitments import make_commitment
from ledger.genesis import local_accounts, regtest_genesis
from ledger.hashing import cid_of
from ledger.jobspec import JobSpec, encode_spec, trial_seed
from ledger.keys import KeyPair
from ledger.market import reveal_window
from ledger.params import COIN
from ledger.records import JobRecord, JobStatus
from ledger.settlement import Outcome
from ledger.slots import round_at
from ledger.state import Overlay, check_supply
from ledger.storage import Storage, open_storage
from ledger.template import assemble_block, build_template
from ledger.transactions import Body, CommitUpdate, RevealUpdate, SubmitJob, Transaction, sign_transaction
from ledger.work import TicketTask
from node.services.update_plan import choose_plan
from node.work import EngineVerifier, task_of
from training.engine import Engine
from training.feedback import choose_compression
from training.jobs import JobFile, PreparedJob, Start, load_job_file, prepare
from training.local import LocalSettings, LocalUpdate, load_work, train_update
from training.payload import encode_payload

pytestmark = pytest.mark.integration

SEED = "lifecycle"
EXAMPLES = Path(__file__).parents[2] / "examples"
START_MS = 1_700_000_000_000
MOST_BLOCKS = 300
OWNER, MINER = local_accounts(SEED)[:2]


@dataclass
class Network:
    """One chain, its engine, and a miner who does everything."""

    folder: Path
    storage: Storage = field(default_factory=lambda: open_storage(":memory:"))

    def __post_init__(self) -> None:
        self.blobs = BlobStore(self.folder / "blobs")
        self.engine = Engine(self.blobs.get)
        self.verifier = EngineVerifier(self.engine)
        self.chain = Chain(self.storage, self.blobs, regtest_genesis(SEED), self.verifier)

    @property
    def height(self) -> int:
        return self.chain.head.height

    def job(self, job_id: bytes) -> JobRecord:
        record = Overlay(self.chain.state).get_job(job_id)
        assert record is not None
        return record

    def sign(self, key: KeyPair, body: Body, fee: int = 10_000_000) -> Transaction:
        nonce = Overlay(self.chain.state).get_account(key.address).nonce
        return sign_transaction(key, self.chain.genesis.chain_id, nonce, fee, body)

    def mine(self, *transactions: Transaction) -> None:
        """Add the block of the first nonce that wins."""
        now_ms = START_MS + 1000 * (self.height + 1)
        template = build_template(self.chain, MINER.public, transactions, now_ms)
        for nonce in range(64):
            work = replace(template.work, nonce=nonce)
            run = self.verifier.run(TicketTask(work.seed, work.parent, template.spec, template.weights))
            block = assemble_block(template, nonce, run, MINER, self.chain.genesis.chain_id)
            if run.after < run.before and block.header.ticket < template.threshold:
                assert self.chain.add_block(block, now_ms).connected
                return check_supply(self.chain.state.entries().items())
        raise AssertionError("no run wins")

    def mine_to_end(self, job_id: bytes) -> JobRecord:
        while self.job(job_id).status not in (JobStatus.DONE, JobStatus.CANCELLED):
            assert self.height < MOST_BLOCKS
            self.mine()
        return self.job(job_id)

    def submit(self, prepared: PreparedJob) -> bytes:
        """Bring a prepared job into a block; return its id."""
        self.blobs.put(prepared.blob)
        spec = JobSpec(**asdict(prepared.spec))
        data = encode_spec(spec)
        run = self.verifier.run(TicketTask(trial_seed(data), bytes(32), spec, prepared.facts.weights))
        tx = self.sign(OWNER, SubmitJob(data, prepared.escrow, run.digest, run.before, run.after))
        self.mine(tx)
        return tx.txid

    def find_share(self) -> Header:
        """Return a run of the miner's on the head that nobody needs to know of."""
        template = build_template(self.chain, MINER.public, (), START_MS + 1000 * (self.height + 1))
        for nonce in range(1000, 1064):
            work = replace(template.work, nonce=nonce)
            run = self.verifier.run(TicketTask(work.seed, work.parent, template.spec, template.weights))
            if run.after < run.before:
                return Header(work, run.digest, run.before, run.after)
        raise AssertionError("no run is valid")

    def serve(self, job_id: bytes) -> None:
        """Train an update as a miner does, and bring it through its settlement."""
        plan = choose_plan(self.chain, lambda job, number: job != job_id)
        assert plan is not None
        work = load_work(self.engine, task_of(plan.spec), plan.weights, previous=plan.previous)
        update = train_update(work, LocalSettings(), bytes([plan.round]) * 32, lambda: False)
        assert isinstance(update, LocalUpdate)
        compression = choose_compression(len(update.delta), plan.limit_bytes)
        assert compression is not None
        payload = encode_payload(update.delta, compression.kept, compression.bits)
        cid, salt = self.blobs.put(payload), bytes([plan.round]) * 32
        made = make_commitment(MINER.public, job_id, plan.round, cid, salt)
        shares = (self.find_share().encode(),)
        self.mine(self.sign(MINER, CommitUpdate(job_id, plan.round, made, len(payload), shares)))
        window = reveal_window(job_id, plan.round, self.chain.params)
        while self.height < window.start - 1:
            self.mine()
        self.mine(self.sign(MINER, RevealUpdate(job_id, plan.round, cid, len(payload), salt), fee=0))
        while self.height < window.stop - 1:
            self.mine()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    opened = Network(tmp_path)
    yield opened
    opened.storage.close()


def load_digits(**market: object) -> JobFile:
    job = load_job_file(EXAMPLES / "digits.toml")
    return replace(job, market=replace(job.market, **market))  # type: ignore[arg-type]


def make_start(network: Network, job_id: bytes) -> Start:
    record = network.job(job_id)
    spec = load_digits()
    params = tuple(value for _, value in spec.params)
    return Start(job_id, spec.objective, params, network.chain.load_weights(record.weights))


def prepare_digits(network: Network, start: Start | None = None, **market: object) -> PreparedJob:
    return prepare(load_digits(**market), network.chain.params.sidecar_limit, start)


def test_job_goes_on_where_another_reached_its_target(network: Network) -> None:
    first = network.submit(prepare_digits(network, target_loss=4 << 40))
    ended = network.mine_to_end(first)
    assert ended.status is JobStatus.DONE
    last = network.chain.list_settlements(first)[-1].settlement
    assert last.split_loss // last.split_count <= 4 << 40
    second = network.submit(prepare_digits(network, make_start(network, first), target_loss=0))
    assert network.job(second).weights == ended.weights
    while network.job(second).version < 2:
        assert network.height < MOST_BLOCKS
        network.mine()
    events = [record.settlement for record in network.chain.list_settlements(second)]
    splits = [event.split_loss for event in events]
    assert splits[0] <= last.split_loss  # of the whole judging split: the samples are the same
    assert splits[-1] < last.split_loss
    assert network.job(second).first_loss < network.job(first).first_loss * 2 // 3
    assert replay(network).state.root == network.chain.state.root


def replay(network: Network) -> Chain:
    """Return the chain as a node has it that gets the blocks and nothing else."""
    other = Network(network.folder / "replay")
    other.blobs.put(prepare_digits(network).blob)
    for block_hash in network.chain.index.main[1:]:
        block = network.chain.get_block(block_hash)
        assert block is not None
        assert other.chain.add_block(block, 2**62).connected
    return other.chain


def test_updates_alone_train_a_job_and_are_paid(network: Network) -> None:
    job = network.submit(prepare_digits(network, market_only=True, burn=0, target_loss=0))
    while round_at(job, network.height + 1, network.chain.params) < network.job(job).first_round:
        network.mine()
    for version in (1, 2):
        network.serve(job)
        event = network.chain.list_settlements(job)[-1].settlement
        (result,) = event.updates
        assert result.outcome is Outcome.PAID
        assert result.amount > COIN
        assert (event.tickets, network.job(job).version) == ((), version)
        network.mine()
    first, second = (record.settlement for record in network.chain.list_settlements(job))
    assert second.split_loss < first.split_loss < network.job(job).first_loss * first.split_count
    assert network.job(job).weights == cid_of(network.chain.load_weights(network.job(job).weights))
    assert all(block != job for block in list_ticket_jobs(network))


def list_ticket_jobs(network: Network) -> list[bytes]:
    headers = (network.chain.load_header(block_hash)[0] for block_hash in network.chain.index.main[1:])
    return [header.work.job_id for header in headers]
