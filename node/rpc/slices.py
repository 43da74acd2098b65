"""What each class of a job's judging split costs, version by version, measured by the training process when asked.

Source: docs/attacks.md (what no rule can see); training/slices.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ledger.chain import Chain
from ledger.hashing import cid_text
from ledger.jobspec import JobSpec
from ledger.lifecycle import load_spec
from ledger.mempool import Mempool
from node.rpc.context import ApiContext
from node.rpc.job_views import find_job_id
from node.rpc.views import LOSS_UNIT, Json

MAX_VERSIONS, DEFAULT_VERSIONS = 64, 8


@dataclass(frozen=True, slots=True)
class Version:
    """Weights of a job: their number, the block that brought them (none for the initial ones), their CID."""

    number: int
    height: int | None
    weights: bytes


@dataclass(frozen=True, slots=True)
class Measured:
    """A job and its versions, oldest first."""

    job_id: bytes
    spec: JobSpec
    versions: list[Version]


async def measure_slices(context: ApiContext, prefix: str, limit: int) -> Json:
    """Return the exact mean loss of every class at each of the last versions."""
    job = await context.read(partial(find_versions, prefix=prefix))
    shown: list[Json] = []
    parts: list[Json] = []
    for version in job.versions[-limit:]:
        weights = await context.chain.call(partial(Chain.load_weights, cid=version.weights))
        rows = await context.worker.slices(job.spec, weights)
        parts = [{"class": label, "samples": count} for label, _, count in rows]
        shown.append(_show_version(version, rows))
    return {"id": job.job_id.hex(), "title": job.spec.title, "slices": parts, "versions": shown}


def find_versions(chain: Chain, mempool: Mempool, prefix: str) -> Measured:
    """Return all versions of a job's weights; ApiProblem for a job that is not there."""
    job_id, record = find_job_id(chain, mempool, prefix)
    moves = [
        s for s in chain.list_settlements(job_id) if s.settlement.old_weights != s.settlement.new_weights
    ]
    first = moves[0].settlement.old_weights if moves else record.weights
    versions = [Version(0, None, first)]
    versions += [Version(s.settlement.version, s.height, s.settlement.new_weights) for s in moves]
    return Measured(job_id, load_spec(record, chain.params), versions)


def _show_version(version: Version, rows: list[tuple[int, int, int]]) -> Json:
    total, samples = sum(row[1] for row in rows), sum(row[2] for row in rows)
    return {
        "version": version.number,
        "height": version.height,
        "weights_cid": cid_text(version.weights),
        "loss": total * LOSS_UNIT / samples,
        "losses": [loss * LOSS_UNIT / count for _, loss, count in rows],
    }
