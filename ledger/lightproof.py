"""The light proof: that a job's record stands in the state of a chain, checked with headers alone.

    proof = MAGIC || length u32 || enc([genesis, job id, record, place, path, count]) || headers of 1 to count

Pure: bytes in, bytes out; memory is bounded by the start, the headers are read one by one.
Source: docs/protocol.md, section 14.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ledger.blocks import HEADER_BYTES, Header, decode_header
from ledger.codec import MAX_AMOUNT, decode, encode, read_bytes, read_list, read_uint
from ledger.errors import DecodeError, LedgerError
from ledger.genesis import MAX_GENESIS_BYTES, Genesis
from ledger.hashing import HASH_BYTES
from ledger.records import MAX_RECORD_BYTES, JobRecord, decode_job, job_key
from ledger.smt import DEPTH, SparseMerkleTree, StateProof, hash_value
from ledger.state import leaf_key

MAGIC = b"GCPROOF1"
LENGTH = struct.Struct(">I")
FIELDS = 6
MAX_PATH_BYTES = DEPTH * HASH_BYTES
MAX_START_BYTES = MAX_GENESIS_BYTES + MAX_RECORD_BYTES + MAX_PATH_BYTES + 256  # the rest is less than 256

Read = Callable[[int], bytes]  # as a binary file's: fewer bytes only at the end


class FalseProof(LedgerError):
    """A proof that is well formed and does not show what it says."""


@dataclass(frozen=True, slots=True)
class LightProof:
    """All of a proof but its headers. The record is the state's after block `place` - 1."""

    genesis: Genesis
    job_id: bytes
    record: bytes
    place: int  # height of the header whose state root the path leads to
    path: tuple[bytes, ...]  # top first
    count: int  # of headers

    @property
    def headers_at(self) -> int:
        """Where in the file the first header begins."""
        return len(self.encode_start())

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole proof."""
        return self.headers_at + self.count * HEADER_BYTES

    def encode_start(self) -> bytes:
        """Return the bytes before the headers."""
        path = b"".join(self.path)
        start = encode([self.genesis.encode(), self.job_id, self.record, self.place, path, self.count])
        return MAGIC + LENGTH.pack(len(start)) + start

    def read_record(self) -> JobRecord:
        """Return the record; DecodeError if it is none."""
        return decode_job(self.record)

    def check_record(self, state_root: bytes) -> None:
        """Raise FalseProof unless the state of that root holds the record under the job's key."""
        key, value_hash = leaf_key(job_key(self.job_id)), hash_value(self.record)
        proof = StateProof(self.path, (key, value_hash))
        if not SparseMerkleTree.verify(state_root, key, value_hash, proof):
            raise FalseProof(
                f"job {self.job_id.hex()}: this record does not stand under the state root {state_root.hex()}"
            )


def read_start(read: Read) -> LightProof:
    """Return what stands before the headers; DecodeError if it is no proof's."""
    magic = read(len(MAGIC))
    if magic != MAGIC:
        raise DecodeError(f"not a light proof: expected {MAGIC!r} first, got {magic!r}")
    (length,) = LENGTH.unpack(_read_exactly(read, LENGTH.size, "the length of its start"))
    if length > MAX_START_BYTES:
        raise DecodeError(f"light proof: a start of {length} bytes, at most {MAX_START_BYTES} expected")
    data = _read_exactly(read, length, "its start")
    genesis, job_id, record, place, path, count = read_list(
        decode(data, MAX_START_BYTES), "light proof", FIELDS
    )
    headers = read_uint(count, "count of headers", 1, MAX_AMOUNT)
    proof = LightProof(
        Genesis.decode(read_bytes(genesis, "genesis", limit=MAX_GENESIS_BYTES)),
        read_bytes(job_id, "job id", HASH_BYTES),
        read_bytes(record, "record", limit=MAX_RECORD_BYTES),
        read_uint(place, "place", 1, headers),
        _read_path(path),
        headers,
    )
    proof.read_record()
    return proof


def read_headers(proof: LightProof, read: Read) -> Iterator[Header]:
    """Yield the headers that follow the start; DecodeError unless there are `count` of them and no more."""
    for number in range(1, proof.count + 1):
        data = read(HEADER_BYTES)
        if len(data) != HEADER_BYTES:
            raise DecodeError(
                f"light proof: cut short: {proof.count} headers expected, it ends in that of height {number}"
            )
        yield decode_header(data)
    if read(1):
        raise DecodeError(f"light proof: bytes after the last of {proof.count} headers")


def _read_path(value: object) -> tuple[bytes, ...]:
    path = read_bytes(value, "path", limit=MAX_PATH_BYTES)
    if len(path) % HASH_BYTES:
        raise DecodeError(f"path: expected hashes of {HASH_BYTES} bytes, got {len(path)} bytes")
    return tuple(path[i : i + HASH_BYTES] for i in range(0, len(path), HASH_BYTES))


def _read_exactly(read: Read, length: int, what: str) -> bytes:
    data = read(length)
    if len(data) != length:
        raise DecodeError(f"light proof: cut short in {what}: {length} bytes expected, got {len(data)}")
    return data
