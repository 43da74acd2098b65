"""Settling a round of a job: what is judged, and who is paid. Source: docs/protocol.md, section 10.

The merge itself is the verifier's. Here its result becomes the job's new record, and income.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from ledger.commitments import Commitment
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec
from ledger.params import ChainParams
from ledger.records import JobRecord
from ledger.slots import is_boundary, job_height
from ledger.state import Overlay
from ledger.work import RevealedUpdate, Settled, SettleTask

LOSSES_KEPT = 3
STEPS_KEPT = 4  # of the weights: updates are not paid for what they have of them
SAMPLES = (1, 2, 3)  # of a settlement: for what is known, for the updates, for the credits


class Outcome(StrEnum):
    """What became of an update."""

    PAID = "paid"
    UNPAID = "unpaid"  # no credit, no fine
    FINED = "fined"
    VOID = "void"  # no payload of this job
    UNREVEALED = "unrevealed"


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """An update's settlement. `credit` is a difference of loss sums; `amount` what was earned, fined or lost, units."""

    update: Commitment
    outcome: Outcome
    credit: int
    amount: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a settlement did, for history and provenance; losses are sums over `sample_count` samples.

    `updates` are in the order of their credits; those that lost their bonds come last.
    """

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
    known_scale: str
    update_scale: str
    credit_base: int
    updates: tuple[UpdateResult, ...]


@dataclass(frozen=True, slots=True)
class DueRound:
    """A round that ends one boundary ago and settles now: its tickets (seed, digest) and its updates in order."""

    round: int
    tickets: tuple[tuple[bytes, bytes], ...]
    updates: tuple[Commitment, ...]

    @property
    def revealed(self) -> tuple[Commitment, ...]:
        return tuple(update for update in self.updates if update.payload)


def get_due_round(
    state: Overlay, job_id: bytes, record: JobRecord, height: int, params: ChainParams
) -> DueRound | None:
    """Return the round that settles at this height, if it has anything to settle."""
    if not is_boundary(job_id, height, params):
        return None
    due = job_height(job_id, height, params) // params.round_length - 2
    tickets = next((pending.tickets for pending in record.pending if pending.round == due), ())
    updates = state.get_commitments(job_id, due) if due >= 0 else ()
    if not tickets and not updates:
        return None

    def place(update: Commitment) -> bytes:
        return tagged_hash("gc/order", record.sample_hash + update.commitment)

    return DueRound(due, tickets, tuple(sorted(updates, key=place)))


def sample_seeds(record: JobRecord, job_id: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the seeds of a settlement's samples: fixed by a block after the round's last ticket and commitment."""
    tickets, updates, credits = (
        tagged_hash("gc/sample", record.sample_hash + job_id + bytes([i])) for i in SAMPLES
    )
    return tickets, updates, credits


def make_settle_task(
    job_id: bytes,
    record: JobRecord,
    spec: JobSpec,
    due: DueRound,
    load_weights: Callable[[bytes], bytes],
    load_delta: Callable[[bytes], bytes],
) -> SettleTask:
    """Return what the verifier settles; the weights and deltas are loaded by CID and by seed."""
    return SettleTask(
        spec=spec,
        weights=load_weights(record.weights),
        earlier=tuple(load_weights(cid) for cid in record.earlier),
        deltas=tuple(load_delta(seed) for seed, _ in due.tickets),
        updates=tuple(RevealedUpdate(u.payload, u.size, u.shares) for u in due.revealed),
        last_updates=tuple(RevealedUpdate(*update) for update in record.last_updates),
        sample_seeds=sample_seeds(record, job_id),
    )


def apply_settlement(
    job_id: bytes, record: JobRecord, spec: JobSpec, due: DueRound, settled: Settled | None
) -> tuple[JobRecord, Settlement]:
    """Record a settled round: weights, losses, provenance, escrow. `settled` is None where nothing was to be judged.

    The weights' bytes are the caller's to keep, the updates' money `pay_updates`'s to move.
    """
    results = judge_updates(due, spec, settled)
    earned = sum(r.amount for r in results if r.outcome is Outcome.PAID)
    fined = sum(r.amount for r in results if r.outcome is Outcome.FINED)
    updated = replace(
        record,
        pending=tuple(p for p in record.pending if p.round != due.round),
        escrow=record.escrow - earned + fined,
        last_updates=tuple((u.payload, u.size, u.shares) for u in due.revealed),
    )
    if settled is not None and settled.sample_count:
        updated = _note_training(updated, due, settled, results)
    return updated, _make_event(job_id, record, updated, due, settled, results)


def _note_training(
    record: JobRecord, due: DueRound, settled: Settled, results: tuple[UpdateResult, ...]
) -> JobRecord:
    weights = cid_of(settled.weights)
    moved = weights != record.weights
    mean_before = settled.loss_before // settled.sample_count
    mean_after = settled.loss_after // settled.sample_count
    return replace(
        record,
        version=record.version + moved,
        weights=weights,
        earlier=(record.weights, *record.earlier)[:STEPS_KEPT] if moved else record.earlier,
        provenance=_extend_provenance(record.provenance, due, results, weights),
        stall=0 if moved else record.stall + 1,
        first_loss=record.first_loss if record.last_losses else mean_before,
        last_losses=(*record.last_losses, mean_after)[-LOSSES_KEPT:],
    )


def _extend_provenance(
    provenance: bytes, due: DueRound, results: tuple[UpdateResult, ...], weights: bytes
) -> bytes:
    seeds = b"".join(seed for seed, _ in due.tickets)
    credited = b"".join(
        r.update.commitment for r in results if r.outcome not in (Outcome.VOID, Outcome.UNREVEALED)
    )
    return tagged_hash(
        "gc/provenance", provenance + due.round.to_bytes(8, "big") + seeds + credited + weights
    )


def _make_event(
    job_id: bytes,
    before: JobRecord,
    after: JobRecord,
    due: DueRound,
    settled: Settled | None,
    results: tuple[UpdateResult, ...],
) -> Settlement:
    seen = settled or Settled(b"", "", 0, 0, 0, 0, 0)
    return Settlement(
        job_id=job_id,
        round=due.round,
        version=after.version,
        tickets=tuple(seed for seed, _ in due.tickets),
        scale=seen.scale,
        loss_before=seen.loss_before,
        loss_after=seen.loss_after,
        sample_count=seen.sample_count,
        split_loss=seen.split_loss,
        split_count=seen.split_count,
        old_weights=before.weights,
        new_weights=after.weights,
        known_scale=seen.known_scale,
        update_scale=seen.update_scale,
        credit_base=seen.credit_base,
        updates=results,
    )


def judge_updates(due: DueRound, spec: JobSpec, settled: Settled | None) -> tuple[UpdateResult, ...]:
    """Return what each update earned, is fined or lost: those that were judged in their order, then the others."""
    credits = settled.credits if settled else ()
    pairs = list(zip(due.revealed, credits, strict=True))
    positive = sum(credit for credit in credits if credit is not None and credit > 0)
    num, den = _payment_rate(spec, positive, settled.credit_base if settled else 0)
    judged = tuple(_pay(update, credit, num, den) for update, credit in pairs if credit is not None)
    void = tuple(UpdateResult(u, Outcome.VOID, 0, u.bond) for u, credit in pairs if credit is None)
    silent = tuple(UpdateResult(u, Outcome.UNREVEALED, 0, u.bond) for u in due.updates if not u.payload)
    return judged + void + silent


def _payment_rate(spec: JobSpec, positive: int, base: int) -> tuple[int, int]:
    """Return units for one unit of loss as a fraction: the price, or less where the budget is not enough for it."""
    if spec.price * positive <= spec.budget * base:
        return spec.price, max(base, 1)
    return spec.budget, positive


def _pay(update: Commitment, credit: int, num: int, den: int) -> UpdateResult:
    if credit >= 0:
        earned = num * credit // den
        return UpdateResult(update, Outcome.PAID if earned else Outcome.UNPAID, credit, earned)
    fine = min(update.bond, num * -credit // den)
    return UpdateResult(update, Outcome.FINED if fine else Outcome.UNPAID, credit, fine)


def pay_updates(state: Overlay, event: Settlement, height: int, params: ChainParams) -> int:
    """Move the bonds, earnings and judging fees of a settled round; return the block miner's part."""
    fees = 0
    for result in event.updates:
        update = result.update
        burned = update.prepaid - update.prepaid // 2
        fees += update.prepaid - burned
        state.burn(burned)
        income = update.bond
        if result.outcome is Outcome.PAID:
            income += result.amount
        elif result.outcome is not Outcome.UNPAID:
            income -= result.amount
        if result.outcome in (Outcome.VOID, Outcome.UNREVEALED):
            state.burn(update.bond)
        state.add_income(height + params.maturity, update.miner, income)
    state.put_commitments(event.job_id, event.round, ())
    return fees


def reaches_target(record: JobRecord, spec: JobSpec, event: Settlement) -> bool:
    """Return whether a settlement that moved the weights brought the job to its target loss."""
    if event.old_weights == event.new_weights or spec.target == 0:
        return False
    if event.split_count:
        return event.split_loss // event.split_count <= spec.target
    losses = record.last_losses
    return len(losses) == LOSSES_KEPT and sum(losses) // LOSSES_KEPT <= spec.target
