"""Headers and blocks: bytes, hashes, and bodies that belong to their header."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.blocks import (
    HEADER_BYTES,
    WORK_HEADER_BYTES,
    Block,
    Header,
    WorkHeader,
    check_body,
    decode_block,
    decode_header,
    sign_header,
    tx_root_of,
    verify_header_signature,
)
from ledger.codec import encode
from ledger.errors import DamagedBody, DecodeError
from ledger.hashing import tagged_hash
from tests.ledger.samples import ALICE, BLOCK, CHAIN_ID, HEADER, MINER, PARAMS, TRANSACTIONS, WORK

HASHES = st.binary(min_size=32, max_size=32)
U63 = st.integers(0, 2**63 - 1)
U128 = st.integers(0, 2**128 - 1)
WORKS = st.builds(
    WorkHeader,
    version=st.just(1),
    height=U63.map(lambda height: max(1, height)),
    parent=HASHES,
    time_ms=U63,
    miner=HASHES,
    target=st.integers(0, 2**256 - 1),
    job_id=HASHES,
    tx_root=HASHES,
    tx_count=st.integers(0, 2**32 - 1),
    state_root=HASHES,
    nonce=st.integers(0, 2**64 - 1),
)


@given(st.builds(Header, work=WORKS, digest=HASHES, before=U128, after=U128))
def test_header_round_trips(header: Header) -> None:
    data = header.encode()
    assert (len(data), len(header.work.encode())) == (HEADER_BYTES, WORK_HEADER_BYTES) == (286, 222)
    decoded = decode_header(data)
    assert decoded == header
    assert (decoded.hash, decoded.seed, decoded.ticket) == (header.hash, header.seed, header.ticket)


def test_header_fields_lie_where_the_specification_says() -> None:
    data = HEADER.encode()
    assert data[:2] == b"\x00\x01"
    assert data[2:10] == (7).to_bytes(8, "big")
    assert data[10:42] == WORK.parent
    assert data[42:50] == WORK.time_ms.to_bytes(8, "big")
    assert data[50:82] == WORK.miner
    assert data[82:114] == WORK.target.to_bytes(32, "big")
    assert data[114:146] == WORK.job_id
    assert data[146:178] == WORK.tx_root
    assert data[178:182] == (6).to_bytes(4, "big")
    assert data[182:214] == WORK.state_root
    assert data[214:222] == b"\xff" * 8
    assert data[222:] == HEADER.digest + HEADER.before.to_bytes(16, "big") + HEADER.after.to_bytes(16, "big")
    assert HEADER.seed == tagged_hash("gc/ticket-seed", data[:222])
    assert HEADER.hash == tagged_hash("gc/block", data)
    assert HEADER.ticket == int.from_bytes(tagged_hash("gc/ticket", HEADER.seed + data[222:]), "big")


def _other(value: int | bytes) -> Any:
    return value ^ 1 if isinstance(value, int) else value[:-1] + bytes([value[-1] ^ 1])


def test_any_field_changes_hash_ticket_and_signature() -> None:
    work_names = [field.name for field in dataclasses.fields(WorkHeader) if field.init]
    works = [dataclasses.replace(WORK, **{name: _other(getattr(WORK, name))}) for name in work_names]
    headers = [dataclasses.replace(HEADER, work=work) for work in works]
    assert len({WORK.seed, *(work.seed for work in works)}) == len(works) + 1
    for name in ("digest", "before", "after"):
        headers.append(dataclasses.replace(HEADER, **{name: _other(getattr(HEADER, name))}))
        assert headers[-1].seed == HEADER.seed
    assert len({HEADER.hash, *(header.hash for header in headers)}) == len(headers) + 1
    assert len({HEADER.ticket, *(header.ticket for header in headers)}) == len(headers) + 1
    assert not any(verify_header_signature(header, BLOCK.signature, CHAIN_ID) for header in headers)


@pytest.mark.parametrize(
    ("position", "length", "value"),
    [(0, 2, 0), (0, 2, 2), (2, 8, 0), (2, 8, 2**63), (42, 8, 2**63)],
    ids=["version 0", "version 2", "height 0", "height 2^63", "time 2^63"],
)
def test_header_field_out_of_range_is_refused(position: int, length: int, value: int) -> None:
    data = bytearray(HEADER.encode())
    data[position : position + length] = value.to_bytes(length, "big")
    with pytest.raises(DecodeError):
        decode_header(bytes(data))


@given(st.binary(max_size=400))
def test_header_of_other_length_is_refused(data: bytes) -> None:
    if len(data) != HEADER_BYTES:
        with pytest.raises(DecodeError, match="header: expected 286 bytes"):
            decode_header(data)


def test_block_round_trips_and_its_body_belongs_to_it() -> None:
    decoded = decode_block(BLOCK.encode(), PARAMS)
    assert decoded == BLOCK
    assert decoded.hash == HEADER.hash
    check_body(decoded, CHAIN_ID)


def test_block_over_the_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most 262144 bytes"):
        decode_block(bytes(PARAMS.block_limit + 1), PARAMS)


@pytest.mark.parametrize(
    "value",
    [
        [HEADER.encode()[:-1], bytes(64), []],
        [HEADER.encode(), bytes(63), []],
        [HEADER.encode(), bytes(64), [5]],
        [HEADER.encode(), bytes(64), [b""]],
        [HEADER.encode(), bytes(64), b""],
        [HEADER.encode(), bytes(64)],
        b"",
    ],
)
def test_other_block_is_refused(value: Any) -> None:
    with pytest.raises(DecodeError):
        decode_block(encode(value), PARAMS)


def test_body_of_another_header_is_damaged() -> None:
    fewer = dataclasses.replace(BLOCK, transactions=TRANSACTIONS[:-1])
    reordered = dataclasses.replace(BLOCK, transactions=TRANSACTIONS[::-1])
    bad_signature = dataclasses.replace(TRANSACTIONS[0], signature=TRANSACTIONS[1].signature)
    stripped = dataclasses.replace(BLOCK, transactions=(bad_signature, *TRANSACTIONS[1:]))
    unsigned = dataclasses.replace(BLOCK, signature=bytes(64))
    for block, message in (
        (fewer, "transaction count: expected 6, got 5"),
        (reordered, "transaction root"),
        (stripped, "its signature is not valid"),
        (unsigned, "the miner's signature is not valid"),
    ):
        with pytest.raises(DamagedBody, match=message):
            check_body(block, CHAIN_ID)
        assert block.hash == BLOCK.hash
    with pytest.raises(DamagedBody):
        check_body(BLOCK, CHAIN_ID[::-1])


def test_header_is_signed_only_by_its_miner() -> None:
    assert verify_header_signature(HEADER, sign_header(MINER, CHAIN_ID, HEADER), CHAIN_ID)
    assert not verify_header_signature(HEADER, ALICE.sign("header", CHAIN_ID, HEADER.encode()), CHAIN_ID)
    assert not verify_header_signature(HEADER, MINER.sign("tx", CHAIN_ID, HEADER.encode()), CHAIN_ID)
    with pytest.raises(ValueError, match="expected a signature by"):
        sign_header(ALICE, CHAIN_ID, HEADER)


def test_empty_body_has_a_root() -> None:
    work = dataclasses.replace(WORK, tx_root=tx_root_of(()), tx_count=0)
    header = dataclasses.replace(HEADER, work=work)
    check_body(Block(header, sign_header(MINER, CHAIN_ID, header), ()), CHAIN_ID)


@given(st.data())
def test_mutated_block_raises_only_decode_error(data: st.DataObject) -> None:
    mutated = bytearray(BLOCK.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        block = decode_block(bytes(mutated), PARAMS)
    except DecodeError:
        return
    assert block.encode() == bytes(mutated)
