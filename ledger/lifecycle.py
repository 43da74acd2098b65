"""What happens to a job at its boundaries: settlement of a round, then the changes of its status.

Source: docs/protocol.md, section 10. The merge itself is the verifier's; here is when it happens and what follows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec, decode_spec
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus, PendingRound, Reason
from ledger.slots import is_boundary, job_height, round_at
from ledger.state import Overlay
from ledger.work import Settled, SettleTask

LOSSES_KEPT = 3
LINE_SEARCH = b"\x01"  # which of a settlement's samples


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a settlement did, for history and provenance; losses are sums over `sample_count` samples."""

    job_id: bytes
    round: int
    version: int
    tickets: tuple[bytes, ...]
    scale: str
    loss_before: int
    loss_after: int
    sample_count: int
    split_loss: int
    split_count: int
    old_weights: bytes
    new_weights: bytes


def get_due_round(job_id: bytes, record: JobRecord, height: int, params: ChainParams) -> PendingRound | None:
    """Return the pending round that settles at this height, if there is one."""
    if not is_boundary(job_id, height, params):
        return None
    due = job_height(job_id, height, params) // params.round_length - 2
    return next((pending for pending in record.pending if pending.round == due), None)


def sample_seed(record: JobRecord, job_id: bytes) -> bytes:
    """Return the seed of the line search's sample: fixed by a block after the round's last ticket."""
    return tagged_hash("gc/sample", record.sample_hash + job_id + LINE_SEARCH)


def make_settle_task(
    job_id: bytes, record: JobRecord, spec: JobSpec, weights: bytes, deltas: tuple[bytes, ...]
) -> SettleTask:
    return SettleTask(spec, weights, deltas, sample_seed(record, job_id))


def apply_settlement(
    job_id: bytes, record: JobRecord, due: PendingRound, settled: Settled
) -> tuple[JobRecord, Settlement]:
    """Record a settled round: weights, losses, provenance. The weights' bytes are the caller's to keep."""
    weights = cid_of(settled.weights)
    moved = weights != record.weights
    seeds = tuple(seed for seed, _ in due.tickets)
    mean_after = settled.loss_after // settled.sample_count
    first_loss = record.first_loss if record.last_losses else settled.loss_before // settled.sample_count
    updated = replace(
        record,
        version=record.version + moved,
        weights=weights,
        provenance=_extend_provenance(record.provenance, due.round, seeds, weights),
        pending=tuple(p for p in record.pending if p.round != due.round),
        stall=0 if moved else record.stall + 1,
        first_loss=first_loss,
        last_losses=(*record.last_losses, mean_after)[-LOSSES_KEPT:],
    )
    event = Settlement(
        job_id=job_id,
        round=due.round,
        version=updated.version,
        tickets=seeds,
        scale=settled.scale,
        loss_before=settled.loss_before,
        loss_after=settled.loss_after,
        sample_count=settled.sample_count,
        split_loss=settled.split_loss,
        split_count=settled.split_count,
        old_weights=record.weights,
        new_weights=weights,
    )
    return updated, event


def _extend_provenance(provenance: bytes, number: int, seeds: tuple[bytes, ...], weights: bytes) -> bytes:
    return tagged_hash("gc/provenance", provenance + number.to_bytes(8, "big") + b"".join(seeds) + weights)


def reaches_target(record: JobRecord, spec: JobSpec, event: Settlement) -> bool:
    """Return whether a settlement that moved the weights brought the job to its target loss."""
    if event.old_weights == event.new_weights or spec.target == 0:
        return False
    if event.split_count:
        return event.split_loss // event.split_count <= spec.target
    losses = record.last_losses
    return len(losses) == LOSSES_KEPT and sum(losses) // LOSSES_KEPT <= spec.target


@dataclass(frozen=True, slots=True)
class Boundary:
    """A job at one of its boundaries, with what its rules look at."""

    job_id: bytes
    spec: JobSpec
    height: int
    params: ChainParams

    @property
    def round_cost(self) -> int:
        """Units that must be at hand before a round begins: its burns, rent and budget."""
        return round_cost(self.spec, self.params)


def round_cost(spec: JobSpec, params: ChainParams) -> int:
    return params.round_length * spec.burn + params.rent + spec.budget


def apply_boundary(state: Overlay, at: Boundary, record: JobRecord, reached: bool) -> JobRecord:
    """Change the job's status at the end of a round; refunds and burns go to the state."""
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
    if live and record.lock + record.escrow < at.round_cost:
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
    next_round = round_at(at.job_id, at.height, at.params) + 1
    if next_round < record.first_round:
        return record
    rent = min(at.params.rent, record.escrow + record.lock)
    from_escrow = min(rent, record.escrow)
    state.burn(rent)
    return replace(record, escrow=record.escrow - from_escrow, lock=record.lock - (rent - from_escrow))


def load_spec(record: JobRecord, params: ChainParams) -> JobSpec:
    return decode_spec(record.spec, params)
