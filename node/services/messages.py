"""Bytes of the network's messages and the names of its topics and protocols. Source: docs/protocol.md, section 13."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.blocks import HEADER_BYTES, Block, Header, decode_header
from ledger.codec import decode, encode, read_bytes, read_list, read_uint
from ledger.params import ChainParams
from ledger.transactions import Transaction, decode_transaction

INLINE_BYTES = 48 << 10
GOSSIP_BYTES = 64 << 10
STATUS_BYTES = 256
MAX_HEADERS = 256
MAX_BLOCKS = 32
MAX_LOCATOR = 64
HEADER_REPLY_BYTES = MAX_HEADERS * (HEADER_BYTES + 64 + 8) + 8
GET_HEADERS, GET_BLOCKS = 1, 2


@dataclass(frozen=True, slots=True)
class Names:
    """Topics and protocols of one chain."""

    prefix: str

    @classmethod
    def of_chain(cls, chain_id: bytes) -> Names:
        return cls(f"/gradientcoin/{chain_id[:8].hex()}")

    @property
    def blocks(self) -> str:
        return f"{self.prefix}/blocks/1"

    @property
    def transactions(self) -> str:
        return f"{self.prefix}/txs/1"

    @property
    def status(self) -> str:
        return f"{self.prefix}/status/1"

    @property
    def sync(self) -> str:
        return f"{self.prefix}/sync/1"

    @property
    def blob(self) -> str:
        return f"{self.prefix}/blob/1"


@dataclass(frozen=True, slots=True)
class Status:
    """A peer's chain, head and cumulative work."""

    chain_id: bytes
    head: bytes
    height: int
    chain_work: int

    def encode(self) -> bytes:
        return encode([self.chain_id, self.head, self.height, self.chain_work.to_bytes(32, "big")])


def decode_status(data: bytes) -> Status:
    chain_id, head, height, work = read_list(decode(data, STATUS_BYTES), "status", 4)
    return Status(
        read_bytes(chain_id, "chain id", 32),
        read_bytes(head, "head", 32),
        read_uint(height, "height"),
        int.from_bytes(read_bytes(work, "work", 32), "big"),
    )


@dataclass(frozen=True, slots=True)
class Announcement:
    """A block's header and the ids of its transactions; the transactions themselves when they are small."""

    header: Header
    signature: bytes
    txids: tuple[bytes, ...]
    transactions: tuple[Transaction, ...]


def encode_announcement(block: Block) -> bytes:
    txids = [tx.txid for tx in block.transactions]
    inline = [tx.encode() for tx in block.transactions]
    if sum(map(len, inline)) > INLINE_BYTES - 34 * len(txids):
        inline = []
    if 34 * len(txids) > INLINE_BYTES:
        txids = []  # too many to name: the body is pulled whole
    return encode([block.header.encode(), block.signature, txids, inline])


def decode_announcement(data: bytes, params: ChainParams) -> Announcement:
    header, signature, txids, inline = read_list(decode(data, GOSSIP_BYTES), "announcement", 4)
    return Announcement(
        decode_header(read_bytes(header, "header", HEADER_BYTES)),
        read_bytes(signature, "signature", 64),
        tuple(read_bytes(txid, "txid", 32) for txid in read_list(txids, "txids")),
        tuple(
            decode_transaction(read_bytes(tx, "transaction"), params)
            for tx in read_list(inline, "transactions")
        ),
    )


def encode_get_headers(locator: Sequence[bytes], limit: int = MAX_HEADERS) -> bytes:
    return encode([GET_HEADERS, list(locator)[:MAX_LOCATOR], limit])


def encode_get_blocks(hashes: Sequence[bytes]) -> bytes:
    return encode([GET_BLOCKS, list(hashes)])


def decode_headers_reply(data: bytes) -> list[tuple[Header, bytes]]:
    rows = read_list(decode(data, HEADER_REPLY_BYTES), "headers", limit=MAX_HEADERS)
    pairs = [read_list(row, "header", 2) for row in rows]
    return [
        (decode_header(read_bytes(h, "header", HEADER_BYTES)), read_bytes(s, "signature", 64))
        for h, s in pairs
    ]
