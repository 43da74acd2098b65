"""What a transaction costs its sender, and signing it with the next nonce. Source: docs/protocol.md, section 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.chain import Chain
from ledger.codec import MAX_AMOUNT
from ledger.errors import LedgerError
from ledger.keys import KeyPair
from ledger.lifecycle import load_spec
from ledger.market import bond_of, judging_price
from ledger.mempool import Mempool
from ledger.sidecars import least_fee
from ledger.state import Overlay
from ledger.transactions import Body, CommitUpdate, SubmitJob, Transaction, Transfer, sign_transaction
from node.amounts import format_amount
from node.wallet import WalletAccount

ANYBODY = KeyPair.from_seed(bytes(32))  # signs what is only measured


class NotEnough(LedgerError):
    """An account cannot pay for a transaction."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a sender has: its next nonce, and units that neither transactions that wait nor fees have taken."""

    nonce: int
    available: int


def load_means(chain: Chain, mempool: Mempool, address: bytes) -> Means:
    waiting = (tx for tx in mempool.transactions() if tx.sender_address == address)
    spent = sum(tx.fee + cost_of(chain, tx.body) for tx in waiting)
    balance = Overlay(chain.state).get_account(address).balance
    return Means(mempool.next_nonce(chain.state, address), max(0, balance - spent))


def cost_of(chain: Chain, body: Body) -> int:
    """Return the units a transaction takes besides its fee."""
    match body:
        case Transfer():
            return body.amount
        case SubmitJob():
            return body.escrow
        case CommitUpdate():
            return _stake_of(chain, body)
    return 0


def _stake_of(chain: Chain, body: CommitUpdate) -> int:
    record = Overlay(chain.state).get_job(body.job_id)
    if record is None:  # it is refused anyway
        return 0
    spec = load_spec(record, chain.params)
    return bond_of(spec, len(body.shares), chain.params) + judging_price(record.judging, chain.params)


def sign_for(chain: Chain, mempool: Mempool, account: WalletAccount, body: Body) -> Transaction:
    """Return the transaction an account sends next, with the least fee; NotEnough if it cannot pay for it."""
    means = load_means(chain, mempool, account.keypair.address)
    fee = least_fee(widest_transaction(chain, body), chain.params)
    needed = cost_of(chain, body) + fee
    if needed > means.available:
        raise NotEnough(
            f"account {account.name} needs {format_amount(needed)} and can spend {format_amount(means.available)}"
        )
    return sign_transaction(account.keypair, chain.genesis.chain_id, means.nonce, fee, body)


def widest_transaction(chain: Chain, body: Body) -> Transaction:
    """Return a transaction as long as one with this body can be: its least fee is a few units over what is needed."""
    return sign_transaction(ANYBODY, chain.genesis.chain_id, MAX_AMOUNT, MAX_AMOUNT, body)


def sign_for_first(
    chain: Chain, mempool: Mempool, payers: Sequence[WalletAccount], body: Body
) -> Transaction:
    """Sign for the first of the accounts that has enough; if none has, say so of the richest."""
    needed = cost_of(chain, body) + least_fee(widest_transaction(chain, body), chain.params)
    return sign_for(chain, mempool, choose_payer(chain, mempool, payers, needed)[0], body)


def choose_payer(
    chain: Chain, mempool: Mempool, payers: Sequence[WalletAccount], needed: int
) -> tuple[WalletAccount, int]:
    """Return the first account that has enough, else the richest, with what it can spend."""
    means = [(payer, load_means(chain, mempool, payer.keypair.address).available) for payer in payers]
    richest = max(means, key=lambda pair: pair[1])
    return next((pair for pair in means if pair[1] >= needed), richest)
