"""The chain file as an HTTP answer: some blocks at a time out of the chain's thread. Source: ledger/chainfile.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from ledger.chain import Chain
from ledger.chainfile import encode_block, encode_end, encode_start, list_sidecars
from ledger.errors import LedgerError
from node.rpc.context import ChainAccess

PIECE_BYTES = 256 << 10
PIECE_BLOCKS = 64


async def export_chain(access: ChainAccess) -> AsyncIterator[bytes]:
    """Yield the file of the main chain as it is now; a reorganisation meanwhile changes nothing in it."""
    genesis = access.chain.genesis
    hashes = await access.call(lambda chain: tuple(chain.index.main))
    yield encode_start(genesis)
    position = 1
    while position < len(hashes):
        piece, position = await access.call(partial(read_piece, hashes=hashes, position=position))
        yield piece
    yield encode_end(len(hashes) - 1, hashes[-1])


def read_piece(chain: Chain, hashes: tuple[bytes, ...], position: int) -> tuple[bytes, int]:
    """Return the records of the next blocks, and the position after them."""
    piece = bytearray()
    for count, block_hash in enumerate(hashes[position : position + PIECE_BLOCKS], 1):
        block = chain.get_block(block_hash)
        if block is None:
            raise LedgerError(f"block {block_hash.hex()} is missing: the database is damaged")
        blobs = [chain.blobs.get(cid) for cid in list_sidecars(block, chain.params)]
        piece += b"".join(encode_block(block.encode(), blobs))
        if len(piece) >= PIECE_BYTES or count == PIECE_BLOCKS:
            break
    return bytes(piece), position + count
