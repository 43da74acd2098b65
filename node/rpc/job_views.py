"""What the API shows of jobs: summaries with the reason of their status and what comes next, history and provenance.

Pure functions from the chain to JSON values, for the chain's thread. Source: docs/api.md; docs/protocol.md, section 10.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from ledger.chain import Chain
from ledger.errors import LedgerError
from ledger.hashing import cid_text
from ledger.history import SettlementRecord
from ledger.jobspec import JobSpec, decode_spec
from ledger.lifecycle import load_spec
from ledger.mempool import Mempool
from ledger.records import JOB, JobRecord, JobStatus, Reason
from ledger.settlement import Outcome, Settlement, UpdateResult
from ledger.slots import round_at
from ledger.state import Overlay
from ledger.transactions import SubmitJob, Transaction
from ledger.work import WorkRefused
from node.job_words import Place, describe, name_status, show_text
from node.rpc.parents import get_first_provenance, show_parent
from node.rpc.problems import ApiProblem
from node.rpc.views import LOSS_UNIT, Json, mean_loss, show_address

MIN_PREFIX = 4  # hex digits that may stand for a job's id
MAX_LISTED = 10  # candidates named for an ambiguous prefix
CACHED_TALLIES = 1024


@dataclass(frozen=True, slots=True)
class Tally:
    """How many settlements a job had, the tickets in them, and the mean loss (2^-40) the last one left."""

    settlements: int
    tickets: int
    loss: int | None
    paid_updates: int
    paid: int  # units


def _count_paid(settled: list[SettlementRecord]) -> tuple[int, int]:
    amounts = [r.amount for s in settled for r in s.settlement.updates if r.outcome is Outcome.PAID]
    return len(amounts), sum(amounts)


class Tallies:
    """Tallies by provenance, which names a job's whole history: it is read again only after a settlement."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, bytes], Tally] = OrderedDict()

    def get(self, chain: Chain, job_id: bytes, record: JobRecord) -> Tally:
        key = (job_id, record.provenance)
        tally = self._known.get(key)
        if tally is None:
            settled = list_measured(chain, job_id)
            loss = get_loss(settled[-1].settlement) if settled else None
            tally = Tally(len(settled), sum(len(s.tickets) for s in settled), loss, *_count_paid(settled))
            self._known[key] = tally
            while len(self._known) > CACHED_TALLIES:
                self._known.popitem(last=False)
        return tally


# finding


def list_jobs(chain: Chain, mempool: Mempool, tallies: Tallies) -> list[Json]:
    """Return all jobs: those waiting for a block first, then the newest first."""
    waiting = [
        summarise_pending(chain, tx) for tx in mempool.transactions() if isinstance(tx.body, SubmitJob)
    ]
    records = sorted(load_jobs(chain).items(), key=lambda item: (-item[1].submitted, item[0]))
    return waiting + [summarise_job(chain, job_id, record, tallies) for job_id, record in records]


def load_jobs(chain: Chain) -> dict[bytes, JobRecord]:
    """Return every job of the state, over or not."""
    state = Overlay(chain.state)
    ids = [key[1:] for key in chain.state.entries() if key[0] == JOB]
    return {job_id: record for job_id in ids if (record := state.get_job(job_id)) is not None}


def count_jobs(chain: Chain) -> Json:
    ids = [key[1:] for key in chain.state.entries() if key[0] == JOB]
    live = [r for _, r in Overlay(chain.state).active_jobs() if r.status is JobStatus.LIVE]
    return {"live": len(live), "total": len(ids)}


def find_job(chain: Chain, mempool: Mempool, prefix: str) -> tuple[bytes, JobRecord | Transaction]:
    """Return id and record, or waiting submission, of the one job whose id begins so; ApiProblem otherwise."""
    wanted = prefix.lower()
    if not MIN_PREFIX <= len(wanted) <= 64 or set(wanted) - set("0123456789abcdef"):
        raise ApiProblem(
            "bad_request", f"job id: expected {MIN_PREFIX} to 64 hex digits, got {prefix[:80]!r}"
        )
    ids = {key[1:] for key in chain.state.entries() if key[0] == JOB}
    waiting = {tx.txid: tx for tx in mempool.transactions() if isinstance(tx.body, SubmitJob)}
    found = sorted(job_id for job_id in ids | waiting.keys() if job_id.hex().startswith(wanted))
    if not found:
        raise ApiProblem("not_found", f"no job's id begins with {wanted}", "list them: gradientcoin job list")
    if len(found) > 1:
        names = ", ".join(job_id.hex() for job_id in found[:MAX_LISTED])
        raise ApiProblem("ambiguous", f"{len(found)} jobs begin with {wanted}: {names}", "give more digits")
    record = Overlay(chain.state).get_job(found[0])
    return found[0], record if record is not None else waiting[found[0]]


def find_job_id(chain: Chain, mempool: Mempool, prefix: str) -> tuple[bytes, JobRecord]:
    """Return id and record of a job that is in the chain."""
    job_id, found = find_job(chain, mempool, prefix)
    if isinstance(found, Transaction):
        raise ApiProblem("refused", f"job {job_id.hex()} is not in a block yet", "wait for the next blocks")
    return job_id, found


def show_job(chain: Chain, mempool: Mempool, tallies: Tallies, prefix: str) -> Json:
    job_id, found = find_job(chain, mempool, prefix)
    if isinstance(found, Transaction):
        return summarise_pending(chain, found)
    return summarise_job(chain, job_id, found, tallies)


# summaries


def summarise_job(chain: Chain, job_id: bytes, record: JobRecord, tallies: Tallies) -> Json:
    spec = load_spec(record, chain.params)
    tally = tallies.get(chain, job_id, record)
    place = Place(job_id, record, chain.head.height, chain.params)
    reason, next_step = describe(place)
    loss = tally.loss
    return summarise_spec(chain, spec) | {
        "id": job_id.hex(),
        "status": name_status(place),
        "reason": reason,
        "next_step": next_step,
        "ended_by": name_end(record),
        "owner": show_address(chain, record.owner),
        "submitted": record.submitted,
        "first_round": record.first_round,
        "round": round_at(job_id, chain.head.height + 1, chain.params),
        "version": record.version,
        "settlements": tally.settlements,
        "loss": None if loss is None else loss * LOSS_UNIT,
        "loss_units": None if loss is None else str(loss),
        "first_loss": record.first_loss * LOSS_UNIT if record.last_losses else None,
        "escrow": str(record.escrow),
        "lock": str(record.lock),
        "drawn": record.drawn,
        "lost": record.lost.bit_count(),
        "tickets": tally.tickets,
        "pending_tickets": sum(len(p.tickets) for p in record.pending),
        "updates": tally.paid_updates,
        "paid": str(tally.paid),
        "pending_updates": count_pending_updates(chain, job_id),
        "weights_cid": cid_text(record.weights),
        "work": str(record.work),
        "lifetime_ends": record.submitted + spec.lifetime,
    }


def count_pending_updates(chain: Chain, job_id: bytes) -> int:
    """Return how many updates are committed to and not settled: of the round under way and the one before."""
    now, state = round_at(job_id, chain.head.height, chain.params), Overlay(chain.state)
    return sum(len(state.get_commitments(job_id, number)) for number in (now - 1, now) if number >= 0)


def name_end(record: JobRecord) -> str | None:
    """Return why a job ended or ends: target, escrow, lifetime, stalled or cancelled; None while it does not."""
    return None if record.reason is Reason.NONE else record.reason.name.lower()


def summarise_spec(chain: Chain, spec: JobSpec) -> Json:
    return {
        "title": show_text(spec.title),
        "objective": spec.objective,
        "target_loss": spec.target * LOSS_UNIT if spec.target else None,
        "burn": str(spec.burn),
        "price": str(spec.price),
        "budget": str(spec.budget),
        "market_only": bool(spec.market_only),
        "parent": show_parent(chain, spec),
        "evaluation": spec.evaluation.hex() or None,
        "samples": count_samples(chain, spec),
    }


def count_samples(chain: Chain, spec: JobSpec) -> Json:
    """Return the sizes of the splits; null where the training process cannot be asked just now."""
    try:
        facts = chain.rules.verifier.inspect(spec)
    except (LedgerError, WorkRefused):
        return {"train": None, "judge": None}
    return {"train": facts.train_count, "judge": facts.judge_count}


def summarise_pending(chain: Chain, tx: Transaction) -> Json:
    """Return the summary of a submission that no block holds yet."""
    assert isinstance(tx.body, SubmitJob)
    spec = decode_spec(tx.body.spec, chain.params)
    lock = min(tx.body.escrow, chain.params.lock_slots * spec.burn)
    nothing = dict.fromkeys(
        ("submitted", "first_round", "round", "loss", "loss_units", "first_loss", "weights_cid", "work"), None
    )
    counts = ("version", "settlements", "drawn", "lost", "tickets", "pending_tickets")
    zeros = dict.fromkeys((*counts, "updates", "pending_updates"), 0) | {"paid": "0"}
    return (
        summarise_spec(chain, spec)
        | nothing
        | zeros
        | {
            "id": tx.txid.hex(),
            "status": "pending",
            "reason": "It is not in a block yet.",
            "ended_by": None,
            "next_step": "A miner takes it into one of the next blocks; then its first round is set.",
            "owner": show_address(chain, tx.sender_address),
            "escrow": str(tx.body.escrow - lock),
            "lock": str(lock),
            "lifetime_ends": None,
        }
    )


# history and result


def show_history(chain: Chain, job_id: bytes) -> list[Json]:
    """Return a point for every settlement, oldest first."""
    return [show_point(record) for record in list_measured(chain, job_id)]


def list_measured(chain: Chain, job_id: bytes) -> list[SettlementRecord]:
    """Return the settlements that looked at the loss; one whose updates all lost their bonds did not."""
    return [record for record in chain.list_settlements(job_id) if record.settlement.sample_count]


def get_loss(event: Settlement) -> int:
    """Return the mean loss (2^-40) that a job's target is compared with, where the whole split is judged."""
    if event.split_count:
        return event.split_loss // event.split_count
    return event.loss_after // event.sample_count


def show_point(record: SettlementRecord) -> Json:
    event = record.settlement
    return {
        "height": record.height,
        "round": event.round,
        "version": event.version,
        "loss_before": mean_loss(event.loss_before, event.sample_count),
        "loss_after": mean_loss(event.loss_after, event.sample_count),
        "loss": get_loss(event) * LOSS_UNIT,
        "scale": event.scale,
        "tickets": len(record.tickets),
        "updates": len(event.updates),
        "known_scale": event.known_scale,
        "update_scale": event.update_scale,
        "paid": str(sum(r.amount for r in event.updates if r.outcome is Outcome.PAID)),
        "weights_cid": cid_text(event.new_weights),
        "block": record.block.hex(),
    }


@dataclass(frozen=True, slots=True)
class ResultParts:
    """A job's weights with what is told about them; the checkpoint is made of them elsewhere."""

    spec: JobSpec
    weights: bytes
    shown: Json


def load_result(chain: Chain, mempool: Mempool, prefix: str) -> ResultParts:
    """Return a job's current weights and their provenance."""
    job_id, record = find_job_id(chain, mempool, prefix)
    spec = load_spec(record, chain.params)
    weights = chain.load_weights(record.weights)
    place = Place(job_id, record, chain.head.height, chain.params)
    shown = {
        "id": job_id.hex(),
        "title": show_text(spec.title),
        "status": name_status(place),
        "reason": describe(place)[0],
        "version": record.version,
        "weights_cid": cid_text(record.weights),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "provenance": record.provenance.hex(),
        "parent": show_parent(chain, spec),
        "loss": settled[-1]["loss"] if (settled := show_history(chain, job_id)) else None,
        "record": show_record(chain, job_id, record, spec),
    }
    return ResultParts(spec, weights, shown)


def show_record(chain: Chain, job_id: bytes, record: JobRecord, spec: JobSpec) -> Json:
    """Return all a third party needs to find every ticket in the chain and to compute the provenance anew."""
    settled = chain.list_settlements(job_id)
    return {
        "chain": chain.params.name,
        "chain_id": chain.genesis.chain_id.hex(),
        "head": {"height": chain.head.height, "hash": chain.head.hash.hex()},
        "job": job_id.hex(),
        "owner": show_address(chain, record.owner),
        "submitted": record.submitted,
        "spec": record.spec.hex(),
        "spec_sha256": hashlib.sha256(record.spec).hexdigest(),
        "data_cid": cid_text(spec.data_cid),
        "data_bytes": spec.data_size,
        "init_seed": spec.init_seed.hex(),
        "parent": show_parent(chain, spec),
        "first_provenance": get_first_provenance(chain, spec).hex(),
        "provenance": record.provenance.hex(),
        "weights_cid": cid_text(record.weights),
        "blocks": [show_settlement(settlement) for settlement in settled],
        "history": [show_point(settlement) for settlement in settled],
    }


def show_settlement(record: SettlementRecord) -> Json:
    """Return a settlement with the places of its tickets, in block order."""
    event = record.settlement
    return {
        "height": record.height,
        "hash": record.block.hex(),
        "round": event.round,
        "version": event.version,
        "scale": event.scale,
        "loss_before_units": str(event.loss_before),
        "loss_after_units": str(event.loss_after),
        "sample_count": event.sample_count,
        "split_loss_units": str(event.split_loss),
        "split_count": event.split_count,
        "old_weights_cid": cid_text(event.old_weights),
        "weights_cid": cid_text(event.new_weights),
        "tickets": [
            {"seed": ticket.seed.hex(), "height": ticket.height, "block": ticket.block.hex()}
            for ticket in record.tickets
        ],
        "known_scale": event.known_scale,
        "update_scale": event.update_scale,
        "credit_base_units": str(event.credit_base),
        "updates": [show_credit(result) for result in event.updates],
    }


def show_credit(result: UpdateResult) -> Json:
    """Return an update of a settlement as a third party recomputes it, in the order of the credits."""
    update = result.update
    return {
        "commitment": update.commitment.hex(),
        "shares": update.shares,
        "payload_cid": cid_text(update.payload) if update.payload else None,
        "outcome": str(result.outcome),
        "credit_units": str(result.credit),
        "amount": str(result.amount),
    }
