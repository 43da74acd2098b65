"""Updates on a chain with toy work: what a miner does between a job's weights and its payment, step by step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ledger.blocks import Header
from ledger.commitments import make_commitment
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec
from ledger.keys import KeyPair
from ledger.market import reveal_window
from ledger.params import COIN
from ledger.slots import round_at
from ledger.transactions import CommitUpdate, RevealUpdate
from ledger.work import TicketTask
from tests.ledger.chain_builder import ALICE, ChainBuilder, make_spec
from tests.ledger.toy_work import VECTOR

BUDGET = 20 * COIN
PRICE = 1000 * COIN
ESCROW = 400 * COIN


def market_spec(number: int = 0, **changes: object) -> JobSpec:
    """Return the spec of a job that pays for updates."""
    return make_spec(number, **{"price": PRICE, "budget": BUDGET, **changes})


def open_market(builder: ChainBuilder, **changes: object) -> bytes:
    """Open a job that pays for updates; its first round is the next block's."""
    job = builder.open_job(market_spec(**changes), escrow=ESCROW)
    while round_at(job, builder.height + 1, builder.params) < builder.job(job).first_round:
        builder.mine()
    return job


@dataclass(frozen=True)
class MadeUpdate:
    """An update before anybody knows it, with what its transactions say."""

    miner: KeyPair
    job_id: bytes
    round: int
    payload: bytes
    salt: bytes

    @property
    def cid(self) -> bytes:
        return cid_of(self.payload)

    @property
    def commitment(self) -> bytes:
        return make_commitment(self.miner.public, self.job_id, self.round, self.cid, self.salt)

    def commit(self, *shares: Header, **changes: object) -> CommitUpdate:
        encoded = tuple(share.encode() for share in shares)
        body = CommitUpdate(self.job_id, self.round, self.commitment, len(self.payload), encoded)
        return dataclasses.replace(body, **changes)  # type: ignore[arg-type]

    def reveal(self, **changes: object) -> RevealUpdate:
        body = RevealUpdate(self.job_id, self.round, self.cid, len(self.payload), self.salt)
        return dataclasses.replace(body, **changes)  # type: ignore[arg-type]


def make_update(
    builder: ChainBuilder, job: bytes, miner: KeyPair, payload: bytes | None = None, number: int = 0
) -> MadeUpdate:
    """Return an update for the next block's round: by default one toy step towards zero."""
    if payload is None:
        weights = VECTOR.unpack(builder.chain.load_weights(builder.job(job).weights))
        payload = VECTOR.pack(*(-(w >> 6) for w in weights))
    builder.blobs.put(payload)
    salt = tagged_hash("gc/test-salt", miner.public + bytes([number]))
    return MadeUpdate(miner, job, round_at(job, builder.height + 1, builder.params), payload, salt)


def find_share(
    builder: ChainBuilder,
    miner: KeyPair = ALICE,
    start: int = 0,
    heartbeat: bool = False,
    limit: int = 2**256,
) -> Header:
    """Return a valid run on the head whose ticket is under a limit; nobody needs to know of it."""
    template = builder.template(miner=miner, heartbeat=heartbeat)
    for nonce in range(start, start + 10_000):
        work = dataclasses.replace(template.work, nonce=nonce)
        run = builder.verifier.run(TicketTask(work.seed, work.parent, template.spec, template.weights))
        header = Header(work, run.digest, run.before, run.after)
        if run.after < run.before and header.ticket < limit:
            return header
    raise AssertionError("no run is valid")


def mine_to_window(builder: ChainBuilder, update: MadeUpdate) -> None:
    """Mine until the next block is the first that may carry the update's reveal."""
    builder.mine_to(reveal_window(update.job_id, update.round, builder.params).start - 1)


def mine_to_settlement(builder: ChainBuilder, update: MadeUpdate) -> None:
    """Mine the block that settles the update's round."""
    builder.mine_to(reveal_window(update.job_id, update.round, builder.params).stop - 1)
