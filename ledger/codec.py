"""Canonical MessagePack: arrays, unsigned integers, byte strings and short text, each in its shortest form.

No MessagePack library decodes canonically, so a decoder here accepts exactly what its own encoder writes: the
input is bounded first, its types are checked, and its re-encoding must equal it. Source: docs/protocol.md,
section 1.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgpack

from ledger.errors import DecodeError

MAX_DEPTH = 8  # arrays within arrays; the deepest record has 5
MAX_ITEMS = 1 << 14  # of one array; more than any that fits into a block
MAX_UINT = (1 << 64) - 1
MAX_AMOUNT = (1 << 63) - 1  # units; the largest amount, sum, height and time

Value: TypeAlias = "int | bytes | str | list[Value]"
Encodable: TypeAlias = "int | bytes | str | Sequence[Encodable]"


def encode(value: Encodable) -> bytes:
    """Return the one canonical encoding of a value; ValueError (the caller's fault) if it has none."""
    if fault := _find_fault(value, MAX_DEPTH):
        raise ValueError(f"cannot encode: {fault}")
    return _pack(value)


def decode(data: bytes, limit: int) -> Value:
    """Return the value whose canonical encoding is `data`, at most `limit` bytes; else DecodeError."""
    if len(data) > limit:
        raise DecodeError(f"encoding too long: at most {limit} bytes, got {len(data)}")
    value = _unpack(data)
    if fault := _find_fault(value, MAX_DEPTH):
        raise DecodeError(f"not canonical: {fault}")
    if _pack(value) != data:
        raise DecodeError("not canonical: a value is not in its shortest form")
    return value


def read_uint(value: object, name: str, lo: int = 0, hi: int = MAX_UINT) -> int:
    """Return the value as an integer within lo..hi."""
    if type(value) is not int:
        raise DecodeError(f"{name}: expected an integer, got {type(value).__name__}")
    if not lo <= value <= hi:
        raise DecodeError(f"{name}: expected {lo}..{hi}, got {value}")
    return value


def read_bytes(value: object, name: str, length: int | None = None, limit: int | None = None) -> bytes:
    """Return the value as a byte string of exactly `length` bytes, or of at most `limit`."""
    if type(value) is not bytes:
        raise DecodeError(f"{name}: expected bytes, got {type(value).__name__}")
    _check_length(len(value), name, "bytes", length, limit)
    return value


def read_str(value: object, name: str, limit: int) -> str:
    """Return the value as text of at most `limit` UTF-8 bytes."""
    if type(value) is not str:
        raise DecodeError(f"{name}: expected text, got {type(value).__name__}")
    _check_length(len(value.encode()), name, "bytes", None, limit)
    return value


def read_list(value: object, name: str, length: int | None = None, limit: int | None = None) -> list[Value]:
    """Return the value as an array of exactly `length` items, or of at most `limit`."""
    if type(value) is not list:
        raise DecodeError(f"{name}: expected an array, got {type(value).__name__}")
    _check_length(len(value), name, "items", length, limit)
    return value


def _check_length(got: int, name: str, unit: str, length: int | None, limit: int | None) -> None:
    if length is not None and got != length:
        raise DecodeError(f"{name}: expected {length} {unit}, got {got}")
    if limit is not None and got > limit:
        raise DecodeError(f"{name}: expected at most {limit} {unit}, got {got}")


def _pack(value: Encodable) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _unpack(data: bytes) -> Value:
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=max(1, len(data)), max_map_len=0, max_ext_len=0)
    unpacker.feed(data)
    try:
        value = _unpack_next(unpacker, data, MAX_DEPTH)
    except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise DecodeError(f"not MessagePack: {error or type(error).__name__}") from None
    if unpacker.tell() != len(data):
        raise DecodeError(f"not canonical: {len(data) - unpacker.tell()} bytes after the value")
    return value


def _unpack_next(unpacker: msgpack.Unpacker, data: bytes, depth: int) -> Value:
    """Return the next value; arrays are opened here: the library would allocate all the items they claim."""
    if not _is_array(data[unpacker.tell()]):
        scalar: Value = unpacker.unpack()
        return scalar
    count = unpacker.read_array_header()
    if depth == 0 or count > MAX_ITEMS:
        raise DecodeError(f"array within {MAX_DEPTH - depth} others, of {count} items: too deep or too long")
    return [_unpack_next(unpacker, data, depth - 1) for _ in range(count)]


def _is_array(first: int) -> bool:
    return first & 0xF0 == 0x90 or first in (0xDC, 0xDD)


def _find_fault(value: object, depth: int) -> str | None:
    """Return what keeps a value out of the canonical subset, or None."""
    kind = type(value)
    if kind is bytes:
        return None
    if kind is int:
        return None if 0 <= value <= MAX_UINT else f"integer {value} outside 0..2^64-1"  # type: ignore[operator]
    if kind is str:
        return None if _is_utf8(value) else "text that is not UTF-8"  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        return _find_fault_in(value, depth)  # type: ignore[arg-type]
    return f"{kind.__name__} is not an array, unsigned integer, byte string or text"


def _find_fault_in(items: Sequence[object], depth: int) -> str | None:
    if depth == 0:
        return f"arrays nested deeper than {MAX_DEPTH}"
    if len(items) > MAX_ITEMS:
        return f"array of {len(items)} items, at most {MAX_ITEMS}"
    for item in items:
        if fault := _find_fault(item, depth - 1):
            return fault
    return None


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
