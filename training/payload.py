"""Payloads: an update's delta as bytes (section 10.2). Decoding is consensus, rounding a delta is its miner's choice.

    payload = "GCU1" || bits u8 (2, 4 or 8) || kept u16 LE (1..4096) || chunk, ...
    chunk   = step u32 LE (0 .. 2^27) || if q < l: q numbers of 12 bits || q codes of `bits` bits

Full chunks have one length, so they are read as rows of one array; a shorter last one is a row of its own.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import BadInput, PayloadRefused
from training.exact.integers import DELTA_LIMIT, Integers

MAGIC = b"GCU1"
HEADER_BYTES = len(MAGIC) + 1 + 2
CHUNK = 4096  # entries; one less fits NUMBER_BITS
NUMBER_BITS = 12
CODE_BITS = (2, 4, 8)
MAX_STEP = 1 << 27
STEP_BYTES = 4
WORD_BITS = 16  # numbers and codes are unpacked into words of two bytes
STEP_PARTS = 12  # the encoder tries steps that reach 1/12, 2/12, ... of the largest entry

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint16]
Floats = NDArray[Any]  # Any: numpy's types lose float64 in arithmetic with Python's floats


@dataclass(frozen=True, slots=True)
class _Rows:
    """Chunks of one length: `count` chunks of `length` entries, `kept` of them stored, and where they lie."""

    first: int  # entry
    count: int
    length: int
    kept: int
    bits: int

    @property
    def numbers_bytes(self) -> int:
        return _count_bytes(self.kept * NUMBER_BITS) if self.kept < self.length else 0

    @property
    def codes_bytes(self) -> int:
        return _count_bytes(self.kept * self.bits)

    @property
    def chunk_bytes(self) -> int:
        return STEP_BYTES + self.numbers_bytes + self.codes_bytes

    @property
    def entries(self) -> slice:
        return slice(self.first, self.first + self.count * self.length)


def size_of_payload(count: int, kept: int, bits: int) -> int:
    """Bytes of a payload of `count` entries."""
    return HEADER_BYTES + sum(rows.count * rows.chunk_bytes for rows in _lay_out(count, kept, bits))


@lru_cache(maxsize=64)  # of a small model, laying it out takes as long as reading it
def _lay_out(count: int, kept: int, bits: int) -> tuple[_Rows, ...]:
    full, rest = divmod(count, CHUNK)
    chunks = (_Rows(0, full, CHUNK, kept, bits), _Rows(count - rest, 1, rest, min(kept, rest), bits))
    return tuple(rows for rows in chunks if rows.count and rows.length)


def _count_bytes(bits: int) -> int:
    return (bits + 7) // 8


# --- reading ----------------------------------------------------------------------------------------------------------


def decode_payload(payload: bytes, count: int) -> Integers:
    """The delta of `count` master units, within +-2^28; raises PayloadRefused for anything that is not canonical."""
    kept, bits = _read_header(payload)
    size = size_of_payload(count, kept, bits)
    if len(payload) != size:
        raise PayloadRefused(
            "length",
            f"{size} bytes expected for {count} entries, {kept} kept of a chunk, {bits} bits,"
            f" got {len(payload)}",
        )
    raw, offset = np.frombuffer(payload, np.uint8), HEADER_BYTES
    delta = np.zeros(count, np.int64)
    for rows in _lay_out(count, kept, bits):
        end = offset + rows.count * rows.chunk_bytes
        delta[rows.entries] = _read_rows(raw[offset:end].reshape(rows.count, -1), rows).reshape(-1)
        offset = end
    return delta


def _read_header(payload: bytes) -> tuple[int, int]:
    if len(payload) < HEADER_BYTES or not payload.startswith(MAGIC):
        raise PayloadRefused("magic", f"{MAGIC!r}, bits and kept expected, got {payload[:HEADER_BYTES]!r}")
    bits = payload[len(MAGIC)]
    kept = int.from_bytes(payload[len(MAGIC) + 1 : HEADER_BYTES], "little")
    if bits not in CODE_BITS:
        raise PayloadRefused("bits", f"2, 4 or 8 expected, got {bits}")
    if not 1 <= kept <= CHUNK:
        raise PayloadRefused("kept", f"1 to {CHUNK} expected, got {kept}")
    return kept, bits


def _read_rows(raw: Bytes, rows: _Rows) -> Integers:
    """Chunks [count, chunk_bytes] as entries [count, length]."""
    steps = raw[:, :STEP_BYTES].copy().view("<u4").astype(np.int64)
    largest = int(steps.max())
    if largest > MAX_STEP:
        raise PayloadRefused("step", f"at most {MAX_STEP} expected, got {largest}")
    numbers_end = STEP_BYTES + rows.numbers_bytes
    codes = _unpack("codes", raw[:, numbers_end:], rows.kept, rows.bits)
    values = _dequantise(codes.astype(np.int64), steps, rows.bits, largest)
    if not rows.numbers_bytes:
        return values
    numbers = _unpack("numbers", raw[:, STEP_BYTES:numbers_end], rows.kept, NUMBER_BITS).astype(np.int64)
    if (numbers[:, 1:] <= numbers[:, :-1]).any() or int(numbers.max()) >= rows.length:
        raise PayloadRefused("numbers", f"strictly rising numbers below {rows.length} expected")
    entries = np.zeros((rows.count, rows.length), np.int64)
    np.put_along_axis(entries, numbers, values, axis=1)
    return entries


def _dequantise(codes: Integers, steps: Integers, bits: int, largest: int) -> Integers:
    """Entries of codes, none of whose steps is above `largest`."""
    levels = 2 * codes - ((1 << bits) - 1)
    values: Integers = levels * steps  # within 2^35
    if largest << bits <= DELTA_LIMIT:
        return values
    return np.clip(values, -DELTA_LIMIT, DELTA_LIMIT)


def _unpack(field: str, packed: Bytes, count: int, width: int) -> Words:
    """`count` integers of `width` bits from every row, least significant bits first: [rows, count]."""
    filled = count * width % 8
    if filled and (packed[:, -1] >> filled).any():
        raise PayloadRefused(field, "zeros expected where the last byte is filled")
    if width == NUMBER_BITS:
        return _unpack_triples(packed)[:, :count]
    mask = (1 << width) - 1
    parts = np.empty((*packed.shape, 8 // width), np.uint8)
    for place, shift in enumerate(range(0, 8, width)):
        np.right_shift(packed, shift, out=parts[:, :, place])
    parts &= mask
    return parts.reshape(len(packed), -1)[:, :count]


def _unpack_triples(packed: Bytes) -> NDArray[np.uint16]:
    """Two numbers of 12 bits from every three bytes; a last one alone lies in two."""
    padding = np.zeros((len(packed), -packed.shape[1] % 3), np.uint8)
    triples = np.concatenate([packed, padding], axis=1).reshape(len(packed), -1, 3).astype(np.uint16)
    first = triples[:, :, 0] | (triples[:, :, 1] & 15) << 8
    second = triples[:, :, 1] >> 4 | triples[:, :, 2] << 4
    return np.stack([first, second], axis=2).reshape(len(packed), -1)


# --- writing ----------------------------------------------------------------------------------------------------------


def encode_payload(delta: NDArray[Any], kept: int, bits: int) -> bytes:  # Any: any integer dtype
    """The payload of a flat delta in master units: the `kept` largest entries of every chunk, of equals the first,
    rounded to `bits` bits with the step that leaves the least squared error of those tried. Raises BadInput."""
    if bits not in CODE_BITS or not 1 <= kept <= CHUNK:
        raise BadInput(
            f"payload: 2, 4 or 8 bits and 1 to {CHUNK} kept entries expected, got {bits} and {kept}"
        )
    if delta.ndim != 1 or not len(delta) or not np.issubdtype(delta.dtype, np.integer):
        raise BadInput(
            f"payload: a flat delta of integers expected, got {delta.dtype} of shape {delta.shape}"
        )
    units = np.clip(delta, -DELTA_LIMIT, DELTA_LIMIT).astype(np.int64)
    header = MAGIC + bytes([bits]) + kept.to_bytes(2, "little")
    parts = [
        _write_rows(units[rows.entries].reshape(rows.count, -1), rows)
        for rows in _lay_out(len(units), kept, bits)
    ]
    return header + b"".join(parts)


def _write_rows(entries: Integers, rows: _Rows) -> bytes:
    """Entries [count, length] as chunks."""
    largest_first = np.argsort(-np.abs(entries), axis=1, kind="stable")
    numbers = np.sort(largest_first[:, : rows.kept], axis=1)
    values = np.take_along_axis(entries, numbers, axis=1)
    steps = _choose_steps(values, rows.bits)
    parts = [steps.astype("<u4").view(np.uint8)]
    if rows.numbers_bytes:
        parts.append(_pack(numbers, NUMBER_BITS))
    parts.append(_pack(_quantise(values, steps, rows.bits), rows.bits))
    return np.concatenate(parts, axis=1).tobytes()


def _choose_steps(values: Integers, bits: int) -> Integers:
    """A step for each row of kept values: [count, 1]. Floating point: nobody else has to choose the same."""
    peaks = np.abs(values).max(axis=1, keepdims=True).astype(np.float64)
    best = np.zeros(peaks.shape, np.int64)
    least = _measure_error(values, best, bits)
    for part in range(1, STEP_PARTS + 1):
        steps = _round_steps(peaks * (part / STEP_PARTS / ((1 << bits) - 1)))
        for candidate in (steps, _fit_steps(values, steps, bits)):
            error = _measure_error(values, candidate, bits)
            better = error < least
            best, least = np.where(better, candidate, best), np.where(better, error, least)
    return best


def _fit_steps(values: Integers, steps: Integers, bits: int) -> Integers:
    """The steps that suit the codes which these steps give best: least squares."""
    levels = (2 * _quantise(values, steps, bits) - ((1 << bits) - 1)).astype(np.float64)
    products = (levels * values).sum(axis=1, keepdims=True)
    return _round_steps(products / (levels * levels).sum(axis=1, keepdims=True))


def _round_steps(steps: Floats) -> Integers:
    return np.clip(np.rint(steps), 0, MAX_STEP).astype(np.int64)


def _measure_error(values: Integers, steps: Integers, bits: int) -> Floats:
    largest = int(steps.max(initial=0))
    lost = (_dequantise(_quantise(values, steps, bits), steps, bits, largest) - values).astype(np.float64)
    error: Floats = (lost * lost).sum(axis=1, keepdims=True)
    return error


def _quantise(values: Integers, steps: Integers, bits: int) -> Integers:
    """The codes whose entries are nearest."""
    highest = (1 << bits) - 1
    codes = np.rint((values / np.maximum(steps, 1) + highest) / 2)
    return np.clip(codes, 0, highest).astype(np.int64)


def _pack(values: Integers, width: int) -> Bytes:
    """Integers [rows, count] of `width` bits as rows of bytes, least significant bits first, filled with zeros."""
    words = values.astype("<u2").view(np.uint8).reshape(*values.shape, 2)
    bits = np.unpackbits(words, axis=2, bitorder="little")[:, :, :width]
    return np.packbits(bits.reshape(len(values), -1), axis=1, bitorder="little")
