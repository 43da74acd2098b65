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
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import trio

from ledger.blobs import BlobStore
from ledger.chain import Chain
from ledger.errors import DecodeError, LedgerError, StorageFailed
from ledger.genesis import MAINNET_GENESIS, TESTNET_GENESIS, Genesis, local_genesis, regtest_genesis
from ledger.jobspec import decode_spec
from ledger.storage import STORAGE_ERRORS, explain_failure, open_storage
from node.datadir import (
    LOG_FILE,
    NODE_FILE,
    TOKEN_FILE,
    UNBORN_CHAINS,
    replace_text,
    say_no_network,
    write_private,
)
from node.exits import Exit, UserError
from node.failures import DATABASE, explain_disk, explain_ledger, find_user_error, is_disk_failure
from node.logs import start_logging
from node.p2p.host import Libp2pConfig
from node.p2p.keeper import Keeper, KeeperConfig
from node.p2p.libp2p_transport import open_libp2p_transport
from node.p2p.listener import check_port_is_free
from node.p2p.transport import Transport
from node.privacy import FOLDER as PRIVACY
from node.protocol.peer_book import PeerBook
from node.rpc.serve import check_port, serve_api
from node.rpc.server import ApiContext
from node.services.chain_service import ChainService
from node.services.fetch import Fetcher
from node.services.gossip import Gossip
from node.services.importer import Importer
from node.services.kept_updates import KeptUpdates
from node.services.messages import Names
from node.services.miner import Miner
from node.services.serve import PeerServer
from node.services.share_box import ShareBox
from node.services.sync import Sync
from node.services.update_maker import UpdateMaker, UpdateTrainer
from node.settings import Settings
from node.trainer.client import TrainerClient
from node.trainer.requests import Method
from node.wallet import Wallet
from node.worker.client import WorkerClient, WorkerFailed
from node.worker.wire import Frame

log = logging.getLogger(__name__)

API_HOST = "127.0.0.1"
PEERS_FILE = "peers.json"
GENESIS_FILE = "genesis.bin"
BLOBS_FOLDER = "blobs"
RETRY_PARKED_S = 2.0


def run_daemon(settings: Settings, maker: type[UpdateMaker] = UpdateMaker) -> int:
    """Run a node, whose directory is locked, until it is asked to stop; the exit code says why it ended.

    `maker` is what makes its updates.
    """
    try:
        start_logging(settings.data_dir / LOG_FILE, settings.log_level)
        return _run_locked(settings, maker)
    except OSError as error:
        if not is_disk_failure(error):
            raise
        raise explain_disk(error, settings.data_dir) from error


def _run_locked(settings: Settings, maker: type[UpdateMaker]) -> int:
    try:
        return trio.run(_run, settings, maker)
    except BaseExceptionGroup as group:
        error = find_user_error(group, settings.data_dir)
        if error is None:
            log.exception("the node failed")
            raise
        raise error from None


@dataclass(slots=True)
class Stop:
    """The wish to stop, and the failure that is the reason for it, if one is."""

    event: trio.Event
    why: UserError | None = None

    def request(self, why: UserError | None = None) -> None:
        self.why = self.why or why
        self.event.set()


class StoppedEarly(Exception):
    """The wish to stop came before the node was ready."""


async def _run(settings: Settings, maker: type[UpdateMaker]) -> int:
    stop = Stop(trio.Event())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, stop)
        with suppress(StoppedEarly):
            await _run_node(settings, stop, maker)
        nursery.cancel_scope.cancel()
    if stop.why is not None:
        raise stop.why
    return Exit.DONE


async def _watch_signals(stop: Stop) -> None:
    asked = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it stays ignored
        asked.append(signal.SIGHUP)
    with trio.open_signal_receiver(*asked) as signals:
        async for number in signals:
            log.info("stopping on %s", signal.Signals(number).name)
            stop.request()


async def _run_node(settings: Settings, stop: Stop, maker: type[UpdateMaker]) -> None:
    if settings.chain in UNBORN_CHAINS:
        log.warning("%s", say_no_network(settings.chain))
    check_port(API_HOST, settings.api_port)  # now: the training process takes seconds to start
    check_port_is_free(settings.listen)
    genesis = _load_genesis(settings)
    blobs = BlobStore(settings.data_dir / BLOBS_FOLDER)
    events = EventRelay(stop)
    worker = _make_worker(settings, genesis, events)
    with _open_chain(settings, genesis, blobs, worker) as chain:  # first: damage is told at once
        await _run_on_chain(settings, stop, events, chain, worker, maker)


async def _run_on_chain(
    settings: Settings,
    stop: Stop,
    events: EventRelay,
    chain: Chain,
    worker: WorkerClient,
    maker: type[UpdateMaker],
) -> None:
    async with _run_worker(worker, stop), _open_trainer(settings) as trainer:
        service = ChainService(chain)
        wallet = Wallet(settings.data_dir, settings.chain, settings.chain_seed)
        config = Libp2pConfig(seed=_read_key(settings.data_dir / "identity.key"), listen=(settings.listen,))
        async with open_libp2p_transport(config) as transport:
            parts = make_services(settings, service, worker, trainer, wallet, transport, maker)
            events.miner = parts.miner
            await run_services(settings, stop, parts)


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
        hint = "see logs/worker.log; start the node again once the cause is gone"
        self._later(self._stop.request, UserError(why, hint, Exit.WORKER))

    def _deliver(self, kind: str, arguments: Frame) -> None:
        if self.miner is not None:
            self.miner.note_event(kind, arguments)

    def _later(self, fn: Callable[..., None], *arguments: Any) -> None:  # Any: passed on as they came
        try:
            self._token.run_sync_soon(fn, *arguments)
        except trio.RunFinishedError:
            log.debug("an event came after the end")


def _make_worker(settings: Settings, genesis: Genesis, events: EventRelay) -> WorkerClient:
    return WorkerClient(
        settings.data_dir / GENESIS_FILE,
        settings.data_dir / BLOBS_FOLDER,
        settings.worker_path,
        settings.data_dir / LOG_FILE.parent / "worker.log",
        decode_spec=lambda data: decode_spec(data, genesis.params),
        on_event=events.note_event,
        on_failure=events.note_failure,
    )


@asynccontextmanager
async def _run_worker(worker: WorkerClient, stop: Stop) -> AsyncIterator[None]:
    try:
        await _start_worker(worker, stop)
        yield
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(worker.stop)


@asynccontextmanager
async def _open_trainer(settings: Settings) -> AsyncIterator[TrainerClient]:
    """The trainers, whose processes start at their first training."""
    log_path = settings.data_dir / LOG_FILE.parent / "trainer.log"
    trainer = TrainerClient(
        settings.data_dir / GENESIS_FILE,
        settings.data_dir / BLOBS_FOLDER,
        log_path,
        trainers=settings.trainers,
        device=settings.device,
        launcher=settings.trainer_launcher,
    )
    try:
        yield trainer
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(trainer.stop)


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
    if failure is not None and stop.why is None:
        raise UserError(str(failure), "", Exit.WORKER) from failure
    if stop.event.is_set():
        raise StoppedEarly


async def _cancel_on(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@contextmanager
def _open_chain(
    settings: Settings, genesis: Genesis, blobs: BlobStore, worker: WorkerClient
) -> Iterator[Chain]:
    with ExitStack() as stack:
        try:
            storage = open_storage(settings.data_dir / DATABASE)
            stack.callback(storage.close)
            chain = Chain(storage, blobs, genesis, worker)
            if chain.head.height:  # an empty chain is about to be fetched, with what lies here
                swept = blobs.sweep(chain.is_sidecar)
                log.info("opened at height %d, %d unused files removed", chain.head.height, swept)
        except LedgerError as error:
            raise explain_ledger(error, settings.data_dir) from error
        except STORAGE_ERRORS as error:
            raise explain_ledger(explain_failure(error), settings.data_dir) from error
        yield chain


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a node, built and not running yet."""

    chain: ChainService
    worker: WorkerClient
    wallet: Wallet
    transport: Transport
    fetcher: Fetcher
    importer: Importer
    sync: Sync
    gossip: Gossip
    miner: Miner
    maker: UpdateMaker
    keeper: Keeper


def make_services(
    settings: Settings,
    chain: ChainService,
    worker: WorkerClient,
    trainer: UpdateTrainer,
    wallet: Wallet,
    transport: Transport,
    make_maker: type[UpdateMaker] = UpdateMaker,
) -> Services:
    names = Names.of_chain(chain.chain.genesis.chain_id)
    fetcher = Fetcher(transport, names, chain)
    importer = Importer(chain, fetcher)
    sync = Sync(chain, transport, fetcher, importer)
    gossip = Gossip(chain, transport, names, fetcher, importer, sync)
    miner = Miner(chain, worker, sync, wallet.own.keypair, gossip.publish_block, settings.mine)
    shares, kept = ShareBox(), KeptUpdates(settings.data_dir)
    trains = settings.mine and settings.updates
    budgets = str(settings.data_dir / PRIVACY)
    method = Method(settings.solver, settings.precision, settings.own_samples, settings.privacy, budgets)
    maker = make_maker(chain, trainer, wallet.own, kept, shares, miner.may_mine, trains, method)
    miner.on_share = shares.add
    keeper = _make_keeper(settings, transport, chain.chain.genesis.chain_id)
    PeerServer(chain, names).register(transport)
    return Services(chain, worker, wallet, transport, fetcher, importer, sync, gossip, miner, maker, keeper)


async def run_services(settings: Settings, stop: Stop, parts: Services) -> None:
    """Run a node's parts until the wish to stop."""
    parts.chain.on_storage_failure = partial(_stop_on_failure, settings.data_dir, stop)
    token = _write_token(settings.data_dir)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parts.worker.hold_open)
        nursery.start_soon(parts.keeper.run)
        nursery.start_soon(parts.sync.run)
        nursery.start_soon(parts.gossip.run)
        nursery.start_soon(parts.importer.run, RETRY_PARKED_S)
        nursery.start_soon(parts.miner.run)
        nursery.start_soon(parts.maker.run)
        context = _make_api_context(settings, stop, parts, token)
        nursery.start_soon(context.pulse.run)
        port: int = await nursery.start(serve_api, context, API_HOST, settings.api_port)
        _write_node_file(settings, parts.transport, port)
        print(f"ready http://127.0.0.1:{port}")
        print(
            f"  ask it: gradientcoin status --node {quote(str(settings.data_dir))}; Ctrl+C stops it",
            flush=True,
        )
        log.info("ready on port %d as %s", port, parts.transport.peer_id)
        try:
            await stop.event.wait()
        finally:
            (settings.data_dir / NODE_FILE).unlink(missing_ok=True)
        nursery.cancel_scope.cancel()


def _make_api_context(settings: Settings, stop: Stop, parts: Services, token: str) -> ApiContext:
    return ApiContext(
        name=settings.name,
        data_dir=settings.data_dir,
        token=token,
        chain=parts.chain,
        worker=parts.worker,
        miner=parts.miner,
        maker=parts.maker,
        sync=parts.sync,
        transport=parts.transport,
        wallet=parts.wallet,
        stop=stop.request,
        fetch_blobs=parts.fetcher.fetch_blobs,
        get_bootstrap_problems=lambda: parts.keeper.bootstrap_problems,
    )


def _stop_on_failure(data_dir: Path, stop: Stop, failure: StorageFailed) -> None:
    if stop.why is None:
        log.error("the node stops: %s", failure)
    stop.request(explain_ledger(failure, data_dir))


def _make_keeper(settings: Settings, transport: Transport, chain_id: bytes) -> Keeper:
    book = PeerBook(transport.peer_id, random.Random(secrets.randbits(64)).uniform)
    path = settings.data_dir / PEERS_FILE
    for address in (*settings.bootstrap, *_read_peers(path)):
        book.add(address)
    return Keeper(
        transport,
        book,
        KeeperConfig(chain_id[:8].hex(), settings.bootstrap),
        persist=partial(_write_peers, path),
    )


def _write_peers(path: Path, addresses: list[str]) -> None:
    try:
        replace_text(path, json.dumps(addresses))
    except OSError as error:  # a convenience; what cannot do without the disk says so itself
        log.warning("%s was not written: %s", path, error)


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
    path = settings.data_dir / GENESIS_FILE
    if _holds_other_genesis(path, genesis):
        raise UserError(
            f"{path} is the genesis of another chain than {settings.chain} with seed {settings.chain_seed!r}",
            "use the seed the directory was made with, or another --data-dir",
            Exit.USAGE,
        )
    temporary = path.with_suffix(".new")
    temporary.write_bytes(genesis.encode())
    temporary.replace(path)
    return genesis


def _holds_other_genesis(path: Path, genesis: Genesis) -> bool:
    try:
        return Genesis.decode(path.read_bytes()).encode() != genesis.encode()
    except (FileNotFoundError, DecodeError):  # a damaged one says nothing; it is written again
        return False


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
