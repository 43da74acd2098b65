"""How a block changes the state. Source: docs/protocol.md, sections 2, 5, 6, 7 and 10.

Everything here works on an overlay: a block that breaks a rule raises and leaves the state as it was. Weights and
deltas are not in the state, so what a block brings of them is returned in `BlockEffects`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ledger.blocks import HEARTBEAT, Block, Header
from ledger.errors import InvalidBlock, InvalidTransaction
from ledger.execution import apply_transaction
from ledger.genesis import Genesis
from ledger.hashing import cid_of
from ledger.keys import address_of
from ledger.lifecycle import (
    Boundary,
    apply_boundary,
    load_spec,
)
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus
from ledger.rules import Rules
from ledger.settlement import (
    Settlement,
    apply_settlement,
    get_due_round,
    make_settle_task,
    pay_updates,
    reaches_target,
)
from ledger.sidecars import list_sidecars
from ledger.slots import draw_job, is_boundary, job_height, round_at
from ledger.state import Overlay, State, add_amounts
from ledger.tickets import require_job
from ledger.work import TicketRun

LOST_LEAST = (3, 4)  # of a full window: more lost draws suspend a job


@dataclass(slots=True)
class BlockEffects:
    """What a block brings besides changes of the state."""

    run: TicketRun
    weights: dict[bytes, bytes] = field(default_factory=dict)
    settlements: list[Settlement] = field(default_factory=list)


def genesis_state(genesis: Genesis) -> State:
    """Return the state after genesis: the allocations, issued."""
    state = State()
    overlay = Overlay(state)
    for address, amount in genesis.allocations:
        overlay.credit(address, amount)
    overlay.issue(genesis.issued)
    state.apply(overlay.changes)
    return state


def subsidy_at(height: int, params: ChainParams) -> int:
    return params.coinbase >> min(height // params.halving_blocks, 63)


def apply_block(state: Overlay, block: Block, run: TicketRun, rules: Rules) -> BlockEffects:
    """Apply a block whose header follows its parent's and whose body is its own (`check_body`).

    `run` is that of its ticket (`check_ticket`). Raises InvalidBlock if the content is wrong; MissingBlobs from the
    verifier.
    """
    header = block.header
    effects = BlockEffects(run)
    drawn = draw_job(state, header.work.parent, header.work.height, rules.params)
    _mature_income(state, header.work.height)
    state.forget_spent(header.work.height - 1 - rules.params.share_age)
    if drawn is not None:
        _pay_draw(state, drawn, header, rules.params)
    fees = _apply_transactions(state, block, rules, effects)
    _append_ticket(state, header, rules.params)
    fees += _apply_boundaries(state, header, rules, effects)
    _pay_miner(state, header, fees, rules.params)
    return effects


def _mature_income(state: Overlay, height: int) -> None:
    for address, amount in state.get_income(height):
        state.credit(address, amount)
    state.clear_income(height)


def _pay_draw(state: Overlay, job_id: bytes, header: Header, params: ChainParams) -> None:
    record = require_job(state, job_id)
    burn = record.burn
    from_lock = min(burn, record.lock)
    from_escrow = burn - from_lock
    if from_escrow > record.escrow:
        raise InvalidBlock(f"job {job_id.hex()}: escrow {record.escrow} does not cover its burn {burn}")
    state.burn(burn)
    lost = record.lost << 1 | (header.work.job_id == HEARTBEAT)
    record = replace(
        record,
        lock=record.lock - from_lock,
        escrow=record.escrow - from_escrow,
        drawn=min(record.drawn + 1, params.draw_window),
        lost=lost & ((1 << params.draw_window) - 1),
    )
    state.put_job(job_id, _suspend_if_lost(record, header.work.height, params))


def _suspend_if_lost(record: JobRecord, height: int, params: ChainParams) -> JobRecord:
    least, of = LOST_LEAST
    if record.drawn < params.draw_window or record.lost.bit_count() * of < params.draw_window * least:
        return record
    return replace(record, status=JobStatus.SUSPENDED, suspended_until=height + params.suspension_blocks)


def _append_ticket(state: Overlay, header: Header, params: ChainParams) -> None:
    job_id = header.work.job_id
    if job_id != HEARTBEAT:
        number = round_at(job_id, header.work.height, params)
        record = require_job(state, job_id).with_ticket(number, header.seed, header.digest)
        state.put_job(job_id, record)


def _apply_boundaries(state: Overlay, header: Header, rules: Rules, effects: BlockEffects) -> int:
    """Settle what is due and change the jobs' status; return what their judgement earns the miner."""
    params, height, fees = rules.params, header.work.height, 0
    for job_id, record in state.active_jobs():
        if job_height(job_id, height, params) % params.round_length == params.sample_delay:
            state.put_job(job_id, replace(record, sample_hash=header.hash))
        elif is_boundary(job_id, height, params):
            at = Boundary(job_id, load_spec(record, params), height, params)
            record, reached, earned = _settle_due(state, at, record, rules, effects)
            fees += earned
            state.put_job(job_id, apply_boundary(state, at, replace(record, sample_hash=b""), reached))
    return fees


def _settle_due(
    state: Overlay, at: Boundary, record: JobRecord, rules: Rules, effects: BlockEffects
) -> tuple[JobRecord, bool, int]:
    """Settle the round that is due, if one is; return the record, whether the target is reached, and judging fees."""
    due = get_due_round(state, at.job_id, record, at.height, at.params)
    if due is None:
        return record, False, 0
    settled = None
    if due.tickets or due.revealed:

        def load_weights(cid: bytes) -> bytes:
            return effects.weights.get(cid) or rules.load_weights(cid)

        task = make_settle_task(at.job_id, record, at.spec, due, load_weights, rules.load_delta)
        settled = rules.verifier.settle(task)
        effects.weights[cid_of(settled.weights)] = settled.weights
    record, event = apply_settlement(at.job_id, record, at.spec, due, settled)
    effects.settlements.append(event)
    fees = pay_updates(state, event, at.height, at.params)
    return record, reaches_target(record, at.spec, event), fees


def _pay_miner(state: Overlay, header: Header, fees: int, params: ChainParams) -> None:
    subsidy = subsidy_at(header.work.height, params)
    state.issue(subsidy)
    state.add_income(
        header.work.height + params.maturity, address_of(header.work.miner), add_amounts(subsidy, fees)
    )


def _apply_transactions(state: Overlay, block: Block, rules: Rules, effects: BlockEffects) -> int:
    list_sidecars(block, rules.params)
    fees = 0
    for tx in block.transactions:
        try:
            fees += apply_transaction(state, tx, block.header.work.height, rules, effects.weights)
        except InvalidTransaction as error:
            raise InvalidBlock(f"transaction {tx.txid.hex()}: {error}") from error
    return fees
