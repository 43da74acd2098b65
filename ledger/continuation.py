"""A job that continues another: what it takes over, and of which jobs it may. Source: docs/protocol.md, section 4."""

from __future__ import annotations

from ledger.errors import InvalidTransaction
from ledger.hashing import cid_text
from ledger.jobspec import JobSpec, decode_spec
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus
from ledger.state import Overlay

ENDED = frozenset({JobStatus.DONE, JobStatus.CANCELLED})  # no settlement moves its weights any more


def find_parent(state: Overlay, spec: JobSpec, params: ChainParams) -> JobRecord | None:
    """Return the job that a spec continues, None if it continues none; InvalidTransaction if it cannot."""
    if not spec.parent:
        return None
    record = state.get_job(spec.parent)
    if record is None:
        raise InvalidTransaction(f"parent: job {spec.parent.hex()} is not known")
    if record.status not in ENDED:
        raise InvalidTransaction(
            f"parent: job {spec.parent.hex()} is {record.status.name.lower()}, expected done or cancelled:"
            " its weights may still move"
        )
    if record.weights != spec.parent_weights:  # of another branch of the chain
        raise InvalidTransaction(
            f"parent: job {spec.parent.hex()} ended with weights {cid_text(record.weights)},"
            f" got {cid_text(spec.parent_weights)}"
        )
    _check_objective(spec, decode_spec(record.spec, params))
    return record


def _check_objective(spec: JobSpec, parent: JobSpec) -> None:
    """Its weights must be weights of the same model."""
    if (spec.objective, spec.params) != (parent.objective, parent.params):
        raise InvalidTransaction(
            f"parent: objective {parent.objective} with parameters {list(parent.params)} expected as in job"
            f" {spec.parent.hex()}, got {spec.objective} with {list(spec.params)}"
        )
