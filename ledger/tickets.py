"""The proof of work: whether a header's ticket is one in the state after its parent.

Source: docs/protocol.md, section 7.
"""

from __future__ import annotations

from ledger.blocks import HEARTBEAT, Header
from ledger.difficulty import threshold
from ledger.errors import InvalidHeader
from ledger.lifecycle import load_spec
from ledger.params import MAX_TARGET, ChainParams
from ledger.records import JobRecord
from ledger.rules import Rules
from ledger.slots import draw_job, is_heartbeat_slot
from ledger.state import Overlay
from ledger.work import TicketRun, TicketTask, WorkVerifier


def check_ticket_claim(state: Overlay, header: Header, rules: Rules, factor: int = 1) -> None:
    """Raise InvalidHeader unless job, losses and ticket are such that a correct replay makes a valid header.

    A share's ticket may be up to `factor` times the threshold.
    """
    work, params = header.work, rules.params
    drawn = draw_job(state, work.parent, work.height, params)
    if work.job_id not in (HEARTBEAT, drawn):
        wanted = drawn.hex() if drawn else "the heartbeat"
        raise InvalidHeader(f"job: height {work.height} is drawn for {wanted}, got {work.job_id.hex()}")
    if header.after >= header.before:
        raise InvalidHeader(f"ticket: loss did not fall ({header.before} before, {header.after} after)")
    offslot = drawn is not None and work.job_id == HEARTBEAT
    limit = threshold(work.target, _declared_work(state, work.job_id, rules), offslot, params)
    limit = min(MAX_TARGET, limit * factor)
    if header.ticket >= limit:
        raise InvalidHeader(f"ticket: {header.ticket:x} is not under its threshold {limit:x}")


def _declared_work(state: Overlay, job_id: bytes, rules: Rules) -> int:
    if job_id == HEARTBEAT:
        return rules.verifier.heartbeat_work
    return require_job(state, job_id).work


def make_ticket_task(state: Overlay, header: Header, rules: Rules) -> TicketTask:
    """Return the run that the header claims, on the state after its parent."""
    job_id = header.work.job_id
    if job_id == HEARTBEAT:
        return _heartbeat_task(header)
    record = require_job(state, job_id)
    spec = load_spec(record, rules.params)
    return TicketTask(header.seed, header.work.parent, spec, rules.load_weights(record.weights))


def _heartbeat_task(header: Header) -> TicketTask:
    return TicketTask(header.seed, header.work.parent, None, b"")


def replay_ticket(state: Overlay, header: Header, rules: Rules) -> TicketRun:
    """Run the header's training again; InvalidHeader if a single bit of its result differs."""
    return _replay(make_ticket_task(state, header, rules), header, rules.verifier)


def replay_heartbeat(header: Header, verifier: WorkVerifier) -> TicketRun:
    """Run a heartbeat's training again, for which no state is needed; InvalidHeader as `replay_ticket`."""
    return _replay(_heartbeat_task(header), header, verifier)


def _replay(task: TicketTask, header: Header, verifier: WorkVerifier) -> TicketRun:
    run = verifier.run(task)
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


def check_claim_without_state(header: Header, heartbeat_work: int, params: ChainParams) -> None:
    """Raise InvalidHeader if job and ticket are wrong whatever the state; `ledger.headers.check_follows` comes first.

    A heartbeat passes as one on its slot: whether a job was drawn only the state says. So does the ticket of a job.
    """
    work = header.work
    if work.job_id != HEARTBEAT:
        if is_heartbeat_slot(work.height, params):
            raise InvalidHeader(f"job: height {work.height} is the heartbeat's, got {work.job_id.hex()}")
        return
    limit = threshold(work.target, heartbeat_work, False, params)
    if header.ticket >= limit:
        raise InvalidHeader(f"ticket: {header.ticket:x} is not under a heartbeat's threshold {limit:x}")


def check_without_state(header: Header, params: ChainParams, verifier: WorkVerifier) -> None:
    """Check all that can be said of a ticket before the state after its parent is at hand: of a heartbeat, its run."""
    check_claim_without_state(header, verifier.heartbeat_work, params)
    if header.work.job_id == HEARTBEAT:
        replay_heartbeat(header, verifier)


def require_job(state: Overlay, job_id: bytes) -> JobRecord:
    record = state.get_job(job_id)
    if record is None:
        raise InvalidHeader(f"job {job_id.hex()} is not in the state")
    return record
