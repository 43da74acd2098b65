"""Answers peers: status, headers, blocks, blobs. Everything they send is bounded and decoded before use."""

from __future__ import annotations

import trio

from ledger.chain import Chain
from ledger.codec import decode, encode, read_bytes, read_list, read_uint
from ledger.errors import DecodeError, LedgerError
from ledger.hashing import read_cid
from node.p2p.transport import RequestRefused, Transport
from node.services.chain_service import ChainService
from node.services.fetch import REPLY_BYTES
from node.services.messages import (
    GET_BLOCKS,
    GET_HEADERS,
    MAX_BLOCKS,
    MAX_HEADERS,
    MAX_LOCATOR,
    STATUS_BYTES,
    Names,
    Status,
    decode_status,
)

SYNC_REQUEST_BYTES = 4096


def make_status(chain: Chain) -> Status:
    return Status(chain.genesis.chain_id, chain.head.hash, chain.head.height, chain.head.chain_work)


class PeerServer:
    """The handlers of our own protocols."""

    def __init__(self, chain: ChainService, names: Names) -> None:
        self._chain, self._names = chain, names

    def register(self, transport: Transport) -> None:
        transport.serve(self._names.status, self._tell_status, max_request=STATUS_BYTES)
        transport.serve(self._names.sync, self._tell_chain, max_request=SYNC_REQUEST_BYTES)
        transport.serve(self._names.blob, self._tell_blob, max_request=64)

    async def _tell_status(self, peer_id: str, payload: bytes) -> bytes:
        try:
            decode_status(payload)
        except DecodeError as error:
            raise RequestRefused(str(error)) from error
        return (await self._chain.call(make_status)).encode()

    async def _tell_chain(self, peer_id: str, payload: bytes) -> bytes:
        try:
            kind, *arguments = read_list(decode(payload, SYNC_REQUEST_BYTES), "request")
            if kind == GET_HEADERS:
                return await self._tell_headers(*read_list(arguments, "request", 2))
            if kind == GET_BLOCKS:
                return await self._tell_blocks(*read_list(arguments, "request", 1))
        except (DecodeError, ValueError) as error:
            raise RequestRefused(str(error)) from error
        raise RequestRefused(f"request kind: expected {GET_HEADERS} or {GET_BLOCKS}, got {kind!r}")

    async def _tell_headers(self, locator: object, limit: object) -> bytes:
        hashes = [read_bytes(h, "hash", 32) for h in read_list(locator, "locator", limit=MAX_LOCATOR)]
        count = min(read_uint(limit, "limit"), MAX_HEADERS)
        pairs = await self._chain.call(lambda chain: chain.headers_after(hashes, count))
        return encode([[header.encode(), signature] for header, signature in pairs])

    async def _tell_blocks(self, wanted: object) -> bytes:
        hashes = [read_bytes(h, "hash", 32) for h in read_list(wanted, "hashes", limit=MAX_BLOCKS)]

        def load(chain: Chain) -> list[bytes]:
            blocks: list[bytes] = []
            room = REPLY_BYTES - 1024
            for block_hash in hashes:
                block = chain.get_block_bytes(block_hash) or b""
                if len(block) + 8 > room:
                    break
                room -= len(block) + 8
                blocks.append(block)
            return blocks

        return encode(await self._chain.call(load))

    async def _tell_blob(self, peer_id: str, payload: bytes) -> bytes:
        try:
            cid = read_cid(payload, "CID")
            return await trio.to_thread.run_sync(self._chain.blobs.get, cid)
        except DecodeError as error:
            raise RequestRefused(str(error)) from error
        except LedgerError:
            return b""
