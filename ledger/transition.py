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
from ledger.keys import address_of
from ledger.lifecycle import (
    Boundary,
    Settlement,
    apply_boundary,
    apply_settlement,
    get_due_round,
    load_spec,
    make_settle_task,
    reaches_target,
)
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus
from ledger.rules import Rules
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
    if drawn is not None:
        _pay_draw(state, drawn, header, rules.params)
    fees = _apply_transactions(state, block, rules, effects)
    _append_ticket(state, header, rules.params)
    _apply_boundaries(state, header, rules, effects)
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


def _apply_boundaries(state: Overlay, header: Header, rules: Rules, effects: BlockEffects) -> None:
    params, height = rules.params, header.work.height
    for job_id, record in state.active_jobs():
        if job_height(job_id, height, params) % params.round_length == params.sample_delay:
            state.put_job(job_id, replace(record, sample_hash=header.hash))
        elif is_boundary(job_id, height, params):
            state.put_job(job_id, _end_round(state, job_id, record, height, rules, effects))


def _end_round(
    state: Overlay, job_id: bytes, record: JobRecord, height: int, rules: Rules, effects: BlockEffects
) -> JobRecord:
    spec = load_spec(record, rules.params)
    due = get_due_round(job_id, record, height, rules.params)
    reached = False
    if due is not None:
        weights = effects.weights.get(record.weights) or rules.load_weights(record.weights)
        deltas = tuple(rules.load_delta(seed) for seed, _ in due.tickets)
        settled = rules.verifier.settle(make_settle_task(job_id, record, spec, weights, deltas))
        record, event = apply_settlement(job_id, record, due, settled)
        effects.weights[record.weights] = settled.weights
        effects.settlements.append(event)
        reached = reaches_target(record, spec, event)
    record = replace(record, sample_hash=b"")
    return apply_boundary(state, Boundary(job_id, spec, height, rules.params), record, reached)


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
