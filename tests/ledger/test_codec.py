"""The canonical encoding: decoding then encoding is the identity, everything else is refused."""

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import MAX_DEPTH, MAX_ITEMS, decode, encode, read_bytes, read_list, read_str, read_uint
from ledger.errors import DecodeError
from tests.ledger.samples import BLOCK

LIMIT = 1 << 20
UINTS = st.integers(0, 2**64 - 1) | st.sampled_from([127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32])
SCALARS = UINTS | st.binary(max_size=300) | st.text(max_size=40)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=20), max_leaves=30).filter(
    lambda value: _depth(value) <= MAX_DEPTH
)


def _depth(value: Any) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES)
def test_decode_of_encode_is_identity(value: Any) -> None:
    assert decode(encode(value), LIMIT) == value


@given(st.binary(max_size=60))
def test_decoded_bytes_are_the_only_encoding(data: bytes) -> None:
    try:
        value = decode(data, LIMIT)
    except DecodeError:
        return
    assert encode(value) == data


@given(st.data())
def test_mutated_encoding_is_refused_or_canonical(data: st.DataObject) -> None:
    mutated = bytearray(BLOCK.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = decode(bytes(mutated), LIMIT)
    except DecodeError:
        return
    assert encode(value) == bytes(mutated)


@given(st.integers(0, 2**32 - 1))
def test_non_minimal_integer_is_refused(number: int) -> None:
    wider = [(0xCC, ">B", 2**7), (0xCD, ">H", 2**8), (0xCE, ">I", 2**16), (0xCF, ">Q", 2**32)]
    signed = [(0xD0, ">b", 2**7), (0xD1, ">h", 2**15), (0xD2, ">i", 2**31), (0xD3, ">q", 2**63)]
    forms = [bytes([code]) + struct.pack(form, number) for code, form, end in wider + signed if number < end]
    assert forms
    for data in forms:
        with pytest.raises(DecodeError, match="shortest"):
            decode(data, LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"\xc5\x00\x01a",  # bin 16 of one byte
        b"\xc6\x00\x00\x00\x01a",
        b"\xd9\x01a",  # str 8 of one byte
        b"\xda\x00\x01a",
        b"\xdb\x00\x00\x00\x01a",
        b"\xdc\x00\x01\x05",  # array 16 of one item
        b"\xdd\x00\x00\x00\x01\x05",
    ],
)
def test_non_minimal_length_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="shortest"):
        decode(data, LIMIT)


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), None, True, False, -1, -(2**63), {}, {"a": 1}, {1: 2}, msgpack.Timestamp(1)]
)
def test_other_type_is_refused_both_ways(value: Any) -> None:
    for wrapped in (value, [value], [[1, value]]):
        with pytest.raises(DecodeError):
            decode(msgpack.packb(wrapped), LIMIT)
        with pytest.raises(ValueError, match="cannot encode"):
            encode(wrapped)


@given(VALUES, st.binary(min_size=1, max_size=5))
def test_trailing_bytes_are_refused(value: Any, tail: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(encode(value) + tail, LIMIT)


@given(VALUES, st.data())
def test_truncated_encoding_is_refused(value: Any, data: st.DataObject) -> None:
    whole = encode(value)
    with pytest.raises(DecodeError):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))], LIMIT)


def test_input_over_the_limit_is_refused_before_parsing() -> None:
    with pytest.raises(DecodeError, match="at most 3 bytes, got 4"):
        decode(b"\xa3abc", 3)


def test_text_that_is_not_utf8_is_refused() -> None:
    for data in (b"\xa1\xff", b"\xa3\xed\xa0\x80"):
        with pytest.raises(DecodeError):
            decode(data, LIMIT)
    with pytest.raises(ValueError, match="UTF-8"):
        encode("\ud800")


def test_array_nested_too_deep_is_refused() -> None:
    deepest = b"\x91" * MAX_DEPTH + b"\x05"
    assert encode(decode(deepest, LIMIT)) == deepest
    for data in (b"\x91" + deepest, b"\x91" * 100_000, b"\xdc\x3f\xff" * 100_000):
        with pytest.raises(DecodeError):
            decode(data, LIMIT)


def test_array_too_long_is_refused() -> None:
    longest = msgpack.packb([0] * MAX_ITEMS)
    assert encode(decode(longest, LIMIT)) == longest
    for data in (msgpack.packb([0] * (MAX_ITEMS + 1)), b"\xdd\xff\xff\xff\xff"):
        with pytest.raises(DecodeError):
            decode(data, LIMIT)


def test_readers_name_what_was_expected_and_what_came() -> None:
    assert read_uint(5, "fee", 0, 9) == 5
    assert read_bytes(b"ab", "memo", limit=2) == b"ab"
    assert read_str("ä", "title", 2) == "ä"
    assert read_list([1], "pair", 1) == [1]
    for read, message in (
        (lambda: read_uint(10, "fee", 0, 9), "fee: expected 0..9, got 10"),
        (lambda: read_uint(True, "fee"), "fee: expected an integer, got bool"),
        (lambda: read_bytes(b"abc", "memo", limit=2), "memo: expected at most 2 bytes, got 3"),
        (lambda: read_bytes(b"abc", "key", 32), "key: expected 32 bytes, got 3"),
        (lambda: read_str("ää", "title", 3), "title: expected at most 3 bytes, got 4"),
        (lambda: read_list("ab", "pair", 2), "pair: expected an array, got str"),
    ):
        with pytest.raises(DecodeError, match=message):
            read()
