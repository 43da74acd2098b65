"""The state after a block: entries under a sparse Merkle root, changed only through an overlay that yields its undo.

`State` holds what is committed; `Overlay` collects a block's changes and either commits them, returning the old values,
or is dropped. So a block that turns out invalid leaves no trace. Source: docs/protocol.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ledger.codec import MAX_AMOUNT
from ledger.commitments import (
    Commitments,
    commitments_key,
    decode_commitments,
    decode_spent,
    encode_commitments,
    encode_spent,
    spent_key,
)
from ledger.errors import InvalidBlock
from ledger.records import (
    ACCOUNT,
    ACTIVE,
    COMMITMENT,
    IMMATURE,
    JOB,
    SUPPLY_KEY,
    Account,
    Income,
    JobRecord,
    Supply,
    account_key,
    decode_account,
    decode_income,
    decode_job,
    decode_supply,
    encode_income,
    immature_key,
    job_key,
)
from ledger.smt import SparseMerkleTree, StateProof, hash_value, state_key

Changes = dict[bytes, bytes | None]


class State:
    """Committed entries, their Merkle tree, and the ids of jobs that are not over."""

    def __init__(self, entries: Mapping[bytes, bytes] | None = None) -> None:
        self._entries: dict[bytes, bytes] = {}
        self._tree = SparseMerkleTree()
        self.active_jobs: set[bytes] = set()
        self.apply(dict(entries or {}))

    @property
    def root(self) -> bytes:
        return self._tree.get_root()

    def get(self, key: bytes) -> bytes | None:
        return self._entries.get(key)

    def entries(self) -> Mapping[bytes, bytes]:
        return self._entries

    def apply(self, changes: Mapping[bytes, bytes | None]) -> Changes:
        """Write changes (None deletes); return the values they replaced."""
        undo: Changes = {key: self._entries.get(key) for key in changes}
        for key, value in changes.items():
            if value is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = value
            if key[0] == JOB:
                self._note_job(key[1:], value)
        self._tree.update(tree_changes(changes))
        return undo

    def copy_tree(self) -> SparseMerkleTree:
        """Return the tree of now, which later changes do not touch; takes constant time."""
        return self._tree.copy()

    def prove(self, key: bytes) -> StateProof:
        return self._tree.prove(leaf_key(key))

    def _note_job(self, job_id: bytes, value: bytes | None) -> None:
        if value is not None and decode_job(value).status in ACTIVE:
            self.active_jobs.add(job_id)
        else:
            self.active_jobs.discard(job_id)


def leaf_key(key: bytes) -> bytes:
    """Return the tree's key of an entry's key (kind and id)."""
    return state_key(key[0], key[1:])


def tree_changes(changes: Mapping[bytes, bytes | None]) -> dict[bytes, bytes | None]:
    """Return changes of entries as those of the tree's leaves."""
    return {leaf_key(k): None if v is None else hash_value(v) for k, v in changes.items()}


class Overlay:
    """Reads and uncommitted writes over a state. `base_changes` shows the state at an ancestor (undo laid over it)."""

    def __init__(self, state: State, base_changes: Changes | None = None) -> None:
        self._state = state
        self.changes: Changes = dict(base_changes or {})

    def get(self, key: bytes) -> bytes | None:
        return self.changes[key] if key in self.changes else self._state.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        self.changes[key] = value

    def nested(self) -> Overlay:
        """A further overlay over this one's view: for one transaction, dropped if it fails."""
        return Overlay(self._state, self.changes)

    def absorb(self, inner: Overlay) -> None:
        """Take over the writes of a nested overlay."""
        self.changes = inner.changes

    # accounts

    def get_account(self, address: bytes) -> Account:
        data = self.get(account_key(address))
        return decode_account(data) if data is not None else Account()

    def put_account(self, address: bytes, account: Account) -> None:
        empty = account == Account()
        self.put(account_key(address), None if empty else account.encode())

    def credit(self, address: bytes, amount: int) -> None:
        account = self.get_account(address)
        self.put_account(address, Account(add_amounts(account.balance, amount), account.nonce))

    # income that matures

    def get_income(self, height: int) -> Income:
        data = self.get(immature_key(height))
        return decode_income(data) if data is not None else ()

    def add_income(self, height: int, address: bytes, amount: int) -> None:
        if amount:
            income = (*self.get_income(height), (address, amount))
            self.put(immature_key(height), encode_income(income))

    def clear_income(self, height: int) -> None:
        if self.get(immature_key(height)) is not None:
            self.put(immature_key(height), None)

    # supply

    def get_supply(self) -> Supply:
        data = self.get(SUPPLY_KEY)
        return decode_supply(data) if data is not None else Supply()

    def issue(self, amount: int) -> None:
        supply = self.get_supply()
        self.put(SUPPLY_KEY, Supply(add_amounts(supply.issued, amount), supply.burned).encode())

    def burn(self, amount: int) -> None:
        if amount:
            supply = self.get_supply()
            self.put(SUPPLY_KEY, Supply(supply.issued, add_amounts(supply.burned, amount)).encode())

    # jobs

    def get_job(self, job_id: bytes) -> JobRecord | None:
        data = self.get(job_key(job_id))
        return decode_job(data) if data is not None else None

    def put_job(self, job_id: bytes, record: JobRecord) -> None:
        self.put(job_key(job_id), record.encode())

    def active_jobs(self) -> list[tuple[bytes, JobRecord]]:
        """Jobs that are live, closing or suspended, in order of id."""
        changed = {key[1:] for key in self.changes if key[0] == JOB}
        found = []
        for job_id in sorted(self._state.active_jobs | changed):
            record = self.get_job(job_id)
            if record is not None and record.status in ACTIVE:
                found.append((job_id, record))
        return found

    # updates

    def get_commitments(self, job_id: bytes, round_number: int) -> Commitments:
        data = self.get(commitments_key(job_id, round_number))
        return decode_commitments(data) if data is not None else ()

    def put_commitments(self, job_id: bytes, round_number: int, commitments: Commitments) -> None:
        """Write the commitments of a round; none removes the entry."""
        value = encode_commitments(commitments) if commitments else None
        self.put(commitments_key(job_id, round_number), value)

    def get_spent(self, height: int) -> tuple[bytes, ...]:
        """Return the seeds of the spent shares of a height."""
        data = self.get(spent_key(height))
        return decode_spent(data) if data is not None else ()

    def spend_share(self, height: int, seed: bytes) -> None:
        self.put(spent_key(height), encode_spent((*self.get_spent(height), seed)))

    def forget_spent(self, height: int) -> None:
        if height > 0 and self.get(spent_key(height)) is not None:
            self.put(spent_key(height), None)


def add_amounts(a: int, b: int) -> int:
    if a + b > MAX_AMOUNT:
        raise InvalidBlock(f"an amount would be {a + b} units; at most {MAX_AMOUNT} are possible")
    return a + b


def check_supply(entries: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise InvalidBlock unless balances, immature, escrows, locks, bonds, prepaid add up to issued - burned."""
    held, supply = 0, Supply()
    for key, value in entries:
        if key[0] == ACCOUNT:
            held += decode_account(value).balance
        elif key[0] == IMMATURE:
            held += sum(amount for _, amount in decode_income(value))
        elif key[0] == JOB:
            record = decode_job(value)
            held += record.escrow + record.lock
        elif key[0] == COMMITMENT:
            held += sum(c.bond + c.prepaid for c in decode_commitments(value))
        elif key == SUPPLY_KEY:
            supply = decode_supply(value)
    if held != supply.issued - supply.burned:
        expected = supply.issued - supply.burned
        raise InvalidBlock(f"supply is off: {held} units are held, {expected} were issued and not burned")
