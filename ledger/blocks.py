"""Headers and blocks: records, bytes, hashes, and whether a body belongs to its header.

Source: docs/protocol.md, section 3. Header rules that need the parent are not known here.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.codec import MAX_AMOUNT, decode, encode, read_bytes, read_list, read_uint
from ledger.errors import DamagedBody, DecodeError
from ledger.hashing import tagged_hash
from ledger.keys import SIGNATURE_BYTES, KeyPair, verify
from ledger.merkle import merkle_root
from ledger.params import TARGET_BYTES, ChainParams
from ledger.transactions import LOSS_BYTES, Transaction, decode_transaction, verify_signature

VERSION = 1
HEARTBEAT = bytes(32)  # the job id of a heartbeat
WORK_HEADER = struct.Struct(">HQ32sQ32s32s32s32sI32sQ")
RESULT = struct.Struct(f">32s{LOSS_BYTES}s{LOSS_BYTES}s")
WORK_HEADER_BYTES = WORK_HEADER.size  # 222
HEADER_BYTES = WORK_HEADER_BYTES + RESULT.size  # 286


@dataclass(frozen=True, slots=True)
class WorkHeader:
    """What is fixed before the training run: its hash is the run's seed."""

    version: int
    height: int
    parent: bytes
    time_ms: int
    miner: bytes  # public key
    target: int
    job_id: bytes  # zeros: heartbeat
    tx_root: bytes
    tx_count: int
    state_root: bytes  # after the parent
    nonce: int
    seed: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", tagged_hash("gc/ticket-seed", self.encode()))

    def encode(self) -> bytes:
        """Return the 222 bytes."""
        target = self.target.to_bytes(TARGET_BYTES, "big")
        chain = (self.version, self.height, self.parent, self.time_ms, self.miner, target)
        return WORK_HEADER.pack(*chain, self.job_id, self.tx_root, self.tx_count, self.state_root, self.nonce)


@dataclass(frozen=True, slots=True)
class Header:
    """A work header with the result of its training run."""

    work: WorkHeader
    digest: bytes
    before: int  # sums of losses, u128
    after: int
    hash: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", tagged_hash("gc/block", self.encode()))

    @property
    def seed(self) -> bytes:
        """The seed of the training run."""
        return self.work.seed

    @property
    def ticket(self) -> int:
        """The number that must be under the threshold."""
        return int.from_bytes(tagged_hash("gc/ticket", self.seed + self._encode_result()), "big")

    def encode(self) -> bytes:
        """Return the 286 bytes."""
        return self.work.encode() + self._encode_result()

    def _encode_result(self) -> bytes:
        losses = (self.before.to_bytes(LOSS_BYTES, "big"), self.after.to_bytes(LOSS_BYTES, "big"))
        return RESULT.pack(self.digest, *losses)


@dataclass(frozen=True, slots=True)
class Block:
    """A header, the miner's signature over it, and its transactions."""

    header: Header
    signature: bytes
    transactions: tuple[Transaction, ...]

    @property
    def hash(self) -> bytes:
        """The header's hash, which names the block."""
        return self.header.hash

    def encode(self) -> bytes:
        """Return the canonical bytes; every transaction is a byte string."""
        return encode([self.header.encode(), self.signature, [tx.encode() for tx in self.transactions]])


def decode_header(data: bytes) -> Header:
    """Return the header of 286 bytes."""
    read_bytes(data, "header", HEADER_BYTES)
    version, height, parent, time_ms, miner, target, *rest = WORK_HEADER.unpack(data[:WORK_HEADER_BYTES])
    read_uint(version, "header version", VERSION, VERSION)
    read_uint(height, "height", 1, MAX_AMOUNT)
    read_uint(time_ms, "time", 0, MAX_AMOUNT)
    work = WorkHeader(version, height, parent, time_ms, miner, int.from_bytes(target, "big"), *rest)
    digest, before, after = RESULT.unpack(data[WORK_HEADER_BYTES:])
    return Header(work, digest, int.from_bytes(before, "big"), int.from_bytes(after, "big"))


def decode_block(data: bytes, params: ChainParams) -> Block:
    """Return the block with that encoding; whether the body is the header's is for `check_body`."""
    header, signature, transactions = read_list(decode(data, params.block_limit), "block", 3)
    return Block(
        decode_header(read_bytes(header, "header", HEADER_BYTES)),
        read_bytes(signature, "header signature", SIGNATURE_BYTES),
        tuple(_read_transaction(item, params) for item in read_list(transactions, "transactions")),
    )


def tx_root_of(transactions: Sequence[Transaction]) -> bytes:
    """Return the Merkle root of the transactions' ids."""
    return merkle_root([tx.txid for tx in transactions])


def sign_header(keypair: KeyPair, chain_id: bytes, header: Header) -> bytes:
    """Return the miner's signature over a header."""
    if keypair.public != header.work.miner:
        raise ValueError(
            f"header: expected a signature by {header.work.miner.hex()}, got key {keypair.public.hex()}"
        )
    return keypair.sign("header", chain_id, header.encode())


def verify_header_signature(header: Header, signature: bytes, chain_id: bytes) -> bool:
    """Return whether the header's miner signed it for this chain."""
    return verify(header.work.miner, signature, "header", chain_id, header.encode())


def check_body(block: Block, chain_id: bytes) -> None:
    """Raise DamagedBody unless signatures and transactions are those the header stands for."""
    work, transactions = block.header.work, block.transactions
    if len(transactions) != work.tx_count:
        raise DamagedBody(f"transaction count: expected {work.tx_count}, got {len(transactions)}")
    root = tx_root_of(transactions)
    if root != work.tx_root:
        raise DamagedBody(f"transaction root: expected {work.tx_root.hex()}, got {root.hex()}")
    if not verify_header_signature(block.header, block.signature, chain_id):
        raise DamagedBody(f"block {block.hash.hex()}: the miner's signature is not valid on this chain")
    for tx in transactions:
        if not verify_signature(tx, chain_id):
            raise DamagedBody(f"transaction {tx.txid.hex()}: its signature is not valid on this chain")


def _read_transaction(value: object, params: ChainParams) -> Transaction:
    try:
        return decode_transaction(read_bytes(value, "transaction"), params)
    except DecodeError as error:
        raise DecodeError(f"block: {error}") from None
