"""Mine a short regtest chain with a real job and write it as a chain file: `python -m tests.integration.mine_chain`.

Beside it lie the job's light proof and checkpoint, under the same name with .proof and .safetensors. Run by tests in
processes with different settings of the arithmetic libraries; the engine is the real one.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from ledger.blobs import BlobStore
from ledger.chain import Chain
from ledger.chainfile import encode_block, encode_end, encode_start, list_sidecars
from ledger.genesis import local_accounts, regtest_genesis
from ledger.jobspec import JobSpec, decode_spec, encode_spec, trial_seed
from ledger.keys import KeyPair
from ledger.params import COIN
from ledger.prover import Prover, newest_place
from ledger.records import JOB
from ledger.sidecars import least_fee
from ledger.storage import open_storage
from ledger.template import assemble_block, build_template
from ledger.transactions import SubmitJob, Transaction, Transfer, sign_transaction
from ledger.work import TicketTask
from node.work import EngineVerifier, task_of
from training.checkpoint import write_checkpoint
from training.engine import Engine
from training.jobs import load_job_file, prepare

SEED = "vector"
JOB_FILE = Path(__file__).parents[2] / "examples" / "teacher.toml"
START_MS = 1_700_000_000_000


def mine_chain(target: Path, blocks: int, path: str) -> None:
    """Mine `blocks` blocks, the first with a job and a transfer, and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        blobs = BlobStore(Path(folder, "blobs"))
        engine = Engine(blobs.get, "portable" if path == "portable" else "fused")
        verifier = EngineVerifier(engine)
        storage = open_storage(":memory:")
        chain = Chain(storage, blobs, regtest_genesis(SEED), verifier)
        alice, miner = local_accounts(SEED)[:2]
        transactions: tuple[Transaction, ...] = (
            submit_job(chain, verifier, alice),
            sign_transaction(alice, chain.genesis.chain_id, 1, 10_000, Transfer(miner.address, COIN)),
        )
        for height in range(1, blocks + 1):
            mine_block(chain, verifier, miner, transactions, START_MS + 1000 * height)
            transactions = ()
        write_file(chain, target)
        write_proof(chain, target)
        storage.close()


def submit_job(chain: Chain, verifier: EngineVerifier, owner: KeyPair) -> Transaction:
    prepared = prepare(load_job_file(JOB_FILE), chain.params.sidecar_limit)
    chain.blobs.put(prepared.blob)
    spec = JobSpec(**asdict(prepared.spec))
    data = encode_spec(spec)
    run = verifier.run(TicketTask(trial_seed(data), bytes(32), spec, verifier.inspect(spec).weights))
    body = SubmitJob(data, prepared.escrow, run.digest, run.before, run.after)
    draft = sign_transaction(owner, chain.genesis.chain_id, 0, 2**40, body)
    return sign_transaction(owner, chain.genesis.chain_id, 0, least_fee(draft, chain.params), body)


def mine_block(
    chain: Chain, verifier: EngineVerifier, miner: KeyPair, transactions: tuple[Transaction, ...], now_ms: int
) -> None:
    """Try nonces from 0 until one is valid; on regtest nearly every one is."""
    template = build_template(chain, miner.public, transactions, now_ms)
    for nonce in range(64):
        work = replace(template.work, nonce=nonce)
        run = verifier.run(TicketTask(work.seed, work.parent, template.spec, template.weights))
        if run.after < run.before:
            block = assemble_block(template, nonce, run, miner, chain.genesis.chain_id)
            if block.header.ticket < template.threshold:
                assert chain.add_block(block, now_ms).connected
                return
    raise AssertionError("no valid run among 64")


def write_file(chain: Chain, target: Path) -> None:
    with target.open("wb") as file:
        file.write(encode_start(chain.genesis))
        for block_hash in chain.index.main[1:]:
            block = chain.get_block(block_hash)
            assert block is not None
            blobs = [chain.blobs.get(cid) for cid in list_sidecars(block, chain.params)]
            file.writelines(encode_block(block.encode(), blobs))
        file.write(encode_end(chain.head.height, chain.head.hash))


def write_proof(chain: Chain, target: Path) -> None:
    """Write the proof of the only job's newest record that a heartbeat covers, and the checkpoint that it shows."""
    (job_id,) = (key[1:] for key in chain.state.entries() if key[0] == JOB)
    prover = Prover(chain, job_id)
    prover.take_back(chain, newest_place(chain.head.height, chain.params) - 1, chain.head.height)
    proof = prover.make_proof()
    assert proof is not None
    headers = [chain.load_header(block_hash)[0].encode() for block_hash in prover.hashes[1:]]
    target.with_suffix(".proof").write_bytes(proof.encode_start() + b"".join(headers))
    record = proof.read_record()
    task = task_of(decode_spec(record.spec, chain.params))
    checkpoint = write_checkpoint(task, chain.load_weights(record.weights), {"version": str(record.version)})
    target.with_suffix(".safetensors").write_bytes(checkpoint)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("target", type=Path)
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--path", default="fused")
    options = parser.parse_args()
    mine_chain(options.target, options.blocks, options.path)
