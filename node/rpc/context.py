"""What the API asks of the node it belongs to. The node's own parts fit; tests hand in small ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol, TypeVar

import trio

from ledger.blobs import BlobStore
from ledger.chain import Chain
from ledger.jobspec import JobSpec
from ledger.mempool import Mempool
from ledger.transactions import Transaction
from node.p2p.transport import Transport
from node.rpc.job_views import Tallies
from node.services.pulse import Pulse
from node.services.update_maker import MarketStats
from node.trainer.requests import TrainersStatus
from node.wallet import Wallet
from node.worker.client import ParentJob, PreparedReply, Score

T = TypeVar("T")


class ChainAccess(Protocol):
    """The chain behind its thread (node/services/chain_service.py)."""

    chain: Chain
    mempool: Mempool
    blobs: BlobStore

    async def call(self, fn: Callable[[Chain], T]) -> T: ...

    async def send_transaction(self, sign: Callable[[Chain, Mempool], Transaction]) -> Transaction: ...

    def hold_blobs(self, cids: Iterable[bytes]) -> AbstractAsyncContextManager[None]: ...


class Trainer(Protocol):
    """The training process (node/worker/client.py)."""

    path: str

    @property
    def alive(self) -> bool: ...

    @property
    def restarts(self) -> int: ...

    async def prepare_job(
        self,
        toml: str,
        data_name: str,
        data: bytes,
        sidecar_limit: int,
        secret: bytes,
        parent: ParentJob | None = None,
    ) -> PreparedReply: ...

    async def accuracy(self, spec: JobSpec, weights: bytes, inputs_npz: bytes) -> tuple[float, int]: ...

    async def checkpoint(self, spec: JobSpec, weights: bytes, metadata: dict[str, str]) -> bytes: ...

    async def slices(self, spec: JobSpec, weights: bytes) -> list[tuple[int, int, int]]: ...

    async def evaluate(self, spec: JobSpec, weights: bytes, tranche: bytes) -> tuple[Score, Score]: ...


class MiningCounts(Protocol):
    @property
    def runs(self) -> int: ...

    @property
    def runs_per_s(self) -> float: ...

    @property
    def blocks(self) -> int: ...


class Mining(Protocol):
    """The miner (node/services/miner.py)."""

    enabled: bool

    def stats(self) -> MiningCounts: ...


class Making(Protocol):
    """The maker of updates (node/services/update_maker.py)."""

    enabled: bool
    stats: MarketStats

    def describe_trainers(self) -> TrainersStatus: ...


class Progress(Protocol):
    @property
    def behind(self) -> int: ...

    @property
    def best_peer_height(self) -> int: ...

    @property
    def parked(self) -> int: ...

    @property
    def state(self) -> str: ...


class Following(Protocol):
    """Sync (node/services/sync.py)."""

    @property
    def peer_heads(self) -> Mapping[str, tuple[int, bytes]]: ...

    def progress(self) -> Progress: ...


def get_version() -> str:
    try:
        return version("gradientcoin")
    except PackageNotFoundError:  # run from a checkout
        return "0"


@dataclass(slots=True)
class ApiContext:
    """A node, as the API sees it. Made inside the event loop; `api` is set once the port is known."""

    name: str
    data_dir: Path
    token: str = field(repr=False)
    chain: ChainAccess
    worker: Trainer
    miner: Mining
    maker: Making
    sync: Following
    transport: Transport
    wallet: Wallet
    stop: Callable[[], None]
    fetch_blobs: Callable[[Iterable[bytes]], Awaitable[bool]]  # from peers; True when all are held
    get_bootstrap_problems: Callable[[], Mapping[str, str]] = dict  # by address
    api: str = ""
    stopping: bool = False
    version: str = field(default_factory=get_version)
    started_s: float = field(default_factory=trio.current_time)
    tallies: Tallies = field(default_factory=Tallies)
    pulse: Pulse = field(default_factory=Pulse)
    making: trio.Lock = field(default_factory=trio.Lock)  # of accounts, one at a time

    async def read(self, fn: Callable[[Chain, Mempool], T]) -> T:
        """Run a view in the chain's thread."""
        return await self.chain.call(lambda chain: fn(chain, self.chain.mempool))
