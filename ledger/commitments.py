"""Updates that were committed to and are not settled yet, as the state keeps them.

Source: docs/protocol.md, sections 5 and 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.codec import MAX_AMOUNT, Encodable, decode, encode, read_bytes, read_list, read_uint
from ledger.hashing import CID_BYTES, HASH_BYTES, tagged_hash
from ledger.keys import ADDRESS_BYTES
from ledger.privacy import PrivacyRecord, list_privacy, split_privacy
from ledger.records import COMMITMENT, MAX_RECORD_BYTES, SPENT_SHARE

MAX_UPDATES = 64  # of one job's round


@dataclass(frozen=True, slots=True)
class Commitment:
    """An update before its settlement. Amounts in units; `payload` is its CID, empty until it is revealed."""

    commitment: bytes
    miner: bytes  # address
    shares: int  # its weight
    bond: int
    prepaid: int
    size: int  # bytes of the payload
    payload: bytes = b""
    privacy: PrivacyRecord | None = None  # as it was revealed


Commitments = tuple[Commitment, ...]


def commitments_key(job_id: bytes, round_number: int) -> bytes:
    return bytes([COMMITMENT]) + job_id + round_number.to_bytes(8, "big")


def spent_key(height: int) -> bytes:
    return bytes([SPENT_SHARE]) + height.to_bytes(8, "big")


def make_commitment(miner: bytes, job_id: bytes, round_number: int, payload: bytes, salt: bytes) -> bytes:
    """Return what a commit_update names: 32 bytes that only the miner's (public) key can later open."""
    return tagged_hash("gc/commit", miner + job_id + round_number.to_bytes(8, "big") + payload + salt)


def encode_commitments(commitments: Commitments) -> bytes:
    return encode([_list_commitment(c) for c in commitments])


def decode_commitments(data: bytes) -> Commitments:
    rows = read_list(decode(data, MAX_RECORD_BYTES), "commitments", limit=MAX_UPDATES)
    return tuple(_decode_commitment(row) for row in rows)


def _list_commitment(c: Commitment) -> list[Encodable]:
    fields: list[Encodable] = [c.commitment, c.miner, c.shares, c.bond, c.prepaid, c.size, c.payload]
    return fields + list_privacy(c.privacy)


def _decode_commitment(row: object) -> Commitment:
    fields, privacy = split_privacy(row, "commitment", 7)
    commitment, miner, shares, bond, prepaid, size, payload = fields
    return Commitment(
        commitment=read_bytes(commitment, "commitment", HASH_BYTES),
        miner=read_bytes(miner, "miner", ADDRESS_BYTES),
        shares=read_uint(shares, "shares", 1),
        bond=read_uint(bond, "bond", 0, MAX_AMOUNT),
        prepaid=read_uint(prepaid, "prepaid", 0, MAX_AMOUNT),
        size=read_uint(size, "size", 1),
        payload=read_bytes(payload, "payload", limit=CID_BYTES),
        privacy=privacy,
    )


def encode_spent(seeds: tuple[bytes, ...]) -> bytes:
    return encode(list(seeds))


def decode_spent(data: bytes) -> tuple[bytes, ...]:
    return tuple(
        read_bytes(seed, "seed", HASH_BYTES)
        for seed in read_list(decode(data, MAX_RECORD_BYTES), "spent shares")
    )
