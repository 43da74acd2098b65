"""What the API shows of accounts, blocks and transactions: pure functions from the chain to JSON values.

Amounts and other integers that may be large are decimal strings, hashes and keys lower-case hex. To be called in the
chain's thread. Source: docs/api.md.
"""

from __future__ import annotations

from typing import Any

from ledger.blocks import HEARTBEAT, Block, Header
from ledger.chain import Chain
from ledger.difficulty import expected_runs, threshold
from ledger.errors import DecodeError
from ledger.hashing import HASH_BYTES, cid_text
from ledger.history import SettlementRecord
from ledger.jobspec import JobSpec, decode_spec
from ledger.keys import address_of, address_text, parse_address
from ledger.lifecycle import load_spec
from ledger.mempool import Mempool
from ledger.records import JobRecord
from ledger.slots import draw_job, drawable
from ledger.state import Overlay
from ledger.transactions import (
    CancelJob,
    CommitUpdate,
    RevealUpdate,
    SubmitJob,
    Transaction,
    Transfer,
)
from node.job_words import show_text
from node.rpc.problems import ApiProblem

Json = dict[str, Any]  # Any: a JSON object, documented field by field in docs/api.md

LOSS_UNIT = 2**-40
HEARTBEAT_SHARD = 16  # samples of a heartbeat's run: docs/protocol.md, section 9.4
HEARTBEAT_TITLE = "heartbeat"
MIN_HASH_PREFIX = 6
KIND_NAMES = {
    Transfer.kind: "transfer",
    SubmitJob.kind: "submit_job",
    CancelJob.kind: "cancel_job",
    CommitUpdate.kind: "commit_update",
    RevealUpdate.kind: "reveal_update",
}


def mean_loss(total_units: int, count: int) -> float:
    """Return a sum of losses as the mean of one sample, in the objective's unit."""
    return total_units / count * LOSS_UNIT if count else 0.0


# the head


def show_head(chain: Chain) -> Json:
    head = chain.head
    return {
        "hash": head.hash.hex(),
        "height": head.height,
        "time_ms": head.time_ms,
        "chain_work": str(head.chain_work),
    }


def show_slot(chain: Chain) -> Json:
    """Return whose training the next height asks for."""
    state = Overlay(chain.state)
    drawn = draw_job(state, chain.head.hash, chain.head.height + 1, chain.params)
    return {"job": drawn.hex() if drawn else None, "title": get_title(state, drawn, chain)}


def get_title(state: Overlay, job_id: bytes | None, chain: Chain) -> str:
    record = state.get_job(job_id) if job_id else None
    return show_text(load_spec(record, chain.params).title) if record else HEARTBEAT_TITLE


# accounts


def show_account(chain: Chain, mempool: Mempool, address: bytes) -> Json:
    """Return an account; `nonce` is that of its next transaction, after those that wait."""
    state, height = Overlay(chain.state), chain.head.height
    coming = (state.get_income(h) for h in range(height + 1, height + chain.params.maturity + 1))
    immature = sum(amount for income in coming for owner, amount in income if owner == address)
    return {
        "address": show_address(chain, address),
        "balance": str(state.get_account(address).balance),
        "immature": str(immature),
        "nonce": mempool.next_nonce(chain.state, address),
    }


def show_address(chain: Chain, address: bytes) -> str:
    return address_text(chain.params.address_prefix, address)


def read_address(chain: Chain, text: str) -> bytes:
    """Return the address a user gave; ApiProblem says what is wrong with it."""
    try:
        return parse_address(text, chain.params.address_prefix)
    except DecodeError as error:
        raise ApiProblem("bad_request", str(error)[:300], "copy the whole address") from error


# blocks


def list_blocks(chain: Chain, first: int | None, limit: int) -> list[Json]:
    """Return main-chain blocks from a height on, oldest first; the last `limit` if no height is given."""
    start = max(1, chain.head.height - limit + 1) if first is None else max(1, first)
    end = min(chain.head.height, start + limit - 1)
    return [summarise_block(chain, get_block_at(chain, height)) for height in range(start, end + 1)]


def get_block_at(chain: Chain, height: int) -> Block:
    block_hash = chain.get_main_hash(height) if height else None
    block = chain.get_block(block_hash) if block_hash else None
    if block is None:
        raise ApiProblem("not_found", f"block {height}: the chain has heights 1 to {chain.head.height}")
    return block


def summarise_block(chain: Chain, block: Block) -> Json:
    header = block.header
    job = find_job_of(chain, header)
    shard = job.spec.shard if job else HEARTBEAT_SHARD
    return {
        "height": header.work.height,
        "hash": block.hash.hex(),
        "time_ms": header.work.time_ms,
        "miner": show_address(chain, address_of(header.work.miner)),
        "job": header.work.job_id.hex() if job else None,
        "title": show_text(job.spec.title) if job else HEARTBEAT_TITLE,
        "runs_estimate": expected_runs(get_threshold(chain, header)),
        "transactions": len(block.transactions),
        "target": f"{header.work.target:064x}",
        "loss_before": mean_loss(header.before, shard),
        "loss_after": mean_loss(header.after, shard),
    }


class TrainedJob:
    """The job that a header's ticket trained."""

    def __init__(self, record: JobRecord, chain: Chain) -> None:
        self.record = record
        self.spec: JobSpec = load_spec(record, chain.params)


def find_job_of(chain: Chain, header: Header) -> TrainedJob | None:
    record = Overlay(chain.state).get_job(header.work.job_id) if header.work.job_id != HEARTBEAT else None
    return TrainedJob(record, chain) if record else None


def get_threshold(chain: Chain, header: Header) -> int:
    """Return what a main-chain block's ticket had to be under."""
    work, params = header.work, chain.params
    if work.job_id != HEARTBEAT:
        record = Overlay(chain.state).get_job(work.job_id)
        declared = record.work if record else 1 << params.work_unit_bits
        return threshold(work.target, declared, False, params)
    return threshold(work.target, chain.rules.verifier.heartbeat_work, was_drawn(chain, header), params)


def was_drawn(chain: Chain, header: Header) -> bool:
    """Return whether a job was drawn where a block of the main chain holds a heartbeat.

    The draw changes the drawn job's record, so it is among those the block touched. (Where the slot cap is below 1 a
    draw past all jobs at one of their boundaries would be taken for one of a job: this is for estimates.)
    """
    height = header.work.height
    if height % chain.params.heartbeat_every == 0 or not chain.index.on_main(chain.index[header.hash]):
        return False
    touched = chain.load_touched_jobs(header.hash)
    return any(drawable(job_id, record, height, chain.params) for job_id, record in touched.items())


def show_block(chain: Chain, name: str) -> Json:
    """Return one block by height or hash, with its transactions and settlements."""
    block = find_block(chain, name)
    header = block.header
    entry = chain.index[block.hash]
    on_main = chain.index.on_main(entry)
    return summarise_block(chain, block) | {
        "parent": header.work.parent.hex(),
        "miner_key": header.work.miner.hex(),
        "nonce": str(header.work.nonce),
        "seed": header.seed.hex(),
        "digest": header.digest.hex(),
        "before_units": str(header.before),
        "after_units": str(header.after),
        "ticket": f"{header.ticket:064x}",
        "threshold": f"{get_threshold(chain, header):064x}",
        "transaction_root": header.work.tx_root.hex(),
        "parent_state_root": header.work.state_root.hex(),
        "signature": block.signature.hex(),
        "size_bytes": len(block.encode()),
        "main_chain": on_main,
        "confirmations": chain.head.height - entry.height + 1 if on_main else 0,
        "transactions": [show_transaction_body(chain, tx) for tx in block.transactions],
        "settlements": list_settlements_of(chain, block) if on_main else [],
    }


def find_block(chain: Chain, name: str) -> Block:
    """Return the block of a height, a hash, or the first digits of a main-chain block's hash."""
    is_number = name.isascii() and name.isdigit() and len(name) < 2 * HASH_BYTES
    if is_number and (int(name) <= chain.head.height or len(name) < MIN_HASH_PREFIX):
        return get_block_at(chain, int(name))
    if is_number or len(name) < 2 * HASH_BYTES:
        return find_block_by_prefix(chain, name)
    block = chain.get_block(read_hash(name, "block"))
    if block is None:
        raise ApiProblem("not_found", f"block {name} is not known")
    return block


def find_block_by_prefix(chain: Chain, prefix: str) -> Block:
    wanted = prefix.lower()
    if len(wanted) < MIN_HASH_PREFIX or set(wanted) - set("0123456789abcdef"):
        raise ApiProblem(
            "bad_request",
            f"block: expected a height, or {MIN_HASH_PREFIX} to 64 hex digits of a hash, got {prefix[:80]!r}",
        )
    found = [block_hash for block_hash in chain.index.main[1:] if block_hash.hex().startswith(wanted)]
    if len(found) != 1:
        code, many = (
            ("ambiguous", "several hashes begin") if found else ("not_found", "no hash of the chain begins")
        )
        raise ApiProblem(code, f"block {wanted}: {many} so; the chain has heights 1 to {chain.head.height}")
    block = chain.get_block(found[0])
    assert block is not None  # the main chain is held
    return block


def read_hash(text: str, what: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != HASH_BYTES or len(text) != 2 * HASH_BYTES:
        raise ApiProblem("bad_request", f"{what}: expected {2 * HASH_BYTES} hex digits, got {text[:80]!r}")
    return value


def list_settlements_of(chain: Chain, block: Block) -> list[Json]:
    """Return what a main-chain block settled."""
    height = block.header.work.height
    found = []
    for job_id in sorted(chain.load_touched_jobs(block.hash)):
        for record in chain.list_settlements(job_id):
            if record.height == height:
                found.append({"job": job_id.hex()} | summarise_settlement(record))
    return found


def summarise_settlement(record: SettlementRecord) -> Json:
    """Return what a settlement did; the losses are null where it had nothing to judge."""
    event = record.settlement
    measured = event.sample_count > 0
    return {
        "round": event.round,
        "version": event.version,
        "scale": event.scale,
        "tickets": len(record.tickets),
        "updates": len(event.updates),
        "loss_before": mean_loss(event.loss_before, event.sample_count) if measured else None,
        "loss_after": mean_loss(event.loss_after, event.sample_count) if measured else None,
    }


# transactions


def show_transaction(chain: Chain, mempool: Mempool, name: str) -> Json:
    """Return a transaction of the main chain or the mempool."""
    txid = read_hash(name, "transaction")
    place = chain.find_transaction(txid)
    if place is not None:
        height, position = place
        block = get_block_at(chain, height)
        shown = show_transaction_body(chain, block.transactions[position])
        confirmations = chain.head.height - height + 1
        where = {"height": height, "block": block.hash.hex(), "confirmations": confirmations}
        return shown | {"state": "confirmed"} | where
    waiting = mempool.get(txid)
    if waiting is None:
        raise ApiProblem(
            "not_found",
            f"transaction {name} is neither in a block nor waiting",
            "it may have been replaced, or dropped when the chain changed: send it again",
        )
    return show_transaction_body(chain, waiting) | {"state": "pending"}


def show_transaction_body(chain: Chain, tx: Transaction) -> Json:
    shown: Json = {
        "txid": tx.txid.hex(),
        "kind": KIND_NAMES[tx.kind],
        "sender": show_address(chain, tx.sender_address),
        "nonce": tx.nonce,
        "fee": str(tx.fee),
        "size_bytes": tx.size,
    }
    match tx.body:
        case Transfer(to, amount, memo):
            text = show_text(memo.decode("utf-8", "replace"))
            exact = {"memo": text, "memo_hex": memo.hex()}
            return shown | {"to": show_address(chain, to), "amount": str(amount)} | exact
        case SubmitJob(spec=spec, escrow=escrow):
            title = show_text(decode_spec(spec, chain.params).title)
            return shown | {"job": tx.txid.hex(), "title": title, "escrow": str(escrow)}
        case CancelJob(job_id):
            return shown | {"job": job_id.hex()}
        case CommitUpdate(job_id, number, commitment, size, shares):
            entry = {"commitment": commitment.hex(), "payload_bytes": size, "shares": len(shares)}
            return shown | {"job": job_id.hex(), "round": number} | entry
        case RevealUpdate(job_id, number, payload, size, _, privacy):
            entry = {"payload": cid_text(payload), "payload_bytes": size, "private": privacy is not None}
            return shown | {"job": job_id.hex(), "round": number} | entry
