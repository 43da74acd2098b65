"""Which blobs travel beside transactions and blocks, and the least fee that their bytes ask for.

Source: docs/protocol.md, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.blocks import Block
from ledger.errors import DecodeError, InvalidBlock, InvalidTransaction
from ledger.jobspec import JobSpec, decode_spec
from ledger.params import ChainParams
from ledger.transactions import CommitUpdate, RevealUpdate, SubmitJob, Transaction


def list_sidecars(block: Block, params: ChainParams) -> list[tuple[bytes, int]]:
    """Return (CID, size) of the blobs beside a block; InvalidBlock if a spec is not one or they are too large."""
    found, room = [], BlockRoom(params)
    for tx in block.transactions:
        try:
            found += sidecars_of(tx, params)
            used = use_of(tx, params)
        except InvalidTransaction as error:
            raise InvalidBlock(f"transaction {tx.txid.hex()}: {error}") from error
        if not room.take(used):
            raise InvalidBlock(f"transaction {tx.txid.hex()}: {room.explain(used)}")
    return found


@dataclass(frozen=True, slots=True)
class Use:
    """What a transaction takes of what a block has beside its own bytes."""

    data_bytes: int = 0  # of jobs
    payload_bytes: int = 0  # revealed
    declared_bytes: int = 0  # of payloads to come
    shares: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(
            self.data_bytes + other.data_bytes,
            self.payload_bytes + other.payload_bytes,
            self.declared_bytes + other.declared_bytes,
            self.shares + other.shares,
        )


class BlockRoom:
    """What is left of a block's limits while transactions are put into it."""

    def __init__(self, params: ChainParams) -> None:
        self.limits = Use(
            params.sidecar_limit, params.payload_limit, most_declared(params), params.block_shares
        )
        self._used = Use()

    def has(self, use: Use) -> bool:
        """Return whether there is enough for one more transaction."""
        used = self._used + use
        return all(getattr(used, name) <= getattr(self.limits, name) for name in Use.__slots__)

    def explain(self, use: Use) -> str:
        """Say which limits one more transaction would exceed."""
        used = self._used + use
        over = [
            f"{name.replace('_', ' ')} of sidecars and shares: at most {getattr(self.limits, name)}, got {total}"
            for name in Use.__slots__
            if (total := getattr(used, name)) > getattr(self.limits, name)
        ]
        return "; ".join(over)

    def take(self, use: Use) -> bool:
        """Take room for one transaction, if there is enough for it."""
        if not self.has(use):
            return False
        self._used += use
        return True


def use_of(tx: Transaction, params: ChainParams) -> Use:
    """Return what a transaction takes of a block's room; InvalidTransaction if its spec is not one."""
    match tx.body:
        case SubmitJob():
            return Use(data_bytes=read_spec(tx.body.spec, params).data_size)
        case CommitUpdate():
            return Use(declared_bytes=tx.body.size, shares=len(tx.body.shares))
        case RevealUpdate():
            return Use(payload_bytes=tx.body.size)
    return Use()


def most_declared(params: ChainParams) -> int:
    """Return the most payload bytes that one block's commitments may declare.

    E blocks can declare half of what the window of their reveals can carry.
    """
    return params.payload_limit * (params.round_length - params.sample_delay) // (2 * params.round_length)


def most_committed(shares: int, params: ChainParams) -> int:
    """Return the most payload bytes that a commitment may declare: its shares' part of what a block's may."""
    return most_declared(params) * shares // params.block_shares


def least_shares(size: int, params: ChainParams) -> int:
    """Return how many shares a commitment to a payload of that many bytes must have."""
    return max(1, -(-size * params.block_shares // most_declared(params)))


def sidecars_of(tx: Transaction, params: ChainParams) -> list[tuple[bytes, int]]:
    """Return (CID, size) of the blobs that travel beside a transaction; InvalidTransaction if its spec is not one."""
    match tx.body:
        case SubmitJob():
            spec = read_spec(tx.body.spec, params)
            return [(spec.data_cid, spec.data_size)]
        case RevealUpdate():
            return [(tx.body.payload, tx.body.size)]
    return []


def least_fee(tx: Transaction, params: ChainParams) -> int:
    """Return the fee below which a transaction is refused, units."""
    if isinstance(tx.body, RevealUpdate):
        return 0  # paid by its commitment
    use = use_of(tx, params)
    return params.fee_per_byte * (tx.size + use.data_bytes + use.declared_bytes)


def read_spec(data: bytes, params: ChainParams) -> JobSpec:
    """Return the spec of a submission; InvalidTransaction if it is not one."""
    try:
        return decode_spec(data, params)
    except DecodeError as error:
        raise InvalidTransaction(f"job spec: {error}") from error
