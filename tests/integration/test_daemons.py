"""Real daemons over libp2p on a local chain: gossip, a late node, crashes, reorganisation, stopping."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from ledger.storage import open_storage
from node.datadir import NODE_FILE
from node.exits import Exit
from node.testnet.environment import node_environment
from node.testnet.network import DAEMON, Testnet
from node.testnet.process import get_exit_status, read_stat
from tests.integration.daemons import (
    STOP_S,
    WAIT_S,
    agree_from,
    blocks_of,
    hash_at,
    height_of,
    open_network,
    run_again,
    status_of,
    stop_by,
    until,
    worker_of,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FIRST, SECOND, LATE, EARLY = "node-0", "node-1", "node-2", "node-3"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testnet]:
    with open_network(tmp_path_factory.mktemp("daemons") / "pair") as opened:
        opened.up(2)
        yield opened


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


@pytest.mark.parametrize(
    ("name", "number"), [(SECOND, signal.SIGINT), (LATE, signal.SIGTERM), (SECOND, signal.SIGHUP)]
)
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
