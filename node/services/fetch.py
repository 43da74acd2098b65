"""Pulls what announcements only name: block bodies and sidecars, from whoever has them, checked against their hash."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from ledger.blocks import Block, Header, decode_block
from ledger.codec import decode, read_bytes, read_list
from ledger.errors import DecodeError, LedgerError
from ledger.hashing import cid_text
from node.p2p.transport import RequestError, Transport
from node.services.chain_service import ChainService
from node.services.messages import (
    HEADER_REPLY_BYTES,
    STATUS_BYTES,
    Names,
    Status,
    decode_headers_reply,
    decode_status,
    encode_get_blocks,
    encode_get_headers,
)

log = logging.getLogger(__name__)

STATUS_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 20.0
BLOB_ATTEMPTS = 4  # peers asked for a blob before giving up for now
REPLY_BYTES = 8 << 20


class BadPeer(Exception):
    """A peer broke the protocol; the message says how."""


class Fetcher:
    """Requests to peers. RequestError: no answer, nobody's fault for certain. BadPeer: an answer that is wrong."""

    def __init__(
        self,
        transport: Transport,
        names: Names,
        chain: ChainService,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._transport, self._names = transport, names
        self._chain, self._params = chain, chain.chain.params
        self._timeout_s = timeout_s
        self._turn = 0

    async def fetch_status(self, peer_id: str, ours: Status) -> Status:
        reply = await self._ask(peer_id, self._names.status, ours.encode(), STATUS_BYTES, STATUS_TIMEOUT_S)
        try:
            return decode_status(reply)
        except DecodeError as error:
            raise BadPeer(f"status: {error}") from error

    async def fetch_headers(self, peer_id: str, locator: Sequence[bytes]) -> list[tuple[Header, bytes]]:
        reply = await self._ask(peer_id, self._names.sync, encode_get_headers(locator), HEADER_REPLY_BYTES)
        try:
            return decode_headers_reply(reply)
        except DecodeError as error:
            raise BadPeer(f"headers: {error}") from error

    async def fetch_blocks(self, peer_id: str, hashes: Sequence[bytes]) -> list[Block | None]:
        """Return the blocks in the order asked for; None for those the peer does not have."""
        reply = await self._ask(peer_id, self._names.sync, encode_get_blocks(hashes), REPLY_BYTES)
        try:
            rows = [read_bytes(row, "block") for row in read_list(decode(reply, REPLY_BYTES), "blocks")]
            blocks = [decode_block(row, self._params) if row else None for row in rows]
        except DecodeError as error:
            raise BadPeer(f"blocks: {error}") from error
        if len(blocks) > len(hashes) or any(
            b is not None and b.hash != wanted for b, wanted in zip(blocks, hashes, strict=False)
        ):
            raise BadPeer("blocks: not those that were asked for")
        return blocks

    async def fetch_blobs(self, cids: Iterable[bytes], first: str = "") -> bool:
        """Fetch sidecars, asking `first` before others; True when all are held."""
        complete = True
        for cid in cids:
            if not await self._fetch_blob(cid, first):
                complete = False
        return complete

    async def _fetch_blob(self, cid: bytes, first: str) -> bool:
        if self._chain.blobs.has(cid):
            return True
        for peer_id in ([first] if first else []) + self._choose_others(first):
            try:
                blob = await self._ask(peer_id, self._names.blob, cid, self._params.sidecar_limit)
                if blob:
                    await self._chain.put_blob(cid, blob)
                    return True
            except (RequestError, LedgerError) as error:
                log.info("blob %s from %s: %s", cid_text(cid), peer_id, error)
        return False

    def _choose_others(self, first: str) -> list[str]:
        """Return some peers, others each time: those who hold a blob may be few."""
        others = [peer.peer_id for peer in self._transport.peers() if peer.peer_id != first]
        start = self._turn % max(1, len(others))
        self._turn += BLOB_ATTEMPTS
        return (others[start:] + others[:start])[:BLOB_ATTEMPTS]

    async def _ask(
        self,
        peer_id: str,
        protocol: str,
        payload: bytes,
        max_reply: int,
        timeout_s: float | None = None,
    ) -> bytes:
        wait_s = self._timeout_s if timeout_s is None else timeout_s
        return await self._transport.request(
            peer_id, protocol, payload, max_reply=max_reply, timeout_s=wait_s
        )
