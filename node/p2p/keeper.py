"""Keeps a node connected: dials what the peer book says, and asks peers whom else they know.

The `peers` protocol: the request is a msgpack list of the asker's own addresses, the reply a list of those
of others. So a node that joins with one address meets the rest, and they learn how to reach it.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgpack
import trio

from node.p2p.bootstrap import OTHER_CHAIN, BootstrapWatch
from node.p2p.limits import Clock
from node.p2p.transport import (
    DialError,
    NotServed,
    PeerChange,
    PeerUnreachable,
    RequestError,
    RequestRefused,
    Transport,
)
from node.protocol.peer_book import MAX_ADDRESS_CHARS, PeerBook, parse_peer_id, replace_unspecified

log = logging.getLogger(__name__)

MAX_OWN = 8
MAX_SHARED = 32
MAX_LIST_BYTES = MAX_SHARED * (MAX_ADDRESS_CHARS + 3) + 3
REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class KeeperConfig:
    """What a keeper is told."""

    chain: str  # chain id, part of the protocol's name
    bootstrap: tuple[str, ...] = ()  # addresses the operator named: what is wrong with them is told
    ask_interval_s: float = 60.0


class Keeper:
    """Runs a peer book over a transport."""

    def __init__(
        self,
        transport: Transport,
        book: PeerBook,
        config: KeeperConfig,
        *,
        clock: Clock = trio.current_time,
        persist: Callable[[list[str]], None] = lambda addresses: None,
    ) -> None:
        self._transport, self._book, self._config = transport, book, config
        self._clock, self._persist = clock, persist
        self._protocol = f"/gradientcoin/{config.chain}/peers/1"
        self._persisted: list[str] = []
        self._changed = trio.Event()
        self._to_ask: set[str] = set()
        self._bootstrap = BootstrapWatch(config.bootstrap, transport.peer_id)

    @property
    def bootstrap_problems(self) -> dict[str, str]:
        """Get the bootstrap addresses that are of no use now, with the reason."""
        return dict(self._bootstrap.problems)

    async def run(self) -> None:
        """Keep connections until cancelled."""
        self._bootstrap.note_own(self._transport.addresses())
        self._transport.serve(self._protocol, self._tell, max_request=MAX_LIST_BYTES)
        self._transport.on_peer(self._note_peer)
        for peer in self._transport.peers():
            self._note_peer(PeerChange(peer, True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_in_turn)
            while True:
                self._changed = trio.Event()
                for address in self._book.get_dials(self._clock()):
                    nursery.start_soon(self._dial, address)
                for peer_id in self._to_ask:
                    nursery.start_soon(self._ask, peer_id)
                self._to_ask.clear()
                self._save()
                with trio.move_on_after(max(0.0, self._book.get_wake_s() - self._clock())):
                    await self._changed.wait()

    def _note_peer(self, change: PeerChange) -> None:
        if change.is_up:
            self._book.note_up(change.peer.peer_id, is_outbound=change.peer.direction == "out")
            self._to_ask.add(change.peer.peer_id)
        else:
            self._book.note_down(change.peer.peer_id, self._clock())
            self._to_ask.discard(change.peer.peer_id)
        self._changed.set()

    async def _dial(self, address: str) -> None:
        peer_id = parse_peer_id(address)
        try:
            if peer_id is not None and self._transport.is_banned(peer_id):
                raise DialError("banned")
            await self._transport.connect(address)
            self._book.note_dialed(address)
        except DialError as error:
            log.debug("dial failed: %s", error)
            self._bootstrap.note_failed(address, str(error))
            self._book.note_failed(address, self._clock())
        self._changed.set()

    async def _ask_in_turn(self) -> None:
        while True:
            await trio.sleep(self._config.ask_interval_s)
            for peer in self._transport.peers():
                await self._ask(peer.peer_id)

    async def _ask(self, peer_id: str) -> None:
        own = msgpack.packb(self._transport.addresses()[:MAX_OWN])
        try:
            reply = await self._transport.request(
                peer_id, self._protocol, own, max_reply=MAX_LIST_BYTES, timeout_s=REQUEST_TIMEOUT_S
            )
            addresses = decode_addresses(reply)
            self._bootstrap.note_answer(peer_id)
        except NotServed:
            self._bootstrap.note_useless(peer_id, f"{OTHER_CHAIN}, not ours ({self._config.chain}...)")
            return
        except (RequestError, ValueError) as error:
            if isinstance(error, PeerUnreachable):
                self._bootstrap.note_useless(peer_id, "it closed the connection")
            log.debug("peer %s told no addresses: %s", peer_id, error)
            return
        self._learn(addresses, peer_id)

    async def _tell(self, peer_id: str, payload: bytes) -> bytes:
        try:
            told = decode_addresses(payload)
        except ValueError as error:
            raise RequestRefused(str(error)) from None
        seen_host = self._get_seen_host(peer_id)
        own = [address for address in told[:MAX_OWN] if parse_peer_id(address) == peer_id]
        self._learn([replace_unspecified(address, seen_host) for address in own], peer_id)
        shared = self._book.get_shareable(MAX_SHARED + len(own))
        others = [address for address in shared if parse_peer_id(address) != peer_id]
        reply: bytes = msgpack.packb(others[:MAX_SHARED])
        return reply

    def _get_seen_host(self, peer_id: str) -> str:
        address = next((p.address for p in self._transport.peers() if p.peer_id == peer_id), "")
        match = re.match(r"/ip[46]/([^/]+)/", address)
        return match[1] if match else "0.0.0.0"

    def _learn(self, addresses: list[str], teller: str) -> None:
        now_s = self._clock()
        for address in addresses:
            if self._book.add(address, teller=teller, now_s=now_s):
                self._changed.set()

    def _save(self) -> None:
        worked = self._book.get_worked()
        if worked != self._persisted:
            self._persisted = worked
            self._persist(worked)


def decode_addresses(data: bytes) -> list[str]:
    """Decode a list of addresses. Raises ValueError saying what came instead."""
    try:
        value = msgpack.unpackb(
            data,
            max_array_len=MAX_SHARED,
            max_str_len=MAX_ADDRESS_CHARS,
            max_map_len=0,
            max_bin_len=0,
            max_ext_len=0,
        )
    except Exception as error:  # border: msgpack raises ValueError, UnicodeError and its own
        raise ValueError(f"not a msgpack list of at most {MAX_SHARED} addresses: {error!r}") from None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("not a list of addresses")
    return value
