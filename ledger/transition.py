"""How a block changes the state. Source: docs/protocol.md, sections 2, 5, 6, 7 and 10.

Everything here works on an overlay: a block that breaks a rule raises and leaves the state as it was. Weights and
deltas are not in the state, so what a block brings of them is returned in `BlockEffects`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ledger.blocks import HEARTBEAT, Block, Header
from ledger.difficulty import threshold
from ledger.errors import DecodeError, FalseTrial, InvalidBlock, InvalidHeader, InvalidTransaction
from ledger.genesis import Genesis
from ledger.hashing import cid_of
from ledger.jobspec import JobSpec, decode_spec, trial_seed
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
    round_cost,
)
from ledger.params import ChainParams
from ledger.records import Account, JobRecord, JobStatus, Reason, account_key
from ledger.slots import draw_job, is_boundary, job_height, round_at
from ledger.state import Overlay, State, add_amounts
from ledger.transactions import CancelJob, SubmitJob, Transaction, Transfer
from ledger.work import TicketRun, TicketTask, WorkRefused, WorkVerifier

LOST_LEAST = (3, 4)  # of a full window: more lost draws suspend a job


@dataclass(frozen=True, slots=True)
class Rules:
    """What does not change from block to block, and where bytes that are not in the state come from."""

    chain_id: bytes
    params: ChainParams
    verifier: WorkVerifier
    load_weights: Callable[[bytes], bytes]  # by CID
    load_delta: Callable[[bytes], bytes]  # by ticket seed


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


# tickets


def check_ticket_claim(state: Overlay, header: Header, rules: Rules) -> None:
    """Raise InvalidHeader unless job, losses and ticket are such that a correct replay makes a valid header."""
    work, params = header.work, rules.params
    drawn = draw_job(state, work.parent, work.height, params)
    if work.job_id not in (HEARTBEAT, drawn):
        wanted = drawn.hex() if drawn else "the heartbeat"
        raise InvalidHeader(f"job: height {work.height} is drawn for {wanted}, got {work.job_id.hex()}")
    if header.after >= header.before:
        raise InvalidHeader(f"ticket: loss did not fall ({header.before} before, {header.after} after)")
    offslot = drawn is not None and work.job_id == HEARTBEAT
    limit = threshold(work.target, _declared_work(state, work.job_id, rules), offslot, params)
    if header.ticket >= limit:
        raise InvalidHeader(f"ticket: {header.ticket:x} is not under its threshold {limit:x}")


def _declared_work(state: Overlay, job_id: bytes, rules: Rules) -> int:
    if job_id == HEARTBEAT:
        return rules.verifier.heartbeat_work
    return _require_job(state, job_id).work


def make_ticket_task(state: Overlay, header: Header, rules: Rules) -> TicketTask:
    """Return the run that the header claims, on the state after its parent."""
    job_id, parent = header.work.job_id, header.work.parent
    if job_id == HEARTBEAT:
        return TicketTask(header.seed, parent, None, b"")
    record = _require_job(state, job_id)
    spec = load_spec(record, rules.params)
    return TicketTask(header.seed, parent, spec, rules.load_weights(record.weights))


def replay_ticket(state: Overlay, header: Header, rules: Rules) -> TicketRun:
    """Run the header's training again; InvalidHeader if a single bit of its result differs."""
    run = rules.verifier.run(make_ticket_task(state, header, rules))
    if (run.digest, run.before, run.after) != (header.digest, header.before, header.after):
        raise InvalidHeader(
            f"replay of height {header.work.height}: expected digest {run.digest.hex()}, losses {run.before} -> "
            f"{run.after}; got {header.digest.hex()}, {header.before} -> {header.after}"
        )
    return run


def check_ticket(state: Overlay, header: Header, rules: Rules) -> TicketRun:
    """Return the run of a header's ticket; InvalidHeader if the ticket is not valid in the state after the parent."""
    check_ticket_claim(state, header, rules)
    return replay_ticket(state, header, rules)


def _require_job(state: Overlay, job_id: bytes) -> JobRecord:
    record = state.get_job(job_id)
    if record is None:
        raise InvalidHeader(f"job {job_id.hex()} is not in the state")
    return record


# blocks


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
    record = _require_job(state, job_id)
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
        record = _require_job(state, job_id).with_ticket(number, header.seed, header.digest)
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


# transactions


def _apply_transactions(state: Overlay, block: Block, rules: Rules, effects: BlockEffects) -> int:
    list_sidecars(block, rules.params)
    fees = 0
    for tx in block.transactions:
        try:
            fees += apply_transaction(state, tx, block.header.work.height, rules, effects.weights)
        except InvalidTransaction as error:
            raise InvalidBlock(f"transaction {tx.txid.hex()}: {error}") from error
    return fees


def list_sidecars(block: Block, params: ChainParams) -> list[tuple[bytes, int]]:
    """Return (CID, size) of the blobs beside a block; InvalidBlock if a spec is not one or they are too large."""
    found = []
    for tx in block.transactions:
        try:
            found += sidecars_of(tx, params)
        except InvalidTransaction as error:
            raise InvalidBlock(f"transaction {tx.txid.hex()}: {error}") from error
    total = sum(size for _, size in found)
    if total > params.sidecar_limit:
        raise InvalidBlock(f"sidecars: at most {params.sidecar_limit} bytes, got {total}")
    return found


def sidecars_of(tx: Transaction, params: ChainParams) -> list[tuple[bytes, int]]:
    """Return (CID, size) of the blobs that travel beside a transaction; InvalidTransaction if its spec is not one."""
    if not isinstance(tx.body, SubmitJob):
        return []
    spec = _read_spec(tx.body.spec, params)
    return [(spec.data_cid, spec.data_size)]


def least_fee(tx: Transaction, params: ChainParams) -> int:
    """Return the fee below which a transaction is refused, units."""
    return params.fee_per_byte * (tx.size + sum(size for _, size in sidecars_of(tx, params)))


def apply_transaction(
    state: Overlay, tx: Transaction, height: int, rules: Rules, new_weights: dict[bytes, bytes]
) -> int:
    """Apply one transaction; return the miner's part of its fee. InvalidTransaction leaves the overlay undefined."""
    least = least_fee(tx, rules.params)
    if tx.fee < least:
        raise InvalidTransaction(f"fee: at least {least} units for its bytes, got {tx.fee}")
    sender = address_of(tx.sender)
    account = state.get_account(sender)
    if tx.nonce != account.nonce:
        raise InvalidTransaction(f"account nonce: expected {account.nonce}, got {tx.nonce}")
    _charge(state, sender, tx.fee, advance_nonce=True)
    burned = tx.fee - tx.fee // 2
    state.burn(burned)
    match tx.body:
        case Transfer():
            _charge(state, sender, tx.body.amount)
            state.credit(tx.body.to, tx.body.amount)
        case SubmitJob():
            _submit_job(state, tx, tx.body, height, rules, new_weights)
        case CancelJob():
            _cancel_job(state, sender, tx.body.job_id)
    return tx.fee - burned


def _charge(state: Overlay, address: bytes, amount: int, advance_nonce: bool = False) -> None:
    account = state.get_account(address)
    if account.balance < amount:
        raise InvalidTransaction(f"balance: {amount} units are needed, {account.balance} are there")
    state.put(account_key(address), Account(account.balance - amount, account.nonce + advance_nonce).encode())


def _read_spec(data: bytes, params: ChainParams) -> JobSpec:
    try:
        return decode_spec(data, params)
    except DecodeError as error:
        raise InvalidTransaction(f"job spec: {error}") from error


def _submit_job(
    state: Overlay,
    tx: Transaction,
    body: SubmitJob,
    height: int,
    rules: Rules,
    new_weights: dict[bytes, bytes],
) -> None:
    params = rules.params
    spec = _read_spec(body.spec, params)
    lock = params.lock_slots * spec.burn
    least = lock + round_cost(spec, params)
    if body.escrow < least:
        raise InvalidTransaction(f"escrow: at least {least} units for this spec, got {body.escrow}")
    if len(state.active_jobs()) >= params.max_jobs:
        raise InvalidTransaction(f"jobs: {params.max_jobs} are live already; one must end first")
    _charge(state, address_of(tx.sender), body.escrow)  # before the trial: who cannot pay makes nobody train
    work, weights = _check_trial(spec, body, rules)
    weights_cid = cid_of(weights)
    new_weights[weights_cid] = weights
    state.put_job(
        tx.txid,
        JobRecord(
            owner=address_of(tx.sender),
            spec=body.spec,
            submitted=height,
            status=JobStatus.LIVE,
            reason=Reason.NONE,
            first_round=round_at(tx.txid, height, params) + 1,
            escrow=body.escrow - lock,
            lock=lock,
            work=work,
            version=0,
            weights=weights_cid,
            provenance=bytes(32),
            pending=(),
            sample_hash=b"",
            drawn=0,
            lost=0,
            stall=0,
            suspended_until=0,
            first_loss=0,
            last_losses=(),
        ),
    )


def _check_trial(spec: JobSpec, body: SubmitJob, rules: Rules) -> tuple[int, bytes]:
    """Return declared work and initial weights of a spec whose trial is as stated."""
    params = rules.params
    try:
        facts = rules.verifier.inspect(spec)
    except WorkRefused as error:
        raise InvalidTransaction(f"job refused: {error}") from error
    unit = 1 << params.work_unit_bits
    if (
        not unit * params.work_min_num <= facts.work * params.work_min_den
        or facts.work > unit * params.work_max
    ):
        low = unit * params.work_min_num // params.work_min_den
        raise InvalidTransaction(
            f"declared work: expected {low}..{unit * params.work_max}, got {facts.work}; change steps or shard"
        )
    run = rules.verifier.run(TicketTask(trial_seed(body.spec), bytes(32), spec, facts.weights))
    if (run.digest, run.before, run.after) != (body.digest, body.before, body.after):
        raise FalseTrial("trial: the run does not give the stated digest and losses")
    if run.after >= run.before:
        raise FalseTrial(
            f"trial: the local rule did not lower the loss ({run.before} -> {run.after}); lower the rate"
        )
    return facts.work, facts.weights


def _cancel_job(state: Overlay, sender: bytes, job_id: bytes) -> None:
    record = state.get_job(job_id)
    if record is None:
        raise InvalidTransaction(f"job {job_id.hex()} is not known")
    if record.owner != sender:
        raise InvalidTransaction(f"job {job_id.hex()} belongs to another account")
    if record.status not in (JobStatus.LIVE, JobStatus.SUSPENDED):
        raise InvalidTransaction(f"job {job_id.hex()} is {record.status.name.lower()} already")
    state.put_job(job_id, replace(record, reason=Reason.CANCELLED))
