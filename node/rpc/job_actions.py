"""What the API does for a job's owner: quote, submit, cancel, fetch the result, measure it.

Source: docs/api.md; docs/protocol.md, sections 2, 4 and 10.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ledger.chain import Chain
from ledger.errors import DecodeError, InvalidTransaction
from ledger.hashing import HASH_BYTES, cid_text
from ledger.lifecycle import load_spec
from ledger.mempool import Mempool, MempoolFull
from ledger.records import JobRecord, JobStatus, Reason
from ledger.transactions import CancelJob, SubmitJob
from ledger.work import WorkRefused
from node.amounts import format_amount
from node.job_words import Place
from node.rpc.actions import send_body
from node.rpc.bodies import Fields
from node.rpc.context import ApiContext
from node.rpc.job_views import find_job_id, load_result
from node.rpc.parents import load_parent, read_parent
from node.rpc.problems import ApiProblem
from node.rpc.quotes import list_doubts, make_quote, make_submission, show_prepared
from node.rpc.tranche_files import FOLDER, drop_tranches, get_folder, save_tranches, show_evaluation
from node.rpc.views import Json, mean_loss, show_address
from node.wallet import WalletAccount
from node.worker.client import JobFileRefused, ParentJob, PreparedReply

METADATA_KEY = "gradientcoin"  # one key only: with more, a checkpoint's bytes differ from run to run


async def prepare(context: ApiContext, fields: Fields) -> tuple[PreparedReply, list[WalletAccount]]:
    """Turn a job file and its data into a job, and say who may pay; ApiProblem says what is wrong with them."""
    sender = fields.take_text("from", default="")
    payers = [context.wallet.find(sender)] if sender else list(context.wallet)
    toml, data_name = fields.take_text("toml"), fields.take_text("data_name")
    data, file_name = fields.take_base64("data_base64"), fields.take_text("file_name", default="job.toml")
    named = fields.take_text("parent", default="") or read_parent(toml)
    fields.expect_end()
    params = context.chain.chain.params
    parent = await context.read(lambda chain, mempool: find_parent(chain, mempool, named)) if named else None
    try:
        job = await context.worker.prepare_job(
            toml, data_name, data, params.sidecar_limit, secrets.token_bytes(HASH_BYTES), parent
        )
    except JobFileRefused as error:
        raise ApiProblem("bad_file", f"{file_name}: {error}", error.hint) from error
    except DecodeError as error:  # the file is one, but its numbers are not for this chain
        least, most = format_amount(params.min_burn), format_amount(params.budget_coinbases * params.coinbase)
        raise ApiProblem(
            "refused",
            f"{file_name}: not a job for this chain: {error} (of amounts, 10^8 units are a coin)",
            f"burn is at least {least} here (none where market_only is true), round_budget at most {most}; see"
            " docs/protocol.md, section 4",
        ) from error
    check_trial(job, file_name)
    return job, payers


def find_parent(chain: Chain, mempool: Mempool, prefix: str) -> ParentJob:
    """Return the job that a new one is to continue; ApiProblem if there is none, or it has not ended."""
    try:
        job_id, record = find_job_id(chain, mempool, prefix)
    except ApiProblem as problem:
        raise ApiProblem(problem.code, f"parent: {problem.message}", problem.hint) from None
    return load_parent(chain, job_id, record)


async def submit_job(context: ApiContext, fields: Fields) -> Json:
    """Turn a job file and its data into a submission."""
    job, payers = await prepare(context, fields)
    doubts = await context.read(lambda chain, _: list_doubts(chain, job))  # before our own is among the jobs
    folder = get_folder(context.data_dir, job)
    async with keep_tranches(folder, job), context.chain.hold_blobs([job.spec.data_cid]):
        await context.chain.call(lambda chain: chain.blobs.put(job.blob))
        tx = await send_body(context, payers, lambda chain: make_submission(chain, job))
    payer = next(account for account in payers if account.keypair.public == tx.sender)
    assert isinstance(tx.body, SubmitJob)
    shown = show_prepared(job) | {"notes": [*job.notes, *doubts], "evaluation": show_evaluation(job, folder)}
    paid = {"escrow": str(tx.body.escrow), "fee": str(tx.fee), "from": payer.name}
    return {"id": tx.txid.hex(), "txid": tx.txid.hex()} | shown | paid


@asynccontextmanager
async def keep_tranches(folder: Path, job: PreparedReply) -> AsyncIterator[None]:
    """Write the job's tranches first, and remove them if it is refused: who is interrupted may have sent it."""
    if not job.tranches:
        yield
        return
    await trio.to_thread.run_sync(save_tranches, folder, job.tranches)
    try:
        yield
    except (ApiProblem, InvalidTransaction, MempoolFull):
        await trio.to_thread.run_sync(drop_tranches, folder)
        raise


async def quote_job(context: ApiContext, fields: Fields) -> Json:
    """Say what a submission would cost and whether it would be taken; nothing is sent."""
    job, payers = await prepare(context, fields)
    quote = await context.read(lambda chain, mempool: make_quote(chain, mempool, job, payers))
    return quote | {"evaluation": show_evaluation(job, context.data_dir / FOLDER)}


def check_trial(job: PreparedReply, file_name: str) -> None:
    if job.trial.after >= job.trial.before:
        before, after = (mean_loss(loss, job.spec.shard) for loss in (job.trial.before, job.trial.after))
        raise ApiProblem(
            "bad_file",
            f"{file_name}: a trial of its rule did not lower the loss ({before:.6g} -> {after:.6g})",
            "lower learning_rate in [rule], or take more samples into its shard",
        )


# cancelling


async def cancel_job(context: ApiContext, prefix: str, fields: Fields) -> Json:
    """Ask the chain to close a job; its owner's key must be in this wallet."""
    fields.expect_end()
    job_id, record = await context.read(lambda chain, mempool: find_cancellable(chain, mempool, prefix))
    owner = find_owner(context, record)
    tx = await send_body(context, [owner], lambda chain: CancelJob(job_id))
    place = await context.read(lambda chain, _: Place(job_id, record, chain.head.height, chain.params))
    closing = place.next_boundary
    return {
        "id": job_id.hex(),
        "txid": tx.txid.hex(),
        "fee": str(tx.fee),
        "from": owner.name,
        "closes_at": closing,
        "ends_at": closing + place.params.round_length,
        "refund": str(record.escrow),
        "burned": str(record.lock),
    }


def find_cancellable(chain: Chain, mempool: Mempool, prefix: str) -> tuple[bytes, JobRecord]:
    """Return a job that can be cancelled; ApiProblem says why another cannot."""
    job_id, record = find_job_id(chain, mempool, prefix)
    name = job_id.hex()[:10]
    if record.status not in (JobStatus.LIVE, JobStatus.SUSPENDED):
        raise ApiProblem(
            "refused",
            f"job {name} is {record.status.name.lower()} already",
            f"see gradientcoin job show {name}",
        )
    waiting = any(
        isinstance(tx.body, CancelJob) and tx.body.job_id == job_id for tx in mempool.transactions()
    )
    if waiting or record.reason is Reason.CANCELLED:
        place = Place(job_id, record, chain.head.height, chain.params)
        raise ApiProblem(
            "refused",
            f"job {name} was cancelled already; it begins to close at height {place.next_boundary}",
            f"follow it: gradientcoin job watch {name}",
        )
    return job_id, record


def find_owner(context: ApiContext, record: JobRecord) -> WalletAccount:
    for account in context.wallet:
        if account.keypair.address == record.owner:
            return account
    owner = show_address(context.chain.chain, record.owner)
    raise ApiProblem(
        "refused",
        f"the job belongs to {owner}, which is no account of this node's wallet",
        "only its owner can cancel it: ask the node that holds this key (--node)",
    )


# results


async def fetch_result(context: ApiContext, prefix: str) -> tuple[Json, bytes]:
    """Return what is told of a job's result, and its checkpoint's bytes."""
    result = await context.read(lambda chain, mempool: load_result(chain, mempool, prefix))
    named = ("id", "title", "version", "weights_cid", "provenance")
    told = json.dumps({name: result.shown[name] for name in named}, sort_keys=True)
    checkpoint = await context.worker.checkpoint(result.spec, result.weights, {METADATA_KEY: told})
    return result.shown, checkpoint


async def measure_accuracy(context: ApiContext, prefix: str, fields: Fields) -> Json:
    inputs = fields.take_base64("inputs_base64")
    fields.expect_end()

    def load(chain: Chain, mempool: Mempool) -> tuple[Json, bytes]:
        _, record = find_job_id(chain, mempool, prefix)
        known = {"spec": load_spec(record, chain.params), "weights_cid": cid_text(record.weights)}
        return known, chain.load_weights(record.weights)

    known, weights = await context.read(load)
    try:
        accuracy, count = await context.worker.accuracy(known["spec"], weights, inputs)
    except WorkRefused as error:
        raise ApiProblem("bad_file", str(error)) from error
    return {"accuracy": accuracy, "count": count, "weights_cid": known["weights_cid"]}
