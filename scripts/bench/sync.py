"""How fast a node takes over a chain it has never seen, every run of it replayed: by sync, and by `chain verify`.

The chain has heartbeats and the tickets and settlements of examples/digits.toml, and is mined here first. A node that
holds it and a fresh one are real daemons on libp2p; both do not mine. The shares are those of one process that adds
the same blocks, each wait for the disk included.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from figures import ROOT, Report, finish, parse_options
from nodes import end_with, get_height, list_processes, open_folder, read_cpu_s, wait_for

import ledger.blocks
import ledger.transactions
from ledger.blobs import BlobStore
from ledger.chain import Chain
from ledger.chainfile import ChainFile
from ledger.codec import MAX_AMOUNT
from ledger.storage import open_storage
from ledger.work import JobFacts, Settled, SettleTask, TicketRun, TicketTask
from node.datadir import LOG_FILE, NodeConfig, init_data_dir
from node.rpc.client import Json
from node.testnet.environment import node_environment
from node.testnet.network import Testnet
from node.verify import verify_file
from node.work import EngineVerifier
from training.engine import Engine

BLOCKS, QUICK_BLOCKS = 400, 40
ROUNDS = 5
TIMEOUT_S = 300.0
SYNC_AIM = 100.0
SEED = "local"  # the one that a daemon on regtest has
HOLDER, FRESH = "node-0", "node-1"
HEADS = "node.services.chain_service"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("sync", __doc__, arguments)
    report = Report("sync", options.seed, options.quick)
    rounds = 1 if options.quick else ROUNDS
    with open_folder() as folder:
        file = folder / "chain.gcc"
        mine(file, QUICK_BLOCKS if options.quick else BLOCKS)
        measure_shares(report, file, folder, rounds)
        measure_sync(report, file, folder, rounds)
        measure_verify(report, file, rounds)
    report.notes.append("one chain, whatever the seed: a daemon on regtest knows one genesis only")
    finish(report, options)


def mine(file: Path, blocks: int) -> None:
    """Write a chain of so many blocks on the regtest preset, where nearly every valid run wins."""
    sys.path.insert(0, str(ROOT))
    from tests.integration import mine_chain

    job_file = write_job(file.parent)
    with patch.multiple(mine_chain, JOB_FILE=job_file, SEED=SEED):
        mine_chain.mine_chain(file, blocks, "fused")


def write_job(folder: Path) -> Path:
    """Write examples/digits.toml with a target that is not reached, so that the whole chain has its tickets."""
    examples = ROOT / "examples"
    text = (examples / "digits.toml").read_text()
    for old, new in (("data/digits.npz", f"{examples}/data/digits.npz"), ("= 2.95 ", "= 0.01 ")):
        if text.count(old) != 1:
            raise RuntimeError(f"examples/digits.toml: expected {old!r} once")
        text = text.replace(old, new)
    path = folder / "job.toml"
    path.write_text(text)
    return path


# --- shares of one process --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Stopwatch:
    """Seconds by kind."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def time(self, kind: str, fn: Callable[..., Any]) -> Callable[..., Any]:  # Any: any function
        def timed(*arguments: Any, **options: Any) -> Any:  # Any: as above
            begin_s = time.perf_counter()
            try:
                return fn(*arguments, **options)
            finally:
                self.seconds[kind] += time.perf_counter() - begin_s

        return timed


@dataclass(slots=True)
class TimedVerifier:
    """Real work, timed and counted."""

    inner: EngineVerifier
    watch: Stopwatch
    job_runs: int = 0
    settled: int = 0

    @property
    def heartbeat_work(self) -> int:
        return self.inner.heartbeat_work

    def inspect(self, spec: Any) -> JobFacts:  # Any: a JobSpec, as the ledger's protocol has it
        return self.watch.time("replay", self.inner.inspect)(spec)  # type: ignore[no-any-return]

    def run(self, task: TicketTask) -> TicketRun:
        self.job_runs += task.spec is not None
        return self.watch.time("replay", self.inner.run)(task)  # type: ignore[no-any-return]

    def settle(self, task: SettleTask) -> Settled:
        self.settled += 1
        return self.watch.time("replay", self.inner.settle)(task)  # type: ignore[no-any-return]


def make_connection_class(watch: Stopwatch) -> type[sqlite3.Connection]:
    class TimedConnection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:  # Any: as in the class it overrides
            return watch.time("sqlite", super().execute)(*arguments)  # type: ignore[no-any-return]

        def executemany(self, *arguments: Any) -> sqlite3.Cursor:  # Any: as above
            return watch.time("sqlite", super().executemany)(*arguments)  # type: ignore[no-any-return]

    return TimedConnection


@contextmanager
def watch_all(watch: Stopwatch) -> Iterator[None]:
    with ExitStack() as stack:
        for module in (ledger.blocks, ledger.transactions):
            stack.enter_context(patch.object(module, "verify", watch.time("signatures", module.verify)))
        connect = partial(sqlite3.connect, factory=make_connection_class(watch))
        stack.enter_context(patch.object(sqlite3, "connect", connect))
        yield


def measure_shares(report: Report, file: Path, folder: Path, rounds: int) -> None:
    rates, shares = [], defaultdict[str, float](float)
    for number in range(rounds):
        watch = Stopwatch()
        with watch_all(watch):
            seconds, chain, verifier = replay(file, folder / f"replay-{number}", watch)
        rates.append(chain.head.height / seconds)
        for kind, value in watch.seconds.items():
            shares[kind] += value / seconds / rounds
    report.add_one("blocks of the chain", chain.head.height, "blocks")
    report.add_one("of them with a job's ticket", verifier.job_runs - 1, "blocks")  # one is the trial
    report.add_one("settlements", verifier.settled, "settlements")
    report.add("one process, durable storage, no network", rates, "blocks/s")
    for kind in ("replay", "sqlite", "signatures"):
        report.add_one(f"of it {kind}", 100 * shares[kind], "%")
    rest = 100 * (1 - sum(shares.values()))
    report.add_one("of it all else (decoding, state, hashing)", rest, "%")


def replay(file: Path, folder: Path, watch: Stopwatch) -> tuple[float, Chain, TimedVerifier]:
    """Add all blocks to a fresh chain in a data directory, as a node would that has them at hand."""
    folder.mkdir(parents=True, exist_ok=True)
    blobs = BlobStore(folder / "blobs")
    verifier = TimedVerifier(EngineVerifier(Engine(blobs.get)), watch)
    verifier.inner.engine.heartbeat(bytes(32), bytes(32))  # loads the kernels
    storage = open_storage(folder / "chain.sqlite")
    with file.open("rb") as opened:
        source = ChainFile(opened.read)
        begin_s = time.perf_counter()
        chain = Chain(storage, blobs, source.genesis, verifier)
        for filed in source:
            for blob in filed.blobs:
                blobs.put(blob)
            chain.add_block(filed.block, MAX_AMOUNT)
        seconds = time.perf_counter() - begin_s
    storage.close()
    return seconds, chain, verifier


# --- daemons ----------------------------------------------------------------------------------------------------------


def measure_sync(report: Report, file: Path, folder: Path, rounds: int) -> None:
    rates: list[float] = []
    used: dict[str, list[float]] = {"daemon": [], "training process": []}
    for number in range(rounds):
        with end_with(make_pair(file, folder / f"net-{number}")) as network:
            start_apart(network)
            rate, spent = sync_once(network)
        rates.append(rate)
        for part, value in zip(used, spent, strict=True):
            used[part].append(value)
    report.add(
        "sync of a fresh node over libp2p", rates, "blocks/s", at_least=SYNC_AIM,
        floor="that of one process above; what is less is network, and one message to the training process a replay",
    )  # fmt: skip
    for part, values in used.items():
        report.add(f"processor time of the fresh {part}, a block", values, "ms")


def make_pair(file: Path, folder: Path) -> Testnet:
    """A node that holds the chain, and a fresh one; none runs."""
    network = Testnet.create(folder, "sync", SEED)
    for name in (HOLDER, FRESH):
        init_data_dir(network.data_dir(name), NodeConfig("regtest", SEED, name, mine=False))
        network.add(name)
    replay(file, network.data_dir(HOLDER), Stopwatch())
    return network


def start_apart(network: Testnet) -> None:
    for name in (HOLDER, FRESH):
        network.start(name)  # at once: neither is ready, so that neither is told of the other
    network.wait_ready((HOLDER, FRESH))


def sync_once(network: Testnet) -> tuple[float, tuple[float, float]]:
    """Connect the two; return blocks a second between first and last, and ms of processor time a block."""
    height = get_height(network, HOLDER)
    pids = list_processes(network, FRESH)
    before = [read_cpu_s(pid) for pid in pids]
    network.client(FRESH).post("/v1/peers", {"address": network.addresses(HOLDER)[0]})
    wait_for(lambda: get_height(network, FRESH) == height, TIMEOUT_S, f"{FRESH}: height {height}")
    daemon_s, worker_s = (read_cpu_s(pid) - old for pid, old in zip(pids, before, strict=True))
    times = list(read_stamps(network.data_dir(FRESH) / LOG_FILE))
    rate = (len(times) - 1) / (times[-1] - times[0])
    return rate, (1e3 * daemon_s / height, 1e3 * worker_s / height)


def read_stamps(path: Path) -> Iterator[float]:
    """The seconds at which a node took a new head, from its log."""
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if entry["from"] == HEADS and entry["message"].startswith("head "):
            yield datetime.fromisoformat(entry["time"]).timestamp()


def measure_verify(report: Report, file: Path, rounds: int) -> None:
    """`python -m node.verify`, with its start (imports, kernels, self-test) and without."""
    whole, bare = [], []
    for _ in range(rounds):
        begin_s = time.perf_counter()
        command = [sys.executable, "-m", "node.verify", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, env=node_environment(), check=True)
        whole.append(read_count(json.loads(done.stdout.splitlines()[-1])) / (time.perf_counter() - begin_s))
        lines: list[Json] = []
        begin_s = time.perf_counter()
        verify_file(file, lambda blobs: EngineVerifier(Engine(blobs.get)), lines.append)
        bare.append(read_count(lines[-1]) / (time.perf_counter() - begin_s))
    report.add("chain verify, its start included", whole, "blocks/s")
    report.add("chain verify, without its start", bare, "blocks/s")


def read_count(verdict: Json) -> int:
    if not verdict["verified"]:
        raise RuntimeError(f"chain verify: {verdict}")
    return int(verdict["blocks"])


if __name__ == "__main__":
    main()
