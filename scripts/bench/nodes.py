"""A network of real daemons for a benchmark, in a temporary directory, and what they use of the machine."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node.rpc.client import Json
from node.rpc.errors import ClientError
from node.testnet.network import Testnet
from node.testnet.process import read_stat

POLL_S = 0.1
STOP_S = 10.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@contextmanager
def open_network(seed: str, count: int) -> Iterator[Testnet]:
    """Run this many nodes until the block ends, whatever ends it."""
    with open_folder() as folder, end_with(Testnet.create(folder, "bench", seed)) as network:
        network.up(count)
        yield network


@contextmanager
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gradientcoin-bench-") as folder:
        yield Path(folder)


@contextmanager
def end_with(network: Testnet) -> Iterator[Testnet]:
    """Stop a network's nodes at the end of the block, and see to it that none is left."""
    try:
        yield network
    finally:
        network.stop(STOP_S)
        left = network.list_left_over()
        if left:
            raise RuntimeError(f"processes are left: {left}")


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait until a condition holds, which may fail as long as a node does not answer."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        with suppress(ClientError):
            if condition():
                return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(POLL_S)


def get_status(network: Testnet, name: str) -> Json:
    return network.client(name).get("/v1/status")


def get_height(network: Testnet, name: str) -> int:
    return int(get_status(network, name)["head"]["height"])


def wait_for_height(network: Testnet, height: int, timeout_s: float) -> None:
    """Wait until every node has this height."""
    for name in network.names():
        wait_for(lambda name=name: get_height(network, name) >= height, timeout_s, f"{name}: height {height}")  # type: ignore[misc]


def list_processes(network: Testnet, name: str) -> list[int]:
    """Return the pids of a node: the daemon's first, then its training process'."""
    process = network.state.nodes[name].process
    assert process is not None
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    children = [pid for pid in pids if (stat := read_stat(pid)) is not None and int(stat[1]) == process.pid]
    return [process.pid, *children]


def read_memory(pid: int) -> dict[str, float]:
    """Return MB of a process: its share of what it maps (Pss), and what it has alone (Private)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.partition(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines[1:]}
    return {"Pss": sizes["Pss"], "Private": sizes["Private_Clean"] + sizes["Private_Dirty"]}


def read_cpu_s(pid: int) -> float:
    """Return the processor time a process has used."""
    stat = read_stat(pid)
    assert stat is not None
    return (int(stat[11]) + int(stat[12])) / TICKS_PER_S
