"""Real daemons for tests: a small network, its chains, its processes, and waiting with a bound."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node.datadir import NODE_FILE
from node.rpc.client import Json
from node.rpc.errors import ClientError
from node.testnet.network import Testnet
from node.testnet.process import ProcessId, get_exit_status, read_stat

SEED = "integration"
WAIT_S = 60.0
STOP_S = 5.0
POLL_S = 0.05


def until(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> float:
    """Wait until a condition holds, which may fail as long as a node does not answer; return how long it took."""
    begin_s = time.monotonic()
    while True:
        with suppress(ClientError):
            if condition():
                return time.monotonic() - begin_s
        assert time.monotonic() - begin_s < timeout_s
        time.sleep(POLL_S)


@contextmanager
def open_network(folder: Path) -> Iterator[Testnet]:
    folder.mkdir()
    network = Testnet.create(folder, folder.name, SEED)
    try:
        yield network
    finally:
        network.stop(STOP_S)
        assert not network.list_left_over()


def process_of(network: Testnet, name: str) -> ProcessId:
    process = network.state.nodes[name].process
    assert process is not None
    return process


def status_of(network: Testnet, name: str) -> Json:
    return network.client(name).get("/v1/status")


def height_of(network: Testnet, name: str) -> int:
    return int(status_of(network, name)["head"]["height"])


def hash_at(network: Testnet, name: str, height: int) -> str:
    return str(network.client(name).get(f"/v1/blocks/{height}")["hash"])


def blocks_of(network: Testnet, name: str, start: int = 1) -> list[Json]:
    """The newest blocks of a node from a height on."""
    answer = network.client(name).get("/v1/blocks", {"from": start, "limit": 200})
    return [dict(block) for block in answer["blocks"]]


def agree_from(network: Testnet, height: int, *names: str) -> bool:
    """Whether all nodes have this height and the same block there."""
    return (
        min(height_of(network, name) for name in names) >= height
        and len({hash_at(network, name, height) for name in names}) == 1
    )


def run_again(network: Testnet, *names: str) -> None:
    started = []
    for name in names:
        network.add(name)
        if network.start(name):
            started.append(name)
    network.wait_ready(started)


def worker_of(network: Testnet, name: str) -> int:
    """The pid of a node's training process."""
    (worker,) = workers_of(network, name)
    return worker


def workers_of(network: Testnet, name: str) -> list[int]:
    """The pids of a node's children that live: one, or none while it starts."""
    process = process_of(network, name)
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [
        pid
        for pid in pids
        if (stat := read_stat(pid)) is not None and int(stat[1]) == process.pid and stat[0] not in "ZX"
    ]


def stop_by(network: Testnet, name: str, number: signal.Signals) -> int | None:
    """Signal a node and return its exit status; it must end in time and leave nothing."""
    process = process_of(network, name)
    os.kill(process.pid, number)
    until(lambda: get_exit_status(process) is not None, STOP_S)
    assert not (network.data_dir(name) / NODE_FILE).exists()
    network.forget(network.state.nodes[name])
    assert not [pid for pid in network.list_left_over() if belongs_to(pid, network.data_dir(name))]
    return get_exit_status(process)


def belongs_to(pid: int, folder: Path) -> bool:
    try:
        return os.fsencode(folder) in Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return False
