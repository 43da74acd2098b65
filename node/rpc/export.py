"""The chain file as an HTTP answer: some blocks at a time out of the chain's thread. Source: ledger/chainfile.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial

import trio

from ledger.blocks import Block
from ledger.chain import Chain
from ledger.chainfile import encode_block, encode_end, encode_start, list_sidecars
from ledger.errors import LedgerError, MissingBlobs
from ledger.hashing import cid_text
from node.rpc.context import ChainAccess
from node.rpc.problems import ApiProblem

PIECE_BYTES = 256 << 10
PIECE_BLOCKS = 64
FETCH_S = 60.0  # the client waits twice as long for the first byte

FetchBlobs = Callable[[Iterable[bytes]], Awaitable[bool]]


async def complete_chain(access: ChainAccess, fetch: FetchBlobs) -> None:
    """Have all sidecars of the main chain, fetched from peers if need be; ApiProblem if nobody sends them.

    Before the first byte of an export: later there is no way to say why it ends.
    """
    lost = await list_lost(access)
    if not lost:
        return
    with trio.move_on_after(FETCH_S):
        await fetch(lost)
    left = await list_lost(access)
    if left:
        raise ApiProblem(
            "not_found",
            f"{len(left)} data blobs of the chain are gone from this node's disk, and no peer sent them: "
            f"first {cid_text(left[0])}",
            "connect a peer that has them and try again, or export the chain of another node",
        )


async def list_lost(access: ChainAccess) -> list[bytes]:
    """Return the sidecars of the main chain that are not held, or damaged; each once."""
    hashes = await access.call(lambda chain: tuple(chain.index.main))
    lost: dict[bytes, None] = {}
    position = 1
    while position < len(hashes):
        found, position = await access.call(partial(look_through, hashes=hashes, position=position))
        lost |= dict.fromkeys(found)
    return list(lost)


def look_through(chain: Chain, hashes: tuple[bytes, ...], position: int) -> tuple[list[bytes], int]:
    """Return which sidecars of the next blocks are lost, and the position after them."""
    lost, size_bytes = [], 0
    for count, block_hash in enumerate(hashes[position : position + PIECE_BLOCKS], 1):
        for cid in list_sidecars(read_block(chain, block_hash), chain.params):
            try:
                size_bytes += len(chain.blobs.get(cid))
            except MissingBlobs:
                lost.append(cid)
        if size_bytes >= PIECE_BYTES or count == PIECE_BLOCKS:
            break
    return lost, position + count


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
        block = read_block(chain, block_hash)
        blobs = [chain.blobs.get(cid) for cid in list_sidecars(block, chain.params)]
        piece += b"".join(encode_block(block.encode(), blobs))
        if len(piece) >= PIECE_BYTES or count == PIECE_BLOCKS:
            break
    return bytes(piece), position + count


def read_block(chain: Chain, block_hash: bytes) -> Block:
    """Return a block of the main chain; LedgerError if the database lost it."""
    block = chain.get_block(block_hash)
    if block is None:
        raise LedgerError(f"block {block_hash.hex()} is missing: the database is damaged")
    return block
