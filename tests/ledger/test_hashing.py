"""Tagged hashes and CIDs."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import DecodeError
from ledger.hashing import check_cid, cid_of, cid_text, parse_cid_text, read_cid, tagged_hash, word


@given(st.binary(max_size=200))
def test_tagged_hash_is_its_definition(data: bytes) -> None:
    tag = hashlib.sha256(b"gc/block").digest()
    assert tagged_hash("gc/block", data) == hashlib.sha256(tag + tag + data).digest()
    assert tagged_hash("gc/block", data) != tagged_hash("gc/tx", data)


def test_word_is_big_endian() -> None:
    assert word(b"\x01" + bytes(6) + b"\x02" + b"\xff" * 24) == 2**56 + 2


@given(st.binary(max_size=100))
def test_cid_text_round_trips(blob: bytes) -> None:
    cid = cid_of(blob)
    text = cid_text(cid)
    assert parse_cid_text(text) == cid
    assert check_cid(cid, blob)
    assert not check_cid(cid, blob + b"x")
    assert text.startswith("bafkrei")  # the well-known start of raw sha2-256 CIDs


@given(st.text(max_size=70))
def test_other_cid_text_raises_only_decode_error(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_cid_text(text)


def test_non_canonical_cid_text_is_refused() -> None:
    text = cid_text(cid_of(b"blob"))
    last = "abcdefghijklmnopqrstuvwxyz234567".index(text[-1])
    assert last % 4 == 0  # 36 bytes leave two spare bits
    spare = text[:-1] + "abcdefghijklmnopqrstuvwxyz234567"[last + 1]
    for wrong in (text.upper(), "b" + text[1:].upper(), text + "=", text[:-1], spare, "z" + text[1:]):
        with pytest.raises(DecodeError):
            parse_cid_text(wrong)


def test_cid_of_another_kind_is_refused() -> None:
    dag_pb = b"\x01\x70" + cid_of(b"blob")[2:]
    for wrong in (dag_pb, cid_of(b"blob")[:-1], b"", 5):
        with pytest.raises(DecodeError):
            read_cid(wrong, "data CID")
