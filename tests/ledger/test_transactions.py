"""Transactions: bytes, ids, signatures, and decoders that refuse everything else."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import DecodeError
from ledger.hashing import cid_of
from ledger.transactions import (
    CancelJob,
    SubmitJob,
    Transaction,
    Transfer,
    decode_transaction,
    sign_transaction,
    verify_signature,
)
from tests.ledger.samples import ALICE, BLOCK, CHAIN_ID, PARAMS, TRANSACTIONS

AMOUNTS = st.integers(1, 2**63 - 1)
LOSSES = st.integers(0, 2**128 - 1)
HASHES = st.binary(min_size=32, max_size=32)
BODIES = st.one_of(
    st.builds(Transfer, st.binary(min_size=20, max_size=20), AMOUNTS, st.binary(max_size=64)),
    st.builds(SubmitJob, st.binary(max_size=4096), AMOUNTS, HASHES, LOSSES, LOSSES),
    st.builds(CancelJob, HASHES),
)
TRANSFER = TRANSACTIONS[0]


@given(BODIES, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_signed_transaction_round_trips(body: Transfer | SubmitJob | CancelJob, nonce: int, fee: int) -> None:
    tx = sign_transaction(ALICE, CHAIN_ID, nonce, fee, body)
    decoded = decode_transaction(tx.encode(), PARAMS)
    assert decoded == tx
    assert (decoded.txid, decoded.size) == (tx.txid, len(tx.encode()))
    assert decoded.sender_address == ALICE.address
    assert verify_signature(decoded, CHAIN_ID)
    assert not verify_signature(decoded, CHAIN_ID[::-1])


def _variants(tx: Transaction) -> list[Transaction]:
    """The transaction with each of its signed fields changed."""
    body = tx.body
    bodies = [
        dataclasses.replace(body, **{f.name: _other(getattr(body, f.name))}) for f in dataclasses.fields(body)
    ]
    names = ("sender", "nonce", "fee")
    outer = [dataclasses.replace(tx, **{name: _other(getattr(tx, name))}) for name in names]
    return outer + [dataclasses.replace(tx, body=changed) for changed in bodies]


def _other(value: int | bytes | tuple[bytes, ...]) -> Any:
    if isinstance(value, tuple):
        return (*value[:-1], _other(value[-1]))
    return value ^ 1 if isinstance(value, int) else value[:-1] + bytes([value[-1] ^ 1])


@pytest.mark.parametrize("tx", TRANSACTIONS, ids=lambda tx: type(tx.body).__name__)
def test_any_field_changes_txid_and_voids_the_signature(tx: Transaction) -> None:
    variants = _variants(tx)
    assert len({tx.txid, *(variant.txid for variant in variants)}) == len(variants) + 1
    assert not any(verify_signature(variant, CHAIN_ID) for variant in variants)


def test_txid_does_not_cover_the_signature() -> None:
    other = dataclasses.replace(TRANSFER, signature=bytes(64))
    assert other.txid == TRANSFER.txid
    assert other != TRANSFER


def _fields(**changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "sender": TRANSFER.sender,
        "nonce": 0,
        "fee": 1000,
        "kind": 1,
        "body": [bytes(20), 1, b""],
        "signature": bytes(64),
    }
    return encode(list({**fields, **changed}.values()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sender": bytes(31)}, "sender: expected 32 bytes, got 31"),
        ({"nonce": 2**63}, "nonce: expected 0.."),
        ({"nonce": b""}, "nonce: expected an integer, got bytes"),
        ({"fee": 2**63}, "fee: expected 0.."),
        ({"kind": 0}, "transaction kind"),
        ({"kind": 6}, r"transaction kind: expected 1 \(transfer\), .*, got 6"),
        ({"kind": 4}, "commit_update: expected 5 items, got 3"),
        ({"kind": 5}, "reveal_update: expected 5 items, got 3"),
        ({"kind": 4, "body": [bytes(32), 0, bytes(32), 1, []]}, "shares: expected 1 to 16, got none"),
        ({"kind": 4, "body": [bytes(32), 0, bytes(32), 1, [bytes(286)] * 17]}, "shares: expected at most 16"),
        (
            {"kind": 4, "body": [bytes(32), 0, bytes(32), 1, [bytes(285)]]},
            "share: expected 286 bytes, got 285",
        ),
        ({"kind": 4, "body": [bytes(32), 0, bytes(31), 1, [bytes(286)]]}, "commitment: expected 32 bytes"),
        ({"kind": 4, "body": [bytes(32), 0, bytes(32), 0, [bytes(286)]]}, "payload size: expected 1.."),
        (
            {"kind": 4, "body": [bytes(32), 0, bytes(32), 2**18 + 1, [bytes(286)]]},
            "payload size: expected 1..",
        ),
        ({"kind": 4, "body": [bytes(32), 2**63, bytes(32), 1, [bytes(286)]]}, "round: expected"),
        ({"kind": 5, "body": [bytes(32), 0, bytes(36), 1, bytes(32)]}, "payload CID: expected a CID"),
        ({"kind": 5, "body": [bytes(32), 0, cid_of(b""), 1, bytes(31)]}, "salt: expected 32 bytes"),
        ({"kind": 2}, "submit_job: expected 5 items, got 3"),
        ({"kind": 3}, "cancel_job: expected 1 items, got 3"),
        ({"body": [bytes(20), 0, b""]}, "amount: expected 1.."),
        ({"body": [bytes(20), 2**63, b""]}, "amount: expected 1.."),
        ({"body": [bytes(21), 1, b""]}, "to: expected 20 bytes"),
        ({"body": [bytes(20), 1, bytes(65)]}, "memo: expected at most 64 bytes, got 65"),
        ({"body": [bytes(20), 1, "memo"]}, "memo: expected bytes, got str"),
        ({"body": bytes(20)}, "transfer: expected an array, got bytes"),
        (
            {"kind": 2, "body": [bytes(4097), 1, bytes(32), bytes(16), bytes(16)]},
            "spec: expected at most 4096",
        ),
        ({"kind": 2, "body": [b"", 2**63, bytes(32), bytes(16), bytes(16)]}, "escrow: expected"),
        ({"kind": 2, "body": [b"", 1, bytes(32), bytes(15), bytes(16)]}, "trial before: expected 16 bytes"),
        ({"kind": 3, "body": [bytes(31)]}, "job id: expected 32 bytes"),
        ({"signature": bytes(63)}, "signature: expected 64 bytes"),
        ({"more": 1}, "transaction: expected 6 items, got 7"),
    ],
)
def test_field_out_of_range_is_refused(changed: dict[str, Any], message: str) -> None:
    decode_transaction(_fields(), PARAMS)
    with pytest.raises(DecodeError, match=message):
        decode_transaction(_fields(**changed), PARAMS)


def test_transaction_over_the_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most 16384 bytes"):
        decode_transaction(bytes(PARAMS.transaction_limit + 1), PARAMS)


@given(st.data(), st.sampled_from(BLOCK.transactions))
def test_mutated_bytes_raise_only_decode_error(data: st.DataObject, tx: Transaction) -> None:
    mutated = bytearray(tx.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_transaction(bytes(mutated), PARAMS)
    except DecodeError:
        return
    assert decoded.encode() == bytes(mutated)
    assert decoded == tx or not verify_signature(decoded, CHAIN_ID)


@given(st.binary(max_size=300))
def test_any_bytes_raise_only_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_transaction(data, PARAMS)
