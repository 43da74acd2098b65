"""What happens to a job at its boundaries: the changes of its status, after a settlement if one was due.

Source: docs/protocol.md, section 10.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger.jobspec import JobSpec, decode_spec
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus, Reason
from ledger.slots import round_at
from ledger.state import Overlay


@dataclass(frozen=True, slots=True)
class Boundary:
    """A job at one of its boundaries, with what its rules look at."""

    job_id: bytes
    spec: JobSpec
    height: int
    params: ChainParams

    @property
    def round_cost(self) -> int:
        """Units that must be at hand before a round begins."""
        return round_cost(self.spec, self.params)

    @property
    def ended_round(self) -> int:
        """The round that ends with this block."""
        return round_at(self.job_id, self.height, self.params)


def round_cost(spec: JobSpec, params: ChainParams) -> int:
    """Return the units that must be at hand before a round begins: its burns and what `escrow_floor` says."""
    return params.round_length * spec.burn + escrow_floor(spec, params)


def escrow_floor(spec: JobSpec, params: ChainParams) -> int:
    """Return the units that the escrow itself must hold: rent, and two budgets, as the last round is not paid yet."""
    return params.rent + 2 * spec.budget


def most_market_only(params: ChainParams) -> int:
    """Return how many of the jobs may be market-only at a time."""
    return params.max_jobs // 2


def apply_boundary(state: Overlay, at: Boundary, record: JobRecord, reached: bool) -> JobRecord:
    """Change the job's status at the end of a round; refunds and burns go to the state."""
    if reached and state.get_commitments(at.job_id, at.ended_round):  # they were made in good faith
        return replace(record, status=JobStatus.CLOSING, reason=Reason.TARGET)
    if reached:
        return _close(state, at, record, JobStatus.DONE, Reason.TARGET)
    if record.status is JobStatus.CLOSING:
        cancelled = record.reason is Reason.CANCELLED
        status = JobStatus.CANCELLED if cancelled else JobStatus.DONE
        return _close(state, at, record, status, record.reason)
    reason = _reason_to_close(at, record)
    if reason is not Reason.NONE:
        return replace(record, status=JobStatus.CLOSING, reason=reason)
    if record.status is JobStatus.SUSPENDED:
        record = _resume(at, record)
    return _pay_rent(state, at, record) if record.status is JobStatus.LIVE else record


def _reason_to_close(at: Boundary, record: JobRecord) -> Reason:
    if record.reason is Reason.CANCELLED:
        return Reason.CANCELLED
    if at.height >= record.submitted + at.spec.lifetime:
        return Reason.LIFETIME
    if record.stall >= at.params.stall_rounds:
        return Reason.STALLED
    live = record.status is JobStatus.LIVE
    short = record.lock + record.escrow < at.round_cost or record.escrow < escrow_floor(at.spec, at.params)
    if live and short:
        return Reason.ESCROW
    return Reason.NONE


def _close(state: Overlay, at: Boundary, record: JobRecord, status: JobStatus, reason: Reason) -> JobRecord:
    state.add_income(at.height + at.params.maturity, record.owner, record.escrow)
    state.burn(record.lock)
    return replace(record, status=status, reason=reason, escrow=0, lock=0, pending=(), sample_hash=b"")


def _resume(at: Boundary, record: JobRecord) -> JobRecord:
    if at.height < record.suspended_until:
        return record
    lock = at.params.lock_slots * at.spec.burn
    if record.escrow < lock + at.round_cost:
        return replace(record, status=JobStatus.CLOSING, reason=Reason.ESCROW)
    return replace(
        record, status=JobStatus.LIVE, escrow=record.escrow - lock, lock=record.lock + lock, drawn=0, lost=0
    )


def _pay_rent(state: Overlay, at: Boundary, record: JobRecord) -> JobRecord:
    if at.ended_round + 1 < record.first_round:
        return record
    state.burn(at.params.rent)
    return replace(record, escrow=record.escrow - at.params.rent)


def load_spec(record: JobRecord, params: ChainParams) -> JobSpec:
    return decode_spec(record.spec, params)
