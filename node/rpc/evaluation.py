"""How a job's weights do on a tranche of its secret evaluation split, beside the judging split, which is public.

Anybody with a tranche's file can ask. Source: docs/protocol.md, section 11.
"""

from __future__ import annotations

from functools import partial

from ledger.chain import Chain
from ledger.errors import DecodeError
from ledger.hashing import cid_text
from ledger.jobspec import JobSpec
from ledger.tranches import Tranche, decode_tranche
from ledger.work import WorkRefused
from node.job_words import show_text
from node.rpc.bodies import Fields
from node.rpc.context import ApiContext
from node.rpc.problems import ApiProblem
from node.rpc.slices import Measured, Version, find_versions
from node.rpc.views import LOSS_UNIT, Json
from node.worker.client import Score

LEAST_EVALUATED = 2  # the first version and the newest: what training did
ASK_OWNER = "ask the job's owner for the file; gradientcoin job show says what the job committed to"


async def evaluate_job(context: ApiContext, prefix: str, fields: Fields, limit: int) -> Json:
    """Return exact losses, and shares of right classes, at the first version and the `limit` - 1 newest others."""
    data = fields.take_base64("tranche_base64")
    fields.expect_end()
    job = await context.read(partial(find_versions, prefix=prefix))
    tranche = read_tranche(data, job)
    shown = []
    for version in choose_versions(job.versions, limit):
        weights = await context.chain.call(partial(Chain.load_weights, cid=version.weights))
        scores = await _score(context, job.spec, weights, tranche)
        shown.append(_show_version(version, *scores))
    judging, secret = scores
    return {
        "id": job.job_id.hex(),
        "title": show_text(job.spec.title),
        "evaluation": tranche.root.hex(),
        "tranche": tranche.index + 1,
        "tranches": tranche.count,
        "samples": secret.count,
        "judge_samples": judging.count,
        "versions": shown,
    }


def read_tranche(data: bytes, job: Measured) -> Tranche:
    """Return a tranche that the job committed to; ApiProblem says what another file is."""
    committed, name = job.spec.evaluation, job.job_id.hex()[:10]
    if not committed:
        raise ApiProblem(
            "refused",
            f"job {name} committed to no evaluation split: nothing can be a tranche of it",
            "an owner commits to one with evaluation in the job file's [split]",
        )
    try:
        tranche = decode_tranche(data)
    except DecodeError as error:
        raise ApiProblem("bad_file", f"no file of a tranche: {error}", ASK_OWNER) from error
    if tranche.root != committed:
        raise ApiProblem(
            "bad_file",
            f"a tranche of {committed.hex()} expected, which job {name} committed to; got one of {tranche.root.hex()}",
            "it is another job's, or of another submission of the same file",
        )
    if not tranche.is_proven:
        raise ApiProblem(
            "bad_file",
            f"tranche {tranche.index + 1} of {tranche.count} is not what job {name} committed to: its samples, salt or"
            " number were changed",
            ASK_OWNER,
        )
    return tranche


def choose_versions(versions: list[Version], limit: int) -> list[Version]:
    """Return the first version and the newest others, at most `limit` together."""
    return [versions[0], *versions[1:][1 - limit :]]


async def _score(context: ApiContext, spec: JobSpec, weights: bytes, tranche: Tranche) -> tuple[Score, Score]:
    try:
        return await context.worker.evaluate(spec, weights, tranche.blob)
    except WorkRefused as error:  # its owner committed to what is no data of the job
        raise ApiProblem("bad_file", f"tranche {tranche.index + 1}: {error}") from error


def _show_version(version: Version, judging: Score, secret: Score) -> Json:
    shown = {
        "version": version.number,
        "height": version.height,
        "weights_cid": cid_text(version.weights),
    }
    return shown | _show_score("", secret) | _show_score("judge_", judging)


def _show_score(prefix: str, score: Score) -> Json:
    return {
        f"{prefix}loss": score.total * LOSS_UNIT / score.count,
        f"{prefix}sum_units": str(score.total),
        f"{prefix}accuracy": None if score.right is None else score.right / score.count,
    }
