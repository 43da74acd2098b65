"""Whole nodes of the real composition on real sockets, with toy work in place of the training process.

All of `node.app` but the worker runs: libp2p, gossip, sync, mining, API. Network limits are parameters, and what a test
wants to count is at hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import trio

from ledger.blocks import Block, Header, WorkHeader
from ledger.genesis import Genesis, regtest_genesis
from ledger.hashing import tagged_hash
from ledger.jobspec import decode_spec
from ledger.work import TicketTask
from node.app import Services, Stop, make_services, run_services
from node.datadir import CONFIG, NODE_FILE, NodeConfig, init_data_dir
from node.failures import DATABASE
from node.p2p.host import Libp2pConfig
from node.p2p.libp2p_transport import Libp2pTransport, open_libp2p_transport
from node.p2p.limits import DEFAULT_LIMITS, TransportLimits
from node.rpc.client import Json, NodeClient, read_address
from node.services.chain_service import ChainService, read_clock_ms
from node.services.messages import Names
from node.services.update_maker import UpdateTrainer
from node.settings import Settings
from node.trainer.requests import Trained, TrainersStatus, TrainRequest
from node.wallet import Wallet
from node.worker.client import WorkerClient
from tests.ledger.toy_work import VECTOR, ToyWork
from tests.node.p2p.nodes import until
from tests.node.services.network import Builder

SEED = "live"
GENESIS = regtest_genesis(SEED)
NAMES = Names.of_chain(GENESIS.chain_id)
PACE_S = 0.1  # between a template and the block found on it
WAIT_S = 20.0


@dataclass
class ToyMiner:
    """Stands for the training process: finds a block some time after a template came."""

    builder: Builder
    pace_s: float
    alive: bool = True
    restarts: int = 0
    path: str = "toy"
    is_held: bool = False  # finds nothing while it is
    note_event: Callable[[str, list[Any]], None] = lambda kind, arguments: None

    def __post_init__(self) -> None:
        self._work = ToyWork(self.builder.blobs)
        self._template: tuple[int, WorkHeader, int, bytes, bytes] | None = None
        self._came = trio.Event()
        self._freed = trio.Event()
        self._waits = trio.Event()

    async def hold(self) -> None:
        """Find nothing more until `release`; returns once the search under way has ended."""
        self.is_held, self._freed, self._waits = True, trio.Event(), trio.Event()
        with trio.fail_after(WAIT_S):
            await self._waits.wait()

    def release(self) -> None:
        self.is_held = False
        self._freed.set()

    def mine(
        self, number: int, work: WorkHeader, threshold: int, spec: bytes, weights: bytes, nonce: int
    ) -> None:
        self._template = (number, work, threshold, spec, weights)
        self._came.set()

    def rest(self) -> None:
        self._template = None

    def remember(self, task: TicketTask, run: object) -> None:
        """Every block is checked anew here."""

    async def hold_open(self) -> None:
        while True:
            await self._came.wait()
            self._came = trio.Event()
            await trio.sleep(self.pace_s)  # the search: in it nothing is waited for
            if self.is_held:
                self._waits.set()
                await self._freed.wait()
            if self._template is not None:
                self._find(*self._template)
                self._template = None

    def _find(self, number: int, work: WorkHeader, threshold: int, spec: bytes, weights: bytes) -> None:
        decoded = decode_spec(spec, self.builder.params) if spec else None
        for nonce in range(1000):
            trial = replace(work, nonce=nonce)
            run = self._work.run(TicketTask(trial.seed, trial.parent, decoded, weights))
            if run.after < run.before and Header(trial, run.digest, run.before, run.after).ticket < threshold:
                losses = (run.before.to_bytes(16, "big"), run.after.to_bytes(16, "big"))
                self.note_event("mined", [number, nonce + 1, 1])
                self.note_event("found", [number, nonce, run.digest, *losses, run.delta])
                return


class ToyTrainer:
    """Stands for the trainer's process: a step of toy weights towards zero."""

    async def warm_up(self) -> None:
        """Ready at once."""

    def describe(self) -> TrainersStatus:
        return TrainersStatus(1, "auto", "running", 0)

    async def train(self, request: TrainRequest) -> Trained:
        await trio.lowlevel.checkpoint()
        step = VECTOR.pack(*(-(w >> 6) for w in VECTOR.unpack(request.weights)))
        return Trained(step, 1.0, 2.0, 1.0, 1, "toy")


@dataclass
class LiveNode:
    """A running node."""

    settings: Settings
    builder: Builder
    parts: Services
    stop: Stop
    transport: Libp2pTransport
    miner: ToyMiner
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def peer_id(self) -> str:
        return self.transport.peer_id

    @property
    def address(self) -> str:
        return self.transport.addresses()[0]

    @property
    def port(self) -> int:
        return int(self.address.split("/")[4])

    @property
    def height(self) -> int:
        return self.builder.height

    @property
    def replays(self) -> int:
        return self.builder.verifier.runs

    async def hold_mining(self) -> None:
        """Find no more blocks; what was found before is in the chain when this returns."""
        await self.miner.hold()
        await until(lambda: not self.parts.miner._inbox.statistics().current_buffer_used, WAIT_S)
        await self.parts.chain.call(lambda _: None)

    def go_on_mining(self) -> None:
        self.miner.release()

    async def get(self, path: str) -> Json:
        return await trio.to_thread.run_sync(self._client().get, path)

    async def post(self, path: str, body: Json) -> Json:
        return await trio.to_thread.run_sync(self._client().post, path, body)

    def _client(self) -> NodeClient:
        return NodeClient(read_address(self.settings.data_dir, "a test", ""))


def make_settings(folder: Path, name: str, mine: bool) -> Settings:
    data_dir = folder / name
    if not (data_dir / CONFIG).exists():  # one that ran before goes on
        init_data_dir(data_dir, NodeConfig("regtest", SEED, name))
    listen = "/ip4/127.0.0.1/tcp/0"
    return Settings(data_dir, "regtest", SEED, name, listen, 0, (), mine, mine, "portable", "INFO")


@asynccontextmanager
async def open_live(
    folder: Path,
    name: str,
    *,
    limits: TransportLimits = DEFAULT_LIMITS,
    mine: bool = False,
    blocks: Sequence[Block] = (),
    clock: Callable[[], int] = read_clock_ms,
    genesis: Genesis = GENESIS,
    trainer: UpdateTrainer | None = None,
    own_samples: tuple[tuple[str, str], ...] = (),
    privacy: tuple[int, ...] = (),
) -> AsyncIterator[LiveNode]:
    """Run a node for the length of the block."""
    settings = replace(make_settings(folder, name, mine), own_samples=own_samples, privacy=privacy)
    builder = Builder(settings.data_dir, genesis, str(settings.data_dir / DATABASE))
    for block in blocks:
        builder.add(block)
    seed = tagged_hash("gc/test", name.encode())
    miner = ToyMiner(builder, PACE_S)
    try:
        async with (
            open_libp2p_transport(Libp2pConfig(seed, limits=limits)) as transport,
            trio.open_nursery() as nursery,
        ):
            service = ChainService(builder.chain, clock)
            wallet = Wallet(settings.data_dir, settings.chain, SEED)
            worker = cast(WorkerClient, miner)
            parts = make_services(settings, service, worker, trainer or ToyTrainer(), wallet, transport)
            miner.note_event = parts.miner.note_event
            node = LiveNode(settings, builder, parts, Stop(trio.Event()), transport, miner)
            nursery.start_soon(_run, node)
            await until((settings.data_dir / NODE_FILE).exists, WAIT_S)
            yield node
            node.stop.request()
            await node.ended.wait()
    finally:
        builder.storage.close()


async def _run(node: LiveNode) -> None:
    await run_services(node.settings, node.stop, node.parts)
    node.ended.set()


@dataclass
class Scene:
    """A mining node, an honest follower connected to it, and since when."""

    node: LiveNode
    honest: LiveNode
    since_s: float

    async def is_well(self) -> None:
        """The node answers, mines on, and its honest peer follows over the same connection."""
        start = self.node.height
        status = await self.node.get("/v1/status")
        assert status["state"] in ("running", "syncing")
        await until(lambda: min(self.node.height, self.honest.height) > start + 1, WAIT_S)
        (peer,) = [p for p in self.node.transport.peers() if p.peer_id == self.honest.peer_id]
        assert peer.since_s == self.since_s
        assert not self.node.transport.is_banned(self.honest.peer_id)
        assert not self.honest.transport.is_banned(self.node.peer_id)


@asynccontextmanager
async def open_scene(folder: Path, limits: TransportLimits = DEFAULT_LIMITS) -> AsyncIterator[Scene]:
    async with (
        open_live(folder, "node", limits=limits, mine=True) as node,
        open_live(folder, "honest") as honest,
    ):
        await honest.post("/v1/peers", {"address": node.address})
        await until(lambda: node.transport.peers(), WAIT_S)
        (peer,) = node.transport.peers()
        yield Scene(node, honest, peer.since_s)


@asynccontextmanager
async def open_attacker(
    scene: Scene, number: int = 1, limits: TransportLimits = DEFAULT_LIMITS
) -> AsyncIterator[Libp2pTransport]:
    """Run a transport of stock limits that is connected to the node."""
    seed = tagged_hash("gc/test", b"attacker %d" % number)
    async with open_libp2p_transport(Libp2pConfig(seed, limits=limits)) as attacker:
        await attacker.connect(scene.node.address)
        await until(lambda: scene.node.transport._roster.get_peer(attacker.peer_id), WAIT_S)
        yield attacker
