"""What the API does for a job's owner: quote, submit, cancel, fetch the result, measure it.

Source: docs/api.md; docs/protocol.md, sections 2, 4 and 10.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from ledger.chain import Chain
from ledger.errors import DecodeError
from ledger.hashing import cid_text
from ledger.jobspec import JobSpec, encode_spec
from ledger.lifecycle import load_spec, round_cost
from ledger.mempool import Mempool
from ledger.params import ChainParams
from ledger.records import JobRecord, JobStatus, Reason
from ledger.state import Overlay
from ledger.transactions import CancelJob, SubmitJob
from ledger.transition import least_fee
from ledger.work import WorkRefused
from node.rpc.actions import choose_payer, coins, send_body, widest_transaction
from node.rpc.bodies import Fields
from node.rpc.context import ApiContext
from node.rpc.job_views import find_job_id, load_result
from node.rpc.job_words import Place
from node.rpc.problems import ApiProblem
from node.rpc.views import LOSS_UNIT, Json, mean_loss, show_address, show_text
from node.wallet import WalletAccount
from node.worker.client import JobFileRefused, PreparedReply

MAX_STEPS, MAX_SHARD = 64, 4096  # docs/protocol.md, section 4
DEFAULT_ROUNDS = 200  # that a job's escrow covers where its file names none
RAISE_ESCROW = "raise escrow in [market], or lower burn or round_budget"
METADATA_KEY = "gradientcoin"  # one key only: with more, a checkpoint's bytes differ from run to run


@dataclass(frozen=True, slots=True)
class Submission:
    """A job file made ready: what a quote and a submission begin with."""

    job: PreparedReply
    file_name: str
    payers: list[WalletAccount]


async def prepare(context: ApiContext, fields: Fields) -> Submission:
    """Turn a job file and its data into what a submission holds; ApiProblem says what is wrong with them."""
    sender = fields.take_text("from", default="")
    payers = [context.wallet.find(sender)] if sender else list(context.wallet)
    toml, data_name = fields.take_text("toml"), fields.take_text("data_name")
    data, file_name = fields.take_base64("data_base64"), fields.take_text("file_name", default="job.toml")
    fields.expect_end()
    params = context.chain.chain.params
    try:
        job = await context.worker.prepare_job(toml, data_name, data, params.sidecar_limit)
    except JobFileRefused as error:
        raise ApiProblem("bad_file", f"{file_name}: {error}", error.hint) from error
    except DecodeError as error:  # the file is one, but its numbers are not for this chain
        least, most = coins(params.min_burn), coins(params.budget_coinbases * params.coinbase)
        raise ApiProblem(
            "refused",
            f"{file_name}: not a job for this chain: {error} (of amounts, 10^8 units are a coin)",
            f"burn is at least {least} coins here, round_budget at most {most}; see docs/protocol.md, section 4",
        ) from error
    check_trial(job, file_name)
    return Submission(job, file_name, payers)


async def submit_job(context: ApiContext, fields: Fields) -> Json:
    """Turn a job file and its data into a submission."""
    ready = await prepare(context, fields)
    job = ready.job
    async with context.chain.hold_blobs([job.spec.data_cid]):
        await context.chain.call(lambda chain: chain.blobs.put(job.blob))
        tx = await send_body(context, ready.payers, lambda chain: make_submission(chain, job))
    payer = next(account for account in ready.payers if account.keypair.public == tx.sender)
    assert isinstance(tx.body, SubmitJob)
    spec_bytes = tx.body.spec
    shown = show_prepared(job, spec_bytes)
    doubts = await context.read(lambda chain, _: list_doubts(chain, job, spec_bytes))
    paid = {"escrow": str(tx.body.escrow), "fee": str(tx.fee), "from": payer.name}
    return {"id": tx.txid.hex(), "txid": tx.txid.hex()} | shown | paid | {"notes": [*shown["notes"], *doubts]}


async def quote_job(context: ApiContext, fields: Fields) -> Json:
    """Say what a submission would cost and whether it would be taken; nothing is sent."""
    ready = await prepare(context, fields)
    return await context.read(lambda chain, mempool: make_quote(chain, mempool, ready))


def check_trial(job: PreparedReply, file_name: str) -> None:
    if job.trial.after >= job.trial.before:
        before, after = (mean_loss(loss, job.spec.shard) for loss in (job.trial.before, job.trial.after))
        raise ApiProblem(
            "bad_file",
            f"{file_name}: a trial of its rule did not lower the loss ({before:.6g} -> {after:.6g})",
            "lower learning_rate in [rule], or take more samples into its shard",
        )


def make_submission(chain: Chain, job: PreparedReply) -> SubmitJob:
    """Return the body; a job file without an escrow gets one for the lock and many rounds."""
    escrow, least = choose_escrow(job, chain.params), least_escrow(job.spec, chain.params)
    if escrow < least:
        raise ApiProblem("refused", describe_low_escrow(escrow, least), RAISE_ESCROW)
    if (misfit := describe_work(job, chain.params)) is not None:
        raise ApiProblem("refused", misfit, "docs/job-files.md, 'Work must fit the chain', has a table")
    return make_body(job, escrow)


def make_body(job: PreparedReply, escrow: int) -> SubmitJob:
    return SubmitJob(encode_spec(job.spec), escrow, job.trial.digest, job.trial.before, job.trial.after)


def least_escrow(spec: JobSpec, params: ChainParams) -> int:
    return params.lock_slots * spec.burn + round_cost(spec, params)


def choose_escrow(job: PreparedReply, params: ChainParams) -> int:
    """Return the units the job file names, else those of the lock and many rounds."""
    lock, cost = params.lock_slots * job.spec.burn, round_cost(job.spec, params)
    return job.escrow_units or lock + DEFAULT_ROUNDS * cost


def describe_low_escrow(escrow: int, least: int) -> str:
    return f"escrow: at least {coins(least)} coins for the lock and one round, got {coins(escrow)}"


def show_prepared(job: PreparedReply, spec_bytes: bytes) -> Json:
    """Return what a job file became: the same for a quote and a submission."""
    spec = job.spec
    return {
        "title": show_text(spec.title),
        "objective": spec.objective,
        "data_cid": cid_text(spec.data_cid),
        "data_bytes": spec.data_size,
        "train": job.train,
        "judge": job.judge,
        "spec_sha256": hashlib.sha256(spec_bytes).hexdigest(),
        "burn": str(spec.burn),
        "work": str(job.work),
        "quantisation": {"max_error": job.max_error, "clipped": job.clipped},
        "trial": {
            "before": mean_loss(job.trial.before, spec.shard),
            "after": mean_loss(job.trial.after, spec.shard),
        },
        "notes": job.notes,
    }


# quotes


def make_quote(chain: Chain, mempool: Mempool, ready: Submission) -> Json:
    """Return what the job costs now, who would pay, and every reason for which the chain would refuse it."""
    job, params, spec = ready.job, chain.params, ready.job.spec
    escrow = choose_escrow(job, params)
    body = make_body(job, escrow)
    lock, cost = params.lock_slots * spec.burn, round_cost(spec, params)
    fee = compute_fee(chain, body)
    payer, available = choose_payer(chain, mempool, ready.payers, escrow + fee)
    problems = list_problems(chain, job, escrow)
    if available < escrow + fee:
        problems.append(
            f"balance: {coins(escrow + fee)} coins are needed, account {payer.name} has {coins(available)}"
        )
    shown = show_prepared(job, body.spec)
    shown["notes"] = [*shown["notes"], *list_doubts(chain, job, body.spec)]
    return shown | {
        "accepted": not problems,
        "problems": problems,
        "escrow": str(escrow),
        "least_escrow": str(lock + cost),
        "lock": str(lock),
        "fee": str(fee),
        "total": str(escrow + fee),
        "rent": str(params.rent),
        "round_cost": str(cost),
        "rounds": escrow // cost,
        "round_blocks": params.round_length,
        "slot_share": estimate_slot_share(chain, spec),
        "lifetime_blocks": spec.lifetime,
        "target_loss": spec.target * LOSS_UNIT if spec.target else None,
        "from": payer.name,
        "available": str(available),
    }


def compute_fee(chain: Chain, body: SubmitJob) -> int:
    """Return the fee `send_body` takes for a submission; the key and the nonce do not change it."""
    return least_fee(widest_transaction(chain, body), chain.params)


def list_problems(chain: Chain, job: PreparedReply, escrow: int) -> list[str]:
    """Return the rules of sections 4 and 5 that the job breaks on this chain, in words."""
    params, problems = chain.params, list[str]()
    if (misfit := describe_work(job, params)) is not None:
        problems.append(misfit)
    if escrow < (least := least_escrow(job.spec, params)):
        problems.append(describe_low_escrow(escrow, least))
    if (live := len(Overlay(chain.state).active_jobs())) >= params.max_jobs:
        problems.append(f"jobs: {live} are live already, the most this chain takes; one must end first")
    return problems


def describe_work(job: PreparedReply, params: ChainParams) -> str | None:
    """Return what is wrong with the declared work of a ticket, None if it fits the chain (section 4)."""
    unit = 1 << params.work_unit_bits
    low, high = unit * params.work_min_num // params.work_min_den, unit * params.work_max
    told = f"work: a ticket declares {job.work:,} multiply-adds, this chain takes"
    if job.work > high:
        return f"{told} at most {high:,}: fewer steps, or a smaller shard"
    return f"{told} at least {low:,}: {advise_more_work(job, low)}" if job.work < low else None


def advise_more_work(job: PreparedReply, least: int) -> str:
    """Return what would give a ticket enough work. Work grows with steps, and at most as fast as the shard."""
    spec = job.spec
    largest_shard = max(spec.shard, min(job.train, MAX_SHARD))
    reachable = job.work * MAX_STEPS // spec.steps * largest_shard // spec.shard
    if reachable >= least:
        return f"more steps (at most {MAX_STEPS}), or a larger shard (at most {largest_shard:,} here)"
    return (
        f"even {MAX_STEPS} steps on a shard of all {job.train:,} training samples come to about {reachable:,}: "
        "it takes more samples, or more features"
    )


def list_doubts(chain: Chain, job: PreparedReply, spec_bytes: bytes) -> list[str]:
    """Return what the chain would take and its owner may not mean."""
    spec, params, doubts = job.spec, chain.params, list[str]()
    before = job.trial.before // spec.shard
    if spec.target >= before:
        doubts.append(
            f"target_loss {spec.target * LOSS_UNIT:.4g} is not below the loss it starts with, about "
            f"{before * LOSS_UNIT:.4g}: it ends as soon as its weights move"
        )
    if spec.lifetime < (needed := 4 * params.round_length):
        doubts.append(
            f"lifetime_blocks {spec.lifetime:,}: the first rounds settle up to {needed} blocks after submission, "
            "so it may end untrained"
        )
    for job_id, record in Overlay(chain.state).active_jobs():
        if record.spec == spec_bytes:
            doubts.append(f"the same job runs already, as {job_id.hex()[:10]}")
    return doubts


def estimate_slot_share(chain: Chain, spec: JobSpec) -> float:
    """Return the share of heights that would be drawn for the job beside those that are live now."""
    params, state = chain.params, Overlay(chain.state)
    burns = sum(record.burn for _, record in state.active_jobs() if record.status is JobStatus.LIVE)
    share = min(spec.burn / (burns + spec.burn), params.slot_cap_num / params.slot_cap_den)
    return share * (1 - 1 / params.heartbeat_every)


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
