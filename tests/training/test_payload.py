"""Payloads: what is one, what is not, and what rounding to one costs."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.payloads import (
    Chunk,
    cut,
    list_entries,
    pack,
    read_payload,
    round_delta,
    write_payload,
)
from training.errors import BadInput, PayloadRefused
from training.payload import decode_payload, encode_payload, size_of_payload

COUNT = 20
GOOD = write_payload(4, 5, [(1000, [0, 3, 4, 11, 19], [0, 15, 8, 7, 1])])
NUMBERS, CODES = slice(11, 19), slice(19, 22)  # of GOOD: 60 and 20 bits, both with four bits of filling


def change(where: slice, value: bytes) -> bytes:
    """GOOD with some bytes changed."""
    raw = bytearray(GOOD)
    raw[where] = value
    return bytes(raw)


def test_payload_is_read_by_the_book() -> None:
    expected = [0] * COUNT
    expected[0], expected[3], expected[4] = -15 * 1000, 15 * 1000, 1000
    expected[11], expected[19] = -1000, -13 * 1000
    assert decode_payload(GOOD, COUNT).tolist() == expected
    assert decode_payload(GOOD, COUNT).dtype == np.int64


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (b"", "magic"),
        (GOOD[:6], "magic"),
        (change(slice(0, 4), b"GCU2"), "magic"),
        (change(slice(4, 5), b"\x03"), "bits"),
        (change(slice(4, 5), b"\x00"), "bits"),
        (change(slice(4, 5), b"\x10"), "bits"),
        (change(slice(5, 7), (0).to_bytes(2, "little")), "kept"),
        (change(slice(5, 7), (4097).to_bytes(2, "little")), "kept"),
        (GOOD[:7], "length"),
        (GOOD[:-1], "length"),
        (GOOD + b"\x00", "length"),
        (change(slice(4, 5), b"\x02"), "length"),
        (change(slice(5, 7), (6).to_bytes(2, "little")), "length"),
        (change(slice(5, 7), (20).to_bytes(2, "little")), "length"),  # dense: no numbers
        (change(slice(7, 11), (2**27 + 1).to_bytes(4, "little")), "step"),
        (change(slice(7, 11), b"\xff" * 4), "step"),
        (change(NUMBERS, pack([0, 3, 3, 11, 19], 12)), "numbers"),
        (change(NUMBERS, pack([3, 0, 4, 11, 19], 12)), "numbers"),
        (change(NUMBERS, pack([0, 3, 4, 11, 20], 12)), "numbers"),
        (change(NUMBERS, pack([0, 3, 4, 11, 19, 1], 12)[:8]), "numbers"),
        (change(CODES, pack([0, 15, 8, 7, 1, 1], 4)), "codes"),
        (change(CODES, pack([0, 15, 8, 7, 1, 8], 4)), "codes"),
    ],
)
def test_other_bytes_are_refused_by_field(payload: bytes, field: str) -> None:
    with pytest.raises(PayloadRefused) as refusal:
        decode_payload(payload, COUNT)
    assert refusal.value.field == field
    assert read_payload(payload, COUNT) is None


def test_length_is_compared_before_anything_is_parsed() -> None:
    """A refusal for the length, though step, numbers and filling are wrong as well."""
    with pytest.raises(PayloadRefused, match="length"):
        decode_payload(b"GCU1\x08\x00\x10" + b"\xff" * 100, 2**20)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_every_chunk_is_checked(position: int) -> None:
    count, chunks = 2 * 4096 + 100, [(1, [0, 1], [1, 1])] * 3
    assert decode_payload(write_payload(4, 2, chunks), count).any()
    chunks[position] = (1, [1, 0], [1, 1])
    with pytest.raises(PayloadRefused, match="numbers"):
        decode_payload(write_payload(4, 2, chunks), count)


def test_entries_are_clipped() -> None:
    payload = write_payload(8, 4096, [(2**27, [], [0, 126, 127, 128, 129, 255])])
    limit, step = 2**28, 2**27
    assert decode_payload(payload, 6).tolist() == [-limit, -limit, -step, step, limit, limit]


@st.composite
def payloads(draw: st.DrawFn) -> tuple[bytes, int]:
    """Payloads with up to three chunks, and the number of their entries."""
    count = draw(st.integers(1, 40) | st.sampled_from([4095, 4096, 4097, 8192, 8200]))
    bits, kept = draw(st.sampled_from([2, 4, 8])), draw(st.integers(1, 30) | st.sampled_from([4095, 4096]))
    chunks: list[Chunk] = []
    for length in cut(count):
        stored = min(kept, length)
        rng = draw(st.randoms(use_true_random=False))
        numbers = sorted(rng.sample(range(length), stored)) if stored < length else []
        codes = [rng.randrange(2**bits) for _ in range(stored)]
        chunks.append((draw(st.integers(0, 2**27)), numbers, codes))
    return write_payload(bits, kept, chunks), count


def judge(payload: bytes, count: int) -> None:
    """Either refused, or what the reference reads, which then writes the very same bytes."""
    read = read_payload(payload, count)
    if read is None:
        with pytest.raises(PayloadRefused):
            decode_payload(payload, count)
    else:
        bits, kept, chunks = read
        assert decode_payload(payload, count).tolist() == list_entries(bits, chunks, count)
        assert write_payload(bits, kept, chunks) == payload
        assert len(payload) == size_of_payload(count, kept, bits)


@given(payloads())
def test_canonical_bytes_are_read_as_the_reference_reads_them(pair: tuple[bytes, int]) -> None:
    payload, count = pair
    assert read_payload(payload, count) is not None
    judge(payload, count)


@settings(max_examples=300)
@given(payloads(), st.data())
def test_changed_bytes_are_refused_or_read_as_the_reference_reads_them(
    pair: tuple[bytes, int], data: st.DataObject
) -> None:
    raw, count = bytearray(pair[0]), pair[1]
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, min(len(raw), 60) - 1) | st.integers(0, len(raw) - 1))
        raw[position] ^= 1 << data.draw(st.integers(0, 7))
    cut_off = data.draw(st.sampled_from([0, 0, 0, 1, 5]))
    judge(bytes(raw[: len(raw) - cut_off]), count)


@given(st.binary(max_size=200), st.integers(1, 5000))
def test_any_bytes_are_refused_or_canonical(tail: bytes, count: int) -> None:
    judge(tail, count)
    judge(b"GCU1" + tail, count)


@given(st.integers(1, 60), st.sampled_from([2, 4, 8]), st.data())
def test_any_bytes_of_the_right_length_are_refused_or_canonical(
    count: int, bits: int, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, 70))
    size = size_of_payload(count, kept, bits) - 7
    tail = data.draw(st.binary(min_size=size, max_size=size))
    judge(b"GCU1" + bytes([bits]) + kept.to_bytes(2, "little") + tail, count)


# --- writing ----------------------------------------------------------------------------------------------------------


def draw_delta(count: int, spread: float = 1e5) -> np.ndarray:
    return np.rint(np.random.default_rng(count).standard_normal(count) * spread).astype(np.int64)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kept", [1, 7, 4095, 4096])
@pytest.mark.parametrize("count", [1, 300, 4097, 9000])
def test_written_payload_is_canonical_and_near(count: int, kept: int, bits: int) -> None:
    delta = draw_delta(count)
    payload = encode_payload(delta, kept, bits)
    assert len(payload) == size_of_payload(count, kept, bits)
    judge(payload, count)
    left = delta - decode_payload(payload, count)
    simple = delta - decode_payload(round_delta(delta.tolist(), kept, bits), count)
    assert 100 * (left * left).sum() <= 101 * (simple * simple).sum()
    assert (left * left).sum() < (delta * delta).sum()
    assert payload == encode_payload(delta.astype(np.int32), kept, bits)


def test_more_bits_leave_less_error() -> None:
    delta = draw_delta(5000)
    errors = [
        np.square(delta - decode_payload(encode_payload(delta, 4096, bits), 5000)).sum() for bits in (2, 4, 8)
    ]
    assert errors[0] > 8 * errors[1] > 64 * errors[2]


@given(st.sampled_from([2, 4, 8]), st.integers(1, 2**20), st.data())
def test_delta_on_the_levels_is_written_exactly(bits: int, step: int, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=30))
    delta = np.array([(2 * code - 2**bits + 1) * step for code in [*codes, 0]])
    assert decode_payload(encode_payload(delta, 4096, bits), len(delta)).tolist() == delta.tolist()


def test_of_equal_entries_the_first_are_kept() -> None:
    delta = np.array([5, -7, 7, 7, -7, 5, 7])
    assert np.flatnonzero(decode_payload(encode_payload(delta, 3, 8), 7)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("largest", [2**28, 2**40, -(2**62)])
def test_entries_out_of_range_are_written_as_the_limit(largest: int) -> None:
    delta = np.array([largest, 0, 0])
    limit = 2**28 if largest > 0 else -(2**28)
    assert abs(decode_payload(encode_payload(delta, 1, 8), 3)[0] - limit) < 2**8


def test_nothing_is_written_as_nothing() -> None:
    assert not decode_payload(encode_payload(np.zeros(5000, np.int64), 100, 2), 5000).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: encode_payload(np.zeros(3, np.int64), 0, 2),
        lambda: encode_payload(np.zeros(3, np.int64), 4097, 2),
        lambda: encode_payload(np.zeros(3, np.int64), 1, 3),
        lambda: encode_payload(np.zeros(0, np.int64), 1, 2),
        lambda: encode_payload(np.zeros((2, 2), np.int64), 1, 2),
        lambda: encode_payload(np.zeros(3), 1, 2),
    ],
)
def test_what_cannot_be_written_is_refused(call: Callable[[], bytes]) -> None:
    with pytest.raises(BadInput, match="payload"):
        call()
