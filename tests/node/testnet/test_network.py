"""Networks of daemons: started, killed, restarted, and above all: nothing is ever left behind."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.exits import Exit
from node.testnet.environment import node_environment
from node.testnet.network import Testnet
from node.testnet.process import ProcessId, is_alive, kill_group, read_start
from node.testnet.state import TestnetError, find_networks, find_running_networks, load_state

FAKE = (sys.executable, str(Path(__file__).with_name("fake_daemon.py")))
FAKE_ADVERSARY = (*FAKE, "--attack")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Testnet]:
    network = Testnet.create(tmp_path / ".gradientcoin/testnets/local", "local", "seed", FAKE)
    yield network
    network.stop(timeout_s=1)
    assert network.list_left_over() == []


def worker_of(network: Testnet, name: str) -> int:
    return int((network.data_dir(name) / "worker.pid").read_text())


def bootstrap_of(network: Testnet, name: str) -> list[str]:
    return (network.data_dir(name) / "bootstrap").read_text().split()


def test_up_starts_all_and_bootstraps_to_the_first(network: Testnet) -> None:
    ready: list[str] = []
    network.up(3, lambda name, seconds: ready.append(name))
    assert network.running() == ["node-0", "node-1", "node-2"]
    assert ready[0] == "node-0"
    assert sorted(ready) == network.running()
    assert bootstrap_of(network, "node-0") == []
    assert bootstrap_of(network, "node-1") != []
    assert network.client("node-1").get("/v1/status")["state"] == "running"


def test_adversaries_run_a_program_of_their_own_and_are_remembered(network: Testnet) -> None:
    network.adversary = FAKE_ADVERSARY
    network.up(1, attacks={"copier": 1, "noise": 2})
    assert network.running() == ["node-0", "copier-0", "noise-0", "noise-1"]
    assert (network.data_dir("noise-1") / "attack").read_text() == "noise"
    assert (network.data_dir("node-0") / "attack").read_text() == ""
    attacks = {name: node.attack for name, node in load_state(network.directory).nodes.items()}
    assert attacks == {"node-0": "", "copier-0": "copier", "noise-0": "noise", "noise-1": "noise"}
    network.stop()
    network.up(1)
    assert (network.data_dir("copier-0") / "attack").read_text() == "copier"


def test_each_node_is_a_session_of_its_own(network: Testnet) -> None:
    network.up(2)
    pids = [node.process.pid for node in network.state.nodes.values() if node.process]
    assert [os.getsid(pid) for pid in pids] == pids


def test_stop_leaves_nothing(network: Testnet) -> None:
    network.up(2)
    workers = [worker_of(network, name) for name in network.names()]
    assert network.stop() == []
    assert network.running() == []
    assert network.list_left_over() == []
    assert [read_start(pid) for pid in workers] == [None, None]


def test_stubborn_node_is_killed(network: Testnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DAEMON", "stubborn")
    network.up(2)
    assert network.stop(timeout_s=0.3) == ["node-0", "node-1"]
    assert network.list_left_over() == []


def test_kill_takes_the_worker_too_and_restart_works(network: Testnet) -> None:
    network.up(3)
    worker = worker_of(network, "node-2")
    network.kill("node-2")
    assert network.running() == ["node-0", "node-1"]
    assert read_start(worker) is None
    network.start("node-2")
    network.wait_ready(["node-2"])
    assert network.running() == ["node-0", "node-1", "node-2"]
    assert len(bootstrap_of(network, "node-2")) == 2


def test_late_node_joins(network: Testnet) -> None:
    network.up(1)
    network.add("node-1")
    network.start("node-1")
    network.wait_ready(["node-1"])
    assert bootstrap_of(network, "node-1") == network.addresses("node-0")


def test_crash_at_start_shows_the_log_and_stops_all(
    network: Testnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DAEMON", "node-2")
    with pytest.raises(TestnetError) as caught:
        network.up(3)
    assert "node-2 ended with exit code 8" in caught.value.message
    assert "the disk is on fire" in caught.value.message
    assert network.running() == []
    assert network.list_left_over() == []


def test_node_that_never_gets_ready_times_out(network: Testnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DAEMON", "hang")
    with pytest.raises(TestnetError) as caught:
        network.up(1, timeout_s=0.5)
    assert caught.value.exit_code == Exit.TIMEOUT
    assert network.list_left_over() == []


def test_interrupt_during_up_stops_all(network: Testnet) -> None:
    def interrupt(name: str, seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network.up(2, interrupt)
    assert network.running() == []
    assert network.list_left_over() == []


def test_another_command_finds_and_stops_it(network: Testnet, tmp_path: Path) -> None:
    network.up(1)
    below = tmp_path / "some/folder"
    below.mkdir(parents=True)
    assert find_running_networks(below) == {"local": network.directory}
    other = Testnet.load(network.directory, FAKE)
    assert other.running() == ["node-0"]
    other.stop()
    assert find_running_networks(below) == {}
    assert find_networks(below) == {"local": network.directory}


def test_up_again_continues_with_the_same_keys(network: Testnet) -> None:
    network.up(1)
    key = (network.data_dir("node-0") / "wallet.key").read_text()
    network.stop()
    again = Testnet.load(network.directory, FAKE)
    again.up(2)
    assert (network.data_dir("node-0") / "wallet.key").read_text() == key
    assert again.running() == ["node-0", "node-1"]
    again.stop()


def test_sweep_ends_what_the_record_does_not_know(network: Testnet) -> None:
    network.up(1)
    pid = network.state.nodes["node-0"].process
    network.state.nodes["node-0"].process = None  # as if interrupted before it was written down
    network.stop()
    assert pid is not None
    assert not is_alive(pid)


def test_second_command_is_locked_out(network: Testnet) -> None:
    with network.lock(), pytest.raises(TestnetError) as caught, network.lock():
        pass
    assert caught.value.exit_code == Exit.LOCKED


def test_reused_pid_is_neither_alive_nor_killed() -> None:
    stranger = ProcessId(os.getpid(), "another start time")
    assert not is_alive(stranger)
    kill_group(stranger)  # would end this test run


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1, "nodes": [1]}'])
def test_damaged_state_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "testnet.json").write_text(text)
    with pytest.raises(TestnetError) as caught:
        load_state(tmp_path)
    assert caught.value.exit_code == Exit.DAMAGED


def test_nodes_get_one_thread_and_none_of_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIENTCOIN_LISTEN", "/ip4/0.0.0.0/tcp/1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment = node_environment()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert "GRADIENTCOIN_LISTEN" not in environment
