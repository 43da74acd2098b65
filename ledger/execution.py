"""What a transaction does to the state. Source: docs/protocol.md, sections 2 and 5."""

from __future__ import annotations

from dataclasses import replace

from ledger.continuation import find_parent
from ledger.errors import FalseTrial, InvalidTransaction
from ledger.hashing import cid_of
from ledger.jobspec import JobSpec, trial_seed
from ledger.keys import address_of
from ledger.lifecycle import most_market_only, round_cost
from ledger.market import commit_update, reveal_update, spend_shares
from ledger.params import ChainParams
from ledger.records import Account, JobRecord, JobStatus, Reason, account_key
from ledger.rules import Rules
from ledger.sidecars import least_fee, read_spec
from ledger.slots import round_at
from ledger.state import Overlay
from ledger.transactions import (
    CancelJob,
    CommitUpdate,
    RevealUpdate,
    SubmitJob,
    Transaction,
    Transfer,
)
from ledger.work import JobFacts, TicketTask, WorkRefused


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
        case CommitUpdate():
            _charge(state, sender, commit_update(state, tx.sender, tx.body, height, rules))
            spend_shares(state, tx.sender, tx.body, height, rules)
        case RevealUpdate():
            reveal_update(state, tx.sender, tx.body, height, rules.params)
    return tx.fee - burned


def _charge(state: Overlay, address: bytes, amount: int, advance_nonce: bool = False) -> None:
    account = state.get_account(address)
    if account.balance < amount:
        raise InvalidTransaction(f"balance: {amount} units are needed, {account.balance} are there")
    state.put(account_key(address), Account(account.balance - amount, account.nonce + advance_nonce).encode())


def _submit_job(
    state: Overlay,
    tx: Transaction,
    body: SubmitJob,
    height: int,
    rules: Rules,
    new_weights: dict[bytes, bytes],
) -> None:
    params = rules.params
    spec = read_spec(body.spec, params)
    least = params.lock_slots * spec.burn + round_cost(spec, params)
    if body.escrow < least:
        raise InvalidTransaction(f"escrow: at least {least} units for this spec, got {body.escrow}")
    _check_places(state, spec, params)
    _charge(state, address_of(tx.sender), body.escrow)  # before the trial: who cannot pay makes nobody train
    parent = find_parent(state, spec, params)
    start = rules.load_weights(parent.weights) if parent else None
    facts = _check_trial(spec, body, start, rules)
    record = _make_record(tx, spec, body, height, facts, parent, params)
    new_weights[record.weights] = facts.weights
    state.put_job(tx.txid, record)


def _make_record(
    tx: Transaction,
    spec: JobSpec,
    body: SubmitJob,
    height: int,
    facts: JobFacts,
    parent: JobRecord | None,
    params: ChainParams,
) -> JobRecord:
    """Return a new job's record; of a parent's it goes on with the weights, their last steps and the provenance."""
    lock = params.lock_slots * spec.burn
    return JobRecord(
        owner=address_of(tx.sender),
        spec=body.spec,
        submitted=height,
        status=JobStatus.LIVE,
        reason=Reason.NONE,
        first_round=round_at(tx.txid, height, params) + 1,
        escrow=body.escrow - lock,
        lock=lock,
        work=facts.work,
        judging=facts.judging,
        version=0,
        weights=cid_of(facts.weights),
        earlier=parent.earlier if parent else (),
        last_updates=parent.last_updates if parent else (),
        provenance=parent.provenance if parent else bytes(32),
        pending=(),
        sample_hash=b"",
        drawn=0,
        lost=0,
        stall=0,
        suspended_until=0,
        first_loss=0,
        last_losses=(),
    )


def _check_places(state: Overlay, spec: JobSpec, params: ChainParams) -> None:
    """A market-only job locks nothing and costs its rent alone: such jobs cannot take all places from the others."""
    active = [record for _, record in state.active_jobs()]
    if len(active) >= params.max_jobs:
        raise InvalidTransaction(f"jobs: {params.max_jobs} are live already; one must end first")
    most = most_market_only(params)
    if spec.market_only and sum(record.is_market_only for record in active) >= most:
        raise InvalidTransaction(f"jobs: {most} market-only ones are live already; one must end first")


def _check_trial(spec: JobSpec, body: SubmitJob, start: bytes | None, rules: Rules) -> JobFacts:
    """Return the facts of a spec whose trial is as stated; its initial weights are `start`, or else the seed's."""
    try:
        facts = rules.verifier.inspect(spec)
    except WorkRefused as error:
        raise InvalidTransaction(f"job refused: {error}") from error
    if not (facts.has_tickets or spec.market_only):
        raise InvalidTransaction(
            f"market_only: 1 expected for {spec.objective}, which is trained by updates alone, got 0"
        )
    _check_work(spec, facts.work, rules.params)
    if start is not None:
        facts = replace(facts, weights=start)
    run = rules.verifier.run(TicketTask(trial_seed(body.spec), bytes(32), spec, facts.weights))
    if (run.digest, run.before, run.after) != (body.digest, body.before, body.after):
        raise FalseTrial("trial: the run does not give the stated digest and losses")
    if run.after >= run.before:
        raise FalseTrial(
            f"trial: the local rule did not lower the loss ({run.before} -> {run.after}); lower the rate"
        )
    return facts


def _check_work(spec: JobSpec, work: int, params: ChainParams) -> None:
    """A ticket's work must be near the standard's; where there are no tickets, the trial must be no dearer than one."""
    unit = 1 << params.work_unit_bits
    least_num, least_den = (0, 1) if spec.market_only else (params.work_min_num, params.work_min_den)
    if not unit * least_num <= work * least_den or work > unit * params.work_max:
        raise InvalidTransaction(
            f"declared work: expected {unit * least_num // least_den}..{unit * params.work_max}, got {work};"
            " change steps or shard"
        )


def _cancel_job(state: Overlay, sender: bytes, job_id: bytes) -> None:
    record = state.get_job(job_id)
    if record is None:
        raise InvalidTransaction(f"job {job_id.hex()} is not known")
    if record.owner != sender:
        raise InvalidTransaction(f"job {job_id.hex()} belongs to another account")
    if record.status not in (JobStatus.LIVE, JobStatus.SUSPENDED):
        raise InvalidTransaction(f"job {job_id.hex()} is {record.status.name.lower()} already")
    state.put_job(job_id, replace(record, reason=Reason.CANCELLED))
