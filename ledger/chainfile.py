"""The exported chain: one file with everything that is needed to replay it from genesis to a head.

    file   = MAGIC || genesis record || for each block: its blob records, its block record || end record
    record = kind u8 || length u32 || CRC-32 u32 of kind, length and content || content
    kind   = 1 genesis, 2 blob, 3 block, 4 end; content of the end: block count u64 || hash of the last block 32

A block's blobs are its sidecars, each once, in the order of its transactions. The checksum only tells a damaged copy
from a chain that breaks a rule: what the blocks say is for the chain to check. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ledger.blocks import Block, decode_block
from ledger.errors import DecodeError, InvalidTransaction
from ledger.genesis import MAX_GENESIS_BYTES, Genesis
from ledger.hashing import HASH_BYTES, check_cid, cid_text
from ledger.params import ChainParams
from ledger.sidecars import sidecars_of

MAGIC = b"GCCHAIN1"
GENESIS, BLOB, BLOCK, END = 1, 2, 3, 4
PREFIX = struct.Struct(">BI")
CHECKSUM = struct.Struct(">I")
END_CONTENT = struct.Struct(f">Q{HASH_BYTES}s")
END_RECORD_BYTES = PREFIX.size + CHECKSUM.size + END_CONTENT.size
MAX_RECORD_BYTES = 16 << 20  # whatever limits a file's own genesis claims

Read = Callable[[int], bytes]  # as a binary file's: fewer bytes only at the end


@dataclass(frozen=True, slots=True)
class FiledBlock:
    """A block of a chain file with the bytes of its sidecars."""

    block: Block
    blobs: tuple[bytes, ...]


def encode_start(genesis: Genesis) -> bytes:
    """Return the bytes a chain file begins with."""
    return MAGIC + _encode_record(GENESIS, genesis.encode())


def encode_block(block: bytes, blobs: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the records of a block: its sidecars, in the order of `list_sidecars`, then itself."""
    for blob in blobs:
        yield _encode_record(BLOB, blob)
    yield _encode_record(BLOCK, block)


def encode_end(count: int, head: bytes) -> bytes:
    """Return the last record: how many blocks there are, and the hash of the last (the chain id if none)."""
    return _encode_record(END, END_CONTENT.pack(count, head))


def read_end(tail: bytes) -> tuple[int, bytes]:
    """Return (number of blocks, head hash) from a file's last END_RECORD_BYTES."""
    count, head = END_CONTENT.unpack(tail[-END_CONTENT.size :].rjust(END_CONTENT.size))
    if tail != encode_end(count, head):
        raise DecodeError("chain file: it does not end with an end record: the copy is cut short or damaged")
    return count, head


def list_sidecars(block: Block, params: ChainParams) -> list[bytes]:
    """Return the CIDs of a block's sidecars, each once."""
    cids = [cid for tx in block.transactions for cid, _ in sidecars_of(tx, params)]
    return list(dict.fromkeys(cids))


class ChainFile:
    """A chain file being read: `genesis` at once, then each block as it is iterated, to the end record.

    DecodeError for anything that no writer writes, and for a file cut short. Memory is bounded by one block's records.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        magic = read(len(MAGIC))
        if magic != MAGIC:
            raise DecodeError(f"not a chain file: expected {MAGIC!r} first, got {magic!r}")
        kind, content = self._read_record(MAX_GENESIS_BYTES)
        if kind != GENESIS:
            raise DecodeError(f"chain file: expected genesis first, got a record of kind {kind}")
        self.genesis = Genesis.decode(content)

    def __iter__(self) -> Iterator[FiledBlock]:
        params, count, head = self.genesis.params, 0, self.genesis.chain_id
        limit = min(MAX_RECORD_BYTES, max(params.block_limit, params.sidecar_limit, END_CONTENT.size))
        blobs: list[bytes] = []
        while True:
            kind, content = self._read_record(limit)
            if kind == BLOB:
                blobs.append(content)
                _check_blob_room(blobs, params)
            elif kind == BLOCK:
                filed = _read_block(content, blobs, params)
                count, head, blobs = count + 1, filed.block.hash, []
                yield filed
            elif kind == END and not blobs:
                return self._check_end(content, count, head)
            else:
                raise DecodeError(f"chain file: a record of kind {kind} after block {count}")

    def _check_end(self, content: bytes, count: int, head: bytes) -> None:
        if content != END_CONTENT.pack(count, head):
            raise DecodeError(f"chain file: its end does not stand for {count} blocks up to {head.hex()}")
        if self._read(1):
            raise DecodeError("chain file: bytes after its end")

    def _read_record(self, limit: int) -> tuple[int, bytes]:
        prefix = self._read_exactly(PREFIX.size)
        kind, length = PREFIX.unpack(prefix)
        if length > limit:
            raise DecodeError(f"chain file: a record of {length} bytes, at most {limit} expected")
        (checksum,) = CHECKSUM.unpack(self._read_exactly(CHECKSUM.size))
        content = self._read_exactly(length)
        if zlib.crc32(content, zlib.crc32(prefix)) != checksum:
            raise DecodeError("chain file: a record's checksum does not match: the copy is damaged")
        return kind, content

    def _read_exactly(self, length: int) -> bytes:
        data = self._read(length)
        if len(data) != length:
            raise DecodeError("chain file: it ends in the middle of a record")
        return data


def _encode_record(kind: int, content: bytes) -> bytes:
    prefix = PREFIX.pack(kind, len(content))
    return prefix + CHECKSUM.pack(zlib.crc32(content, zlib.crc32(prefix))) + content


def _check_blob_room(blobs: list[bytes], params: ChainParams) -> None:
    size = sum(len(blob) for blob in blobs)
    if size > params.sidecar_limit or not blobs[-1]:
        raise DecodeError(f"chain file: blobs of {size} bytes before a block, at most {params.sidecar_limit}")


def _read_block(content: bytes, blobs: list[bytes], params: ChainParams) -> FiledBlock:
    block = decode_block(content, params)
    try:
        wanted = list_sidecars(block, params)
    except InvalidTransaction as error:
        raise DecodeError(f"chain file: block {block.header.work.height}: {error}") from error
    if len(wanted) != len(blobs) or not all(map(check_cid, wanted, blobs)):
        names = ", ".join(map(cid_text, wanted)) or "none"
        raise DecodeError(f"chain file: block {block.header.work.height} needs other blobs: {names}")
    return FiledBlock(block, tuple(blobs))
