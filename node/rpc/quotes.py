"""What a job would be on this chain: its submission, its price, what the chain refuses and what its owner may not mean.

Pure functions from the chain to values, for the chain's thread. Source: docs/protocol.md, sections 4 to 6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from ledger.chain import Chain
from ledger.hashing import cid_text
from ledger.jobspec import JobSpec, encode_spec
from ledger.lifecycle import load_spec, most_market_only, round_cost
from ledger.mempool import Mempool
from ledger.params import ChainParams
from ledger.records import JobStatus
from ledger.sidecars import least_fee
from ledger.state import Overlay
from ledger.transactions import SubmitJob
from node.amounts import format_amount
from node.job_words import show_text
from node.rpc.problems import ApiProblem
from node.rpc.views import LOSS_UNIT, Json, mean_loss
from node.services.paying import choose_payer, widest_transaction
from node.wallet import WalletAccount
from node.worker.client import PreparedReply

MAX_STEPS, MAX_SHARD = 64, 4096  # docs/protocol.md, section 4
DEFAULT_ROUNDS = 200  # that a job's escrow covers where its file names none
RAISE_ESCROW = "raise escrow in [market], or lower burn or round_budget"


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
    return f"escrow: at least {format_amount(least)} for the lock and one round, got {format_amount(escrow)}"


def show_prepared(job: PreparedReply) -> Json:
    """Return what a job file became: the same for a quote and a submission."""
    spec = job.spec
    return {
        "title": show_text(spec.title),
        "objective": spec.objective,
        "data_cid": cid_text(spec.data_cid),
        "data_bytes": spec.data_size,
        "train": job.train,
        "judge": job.judge,
        "spec_sha256": hashlib.sha256(encode_spec(spec)).hexdigest(),
        "burn": str(spec.burn),
        "price": str(spec.price),
        "budget": str(spec.budget),
        "market_only": bool(spec.market_only),
        "parent": spec.parent.hex() or None,
        "work": str(job.work),
        "quantisation": {"max_error": job.max_error, "clipped": job.clipped},
        "trial": {
            "before": mean_loss(job.trial.before, spec.shard),
            "after": mean_loss(job.trial.after, spec.shard),
        },
        "notes": job.notes,
    }


def make_quote(chain: Chain, mempool: Mempool, job: PreparedReply, payers: Sequence[WalletAccount]) -> Json:
    """Return what the job costs now, who would pay, and every reason for which the chain would refuse it."""
    params, spec = chain.params, job.spec
    escrow = choose_escrow(job, params)
    body = make_body(job, escrow)
    lock, cost = params.lock_slots * spec.burn, round_cost(spec, params)
    fee = compute_fee(chain, body)
    payer, available = choose_payer(chain, mempool, payers, escrow + fee)
    problems = list_problems(chain, job, escrow)
    if available < escrow + fee:
        problems.append(
            f"balance: account {payer.name} needs {format_amount(escrow + fee)} "
            f"and can spend {format_amount(available)}"
        )
    return show_prepared(job) | {
        "notes": [*job.notes, *list_doubts(chain, job)],
        "accepted": not problems,
        "problems": problems,
        "escrow": str(escrow),
        "least_escrow": str(lock + cost),
        "lock": str(lock),
        "fee": str(fee),
        "total": str(escrow + fee),
        "rent": str(params.rent),
        "round_cost": str(cost),
        "rounds": count_rounds(spec, params, escrow),
        "round_blocks": params.round_length,
        "slot_share": estimate_slot_share(chain, spec),
        "lifetime_blocks": spec.lifetime,
        "target_loss": spec.target * LOSS_UNIT if spec.target else None,
        "from": payer.name,
        "available": str(available),
    }


def count_rounds(spec: JobSpec, params: ChainParams, escrow: int) -> int:
    """Return how many rounds an escrow covers at least; of heights all are taken for drawn."""
    cost = round_cost(spec, params)
    if not spec.market_only:
        return escrow // cost
    return max(
        0, 1 + (escrow - cost) // (params.rent + spec.budget)
    )  # each takes that much, and needs `cost`


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
    if (full := describe_full(chain, job.spec)) is not None:
        problems.append(full)
    return problems


def describe_full(chain: Chain, spec: JobSpec) -> str | None:
    """Return that there is no place for one more job of this kind, None if there is one (section 5)."""
    active = [record for _, record in Overlay(chain.state).active_jobs()]
    if len(active) >= chain.params.max_jobs:
        return f"jobs: {len(active)} are live already, the most this chain takes; one must end first"
    if not spec.market_only or sum(r.is_market_only for r in active) < (
        most := most_market_only(chain.params)
    ):
        return None
    return f"jobs: {most} market-only ones are live already, the most this chain takes; one must end first"


def describe_work(job: PreparedReply, params: ChainParams) -> str | None:
    """Return what is wrong with the declared work of a ticket, None if it fits the chain (section 4)."""
    unit = 1 << params.work_unit_bits
    low, high = unit * params.work_min_num // params.work_min_den, unit * params.work_max
    told = f"work: a ticket declares {job.work:,} multiply-adds, this chain takes"
    if job.work > high:
        return f"{told} at most {high:,}: fewer steps, or a smaller shard"
    if job.work >= low or job.spec.market_only:  # nobody runs tickets of a market-only job
        return None
    return f"{told} at least {low:,}: {advise_more_work(job, low)}"


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


def list_doubts(chain: Chain, job: PreparedReply) -> list[str]:
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
    unsalted = replace(spec, evaluation=b"")  # the commitment is another one in every submission
    for job_id, record in Overlay(chain.state).active_jobs():
        if replace(load_spec(record, params), evaluation=b"") == unsalted:
            doubts.append(f"the same job runs already, as {job_id.hex()[:10]}")
    return doubts


def estimate_slot_share(chain: Chain, spec: JobSpec) -> float:
    """Return the share of heights that would be drawn for the job beside those that are live now."""
    params, state = chain.params, Overlay(chain.state)
    if spec.market_only:
        return 0.0
    burns = sum(record.burn for _, record in state.active_jobs() if record.status is JobStatus.LIVE)
    share = min(spec.burn / (burns + spec.burn), params.slot_cap_num / params.slot_cap_den)
    return share * (1 - 1 / params.heartbeat_every)
