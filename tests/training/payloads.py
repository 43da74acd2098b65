"""Payloads in plain Python integers, after section 10.2: what the engine reads and writes is compared with this."""

from collections.abc import Sequence
from itertools import pairwise

CHUNK = 4096
Chunk = tuple[int, list[int], list[int]]  # step, numbers (none of a dense chunk), codes


def write_payload(bits: int, kept: int, chunks: Sequence[Chunk]) -> bytes:
    parts = [b"GCU1", bytes([bits]), kept.to_bytes(2, "little")]
    for step, numbers, codes in chunks:
        parts += [step.to_bytes(4, "little"), pack(numbers, 12), pack(codes, bits)]
    return b"".join(parts)


def read_payload(payload: bytes, count: int) -> tuple[int, int, list[Chunk]] | None:
    """Bits, kept and chunks, or nothing if it is no payload."""
    bits, kept = int.from_bytes(payload[4:5], "little"), int.from_bytes(payload[5:7], "little")
    if len(payload) < 7 or payload[:4] != b"GCU1" or bits not in (2, 4, 8) or not 1 <= kept <= CHUNK:
        return None
    chunks, rest = [], payload[7:]
    for length in cut(count):
        stored = min(kept, length)
        ends = [4, 4 + (0 if stored == length else size(stored * 12))]
        ends.append(ends[1] + size(stored * bits))
        step, numbers = int.from_bytes(rest[:4], "little"), unpack(rest[4 : ends[1]], 12)
        chunk = step, numbers[:stored], unpack(rest[ends[1] : ends[2]], bits)[:stored]
        rising = all(low < high for low, high in pairwise([*chunk[1], length]))
        if len(rest) < ends[2] or step > 2**27 or not rising:
            return None
        chunks.append(chunk)
        rest = rest[ends[2] :]
    return (bits, kept, chunks) if write_payload(bits, kept, chunks) == payload else None


def list_entries(bits: int, chunks: Sequence[Chunk], count: int) -> list[int]:
    """The delta."""
    delta = []
    for (step, numbers, codes), length in zip(chunks, cut(count), strict=True):
        entries = [0] * length
        for number, code in zip(numbers or range(length), codes, strict=True):
            entries[number] = max(-(2**28), min(2**28, (2 * code - (2**bits - 1)) * step))
        delta += entries
    return delta


def round_delta(delta: Sequence[int], kept: int, bits: int) -> bytes:
    """A payload of a delta, with the step that reaches the largest entry of a chunk. Integers only, so that vectors
    do not depend on how the engine rounds."""
    chunks: list[Chunk] = []
    first = 0
    for length in cut(len(delta)):
        entries = delta[first : first + length]
        numbers = sorted(sorted(range(length), key=lambda i: (-abs(entries[i]), i))[:kept])
        highest = 2**bits - 1
        step = -(-max(abs(entry) for entry in entries) // highest)
        codes = [min(highest, max(0, (entries[i] // max(step, 1) + highest + 1) // 2)) for i in numbers]
        chunks.append((step, numbers if kept < length else [], codes))
        first += length
    return write_payload(bits, kept, chunks)


def cut(count: int) -> list[int]:
    """Lengths of the chunks."""
    return [min(CHUNK, count - first) for first in range(0, count, CHUNK)]


def pack(values: Sequence[int], width: int) -> bytes:
    digits = "".join(f"{n:0{width}b}" for n in reversed(values))
    return int(digits or "0", 2).to_bytes(size(len(values) * width), "little")


def unpack(packed: bytes, width: int) -> list[int]:
    digits = "".join(f"{byte:08b}" for byte in reversed(packed))
    ends = range(len(digits), width - 1, -width)
    return [int(digits[end - width : end], 2) for end in ends]


def size(bits: int) -> int:
    return -(-bits // 8)
