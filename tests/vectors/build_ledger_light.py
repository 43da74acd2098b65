"""Vectors of light proofs: whole ones, with what their headers show; results of runs are made up and not replayed."""

from __future__ import annotations

import io

from ledger.blocks import HEARTBEAT
from ledger.genesis import regtest_genesis
from ledger.lightchain import check_proof
from ledger.lightproof import LightProof, read_headers, read_start
from ledger.records import decode_job, job_key
from ledger.state import State, leaf_key
from ledger.transition import genesis_state
from tests.ledger.light_builder import CLAIM, Forger
from tests.ledger.samples import ALICE, JOB_ID, SEED
from tests.ledger.toy_work import WORK
from tests.vectors.build_ledger_state import ENTRIES, FRESH

RESULT = (CLAIM, 2**40, 2**39)
JOBS = (HEARTBEAT, JOB_ID, JOB_ID, HEARTBEAT, JOB_ID, HEARTBEAT, JOB_ID)  # of heights 1 to 7
PLACE = 3


def build_light() -> dict[str, object]:
    """Return the content of `ledger_light.json`."""
    return {"heartbeat_work": WORK, "proofs": [_proof()]}


def _proof() -> dict[str, object]:
    genesis = regtest_genesis(SEED)
    state = State(dict(ENTRIES.values()))
    forger = Forger(genesis, None)
    for height, job in enumerate(JOBS, 1):
        root = state.root if height >= PLACE else genesis_state(genesis).root
        forger.forge(job, RESULT, miner=ALICE.public, state_root=root)
    path = state.prove(job_key(JOB_ID)).siblings
    proof = LightProof(genesis, JOB_ID, FRESH.encode(), PLACE, path, len(JOBS))
    data = proof.encode_start() + b"".join(header.encode() for header in forger.headers)
    return {"encoding": data.hex()} | read_proof(data)


def read_proof(data: bytes) -> dict[str, object]:
    """Return what a proof shows, its heartbeats not replayed."""
    stream = io.BytesIO(data)
    proof = read_start(stream.read)
    shown = check_proof(proof, read_headers(proof, stream.read), WORK, lambda header: None)
    return {
        "chain_id": proof.genesis.chain_id.hex(),
        "job": proof.job_id.hex(),
        "tree_key": leaf_key(job_key(proof.job_id)).hex(),
        "weights": decode_job(proof.record).weights.hex(),
        "place": proof.place,
        "path": [sibling.hex() for sibling in proof.path],
        "count": proof.count,
        "head": shown.head.hash.hex(),
        "heartbeats": shown.heartbeats,
        "work": str(shown.work),
        "cover_heartbeats": shown.cover_heartbeats,
        "cover": str(shown.cover),
    }
