"""What takes a block back: the entries it replaced, and the steps its settlements made in the weights.

The step (new minus old, compressed) restores weights older than the versions a node keeps, so that a reorganisation may
be deeper than these. Source: docs/protocol.md, sections 3 and 10.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from dataclasses import dataclass

from ledger.codec import Encodable, decode, encode, read_bytes, read_list
from ledger.state import Changes

MAX_UNDO_BYTES = (
    1 << 30
)  # our own data, a bound against a damaged database: one step for each of 64 jobs fits


@dataclass(frozen=True, slots=True)
class WeightStep:
    """A version's change: `new` minus the step is `old` (CIDs); zlib of little-endian int64."""

    new: bytes
    old: bytes
    step: bytes


@dataclass(frozen=True, slots=True)
class Undo:
    changes: Changes
    steps: tuple[WeightStep, ...]

    def encode(self) -> bytes:
        changes: list[Encodable] = [[key, [] if old is None else [old]] for key, old in self.changes.items()]
        return encode([changes, [[s.new, s.old, s.step] for s in self.steps]])


def decode_undo(data: bytes) -> Undo:
    changes, steps = read_list(decode(data, MAX_UNDO_BYTES), "undo", 2)
    old: Changes = {}
    for row in read_list(changes, "changes"):
        key, value = read_list(row, "change", 2)
        values = read_list(value, "old value", limit=1)
        old[read_bytes(key, "key")] = read_bytes(values[0], "old value") if values else None
    return Undo(old, tuple(_read_step(row) for row in read_list(steps, "steps")))


def _read_step(row: object) -> WeightStep:
    new, old, step = read_list(row, "step", 3)
    return WeightStep(read_bytes(new, "new"), read_bytes(old, "old"), read_bytes(step, "step"))


def make_step(new_cid: bytes, new: bytes, old_cid: bytes, old: bytes) -> WeightStep:
    after, before = _read_int64(new), _read_int64(old)
    step = array("q", [a - b for a, b in zip(after, before, strict=True)])
    return WeightStep(new_cid, old_cid, zlib.compress(_write_int64(step), 1))


def take_step_back(step: WeightStep, new: bytes) -> bytes:
    """Return the old weights' bytes."""
    change = _read_int64(zlib.decompress(step.step, bufsize=len(new)))
    before = array("q", [a - d for a, d in zip(_read_int64(new), change, strict=True)])
    return _write_int64(before)


def _read_int64(data: bytes) -> array[int]:
    values = array("q")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _write_int64(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = array("q", values)
        values.byteswap()
    return values.tobytes()
