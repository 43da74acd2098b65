"""What a miner works on: a work header without its nonce, the run it stands for, and the threshold to come under."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger.blocks import HEARTBEAT, VERSION, Block, Header, WorkHeader, sign_header, tx_root_of
from ledger.chain import Chain
from ledger.difficulty import next_target, threshold
from ledger.jobspec import JobSpec
from ledger.keys import KeyPair
from ledger.lifecycle import load_spec
from ledger.slots import draw_job
from ledger.state import Overlay
from ledger.transactions import Transaction
from ledger.work import TicketRun


@dataclass(frozen=True, slots=True)
class Template:
    """Work for a miner. `spec` is None and `weights` empty for the heartbeat; `drawn` says whose slot it is."""

    work: WorkHeader
    transactions: tuple[Transaction, ...]
    threshold: int
    spec: JobSpec | None
    weights: bytes
    drawn: bytes | None


def build_template(
    chain: Chain, miner: bytes, transactions: tuple[Transaction, ...], now_ms: int, heartbeat: bool = False
) -> Template:
    """Return work on the head for a miner's public key; `heartbeat` forces it where a job is drawn."""
    head, params, state = chain.head, chain.params, Overlay(chain.state)
    drawn = draw_job(state, head.hash, head.height + 1, params)
    job_id = drawn if drawn is not None and not heartbeat else HEARTBEAT
    target = next_target(params, head.height, head.time_ms, head.anchor_time_ms)
    work = WorkHeader(
        version=VERSION,
        height=head.height + 1,
        parent=head.hash,
        time_ms=max(now_ms, head.time_ms + 1),
        miner=miner,
        target=target,
        job_id=job_id,
        tx_root=tx_root_of(transactions),
        tx_count=len(transactions),
        state_root=chain.state.root,
        nonce=0,
    )
    record = state.get_job(job_id) if job_id != HEARTBEAT else None
    declared = record.work if record else chain.rules.verifier.heartbeat_work
    offslot = drawn is not None and job_id == HEARTBEAT
    return Template(
        work=work,
        transactions=transactions,
        threshold=threshold(target, declared, offslot, params),
        spec=load_spec(record, params) if record else None,
        weights=chain.load_weights(record.weights) if record else b"",
        drawn=drawn,
    )


def assemble_block(
    template: Template, nonce: int, run: TicketRun, keypair: KeyPair, chain_id: bytes
) -> Block:
    """Return the signed block of a winning run."""
    header = Header(replace(template.work, nonce=nonce), run.digest, run.before, run.after)
    return Block(header, sign_header(keypair, chain_id, header), template.transactions)
