"""What a transaction does to the state. Source: docs/protocol.md, sections 2 and 5."""

from __future__ import annotations

from dataclasses import replace

from ledger.errors import FalseTrial, InvalidTransaction
from ledger.hashing import cid_of
from ledger.jobspec import JobSpec, trial_seed
from ledger.keys import address_of
from ledger.lifecycle import round_cost
from ledger.market import commit_update, reveal_update, spend_shares
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
    lock = params.lock_slots * spec.burn
    least = lock + round_cost(spec, params)
    if body.escrow < least:
        raise InvalidTransaction(f"escrow: at least {least} units for this spec, got {body.escrow}")
    if len(state.active_jobs()) >= params.max_jobs:
        raise InvalidTransaction(f"jobs: {params.max_jobs} are live already; one must end first")
    _charge(state, address_of(tx.sender), body.escrow)  # before the trial: who cannot pay makes nobody train
    facts = _check_trial(spec, body, rules)
    weights_cid = cid_of(facts.weights)
    new_weights[weights_cid] = facts.weights
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
            work=facts.work,
            judging=facts.judging,
            version=0,
            weights=weights_cid,
            earlier=(),
            last_updates=(),
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


def _check_trial(spec: JobSpec, body: SubmitJob, rules: Rules) -> JobFacts:
    """Return the facts of a spec whose trial is as stated."""
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
    return facts


def _cancel_job(state: Overlay, sender: bytes, job_id: bytes) -> None:
    record = state.get_job(job_id)
    if record is None:
        raise InvalidTransaction(f"job {job_id.hex()} is not known")
    if record.owner != sender:
        raise InvalidTransaction(f"job {job_id.hex()} belongs to another account")
    if record.status not in (JobStatus.LIVE, JobStatus.SUSPENDED):
        raise InvalidTransaction(f"job {job_id.hex()} is {record.status.name.lower()} already")
    state.put_job(job_id, replace(record, reason=Reason.CANCELLED))
