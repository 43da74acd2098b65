"""What the API does for a user's money: sign and send transactions, make accounts.

Source: docs/api.md; docs/protocol.md, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from ledger.chain import Chain
from ledger.codec import MAX_AMOUNT
from ledger.keys import KeyPair
from ledger.mempool import Mempool
from ledger.sidecars import least_fee
from ledger.state import Overlay
from ledger.transactions import MAX_MEMO_BYTES, Body, SubmitJob, Transaction, Transfer, sign_transaction
from node.amounts import format_amount
from node.rpc.bodies import Fields
from node.rpc.context import ApiContext
from node.rpc.problems import ApiProblem
from node.rpc.views import Json, read_address, show_text
from node.wallet import WalletAccount

ANYBODY = KeyPair.from_seed(bytes(32))  # signs what is only measured


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
    means = load_means(chain, mempool, account.keypair.address)
    fee = least_fee(widest_transaction(chain, body), chain.params)
    needed = cost_of(body) + fee
    if needed > means.available:
        raise ApiProblem(
            "not_enough_balance",
            f"account {account.name} needs {format_amount(needed)} and can spend {format_amount(means.available)}",
            "income can be spent some blocks after it was earned; or name another account: --from ACCOUNT",
        )
    return sign_transaction(account.keypair, chain.genesis.chain_id, means.nonce, fee, body)


def widest_transaction(chain: Chain, body: Body) -> Transaction:
    """Return a transaction as long as one with this body can be: its least fee is a few units over what is needed."""
    return sign_transaction(ANYBODY, chain.genesis.chain_id, MAX_AMOUNT, MAX_AMOUNT, body)


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
    """Sign for the first of the accounts that has enough; if none has, say so of the richest."""
    needed = cost_of(body) + least_fee(widest_transaction(chain, body), chain.params)
    return sign_for(chain, mempool, choose_payer(chain, mempool, payers, needed)[0], body)


def choose_payer(
    chain: Chain, mempool: Mempool, payers: Sequence[WalletAccount], needed: int
) -> tuple[WalletAccount, int]:
    """Return the first account that has enough, else the richest, with what it can spend."""
    means = [(payer, load_means(chain, mempool, payer.keypair.address).available) for payer in payers]
    richest = max(means, key=lambda pair: pair[1])
    return next((pair for pair in means if pair[1] >= needed), richest)


async def send_coins(context: ApiContext, fields: Fields) -> Json:
    account = find_account(context, fields.take_text("from", default=""))
    to, amount = fields.take_text("to"), fields.take_amount("amount")
    memo = fields.take_text("memo", default="").encode()
    fields.expect_end()
    if len(memo) > MAX_MEMO_BYTES:
        raise ApiProblem(
            "bad_request", f"memo: at most {MAX_MEMO_BYTES} bytes, got {len(memo)}", "shorten it"
        )
    if show_text(memo.decode()) != memo.decode():
        raise ApiProblem(
            "bad_request", "memo: expected printable characters on one line", "leave out the others"
        )
    tx = await send_body(context, [account], lambda chain: Transfer(read_address(chain, to), amount, memo))
    paid = {"fee": str(tx.fee), "from": account.address, "payer": account.name}
    return {"txid": tx.txid.hex(), "nonce": tx.nonce} | paid


def find_account(context: ApiContext, name: str) -> WalletAccount:
    return context.wallet.find(name) if name else context.wallet.own


async def make_account(context: ApiContext, fields: Fields) -> Json:
    """Make a key under a new name; its address can receive at once."""
    name = fields.take_text("name")
    fields.expect_end()
    async with context.sending:  # one at a time, and its wait for the disk off the event loop
        account = await trio.to_thread.run_sync(context.wallet.create, name)
    return {"name": account.name, "address": account.address, "file": str(context.wallet.key_path(name))}
