"""Nodes' services over the in-memory network, on real chains with toy work; and bare peers that say what tests want."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from ledger.blocks import Block, Header
from ledger.chain import Chain
from ledger.codec import decode, encode, read_bytes, read_list
from ledger.genesis import Genesis
from ledger.transactions import Transaction
from ledger.work import TicketRun, TicketTask
from node.p2p.memory import MemoryNetwork, MemoryTransport, open_memory_network
from node.p2p.transport import Handler, Verdict
from node.services.chain_service import ChainService
from node.services.fetch import Fetcher
from node.services.gossip import Gossip
from node.services.importer import Importer
from node.services.messages import GET_HEADERS, Names, Status
from node.services.serve import PeerServer, make_status
from node.services.sync import Sync
from tests.ledger.chain_builder import GENESIS, NOW_MS, ChainBuilder
from tests.ledger.toy_work import ToyWork
from tests.node.p2p.nodes import until

WAIT_S = 20.0
POLL_S = 0.05
REQUEST_S = 0.3
RETRY_S = 0.05
NAMES = Names.of_chain(GENESIS.chain_id)

__all__ = ["BarePeer", "Net", "Node", "StubbornWork", "open_net", "until"]


class StubbornWork(ToyWork):
    """Toy work that can be held up, and that can fail as a training process does."""

    failure: Exception | None = None
    failed = 0

    def hold(self) -> None:
        self.entered, self.released = threading.Event(), threading.Event()

    def run(self, task: TicketTask) -> TicketRun:
        released: threading.Event | None = getattr(self, "released", None)
        if released is not None:
            self.entered.set()
            assert released.wait(WAIT_S)
        if self.failure is not None:
            self.failed += 1
            raise self.failure
        return super().run(task)


@dataclass
class Builder(ChainBuilder):
    """A chain whose work can be held up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.verifier: StubbornWork = StubbornWork(self.blobs)
        self.chain = Chain(self.storage, self.blobs, self.genesis, self.verifier)


@dataclass
class Node:
    """A whole node but for mining."""

    builder: Builder
    transport: MemoryTransport
    now_ms: int = NOW_MS
    log: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = ChainService(self.builder.chain, lambda: self.now_ms)
        names = Names.of_chain(self.builder.genesis.chain_id)
        self.fetcher = Fetcher(self.transport, names, self.service, REQUEST_S)
        self.importer = Importer(self.service, self.fetcher)
        self.sync = Sync(self.service, self.transport, self.fetcher, self.importer, POLL_S)
        self.gossip = Gossip(self.service, self.transport, names, self.fetcher, self.importer, self.sync)
        PeerServer(self.service, names).register(self.transport)

    @property
    def peer_id(self) -> str:
        return self.transport.peer_id

    @property
    def head(self) -> bytes:
        return self.builder.chain.head.hash

    @property
    def height(self) -> int:
        return self.builder.height

    def start(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.sync.run)
        nursery.start_soon(self.gossip.run)
        nursery.start_soon(self.importer.run, RETRY_S)

    async def mine(self, *txs: Transaction, count: int = 1, publish: bool = True) -> Block:
        """Mine blocks here, the first one with the transactions; return the last."""
        for number in range(count):
            chosen = txs if number == 0 else ()
            block = await self.service.call(lambda _, chosen=chosen: self.builder.make_block(*chosen))  # type: ignore[misc]
            await self.service.add_block(block)
            if publish:
                await self.gossip.publish_block(block)
        return block

    def take(self, blocks: Sequence[Block]) -> None:
        """Add blocks before the services start."""
        for block in blocks:
            self.builder.add(block)

    async def reaches(self, head: bytes) -> None:
        await until(lambda: self.head == head, WAIT_S)


class BarePeer:
    """A peer without services: it publishes and serves what a test gives it, and notes what it hears."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self.heard: list[bytes] = []
        self.asked: list[str] = []
        self._send, self._receive = trio.open_memory_channel[bytes](math.inf)

    @property
    def peer_id(self) -> str:
        return self.transport.peer_id

    async def listen(self) -> None:
        for topic in (NAMES.blocks, NAMES.transactions):
            await self.transport.subscribe(topic, self._hear)

    async def _hear(self, peer_id: str, data: bytes) -> Verdict:
        self.heard.append(data)
        self._send.send_nowait(data)
        return Verdict.IGNORE

    async def hear(self) -> bytes:
        with trio.fail_after(WAIT_S):
            return await self._receive.receive()

    async def say_block(self, data: bytes) -> None:
        await self.transport.publish(NAMES.blocks, data)

    async def say_transaction(self, data: bytes) -> None:
        await self.transport.publish(NAMES.transactions, data)

    def serve(self, protocol: str, answer: Callable[[bytes], bytes]) -> None:
        async def handle(peer_id: str, payload: bytes) -> bytes:
            self.asked.append(protocol)
            return answer(payload)

        self.serve_async(protocol, handle)

    def serve_async(self, protocol: str, handler: Handler) -> None:
        self.transport.serve(protocol, handler, max_request=4096)

    def serve_chain(
        self, builder: ChainBuilder, claimed_work: int | None = None, bodies: bool = True
    ) -> None:
        """Serve a chain as an honest node would, or claim more work than it has, or keep the bodies back."""
        chain = builder.chain
        status = make_status(chain)
        if claimed_work is not None:
            status = Status(status.chain_id, status.head, 10**6, claimed_work)
        self.serve(NAMES.status, lambda _: status.encode())

        def tell(payload: bytes) -> bytes:
            kind, wanted, *_ = read_list(decode(payload, 4096), "request")
            hashes = [read_bytes(item, "hash", 32) for item in read_list(wanted, "hashes")]
            if kind == GET_HEADERS:
                pairs = chain.headers_after(hashes, 256)
                return encode([[header.encode(), signature] for header, signature in pairs])
            found = [chain.get_block_bytes(block_hash) or b"" for block_hash in hashes]
            return encode(found if bodies else [b""] * len(found))

        self.serve(NAMES.sync, tell)


@dataclass
class Net:
    """Nodes and bare peers on one in-memory network."""

    network: MemoryNetwork
    folder: Path
    nursery: trio.Nursery
    stack: AsyncExitStack
    count: int = 0

    async def add(self, blocks: Sequence[Block] = (), genesis: Genesis = GENESIS, start: bool = True) -> Node:
        """Start a node that holds these blocks already."""
        builder = Builder(self.folder / f"node-{self.count}", genesis)
        self.stack.callback(builder.storage.close)
        node = Node(builder, await self._open_transport())
        node.take(blocks)
        if start:
            node.start(self.nursery)
        return node

    async def add_bare(self) -> BarePeer:
        peer = BarePeer(await self._open_transport())
        await peer.listen()
        return peer

    async def _open_transport(self) -> MemoryTransport:
        self.count += 1
        return await self.stack.enter_async_context(self.network.open_transport(bytes([self.count]) * 32))

    async def connect(self, *pairs: tuple[Node | BarePeer, Node | BarePeer]) -> None:
        for dialer, listener in pairs:
            await dialer.transport.connect(listener.transport.address)


@asynccontextmanager
async def open_net(folder: Path) -> AsyncIterator[Net]:
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(open_memory_network())
        async with trio.open_nursery() as nursery:
            yield Net(network, folder, nursery, stack)
            nursery.cancel_scope.cancel()


def mine_chain(folder: Path, count: int, start: int = 0, base: Sequence[Block] = ()) -> Builder:
    """Return a chain of its own: another `start` nonce gives other blocks."""
    builder = Builder(folder)
    for block in base:
        builder.add(block)
    for _ in range(count):
        builder.mine(start=start)
    return builder


def blocks_of(builder: ChainBuilder) -> list[Block]:
    return [builder.block_at(height) for height in range(1, builder.height + 1)]


def forge(header: Header) -> Header:
    """Return the header with another digest."""
    return replace(header, digest=bytes(byte ^ 1 for byte in header.digest))
