"""Transactions: bytes, ids, signatures, and decoders that refuse everything else."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import DecodeError
from ledger.hashing import cid_of
from ledger.privacy import PrivacyRecord, read_privacy
from ledger.transactions import (
    CancelJob,
    SubmitJob,
    Transaction,
    Transfer,
    decode_transaction,
    sign_transaction,
    verify_signature,
)
from tests.ledger.samples import ALICE, BLOCK, CHAIN_ID, PARAMS, PRIVACY, TRANSACTIONS

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


def _other(value: Any) -> Any:
    if value is None:
        return PRIVACY
    if isinstance(value, PrivacyRecord):
        return dataclasses.replace(value, spent=value.spent + 1)
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
        ({"kind": 5}, "reveal_update: expected 5 or 6 items, got 3"),
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


REVEAL: list[Any] = [bytes(32), 0, cid_of(b""), 1, bytes(32)]
TOLD: list[Any] = PRIVACY.to_list()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([], "privacy: expected 7 items, got 0"),
        (b"", "privacy: expected an array, got bytes"),
        (TOLD[:6], "privacy: expected 7 items, got 6"),
        ([*TOLD, 0], "privacy: expected 7 items, got 8"),
        ([*TOLD[:6], bytes(8)], "spent: expected an integer, got bytes"),
        ([*TOLD[1:], TOLD[0]], "data id: expected bytes, got int"),
        ([bytes(31), *TOLD[1:]], "data id: expected 32 bytes, got 31"),
        ([bytes(2**13), *TOLD[1:]], "data id: expected 32 bytes, got 8192"),
        ([TOLD[0], 0, *TOLD[2:]], r"epsilon: expected 1\.\.64000, got 0"),
        ([TOLD[0], 64001, *TOLD[2:]], r"epsilon: expected 1\.\.64000, got 64001"),
        ([*TOLD[:2], 10**15, *TOLD[3:]], r"delta: expected 1\.\."),
        ([*TOLD[:3], 2**62 + 1, *TOLD[4:]], "clip: expected"),
        ([*TOLD[:4], 0, *TOLD[5:]], "noise: expected"),
        ([*TOLD[:4], 2**42 + 1, *TOLD[5:]], "noise: expected"),
        ([*TOLD[:5], 0, *TOLD[6:]], "noised sums: expected"),
        ([*TOLD[:5], 65, *TOLD[6:]], "noised sums: expected"),
        ([*TOLD[:6], 2**62 + 1], "spent: expected"),
        ([*TOLD[:6], PRIVACY.cost - 1], "spent: expected at least this update's"),
        ([*TOLD[:4], TOLD[5], TOLD[4], TOLD[6]], "noised sums: expected"),
    ],
)
def test_privacy_of_another_form_is_refused(told: Any, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        decode_transaction(_fields(kind=5, body=[*REVEAL, told]), PARAMS)


def test_privacy_has_one_encoding_and_may_be_left_out() -> None:
    plain = decode_transaction(_fields(kind=5, body=REVEAL), PARAMS)
    told = decode_transaction(_fields(kind=5, body=[*REVEAL, TOLD]), PARAMS)
    assert (plain.body.privacy, told.body.privacy) == (None, PRIVACY)  # type: ignore[union-attr]  # reveals
    data = _fields(kind=5, body=[*REVEAL, TOLD])
    steps = data.index(bytes([0xCE]) + PRIVACY.noise.to_bytes(4, "big")) + 5
    longer = data[:steps] + b"\xcc\x01" + data[steps + 1 :]  # 1 in two bytes
    with pytest.raises(DecodeError, match="not canonical"):
        decode_transaction(longer, PARAMS)
    assert len(data) - len(_fields(kind=5, body=REVEAL)) <= 100


@given(
    st.builds(
        PrivacyRecord,
        HASHES,
        st.integers(1, 64000),
        st.integers(1, 10**15 - 1),
        st.integers(1, 2**62),
        st.integers(2**20, 2**42),
        st.integers(1, 64),
        st.integers(2**57, 2**62),
    )
)
def test_privacy_round_trips(record: PrivacyRecord) -> None:
    assert read_privacy(record.to_list()) == record


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
