"""Which blobs travel beside transactions and blocks, and the least fee that their bytes ask for.

Source: docs/protocol.md, section 2.
"""

from __future__ import annotations

from ledger.blocks import Block
from ledger.errors import DecodeError, InvalidBlock, InvalidTransaction
from ledger.jobspec import JobSpec, decode_spec
from ledger.params import ChainParams
from ledger.transactions import SubmitJob, Transaction


def list_sidecars(block: Block, params: ChainParams) -> list[tuple[bytes, int]]:
    """Return (CID, size) of the blobs beside a block; InvalidBlock if a spec is not one or they are too large."""
    found = []
    for tx in block.transactions:
        try:
            found += sidecars_of(tx, params)
        except InvalidTransaction as error:
            raise InvalidBlock(f"transaction {tx.txid.hex()}: {error}") from error
    total = sum(size for _, size in found)
    if total > params.sidecar_limit:
        raise InvalidBlock(f"sidecars: at most {params.sidecar_limit} bytes, got {total}")
    return found


def sidecars_of(tx: Transaction, params: ChainParams) -> list[tuple[bytes, int]]:
    """Return (CID, size) of the blobs that travel beside a transaction; InvalidTransaction if its spec is not one."""
    if not isinstance(tx.body, SubmitJob):
        return []
    spec = read_spec(tx.body.spec, params)
    return [(spec.data_cid, spec.data_size)]


def least_fee(tx: Transaction, params: ChainParams) -> int:
    """Return the fee below which a transaction is refused, units."""
    return params.fee_per_byte * (tx.size + sum(size for _, size in sidecars_of(tx, params)))


def read_spec(data: bytes, params: ChainParams) -> JobSpec:
    """Return the spec of a submission; InvalidTransaction if it is not one."""
    try:
        return decode_spec(data, params)
    except DecodeError as error:
        raise InvalidTransaction(f"job spec: {error}") from error
