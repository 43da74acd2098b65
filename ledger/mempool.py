"""Transactions waiting for a block. Policy, not consensus: bounded, one chain of nonces a sender, dearest first.

A transaction is admitted only if it applies on top of its sender's waiting ones in the state after the head, so that
the pool never holds what no block could carry. Source: docs/protocol.md, section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.errors import InvalidBlock, InvalidTransaction, LedgerError, MissingBlobs, TooEarly
from ledger.execution import apply_transaction
from ledger.keys import address_of
from ledger.rules import Rules
from ledger.sidecars import BlockRoom, sidecars_of, use_of
from ledger.state import Overlay, State
from ledger.transactions import RevealUpdate, SubmitJob, Transaction

EARLY_BLOCKS = 2  # by which a transaction may wait here before a block can carry it


@dataclass(frozen=True, slots=True)
class MempoolLimits:
    """Bounds of the pool."""

    count: int = 5_000
    size_bytes: int = 8 << 20
    per_sender: int = 64
    submissions: int = 16  # each costs a training run to check, and the verifier remembers only so many
    replacement_percent: int = 110  # of the replaced fee


class MempoolFull(LedgerError):
    """The pool or the sender's part of it is full; the transaction may be right."""


class Mempool:
    """Waiting transactions by id and by sender."""

    def __init__(
        self,
        rules: Rules,
        limits: MempoolLimits | None = None,
        has_blob: Callable[[bytes], bool] = lambda cid: True,
    ) -> None:
        self._rules = rules
        self._has_blob = has_blob  # by CID: what a block carries must be at hand
        self._limits = limits or MempoolLimits()
        self._by_id: dict[bytes, Transaction] = {}
        self._by_sender: dict[bytes, dict[int, Transaction]] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, txid: bytes) -> Transaction | None:
        return self._by_id.get(txid)

    def transactions(self) -> list[Transaction]:
        return list(self._by_id.values())

    def list_sidecars(self) -> set[bytes]:
        """Return the CIDs of the blobs that waiting transactions bring."""
        return {cid for tx in self._by_id.values() for cid, _ in sidecars_of(tx, self._rules.params)}

    def next_nonce(self, state: State, address: bytes) -> int:
        """Return the account nonce a sender's next transaction must have."""
        nonce = Overlay(state).get_account(address).nonce
        waiting = self._by_sender.get(address, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    def add(self, tx: Transaction, state: State, height: int) -> None:
        """Admit a transaction whose signature is good. InvalidTransaction, MempoolFull or MissingBlobs if not."""
        if tx.txid in self._by_id:
            return
        waiting = self._by_sender.get(address_of(tx.sender), {})
        replaced = waiting.get(tx.nonce)
        evicted = self._make_room(tx, waiting, replaced)
        overlay = Overlay(state)
        for nonce in sorted(n for n in waiting if n < tx.nonce):
            self._apply(overlay, waiting[nonce], height)
        self._apply(overlay, tx, height)
        later = [waiting[nonce] for nonce in sorted(n for n in waiting if n > tx.nonce)]
        self.remove([old.txid for old in (replaced, evicted) if old is not None])
        self._insert(tx)
        if replaced is not None:
            self.remove([old.txid for old in self._list_broken(overlay, later, height)])

    def _make_room(
        self, tx: Transaction, waiting: dict[int, Transaction], replaced: Transaction | None
    ) -> Transaction | None:
        """Return the other sender's transaction that must leave, if one must; MempoolFull if none is cheaper."""
        limits = self._limits
        if replaced is not None:
            least = replaced.fee * limits.replacement_percent // 100
            if tx.fee < least:
                raise InvalidTransaction(
                    f"nonce {tx.nonce} waits already: to replace it, a fee of {least} is needed"
                )
        elif len(waiting) >= limits.per_sender:
            raise MempoolFull(f"{limits.per_sender} transactions of this sender wait already")
        self._check_submissions(tx, replaced)
        if self._has_room(tx, replaced):
            return None
        cheapest = self._find_cheapest(tx.sender)
        if (
            cheapest is None
            or _rate_of(cheapest) >= _rate_of(tx)
            or not self._has_room(tx, replaced, cheapest)
        ):
            raise MempoolFull("too many transactions wait; try again after some blocks or with a higher fee")
        return cheapest

    def _check_submissions(self, tx: Transaction, replaced: Transaction | None) -> None:
        if isinstance(tx.body, SubmitJob) and not (replaced and isinstance(replaced.body, SubmitJob)):
            count = sum(isinstance(other.body, SubmitJob) for other in self._by_id.values())
            if count >= self._limits.submissions:
                raise MempoolFull(f"{count} job submissions wait already; try again after some blocks")

    def _has_room(self, tx: Transaction, *gone: Transaction | None) -> bool:
        leaving = [old for old in gone if old is not None]
        size = self.size_bytes + tx.size - sum(old.size for old in leaving)
        return len(self) - len(leaving) < self._limits.count and size <= self._limits.size_bytes

    def _find_cheapest(self, except_sender: bytes) -> Transaction | None:
        """Return the cheapest of the senders' last transactions: what leaves before all others."""
        last = [waiting[max(waiting)] for waiting in self._by_sender.values()]
        others = [tx for tx in last if tx.sender != except_sender]
        return min(others, key=lambda tx: (_rate_of(tx), tx.txid), default=None)

    def _insert(self, tx: Transaction) -> None:
        self._by_id[tx.txid] = tx
        self._by_sender.setdefault(address_of(tx.sender), {})[tx.nonce] = tx
        self.size_bytes += tx.size

    def _list_broken(self, overlay: Overlay, chain: list[Transaction], height: int) -> list[Transaction]:
        """Return what of a sender's transactions in order of nonce cannot apply, with all that follows it."""
        for position, tx in enumerate(chain):
            try:
                self._apply(overlay, tx, height)
            except LedgerError:
                return chain[position:]
        return []

    def _apply(self, overlay: Overlay, tx: Transaction, height: int) -> None:
        try:
            self._apply_early(overlay, tx, height)
        except InvalidBlock as error:  # an amount beyond the possible
            raise InvalidTransaction(str(error)) from error
        missing = [cid for cid, _ in sidecars_of(tx, self._rules.params) if not self._has_blob(cid)]
        if missing:  # asked for last: only what is right otherwise is worth fetching
            raise MissingBlobs(missing)

    def _apply_early(self, overlay: Overlay, tx: Transaction, height: int) -> None:
        """Apply a transaction, also one that a block after the next can carry first: its sender may be ahead."""
        trial = overlay.nested()
        try:
            apply_transaction(trial, tx, height, self._rules, {})
        except TooEarly as error:
            if error.height - height > EARLY_BLOCKS:
                raise
            trial = overlay.nested()
            apply_transaction(trial, tx, error.height, self._rules, {})
        overlay.absorb(trial)

    def select(self, state: State, height: int) -> list[Transaction]:
        """Return transactions for a block at `height`: best fee a byte first, each sender's in order of nonce."""
        params, overlay = self._rules.params, Overlay(state)
        room, special = params.block_limit - 1024, BlockRoom(params)
        chosen: list[Transaction] = []
        blocked: set[bytes] = set()
        for tx in self._in_order():
            use = use_of(tx, params)
            if tx.sender in blocked or tx.size + 8 > room or not special.has(use):
                blocked.add(tx.sender)
                continue
            trial = overlay.nested()
            try:
                apply_transaction(trial, tx, height, self._rules, {})
            except LedgerError:
                blocked.add(tx.sender)
                continue
            overlay.absorb(trial)
            chosen.append(tx)
            room -= tx.size + 8
            special.take(use)
        return chosen

    def _in_order(self) -> list[Transaction]:
        """Best fee a byte first, but never before an earlier nonce of the same sender."""
        ranked = []
        for waiting in self._by_sender.values():
            rate = float("inf")
            for nonce in sorted(waiting):
                rate = min(rate, _rate_of(waiting[nonce]))
                ranked.append((-rate, nonce, waiting[nonce].txid))
        return [self._by_id[txid] for _, _, txid in sorted(ranked)]

    def remove(self, txids: list[bytes]) -> None:
        for txid in txids:
            tx = self._by_id.pop(txid, None)
            if tx is None:
                continue
            self.size_bytes -= tx.size
            sender = address_of(tx.sender)
            waiting = self._by_sender[sender]
            del waiting[tx.nonce]
            if not waiting:
                del self._by_sender[sender]

    def update(self, state: State, height: int, returned: list[Transaction]) -> None:
        """After the head changed: drop what applies no more, take back what a reorganisation freed."""
        by_sender: dict[bytes, list[Transaction]] = {}
        for tx in [*self._by_id.values(), *returned]:
            by_sender.setdefault(tx.sender, []).append(tx)
        self._by_id, self._by_sender, self.size_bytes = {}, {}, 0
        for sender, candidates in by_sender.items():
            self._fill(address_of(sender), candidates, state, height)

    def _fill(self, sender: bytes, candidates: list[Transaction], state: State, height: int) -> None:
        """Admit a sender's transactions from its next nonce on, of two with one nonce the dearer."""
        best: dict[int, Transaction] = {}
        for tx in sorted(candidates, key=lambda tx: tx.fee):
            best[tx.nonce] = tx
        overlay = Overlay(state)
        nonce = overlay.get_account(sender).nonce
        try:
            while nonce in best:
                evicted = self._make_room(best[nonce], self._by_sender.get(sender, {}), None)
                self._apply(overlay, best[nonce], height)
                self.remove([evicted.txid] if evicted else [])
                self._insert(best[nonce])
                nonce += 1
        except LedgerError:
            return  # what follows cannot apply either


def _rate_of(tx: Transaction) -> float:
    """Units a byte; a reveal is paid by its commitment and cannot wait, so it goes first."""
    return float("inf") if isinstance(tx.body, RevealUpdate) else tx.fee / tx.size
