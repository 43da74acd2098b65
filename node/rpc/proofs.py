"""The light proof of a job's record as an HTTP answer: some blocks at a time out of the chain's thread.

Source: docs/protocol.md, section 14; ledger/prover.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from ledger.chain import Chain
from ledger.errors import DamagedData
from ledger.lightproof import LightProof
from ledger.mempool import Mempool
from ledger.prover import Prover, newest_place
from ledger.records import JobRecord
from node.rpc.context import ApiContext, ChainAccess
from node.rpc.job_views import find_job_id
from node.rpc.problems import ApiProblem

PIECE_BLOCKS = 64  # taken back at a time
PIECE_HEADERS = 512
MAX_UNCHANGED = 10_000  # blocks to look back for where a record became what it is: 2 s


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which record of a job: that of a `version` as soon as it arose, else the newest that a heartbeat covers, since
    it became what it is: it is covered best there. The newest must be of `least_version` or later.
    """

    job: str  # an id, or its first digits
    version: int | None
    least_version: int


async def make_proof(context: ApiContext, wanted: Wanted) -> tuple[Prover, LightProof]:
    """Return a proof and the prover that knows its headers; ApiProblem says what to wait for, or that there is none.

    Before the first byte of an answer: later there is no way to say what is wrong.
    """
    prover, height = await context.read(partial(start_proof, wanted=wanted))
    call = context.chain.call
    try:
        while not await call(partial(prover.take_back, height=height, blocks=PIECE_BLOCKS)):
            pass
        for _ in range(0 if wanted.version is not None else MAX_UNCHANGED // PIECE_BLOCKS):
            if await call(partial(prover.take_back_unchanged, blocks=PIECE_BLOCKS)):
                break
    except DamagedData as error:
        if await call(lambda chain: chain.get_main_hash(len(prover.hashes) - 1)) == prover.hashes[-1]:
            raise
        raise _not_yet("the chain was reorganised while the proof was made") from error
    proof = prover.make_proof()
    if proof is None:
        raise _not_yet("no heartbeat covers the job's submission yet")
    version = proof.read_record().version
    if version < wanted.least_version:
        raise _not_yet(f"the newest record that a heartbeat covers is of version {version}")
    return prover, proof


def start_proof(chain: Chain, mempool: Mempool, wanted: Wanted) -> tuple[Prover, int]:
    """Return the prover of what is wanted, as the chain is now, and the height it must go back to."""
    job_id, record = find_job_id(chain, mempool, wanted.job)
    newest = newest_place(chain.head.height, chain.params)
    height = newest - 1
    if wanted.version is not None:
        height = find_version(chain, job_id, record, wanted.version)
    if not 0 <= height < newest:
        raise _not_yet(
            f"no heartbeat covers it yet: the next one is block {newest + chain.params.heartbeat_every}"
        )
    return Prover(chain, job_id), height


def find_version(chain: Chain, job_id: bytes, record: JobRecord, version: int) -> int:
    """Return the height of the block that made a version of a job's weights; ApiProblem if none did."""
    if version == 0:
        return record.submitted
    for settled in chain.list_settlements(job_id):
        if settled.settlement.version == version:
            return settled.height
    raise ApiProblem(
        "not_found",
        f"version: expected 0 to {record.version}, got {version}",
        "see gradientcoin job provenance",
    )


async def stream_proof(access: ChainAccess, prover: Prover, proof: LightProof) -> AsyncIterator[bytes]:
    """Yield the bytes of a proof; blocks that come meanwhile change nothing in it."""
    yield proof.encode_start()
    for position in range(1, len(prover.hashes), PIECE_HEADERS):
        hashes = prover.hashes[position : position + PIECE_HEADERS]
        yield await access.call(partial(read_headers, hashes=hashes))


def read_headers(chain: Chain, hashes: tuple[bytes, ...]) -> bytes:
    """Return the headers of some blocks, joined."""
    return b"".join(chain.load_header(block_hash)[0].encode() for block_hash in hashes)


def _not_yet(why: str) -> ApiProblem:
    return ApiProblem("busy", f"no proof yet: {why}", "try again after some blocks")
