"""What a miner says of the privacy of an update of its own samples: shape and bounds, and that its cost is in its sum.

Nothing of it can be verified from a chain: neither the noise nor the samples. Source: docs/protocol.md, section 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.codec import Encodable, read_bytes, read_list, read_uint
from ledger.errors import DecodeError
from ledger.hashing import HASH_BYTES

ONE_EPSILON, ONE_DELTA = 10**3, 10**15
MOST_EPSILON = 64 * ONE_EPSILON
MOST_CLIP, MOST_SPENT = 1 << 62, 1 << 62  # in units of 2^-24 and 2^-40
MOST_NOISE = 1 << 42  # in units of 2^-24
MOST_STEPS = 64
COST_OF_ONE = 1 << 90  # of noise in units of 2^-24: its square divides this


@dataclass(frozen=True, slots=True)
class PrivacyRecord:
    """The accounting of a private update. The units are those of the protocol."""

    data_id: bytes
    epsilon: int
    delta: int
    clip: int
    noise: int
    steps: int
    spent: int

    @property
    def cost(self) -> int:
        """What this update adds to `spent`."""
        return self.steps * -(-COST_OF_ONE // self.noise**2)

    def to_list(self) -> list[Encodable]:
        """Return the fields as encoded."""
        return [self.data_id, self.epsilon, self.delta, self.clip, self.noise, self.steps, self.spent]


def read_privacy(value: object) -> PrivacyRecord:
    """Return the record of those fields; else DecodeError."""
    data_id, epsilon, delta, clip, noise, steps, spent = read_list(value, "privacy", 7)
    record = PrivacyRecord(
        data_id=read_bytes(data_id, "data id", HASH_BYTES),
        epsilon=read_uint(epsilon, "epsilon", 1, MOST_EPSILON),
        delta=read_uint(delta, "delta", 1, ONE_DELTA - 1),
        clip=read_uint(clip, "clip", 1, MOST_CLIP),
        noise=read_uint(noise, "noise", 1, MOST_NOISE),
        steps=read_uint(steps, "noised sums", 1, MOST_STEPS),
        spent=read_uint(spent, "spent", 1, MOST_SPENT),
    )
    if record.cost > record.spent:
        raise DecodeError(f"spent: expected at least this update's {record.cost}, got {record.spent}")
    return record


def list_privacy(record: PrivacyRecord | None) -> list[Encodable]:
    """Return what a longer encoding ends with: the record, or nothing."""
    return [] if record is None else [record.to_list()]


def split_privacy(value: object, name: str, length: int) -> tuple[list[object], PrivacyRecord | None]:
    """Return the `length` items of an array, and the record that may come after them; else DecodeError."""
    items: list[object] = list(read_list(value, name))
    if len(items) not in (length, length + 1):
        raise DecodeError(f"{name}: expected {length} or {length + 1} items, got {len(items)}")
    return items[:length], read_privacy(items[length]) if len(items) > length else None
