"""Entries of the state and their bytes: accounts, income, jobs, supply. Source: docs/protocol.md, sections 4 and 5."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from ledger.codec import MAX_AMOUNT, Encodable, Value, decode, encode, read_bytes, read_list, read_uint

MAX_RECORD_BYTES = 1 << 20  # our own state: a bound against a damaged database, not against peers

BURN_POSITION = 13  # in the encoded spec

ACCOUNT, IMMATURE, JOB, COMMITMENT, SPENT_SHARE, SUPPLY = 1, 2, 3, 4, 5, 6


class JobStatus(IntEnum):
    LIVE = 1
    CLOSING = 2
    DONE = 3
    CANCELLED = 4
    SUSPENDED = 5


class Reason(IntEnum):
    """Why a job closes or closed."""

    NONE = 0
    TARGET = 1
    ESCROW = 2
    LIFETIME = 3
    STALLED = 4
    CANCELLED = 5


ACTIVE = frozenset({JobStatus.LIVE, JobStatus.CLOSING, JobStatus.SUSPENDED})


def account_key(address: bytes) -> bytes:
    return bytes([ACCOUNT]) + address


def immature_key(height: int) -> bytes:
    return bytes([IMMATURE]) + height.to_bytes(8, "big")


def job_key(job_id: bytes) -> bytes:
    return bytes([JOB]) + job_id


SUPPLY_KEY = bytes([SUPPLY])


@dataclass(frozen=True, slots=True)
class Account:
    balance: int = 0
    nonce: int = 0

    def encode(self) -> bytes:
        return encode([self.balance, self.nonce])


def decode_account(data: bytes) -> Account:
    balance, nonce = read_list(decode(data, MAX_RECORD_BYTES), "account", 2)
    return Account(read_uint(balance, "balance", 0, MAX_AMOUNT), read_uint(nonce, "nonce", 0, 2**64 - 1))


@dataclass(frozen=True, slots=True)
class Supply:
    issued: int = 0
    burned: int = 0

    def encode(self) -> bytes:
        return encode([self.issued, self.burned])


def decode_supply(data: bytes) -> Supply:
    issued, burned = read_list(decode(data, MAX_RECORD_BYTES), "supply", 2)
    return Supply(read_uint(issued, "issued", 0, MAX_AMOUNT), read_uint(burned, "burned", 0, MAX_AMOUNT))


Income = tuple[tuple[bytes, int], ...]


def encode_income(income: Income) -> bytes:
    return encode([[address, amount] for address, amount in income])


def decode_income(data: bytes) -> Income:
    rows = [read_list(row, "income", 2) for row in read_list(decode(data, MAX_RECORD_BYTES), "immature")]
    return tuple((read_bytes(a, "address", 20), read_uint(n, "amount", 1, MAX_AMOUNT)) for a, n in rows)


@dataclass(frozen=True, slots=True)
class PendingRound:
    """Tickets (seed, digest) of a round that has not settled, in block order."""

    round: int
    tickets: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in the state. Amounts in units, losses in 2^-40 (mean per sample, rounded down), weights by CID."""

    owner: bytes
    spec: bytes
    submitted: int
    status: JobStatus
    reason: Reason
    first_round: int
    escrow: int
    lock: int
    work: int
    judging: int  # work of one loss evaluation on a settlement's sample
    version: int
    weights: bytes
    earlier: tuple[
        bytes, ...
    ]  # weights before each of the last settlements that moved them, the newest first
    last_updates: tuple[
        tuple[bytes, int, int], ...
    ]  # payload CID, size, shares: revealed for the round settled last
    provenance: bytes
    pending: tuple[PendingRound, ...]
    sample_hash: bytes
    drawn: int
    lost: int
    stall: int
    suspended_until: int
    first_loss: int
    last_losses: tuple[int, ...]

    def encode(self) -> bytes:
        pending: list[Encodable] = [[p.round, list(p.tickets)] for p in self.pending]
        return encode(
            [
                self.owner,
                self.spec,
                self.submitted,
                int(self.status),
                int(self.reason),
                self.first_round,
                self.escrow,
                self.lock,
                self.work,
                self.judging,
                self.version,
                self.weights,
                list(self.earlier),
                [list(update) for update in self.last_updates],
                self.provenance,
                pending,
                self.sample_hash,
                self.drawn,
                self.lost.to_bytes(8, "big"),
                self.stall,
                self.suspended_until,
                self.first_loss,
                list(self.last_losses),
            ]
        )

    @property
    def burn(self) -> int:
        """Units burned for a drawn height, read out of the spec (its ranges were checked at submission)."""
        return read_uint(read_list(decode(self.spec, MAX_RECORD_BYTES), "spec")[BURN_POSITION], "burn")

    @property
    def is_market_only(self) -> bool:
        """Whether no heights are drawn for the job: only such a spec may have a burn of 0."""
        return self.burn == 0

    def with_ticket(self, round_number: int, seed: bytes, digest: bytes) -> JobRecord:
        """Append a ticket to its pending round."""
        *earlier, last = self.pending or (PendingRound(-1, ()),)
        if last.round == round_number:
            pending = (*earlier, PendingRound(round_number, (*last.tickets, (seed, digest))))
        else:
            pending = (*self.pending, PendingRound(round_number, ((seed, digest),)))
        return replace(self, pending=pending)


def decode_job(data: bytes) -> JobRecord:
    v = read_list(decode(data, MAX_RECORD_BYTES), "job", 23)

    def uint(position: int, name: str) -> int:
        return read_uint(v[position], name)

    return JobRecord(
        owner=read_bytes(v[0], "owner", 20),
        spec=read_bytes(v[1], "spec"),
        submitted=uint(2, "submitted"),
        status=JobStatus(read_uint(v[3], "status", min(JobStatus), max(JobStatus))),
        reason=Reason(read_uint(v[4], "reason", min(Reason), max(Reason))),
        first_round=uint(5, "first_round"),
        escrow=uint(6, "escrow"),
        lock=uint(7, "lock"),
        work=uint(8, "work"),
        judging=uint(9, "judging"),
        version=uint(10, "version"),
        weights=read_bytes(v[11], "weights", 36),
        earlier=tuple(read_bytes(cid, "earlier weights", 36) for cid in read_list(v[12], "earlier weights")),
        last_updates=tuple(_read_last_update(row) for row in read_list(v[13], "last updates")),
        provenance=read_bytes(v[14], "provenance", 32),
        pending=tuple(_decode_pending(row) for row in read_list(v[15], "pending")),
        sample_hash=read_bytes(v[16], "sample_hash", limit=32),
        drawn=uint(17, "drawn"),
        lost=int.from_bytes(read_bytes(v[18], "lost", 8), "big"),
        stall=uint(19, "stall"),
        suspended_until=uint(20, "suspended_until"),
        first_loss=uint(21, "first_loss"),
        last_losses=tuple(read_uint(x, "last_losses") for x in read_list(v[22], "last_losses")),
    )


def _decode_pending(row: object) -> PendingRound:
    number, tickets = read_list(row, "pending round", 2)
    pairs = [read_list(t, "ticket", 2) for t in read_list(tickets, "tickets")]
    seeds = tuple((read_bytes(s, "seed", 32), read_bytes(d, "digest", 32)) for s, d in pairs)
    return PendingRound(read_uint(number, "round"), seeds)


def _read_last_update(row: Value) -> tuple[bytes, int, int]:
    cid, size, shares = read_list(row, "last update", 3)
    return read_bytes(cid, "payload", 36), read_uint(size, "size"), read_uint(shares, "shares", 1)
