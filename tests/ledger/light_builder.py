"""Light proofs of toy chains, and a forger of headers who trains heartbeats only."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

from ledger.blocks import HEARTBEAT, Header, WorkHeader
from ledger.difficulty import next_target
from ledger.genesis import Genesis
from ledger.hashing import tagged_hash
from ledger.index import Entry, genesis_entry
from ledger.lightchain import Shown, check_proof
from ledger.lightproof import LightProof, read_headers, read_start
from ledger.prover import Prover, newest_place
from ledger.tickets import replay_heartbeat
from ledger.work import TicketTask, WorkVerifier
from tests.ledger.chain_builder import ALICE, ChainBuilder

CLAIM = tagged_hash("gc/test", b"claimed digest")


def prove(builder: ChainBuilder, job_id: bytes, place: int | None = None) -> tuple[LightProof, list[Header]]:
    """Return the proof of a job's record, and its headers."""
    chain = builder.chain
    prover = Prover(chain, job_id)
    assert prover.take_back(chain, (place or newest_place(builder.height, builder.params)) - 1, 10_000)
    proof = prover.make_proof()
    assert proof is not None
    return proof, [chain.load_header(block_hash)[0] for block_hash in prover.hashes[1:]]


def write_proof(proof: LightProof, headers: Sequence[Header]) -> bytes:
    return proof.encode_start() + b"".join(header.encode() for header in headers)


def check(data: bytes, verifier: WorkVerifier) -> Shown:
    """Check the bytes of a proof to the end, replays included."""
    stream = io.BytesIO(data)
    proof = read_start(stream.read)

    def visit(header: Header) -> None:
        if header.work.job_id == HEARTBEAT:
            replay_heartbeat(header, verifier)

    return check_proof(proof, read_headers(proof, stream.read), verifier.heartbeat_work, visit)


class Forger:
    """Goes on from some headers with others: real runs for heartbeats, and for jobs digests that nobody trained."""

    def __init__(
        self, genesis: Genesis, verifier: WorkVerifier | None, headers: Sequence[Header] = ()
    ) -> None:
        self.genesis, self.verifier = genesis, verifier
        self.headers = list(headers)

    @property
    def tip(self) -> Entry:
        entry = genesis_entry(self.genesis.chain_id)
        for header in self.headers:
            entry = entry.follow(header)
        return entry

    def forge(
        self, job_id: bytes = HEARTBEAT, result: tuple[bytes, int, int] | None = None, **changes: object
    ) -> None:
        """Append a header; without a `result` a heartbeat's is that of its run."""
        tip, params = self.tip, self.genesis.params
        target = next_target(params, tip.height, tip.time_ms, tip.anchor_time_ms)
        root = self.headers[-1].work.state_root if self.headers else bytes(32)
        time_ms = tip.time_ms + params.interval_ms
        work = WorkHeader(
            1, tip.height + 1, tip.hash, time_ms, ALICE.public, target, job_id, bytes(32), 0, root, 0
        )
        self.headers.append(self._solve(dataclasses.replace(work, **changes), result))  # type: ignore[arg-type]

    def _solve(self, work: WorkHeader, result: tuple[bytes, int, int] | None) -> Header:
        if result or work.job_id != HEARTBEAT or self.verifier is None:
            return Header(work, *(result or (CLAIM, 2, 1)))
        for nonce in range(1000):
            trial = dataclasses.replace(work, nonce=nonce)
            run = self.verifier.run(TicketTask(trial.seed, trial.parent, None, b""))
            if run.after < run.before:
                return Header(trial, run.digest, run.before, run.after)
        raise AssertionError("no nonce wins")
