"""Real daemons over libp2p on a local chain: gossip, a late node, crashes, reorganisation, stopping."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from ledger.storage import open_storage
from node.datadir import LOG_FILE, NODE_FILE
from node.exits import Exit
from node.rpc.client import Json
from node.rpc.errors import ClientError
from node.testnet.environment import node_environment
from node.testnet.network import DAEMON, Testnet
from node.testnet.process import get_exit_status, read_stat

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SEED = "integration"
WAIT_S = 60.0
STOP_S = 5.0
POLL_S = 0.05
FIRST, SECOND, LATE, EARLY = "node-0", "node-1", "node-2", "node-3"


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


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testnet]:
    with open_network(tmp_path_factory.mktemp("daemons") / "pair") as opened:
        opened.up(2)
        yield opened


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
    process = network.state.nodes[name].process
    assert process is not None
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    (worker,) = [
        pid
        for pid in pids
        if (stat := read_stat(pid)) is not None and int(stat[1]) == process.pid and stat[0] not in "ZX"
    ]
    return worker


# together


def test_two_nodes_reach_the_same_height_and_hash(network: Testnet) -> None:
    run_again(network, FIRST, SECOND)
    until(lambda: status_of(network, FIRST)["peers"] == 1)
    wanted = max(height_of(network, name) for name in (FIRST, SECOND)) + 3
    until(lambda: agree_from(network, wanted, FIRST, SECOND))
    assert status_of(network, SECOND)["state"] == "running"


def test_late_node_catches_up(network: Testnet) -> None:
    run_again(network, FIRST, SECOND)
    until(lambda: height_of(network, FIRST) >= 5)
    run_again(network, LATE)
    wanted = height_of(network, FIRST)
    until(lambda: agree_from(network, wanted, FIRST, LATE))
    assert hash_at(network, LATE, 1) == hash_at(network, FIRST, 1)


def test_killed_training_process_is_replaced_and_mining_goes_on(network: Testnet) -> None:
    run_again(network, FIRST)
    restarts = status_of(network, FIRST)["worker"]["restarts"]
    os.kill(worker_of(network, FIRST), signal.SIGKILL)
    until(lambda: status_of(network, FIRST)["worker"]["restarts"] == restarts + 1)
    runs = status_of(network, FIRST)["mining"]["runs"]
    until(lambda: status_of(network, FIRST)["mining"]["runs"] > runs)


def test_killed_node_keeps_every_block_it_acknowledged_and_converges(network: Testnet) -> None:
    run_again(network, FIRST, SECOND)
    until(lambda: status_of(network, SECOND)["peers"] >= 1)
    address = status_of(network, SECOND)["wallet"]["address"]
    acknowledged: set[str] = set()
    start = height_of(network, SECOND)

    def has_grown() -> bool:
        acknowledged.update(block["hash"] for block in blocks_of(network, SECOND, start))
        return len(acknowledged) > 3

    until(has_grown)
    network.kill(SECOND)
    mined = {block["hash"] for block in blocks_of(network, FIRST) if block["miner"] == address}
    with_blocks = open_storage(network.data_dir(SECOND) / "chain.sqlite")
    lost = [found for found in acknowledged | mined if with_blocks.get_body(bytes.fromhex(found)) is None]
    with_blocks.close()
    assert not lost
    run_again(network, SECOND)
    wanted = height_of(network, FIRST) + 1
    until(lambda: agree_from(network, wanted, FIRST, SECOND))


# stopping


def test_second_daemon_on_the_same_directory_is_refused(network: Testnet) -> None:
    run_again(network, FIRST)
    second = subprocess.run(
        [*DAEMON, "--data-dir", str(network.data_dir(FIRST))],
        env=node_environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert second.returncode == int(Exit.LOCKED) == 6
    assert str(network.data_dir(FIRST)) in second.stderr
    assert "Traceback" not in second.stderr
    assert height_of(network, FIRST) >= 0
    assert (network.data_dir(FIRST) / NODE_FILE).exists()


def stop_by(network: Testnet, name: str, number: signal.Signals) -> int | None:
    """Signal a node and return its exit status; it must end in time and leave nothing."""
    process = network.state.nodes[name].process
    assert process is not None
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


@pytest.mark.parametrize(("name", "number"), [(SECOND, signal.SIGINT), (LATE, signal.SIGTERM)])
def test_signal_stops_a_node_in_time_and_leaves_nothing(
    network: Testnet, name: str, number: signal.Signals
) -> None:
    run_again(network, name)
    until(lambda: bool(status_of(network, name)["mining"]["runs"]))
    worker = worker_of(network, name)
    assert stop_by(network, name, number) == 0
    assert read_stat(worker) is None


def test_signal_stops_a_node_whose_training_process_hangs(network: Testnet) -> None:
    """A block of the other node waits for its replay, and the chain's thread with it."""
    run_again(network, FIRST, SECOND)
    until(lambda: status_of(network, SECOND)["peers"] >= 1)
    os.kill(worker_of(network, SECOND), signal.SIGSTOP)
    wanted = height_of(network, FIRST) + 2
    until(lambda: height_of(network, FIRST) >= wanted)
    assert stop_by(network, SECOND, signal.SIGTERM) == 0


def test_signal_stops_a_node_that_is_still_starting(network: Testnet) -> None:
    network.add(EARLY)
    network.start(EARLY)
    until(lambda: (network.data_dir(EARLY) / "logs" / "worker.log").exists())
    assert stop_by(network, EARLY, signal.SIGTERM) == 0


def test_stop_request_stops_a_node(network: Testnet) -> None:
    run_again(network, FIRST)
    process = network.state.nodes[FIRST].process
    assert process is not None
    network.client(FIRST).post("/v1/stop", {})
    until(lambda: get_exit_status(process) is not None, STOP_S)
    assert get_exit_status(process) == 0
    assert not (network.data_dir(FIRST) / NODE_FILE).exists()


# apart


def test_two_networks_become_one_and_the_lighter_one_reorganises(tmp_path: Path) -> None:
    with ExitStack() as stack:
        heavy, light = (stack.enter_context(open_network(tmp_path / name)) for name in ("heavy", "light"))
        for net in (heavy, light):
            net.add(FIRST)
            net.start(FIRST)
        for net in (heavy, light):
            net.wait_ready([FIRST])
        until(lambda: min(height_of(heavy, FIRST), height_of(light, FIRST)) >= 3)
        first = {hash_at(net, FIRST, 1) for net in (heavy, light)}
        assert len(first) == 2
        before = {net.directory: hash_at(net, FIRST, 1) for net in (heavy, light)}
        heavy.client(FIRST).post("/v1/peers", {"address": light.addresses(FIRST)[0]})
        until(lambda: hash_at(heavy, FIRST, 1) == hash_at(light, FIRST, 1))
        tip = max(height_of(net, FIRST) for net in (heavy, light))
        until(lambda: min(height_of(net, FIRST) for net in (heavy, light)) >= tip)
        until(lambda: hash_at(heavy, FIRST, tip) == hash_at(light, FIRST, tip))
        changed = [net for net in (heavy, light) if hash_at(net, FIRST, 1) != before[net.directory]]
        assert len(changed) == 1
        assert "reorganised" in (changed[0].data_dir(FIRST) / LOG_FILE).read_text()
