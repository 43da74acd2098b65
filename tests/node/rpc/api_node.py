"""An API over a real chain with toy work, small stand-ins for the other services, and a client in a thread."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Literal, TypeVar

import trio

from ledger.blobs import BlobStore
from ledger.blocks import Block
from ledger.chain import Chain
from ledger.errors import DecodeError
from ledger.genesis import regtest_genesis
from ledger.hashing import cid_of
from ledger.jobspec import JobSpec, encode_spec, trial_seed
from ledger.mempool import Mempool
from ledger.params import COIN
from ledger.tranches import make_tranches
from ledger.transactions import Transaction
from ledger.work import TicketTask, WorkRefused
from node.p2p.memory import open_memory_network
from node.rpc.serve import serve_api
from node.rpc.server import ApiContext
from node.services.update_maker import MarketStats
from node.trainer.requests import TrainersStatus
from node.wallet import Wallet
from node.worker.client import JobFileRefused, ParentJob, PreparedReply, Score
from tests.ledger.chain_builder import ChainBuilder, make_spec
from tests.ledger.toy_work import ToyWork

SEED = "toy"  # ChainBuilder's accounts
TOKEN = "00112233445566778899aabbccddeeff"
CLIENT_TIMEOUT_S = 20.0

T = TypeVar("T")


class FakeChainService:
    """The chain without a thread of its own: tests have no other user of it."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.mempool = chain, Mempool(chain.rules)
        self.blobs: BlobStore = chain.blobs

    async def call(self, fn: Callable[[Chain], T]) -> T:
        await trio.lowlevel.checkpoint()
        return fn(self.chain)

    async def send_transaction(self, sign: Callable[[Chain, Mempool], Transaction]) -> Transaction:
        tx = sign(self.chain, self.mempool)
        self.mempool.add(tx, self.chain.state, self.chain.head.height + 1)
        return tx

    @asynccontextmanager
    async def hold_blobs(self, cids: Iterable[bytes]) -> AsyncIterator[None]:
        yield


@dataclass
class FakeWorker:
    """Prepares the toy job of a text that ends with its burn, 0 for a market-only one; `stuck` never answers."""

    verifier: ToyWork
    blob: bytes
    alive: bool = True
    restarts: int = 0
    path: str = "portable"
    stuck: bool = False
    escrow_units: int = 0
    work: int = 1 << 24
    secret_samples: tuple[bytes, ...] = ()  # blobs of tranches, a byte for each sample
    misfit: str = ""  # what the chain says of the job's numbers
    market: dict[str, Any] = field(default_factory=lambda: {"market_only": 1, "price": COIN, "budget": COIN})

    async def prepare_job(
        self,
        toml: str,
        data_name: str,
        data: bytes,
        sidecar_limit: int,
        secret: bytes,
        parent: ParentJob | None = None,
    ) -> PreparedReply:
        if self.stuck:
            await trio.sleep_forever()
        if self.misfit:
            raise DecodeError(self.misfit)
        burn = toml.rpartition(" ")[2]
        if not burn.isdigit():
            raise JobFileRefused("job.toml: [market] burn: expected a number", "write one")
        spec = make_spec(7, burn=int(burn), **(self.market if burn == "0" else {}))
        start = self.verifier.inspect(spec).weights
        if parent is not None:
            start = parent.weights
            spec = replace(spec, parent=parent.job_id, parent_weights=cid_of(start))
        tranches = make_tranches(self.secret_samples, secret)
        spec = replace(spec, evaluation=tranches[0].root if tranches else b"")
        trial = self.verifier.run(TicketTask(trial_seed(encode_spec(spec)), bytes(32), spec, start))
        return PreparedReply(
            spec=spec,
            spec_bytes=encode_spec(spec),
            blob=self.blob,
            trial=trial,
            max_error=0.25,
            clipped=3,
            escrow_units=self.escrow_units,
            train=100,
            judge=50,
            work=self.work,
            notes=["a note"],
            evaluation=sum(map(len, self.secret_samples)),
            tranches=tuple(tranche.encode() for tranche in tranches),
        )

    async def accuracy(self, spec: JobSpec, weights: bytes, inputs_npz: bytes) -> tuple[float, int]:
        return 0.5, len(inputs_npz)

    async def checkpoint(self, spec: JobSpec, weights: bytes, metadata: dict[str, str]) -> bytes:
        assert list(metadata) == ["gradientcoin"]
        return weights

    async def slices(self, spec: JobSpec, weights: bytes) -> list[tuple[int, int, int]]:
        return [(0, len(weights) << 40, 4), (3, sum(weights) << 40, 2)]

    async def evaluate(self, spec: JobSpec, weights: bytes, tranche: bytes) -> tuple[Score, Score]:
        if tranche == b"unreadable":
            raise WorkRefused("its samples are none of this job")
        return Score(sum(weights) << 40, 4, 3), Score(len(tranche) << 40, len(tranche), None)


@dataclass
class FakeStats:
    runs: int = 12
    runs_per_s: float = 1.5
    blocks: int = 2
    job_id: bytes | None = None


@dataclass
class FakeMiner:
    enabled: bool = True

    def stats(self) -> FakeStats:
        return FakeStats()


@dataclass
class FakeMaker:
    enabled: bool = True
    stats: MarketStats = field(default_factory=MarketStats)

    def describe_trainers(self) -> TrainersStatus:
        return TrainersStatus(2, "auto", "running", 0)


@dataclass
class FakeProgress:
    behind: int = 0
    best_peer_height: int = 5
    parked: int = 1
    state: Literal["starting", "syncing", "running"] = "running"


@dataclass
class FakeSync:
    peer_heads: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def progress(self) -> FakeProgress:
        return FakeProgress()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class ApiNode:
    """A served API; `peer_address` is one it can dial."""

    builder: ChainBuilder
    service: FakeChainService
    worker: FakeWorker
    sync: FakeSync
    context: ApiContext
    port: int
    peer_address: str
    stops: list[None]

    def mine(self, *txs: Transaction, heartbeat: bool = False) -> Block:
        block = self.builder.mine(*txs, heartbeat=heartbeat)
        self.service.mempool.update(self.builder.chain.state, self.builder.height + 1, [])
        return block

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, None, headers)

    async def post(self, path: str, body: object, **headers: str) -> Answer:
        return await self.ask("POST", path, json.dumps(body).encode(), headers)

    async def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Ask with the right token and host unless `headers` say otherwise; an empty one is left out."""
        default = {"Authorization": f"Bearer {TOKEN}", "Host": f"127.0.0.1:{self.port}"}
        sent = {name: value for name, value in (default | headers).items() if value}
        return await trio.to_thread.run_sync(self._ask, method, path, body, sent)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=CLIENT_TIMEOUT_S)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None and "Transfer-Encoding" not in headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    async def send_raw(self, data: bytes) -> bytes:
        """Send bytes and return what comes back until the server closes."""
        return await trio.to_thread.run_sync(self._send_raw, data)

    def _send_raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=CLIENT_TIMEOUT_S) as stream:
            answer = b""
            try:
                stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
                while part := stream.recv(65536):
                    answer += part
            except ConnectionError:
                pass
            return answer


async def fetch_nothing(cids: Iterable[bytes]) -> bool:
    """Ask peers of whom none has anything."""
    return not list(cids)


@asynccontextmanager
async def open_api(folder: Path) -> AsyncIterator[ApiNode]:
    """Serve the API of a regtest node whose chain is at genesis."""
    builder = ChainBuilder(folder, regtest_genesis(SEED))
    service = FakeChainService(builder.chain)
    worker = FakeWorker(builder.verifier, b"GCD1 toy data")
    sync, stops = FakeSync(), list[None]()
    async with (
        open_memory_network() as network,
        network.open_transport(b"ours") as ours,
        network.open_transport(b"other") as other,
        trio.open_nursery() as nursery,
    ):
        context = ApiContext(
            name="tester",
            data_dir=folder,
            token=TOKEN,
            chain=service,
            worker=worker,
            miner=FakeMiner(),
            maker=FakeMaker(),
            sync=sync,
            transport=ours,
            wallet=Wallet(folder, "regtest", SEED),
            stop=lambda: stops.append(None),
            fetch_blobs=fetch_nothing,
        )
        port: int = await nursery.start(serve_api, context, "127.0.0.1", 0)
        address = other.addresses()[0]
        yield ApiNode(builder, service, worker, sync, context, port, address, stops)
        nursery.cancel_scope.cancel()
