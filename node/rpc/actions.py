"""What the API does for a user's money: sign and send transactions, make accounts.

Source: docs/api.md; docs/protocol.md, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from ledger.chain import Chain
from ledger.mempool import Mempool
from ledger.transactions import MAX_MEMO_BYTES, Body, Transaction, Transfer
from node.job_words import show_text
from node.rpc.bodies import Fields
from node.rpc.context import ApiContext
from node.rpc.problems import ApiProblem
from node.rpc.views import Json, read_address
from node.services.paying import NotEnough, sign_for_first
from node.wallet import WalletAccount


async def send_body(
    context: ApiContext, payers: Sequence[WalletAccount], make: Callable[[Chain], Body]
) -> Transaction:
    """Sign for the first payer who can, and submit."""

    def sign(chain: Chain, mempool: Mempool) -> Transaction:
        return sign_for_first(chain, mempool, payers, make(chain))

    try:
        return await context.chain.send_transaction(sign)
    except NotEnough as error:
        raise ApiProblem(
            "not_enough_balance",
            str(error),
            "income can be spent some blocks after it was earned; or name another account: --from ACCOUNT",
        ) from error


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
    async with context.making:  # one at a time, and its wait for the disk off the event loop
        account = await trio.to_thread.run_sync(context.wallet.create, name)
    return {"name": account.name, "address": account.address, "file": str(context.wallet.key_path(name))}
