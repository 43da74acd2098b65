"""Committing to an update and revealing it. Source: docs/protocol.md, section 7.1; the settlement is section 10's."""

from __future__ import annotations

from dataclasses import replace

from ledger.commitments import MAX_UPDATES, Commitment, make_commitment
from ledger.errors import InvalidTransaction, TooEarly
from ledger.jobspec import JobSpec
from ledger.keys import address_of
from ledger.lifecycle import load_spec
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus
from ledger.rules import Rules
from ledger.shares import spend_share
from ledger.sidecars import most_committed
from ledger.slots import job_height, round_at
from ledger.state import Overlay
from ledger.transactions import CommitUpdate, RevealUpdate

JUDGING_UNIT_BITS = 24  # of work: what the judging fee is for


def bond_of(spec: JobSpec, shares: int, params: ChainParams) -> int:
    """Return the units that an update's miner loses if it is not revealed, and the most it can be fined."""
    return spec.budget * shares // (params.bond_divisor * params.round_length)


def judging_price(judging: int, params: ChainParams) -> int:
    """Return the units that pay for one more evaluation of a job's loss."""
    return params.judging_fee * -(-judging >> JUDGING_UNIT_BITS)


def commit_update(state: Overlay, sender: bytes, body: CommitUpdate, height: int, rules: Rules) -> int:
    """Enter a commitment of the sender (public key); return the units that its account must pay beside the fee."""
    params = rules.params
    record = _require_live(state, body.job_id)
    _check_round(body, record, height, params)
    there = state.get_commitments(body.job_id, body.round)
    _check_room(body, there, params)
    entry = Commitment(
        commitment=body.commitment,
        miner=address_of(sender),
        shares=len(body.shares),
        bond=bond_of(load_spec(record, params), len(body.shares), params),
        prepaid=judging_price(record.judging, params),
        size=body.size,
    )
    state.put_commitments(body.job_id, body.round, (*there, entry))
    return entry.bond + entry.prepaid


def spend_shares(state: Overlay, sender: bytes, body: CommitUpdate, height: int, rules: Rules) -> None:
    """Check and spend the shares of a commitment: a training run each, so it comes last."""
    for share in body.shares:
        spend_share(state, share, sender, height, rules)


def reveal_update(
    state: Overlay, sender: bytes, body: RevealUpdate, height: int, params: ChainParams
) -> None:
    """Note the payload of a commitment of the sender (public key)."""
    _check_window(body, height, params)
    commitment = make_commitment(sender, body.job_id, body.round, body.payload, body.salt)
    there = state.get_commitments(body.job_id, body.round)
    found = next((c for c in there if c.commitment == commitment), None)
    if found is None:
        raise InvalidTransaction(
            f"reveal: round {body.round} of job {body.job_id.hex()} has no commitment {commitment.hex()};"
            " key, payload and salt must be those that were committed to"
        )
    if found.payload:
        raise InvalidTransaction(f"reveal: commitment {commitment.hex()} is revealed already")
    if body.size != found.size:
        raise InvalidTransaction(f"reveal: {found.size} bytes were committed to, got {body.size}")
    revealed = tuple(
        replace(c, payload=body.payload, privacy=body.privacy) if c is found else c for c in there
    )
    state.put_commitments(body.job_id, body.round, revealed)


def reveal_window(job_id: bytes, round_number: int, params: ChainParams) -> range:
    """Return the heights of the blocks that may carry a round's reveals."""
    end = (round_number + 1) * params.round_length
    shift = job_height(job_id, 0, params)
    return range(end + params.sample_delay + 1 - shift, end + params.round_length + 1 - shift)


def _require_live(state: Overlay, job_id: bytes) -> JobRecord:
    record = state.get_job(job_id)
    if record is None:
        raise InvalidTransaction(f"job {job_id.hex()} is not known")
    if record.status is not JobStatus.LIVE:
        raise InvalidTransaction(f"job {job_id.hex()} is {record.status.name.lower()}, expected live")
    return record


def _check_round(body: CommitUpdate, record: JobRecord, height: int, params: ChainParams) -> None:
    now = round_at(body.job_id, height, params)
    why = f"round: block {height} is in round {now} of the job, got {body.round}"
    if body.round > now:
        begin = body.round * params.round_length + 1 - job_height(body.job_id, 0, params)
        raise TooEarly(begin, why)
    if body.round < now:
        raise InvalidTransaction(why)
    if now < record.first_round:
        raise InvalidTransaction(f"round: the job's first round is {record.first_round}, got {now}")


def _check_room(body: CommitUpdate, there: tuple[Commitment, ...], params: ChainParams) -> None:
    most = most_committed(len(body.shares), params)
    if body.size > most:
        raise InvalidTransaction(
            f"payload: at most {most} bytes with {len(body.shares)} shares, got {body.size}"
        )
    if any(c.commitment == body.commitment for c in there):
        raise InvalidTransaction(f"commitment {body.commitment.hex()} is there already")
    if len(there) >= MAX_UPDATES:
        raise InvalidTransaction(f"round {body.round} has {MAX_UPDATES} updates already; wait for the next")


def _check_window(body: RevealUpdate, height: int, params: ChainParams) -> None:
    window = reveal_window(body.job_id, body.round, params)
    why = f"reveal: round {body.round} is revealed in blocks {window.start}..{window.stop - 1}, got {height}"
    if height < window.start:
        raise TooEarly(window.start, why)
    if height >= window.stop:
        raise InvalidTransaction(why)
