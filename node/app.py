"""The daemon: builds everything from its settings, runs it, and takes it down in order.

The only place where the parts of a node meet. Nothing here decides anything about blocks or peers. `python -m node`
(node/__main__.py) starts it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from ledger.blobs import BlobStore
from ledger.chain import Chain
from ledger.errors import LedgerError
from ledger.genesis import MAINNET_GENESIS, TESTNET_GENESIS, Genesis, local_genesis, regtest_genesis
from ledger.jobspec import decode_spec
from ledger.storage import Storage, open_storage
from node.datadir import LOG_FILE, NODE_FILE, TOKEN_FILE, replace_text, write_private
from node.exits import Exit, UserError
from node.logs import start_logging
from node.p2p.host import Libp2pConfig
from node.p2p.keeper import Keeper, KeeperConfig
from node.p2p.libp2p_transport import open_libp2p_transport
from node.p2p.listener import check_port_is_free
from node.p2p.transport import ListenError, Transport
from node.protocol.peer_book import PeerBook
from node.rpc.serve import check_port, serve_api
from node.rpc.server import ApiContext
from node.services.chain_service import ChainService
from node.services.fetch import Fetcher
from node.services.gossip import Gossip
from node.services.importer import Importer
from node.services.messages import Names
from node.services.miner import Miner
from node.services.serve import PeerServer
from node.services.sync import Sync
from node.settings import Settings
from node.wallet import Wallet
from node.worker.client import WorkerClient, WorkerFailed
from node.worker.wire import Frame

log = logging.getLogger(__name__)

API_HOST = "127.0.0.1"
PEERS_FILE = "peers.json"
RETRY_PARKED_S = 2.0
EXIT_WORKER = 10  # the training process could not be kept alive


def run_daemon(settings: Settings) -> int:
    """Run a node, whose directory is locked, until it is asked to stop; the exit code says why it ended."""
    start_logging(settings.data_dir / LOG_FILE, settings.log_level)
    try:
        return trio.run(_run, settings)
    except BaseExceptionGroup as group:
        error = _find_user_error(group)
        if error is None:
            log.exception("the node failed")
            raise
        raise error from None


def _find_user_error(group: BaseExceptionGroup) -> UserError | None:
    """Return the error that is meant for the user, if nothing worse is in the group."""
    meant, worse = group.split((UserError, ListenError, trio.Cancelled))
    if worse is not None or meant is None:
        return None
    for error in _leaves(meant):
        if isinstance(error, UserError):
            return error
        if isinstance(error, ListenError):
            return UserError(str(error), "name a free address of this machine with --listen", Exit.LOCKED)
    return None


def _leaves(group: BaseExceptionGroup) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@dataclass(slots=True)
class Stop:
    """The wish to stop, and the exit code it came with."""

    event: trio.Event
    code: int = 0

    def request(self, code: int = 0) -> None:
        self.code = max(self.code, code)
        self.event.set()


class StoppedEarly(Exception):
    """The wish to stop came before the node was ready."""


async def _run(settings: Settings) -> int:
    stop = Stop(trio.Event())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, stop)
        with suppress(StoppedEarly):
            await _run_node(settings, stop)
        nursery.cancel_scope.cancel()
    return stop.code


async def _watch_signals(stop: Stop) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            log.info("stopping on %s", signal.Signals(number).name)
            stop.request()


async def _run_node(settings: Settings, stop: Stop) -> None:
    check_port(API_HOST, settings.api_port)  # now: the training process takes seconds to start
    check_port_is_free(settings.listen)
    genesis = _load_genesis(settings)
    blobs = BlobStore(settings.data_dir / "blobs")
    events = EventRelay(stop)
    async with (
        _open_worker(settings, genesis, events, stop) as worker,
        _open_chain(settings, genesis, blobs, worker) as chain,
    ):
        service = ChainService(chain)
        wallet = Wallet(settings.data_dir, settings.chain, settings.chain_seed)
        config = Libp2pConfig(seed=_read_key(settings.data_dir / "identity.key"), listen=(settings.listen,))
        async with open_libp2p_transport(config) as transport:
            await _run_services(settings, stop, service, worker, events, wallet, transport)


class EventRelay:
    """Hands the training process' events from its reader thread to the miner on the trio thread."""

    def __init__(self, stop: Stop) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = stop
        self.miner: Miner | None = None

    def note_event(self, kind: str, arguments: Frame) -> None:
        self._later(self._deliver, kind, arguments)

    def note_failure(self, why: str) -> None:
        log.error("%s", why)
        self._later(self._stop.request, EXIT_WORKER)

    def _deliver(self, kind: str, arguments: Frame) -> None:
        if self.miner is not None:
            self.miner.note_event(kind, arguments)

    def _later(self, fn: Callable[..., None], *arguments: Any) -> None:  # Any: passed on as they came
        try:
            self._token.run_sync_soon(fn, *arguments)
        except trio.RunFinishedError:
            log.debug("an event came after the end")


@asynccontextmanager
async def _open_worker(
    settings: Settings, genesis: Genesis, events: EventRelay, stop: Stop
) -> AsyncIterator[WorkerClient]:
    worker = WorkerClient(
        settings.data_dir / "genesis.bin",
        settings.data_dir / "blobs",
        settings.worker_path,
        settings.data_dir / LOG_FILE.parent / "worker.log",
        decode_spec=lambda data: decode_spec(data, genesis.params),
        on_event=events.note_event,
        on_failure=events.note_failure,
    )
    try:
        await _start_worker(worker, stop)
        yield worker
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(worker.stop)


async def _start_worker(worker: WorkerClient, stop: Stop) -> None:
    """Wait until the training process is ready, which takes minutes where its kernels are not compiled yet."""
    failure: WorkerFailed | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on, stop.event, nursery.cancel_scope)
        try:
            # mypy loses this keyword behind trio's decorator
            await trio.to_thread.run_sync(worker.start, abandon_on_cancel=True)  # type: ignore[call-arg]
        except WorkerFailed as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None or stop.code:
        why = str(failure or "the training process ended; see logs/worker.log")
        raise UserError(why, "", EXIT_WORKER) from failure
    if stop.event.is_set():
        raise StoppedEarly


async def _cancel_on(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@asynccontextmanager
async def _open_chain(
    settings: Settings, genesis: Genesis, blobs: BlobStore, worker: WorkerClient
) -> AsyncIterator[Chain]:
    storage: Storage | None = None
    try:
        storage = open_storage(settings.data_dir / "chain.sqlite")
        chain = Chain(storage, blobs, genesis, worker)
        swept = blobs.sweep(chain.is_sidecar)  # what transactions brought that were never mined
        log.info("opened at height %d, %d unused files of blobs removed", chain.head.height, swept)
        yield chain
    except LedgerError as error:
        raise UserError(f"the ledger cannot be used: {error}", "", Exit.DAMAGED) from error
    finally:
        if storage is not None:
            storage.close()


async def _run_services(
    settings: Settings,
    stop: Stop,
    chain: ChainService,
    worker: WorkerClient,
    events: EventRelay,
    wallet: Wallet,
    transport: Transport,
) -> None:
    names = Names.of_chain(chain.chain.genesis.chain_id)
    fetcher = Fetcher(transport, names, chain.chain.params, chain.blobs)
    importer = Importer(chain, fetcher)
    sync = Sync(chain, transport, fetcher, importer)
    gossip = Gossip(chain, transport, names, fetcher, importer, sync)
    miner = Miner(chain, worker, sync, wallet.own.keypair, gossip.publish_block, settings.mine)
    events.miner = miner
    keeper = _make_keeper(settings, transport, chain.chain.genesis.chain_id)
    PeerServer(chain, names).register(transport)
    token = _write_token(settings.data_dir)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.hold_open)
        nursery.start_soon(keeper.run)
        nursery.start_soon(sync.run)
        nursery.start_soon(gossip.run)
        nursery.start_soon(importer.run, RETRY_PARKED_S)
        nursery.start_soon(miner.run)
        context = ApiContext(
            name=settings.name,
            token=token,
            chain=chain,
            worker=worker,
            miner=miner,
            sync=sync,
            transport=transport,
            wallet=wallet,
            stop=stop.request,
        )
        nursery.start_soon(context.pulse.run)
        port: int = await nursery.start(serve_api, context, API_HOST, settings.api_port)
        _write_node_file(settings, transport, port)
        print(f"ready http://127.0.0.1:{port}", flush=True)
        log.info("ready on port %d as %s", port, transport.peer_id)
        try:
            await stop.event.wait()
        finally:
            (settings.data_dir / NODE_FILE).unlink(missing_ok=True)
        nursery.cancel_scope.cancel()


def _make_keeper(settings: Settings, transport: Transport, chain_id: bytes) -> Keeper:
    book = PeerBook(transport.peer_id, random.Random(secrets.randbits(64)).uniform)
    path = settings.data_dir / PEERS_FILE
    for address in (*settings.bootstrap, *_read_peers(path)):
        book.add(address)
    return Keeper(
        transport,
        book,
        KeeperConfig(chain_id[:8].hex()),
        persist=lambda addresses: replace_text(path, json.dumps(addresses)),
    )


def _read_peers(path: Path) -> list[str]:
    try:
        return [str(address) for address in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []  # a convenience: without it the bootstrap addresses serve


def _load_genesis(settings: Settings) -> Genesis:
    """Return the chain's genesis; written at the first start, so that the training process finds it."""
    genesis = {
        "local": lambda: local_genesis(settings.chain_seed),
        "regtest": lambda: regtest_genesis(settings.chain_seed),
        "testnet": lambda: TESTNET_GENESIS,
        "mainnet": lambda: MAINNET_GENESIS,
    }[settings.chain]()
    path = settings.data_dir / "genesis.bin"
    if path.exists() and path.read_bytes() != genesis.encode():
        raise UserError(
            f"{path} is the genesis of another chain than {settings.chain} with seed {settings.chain_seed!r}",
            "use the seed the directory was made with, or another --data-dir",
            Exit.USAGE,
        )
    if not path.exists():
        temporary = path.with_suffix(".new")
        temporary.write_bytes(genesis.encode())
        temporary.replace(path)
    return genesis


def _read_key(path: Path) -> bytes:
    try:
        seed = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a key: {error}", "restore it from a backup", Exit.DAMAGED) from error
    if len(seed) != 32:
        raise UserError(f"{path}: expected 32 bytes in hex, got {len(seed)}", "restore it", Exit.DAMAGED)
    return seed


def _write_token(data_dir: Path) -> str:
    path = data_dir / TOKEN_FILE
    path.unlink(missing_ok=True)
    token = secrets.token_hex(16)
    write_private(path, token + "\n")
    return token


def _write_node_file(settings: Settings, transport: Transport, port: int) -> None:
    replace_text(
        settings.data_dir / NODE_FILE,
        json.dumps(
            {
                "pid": os.getpid(),
                "name": settings.name,
                "api": f"http://127.0.0.1:{port}",
                "peer_id": transport.peer_id,
                "addresses": transport.addresses(),
                "chain": settings.chain,
                "started_ms": time.time_ns() // 1_000_000,
            },
            indent=1,
        ),
    )
