"""What the API does for a user: sign and send transactions, submit jobs, measure results.

Source: docs/api.md; docs/protocol.md, sections 2 and 4.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.chain import Chain
from ledger.codec import MAX_AMOUNT
from ledger.hashing import cid_text
from ledger.jobspec import encode_spec
from ledger.lifecycle import load_spec, round_cost
from ledger.mempool import Mempool
from ledger.state import Overlay
from ledger.transactions import MAX_MEMO_BYTES, Body, SubmitJob, Transaction, Transfer, sign_transaction
from ledger.transition import least_fee
from ledger.work import WorkRefused
from node.rpc.bodies import Fields
from node.rpc.context import ApiContext
from node.rpc.job_views import find_job_id, load_result
from node.rpc.problems import ApiProblem
from node.rpc.views import Json, mean_loss, read_address
from node.wallet import WalletAccount
from node.worker.client import JobFileRefused, PreparedReply

DEFAULT_ROUNDS = 200  # that a job's escrow covers where its file names none
METADATA_KEY = "gradientcoin"  # one key only: with more, a checkpoint's bytes differ from run to run


@dataclass(frozen=True, slots=True)
class Means:
    """What a sender has: its next nonce, and units that neither transactions that wait nor fees have taken."""

    nonce: int
    available: int


def load_means(chain: Chain, mempool: Mempool, address: bytes) -> Means:
    waiting = (tx for tx in mempool.transactions() if tx.sender_address == address)
    spent = sum(tx.fee + cost_of(tx.body) for tx in waiting)
    balance = Overlay(chain.state).get_account(address).balance
    return Means(mempool.next_nonce(chain.state, address), max(0, balance - spent))


def cost_of(body: Body) -> int:
    """Return the units a transaction takes besides its fee."""
    if isinstance(body, Transfer):
        return body.amount
    return body.escrow if isinstance(body, SubmitJob) else 0


def sign_for(chain: Chain, mempool: Mempool, account: WalletAccount, body: Body) -> Transaction:
    """Return the transaction an account sends next; ApiProblem if it cannot pay for it."""
    chain_id, means = chain.genesis.chain_id, load_means(chain, mempool, account.keypair.address)
    widest = sign_transaction(account.keypair, chain_id, means.nonce, MAX_AMOUNT, body)
    fee = least_fee(
        widest, chain.params
    )  # for the longest encoding a fee can have: a few units more than needed
    needed = cost_of(body) + fee
    if needed > means.available:
        raise ApiProblem(
            "not_enough_balance",
            f"account {account.name}: {needed} units are needed, {means.available} are available",
            "income can be spent some blocks after it was earned; name another account with `from`",
        )
    return sign_transaction(account.keypair, chain_id, means.nonce, fee, body)


async def send_body(
    context: ApiContext, payers: Sequence[WalletAccount], make: Callable[[Chain], Body]
) -> Transaction:
    """Sign for the first payer who can and submit; one at a time, so that no two choose the same nonce."""
    async with context.sending:
        tx = await context.read(lambda chain, mempool: sign_for_first(chain, mempool, payers, make(chain)))
        await context.chain.submit_transaction(tx)
    return tx


def sign_for_first(
    chain: Chain, mempool: Mempool, payers: Sequence[WalletAccount], body: Body
) -> Transaction:
    """Sign for the first of the accounts that has enough; if none has, say so of the first."""
    problems = []
    for account in payers:
        try:
            return sign_for(chain, mempool, account, body)
        except ApiProblem as problem:
            problems.append(problem)
    raise problems[0]


async def send_coins(context: ApiContext, fields: Fields) -> Json:
    account = find_account(context, fields.take_text("from", default=""))
    to, amount = fields.take_text("to"), fields.take_amount("amount")
    memo = fields.take_text("memo", default="").encode()
    fields.expect_end()
    if len(memo) > MAX_MEMO_BYTES:
        raise ApiProblem("bad_request", f"memo: at most {MAX_MEMO_BYTES} bytes, got {len(memo)}")
    tx = await send_body(context, [account], lambda chain: Transfer(read_address(chain, to), amount, memo))
    return {"txid": tx.txid.hex(), "fee": str(tx.fee), "from": account.address, "nonce": tx.nonce}


def find_account(context: ApiContext, name: str) -> WalletAccount:
    return context.wallet.find(name) if name else context.wallet.own


# jobs


async def submit_job(context: ApiContext, fields: Fields) -> Json:
    """Turn a job file and its data into a submission."""
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
    check_trial(job, file_name)
    await context.chain.call(lambda chain: context.chain.blobs.put(job.blob))
    tx = await send_body(context, payers, lambda chain: make_submission(chain, job))
    payer = next(account for account in payers if account.keypair.public == tx.sender)
    return show_submission(tx, job, payer.name)


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
    lock, cost = chain.params.lock_slots * job.spec.burn, round_cost(job.spec, chain.params)
    escrow = job.escrow_units or lock + DEFAULT_ROUNDS * cost
    if escrow < lock + cost:
        raise ApiProblem(
            "refused",
            f"escrow: at least {lock + cost} units for the lock and one round, got {escrow}",
            "raise escrow in [market], or lower burn or round_budget",
        )
    return SubmitJob(encode_spec(job.spec), escrow, job.trial.digest, job.trial.before, job.trial.after)


def show_submission(tx: Transaction, job: PreparedReply, payer: str) -> Json:
    assert isinstance(tx.body, SubmitJob)
    spec = job.spec
    return {
        "id": tx.txid.hex(),
        "txid": tx.txid.hex(),
        "title": spec.title,
        "objective": spec.objective,
        "data_cid": cid_text(spec.data_cid),
        "data_bytes": spec.data_size,
        "train": job.train,
        "judge": job.judge,
        "spec_sha256": hashlib.sha256(tx.body.spec).hexdigest(),
        "escrow": str(tx.body.escrow),
        "burn": str(spec.burn),
        "fee": str(tx.fee),
        "from": payer,
        "quantisation": {"max_error": job.max_error, "clipped": job.clipped},
        "trial": {
            "before": mean_loss(job.trial.before, spec.shard),
            "after": mean_loss(job.trial.after, spec.shard),
        },
        "notes": job.notes,
    }


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
