"""The job that another continues: read out of a job file, loaded for a submission, shown beside the one that continues.

Source: docs/protocol.md, section 4; docs/api.md.
"""

from __future__ import annotations

import tomllib
from typing import Any

from ledger.chain import Chain
from ledger.continuation import ENDED
from ledger.hashing import HASH_BYTES, cid_text
from ledger.jobspec import JobSpec
from ledger.lifecycle import load_spec
from ledger.records import JobRecord
from ledger.state import Overlay
from node.job_words import show_text
from node.rpc.problems import ApiProblem
from node.worker.client import ParentJob

Json = dict[str, Any]  # Any: the API's answers
SHOWN_DIGITS = 10  # of a job's id


def read_parent(toml: str) -> str:
    """Return the parent that a job file names; nothing where it names none, or is none: preparing it says why."""
    try:
        parent = tomllib.loads(toml.removeprefix("\ufeff")).get("parent", "")
    except (ValueError, RecursionError):
        return ""
    return parent.strip() if isinstance(parent, str) else ""


def load_parent(chain: Chain, job_id: bytes, record: JobRecord) -> ParentJob:
    """Return a job with the weights that it ended with; ApiProblem while it runs."""
    if record.status not in ENDED:
        name = job_id.hex()[:SHOWN_DIGITS]
        raise ApiProblem(
            "refused",
            f"parent: job {name} is {record.status.name.lower()}, expected done or cancelled:"
            " its weights may still move",
            f"follow it to its end (gradientcoin job watch {name}), or cancel it (gradientcoin job cancel {name})",
        )
    return ParentJob(job_id, record.spec, chain.load_weights(record.weights))


def show_parent(chain: Chain, spec: JobSpec) -> Json | None:
    """Return what a job continues; title and version are null where this chain does not know the parent (any more)."""
    if not spec.parent:
        return None
    record = Overlay(chain.state).get_job(spec.parent)
    return {
        "id": spec.parent.hex(),
        "title": show_text(load_spec(record, chain.params).title) if record else None,
        "version": record.version if record else None,
        "weights_cid": cid_text(spec.parent_weights),
    }


def get_first_provenance(chain: Chain, spec: JobSpec) -> bytes:
    """Return the provenance that a job of the chain began with: its parent's, which has ended and changes no more."""
    record = Overlay(chain.state).get_job(spec.parent) if spec.parent else None
    return record.provenance if record else bytes(HASH_BYTES)
