"""Which job's training a height's tickets must do. Source: docs/protocol.md, sections 4 (rounds) and 6."""

from __future__ import annotations

from ledger.hashing import tagged_hash, word
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus
from ledger.state import Overlay

FULL_CIRCLE = 1 << 64


def job_height(job_id: bytes, height: int, params: ChainParams) -> int:
    """Return h': the height shifted by the job's offset, so that jobs do not settle all at once."""
    return height + int.from_bytes(job_id[:4], "big") % params.round_length


def round_at(job_id: bytes, height: int, params: ChainParams) -> int:
    """Return the job's round k at a height: k*E < h' <= (k+1)*E."""
    return (job_height(job_id, height, params) - 1) // params.round_length


def is_boundary(job_id: bytes, height: int, params: ChainParams) -> bool:
    """Return whether a round of the job ends with this height."""
    return job_height(job_id, height, params) % params.round_length == 0


def drawable(job_id: bytes, record: JobRecord, height: int, params: ChainParams) -> bool:
    """Return whether a job may be drawn at a height."""
    if record.status is not JobStatus.LIVE or record.is_market_only:
        return False
    return round_at(job_id, height, params) >= record.first_round


def is_heartbeat_slot(height: int, params: ChainParams) -> bool:
    """Return whether the heartbeat is drawn at a height whatever the state."""
    return height % params.heartbeat_every == 0


def draw_job(state: Overlay, parent_hash: bytes, height: int, params: ChainParams) -> bytes | None:
    """Return the id of the job drawn at a height from the state after its parent, None for the heartbeat."""
    if is_heartbeat_slot(height, params):
        return None
    burns = [(i, r.burn) for i, r in state.active_jobs() if drawable(i, r, height, params)]
    total = sum(burn for _, burn in burns)
    cap = FULL_CIRCLE * params.slot_cap_num // params.slot_cap_den
    point, end = word(tagged_hash("gc/slot", parent_hash)), 0
    for job_id, burn in burns:
        end += min(FULL_CIRCLE * burn // total, cap)
        if point < end:
            return job_id
    return None
