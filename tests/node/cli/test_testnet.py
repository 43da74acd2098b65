"""`testnet`: banner, status, logs and down, over fake daemons."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.testnet.network import Testnet, wait_until
from node.testnet.process import is_alive, kill_group
from tests.node.cli.conftest import Cli

FAKE = (sys.executable, str(Path(__file__).parents[1] / "testnet" / "fake_daemon.py"))


@pytest.fixture(autouse=True)
def fake_daemons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr("node.testnet.network.DAEMON", FAKE)
    monkeypatch.setattr("node.testnet.network.ADVERSARY", (*FAKE, "--attack"))
    yield
    for path in (tmp_path / ".gradientcoin/testnets").glob("*"):
        if (path / "testnet.json").exists():
            network = Testnet.load(path)
            network.stop(1)
            assert network.list_left_over() == []


def test_up_status_down(cli: Cli, tmp_path: Path) -> None:
    ran = cli("testnet", "up", "-n", "2", "--seed", "my seed")
    assert ran.code == 0
    for words in (
        "node-1",
        "local-0",
        "100,000",
        "--chain-seed 'my seed'",
        "--bootstrap /ip4/",
        "job submit",
    ):
        assert words in ran.out
    assert (tmp_path / ".gradientcoin/testnets/local/node-1/config.toml").exists()
    status = cli("testnet", "status")
    assert status.code == 0
    assert "all on one head" in status.out
    assert json.loads(cli("status", "--json").out)["name"] == "node-0"
    assert cli("status", "--node", "1").code == 0
    assert cli("status", "--node", "local/node-1").code == 0
    assert cli("status", "--node", "7").code == 5
    again = cli("testnet", "up")
    assert again.code == 6
    assert "testnet down" in again.err
    assert cli("testnet", "down").code == 0
    assert cli("testnet", "status").code == 4
    assert cli("testnet", "down", "--delete").code == 0
    assert not (tmp_path / ".gradientcoin/testnets/local").exists()


def test_adversaries_are_marked_and_their_income_shown(cli: Cli) -> None:
    assert cli("testnet", "up", "-n", "1", "--with", "copier=1,noise=2").code == 0
    out = cli("testnet", "status").out
    for words in ("copier-0", "noise-1", "adversaries", "COINS", "job updates"):
        assert words in out
    nodes = json.loads(cli("testnet", "status", "--json").out)["nodes"]
    assert [node["attack"] for node in nodes] == [None, "copier", "noise", "noise"]


def test_unknown_adversary_is_refused_before_anything_starts(cli: Cli, tmp_path: Path) -> None:
    ran = cli("testnet", "up", "--with", "thief=1")
    assert ran.code == 2
    assert "copier" in ran.err
    assert not (tmp_path / ".gradientcoin").exists()


def test_network_without_adversaries_says_nothing_of_them(cli: Cli) -> None:
    cli("testnet", "up", "-n", "1")
    assert "adversaries" not in cli("testnet", "status").out


def test_join_line_is_what_the_command_line_takes(cli: Cli) -> None:
    out = cli("testnet", "up", "-n", "1").out
    [line] = [line.strip() for line in out.splitlines() if "gradientcoin init" in line]
    init, run = line.split(" && ")
    assert cli(*shlex.split(init)[1:]).code == 0
    assert shlex.split(run)[1:4] == ["run", "--data-dir", "node-joined"]


def test_status_shows_a_node_that_died(cli: Cli, tmp_path: Path) -> None:
    cli("testnet", "up", "-n", "2", "--name", "other")
    network = Testnet.load(tmp_path / ".gradientcoin/testnets/other")
    process = network.state.nodes["node-1"].process
    assert process is not None
    kill_group(process)
    wait_until(lambda: not is_alive(process), 10)  # SIGKILL returns before the process is gone
    assert not is_alive(process)
    [first, second] = json.loads(cli("testnet", "status", "--json").out)["nodes"]
    assert (first["error"], second["error"]) == (None, "ended by itself")


def test_several_running_networks_must_be_named(cli: Cli) -> None:
    cli("testnet", "up", "-n", "1", "--name", "a")
    cli("testnet", "up", "-n", "1", "--name", "b")
    assert cli("status").code == 2
    assert cli("status", "--node", "b/0").code == 0
    assert cli("testnet", "down").code == 2
    assert cli("testnet", "down", "--name", "a").code == 0
    assert cli("status").code == 0


def test_next_commands_name_the_network_where_they_must(cli: Cli) -> None:
    cli("testnet", "up", "-n", "1", "--name", "a")
    assert "--name" not in cli("testnet", "restart", "0").out
    cli("testnet", "up", "-n", "1", "--name", "b")
    assert "gradientcoin testnet status --name b" in cli("testnet", "restart", "b/0", "--name", "b").out


def test_of_stopped_networks_the_usual_one_is_meant(cli: Cli) -> None:
    for name in ("local", "other"):
        cli("testnet", "up", "-n", "1", "--name", name)
        cli("testnet", "down", "--name", name)
    assert cli("testnet", "status").code == 4
    cli("testnet", "down", "--delete", "--name", "local")
    cli("testnet", "up", "-n", "1", "--name", "third")
    cli("testnet", "down")
    ran = cli("testnet", "status")
    assert ran.code == 2
    assert "none runs" in ran.err
    assert "--delete" in ran.err


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", ".", "-x", "x" * 33])
def test_name_that_no_command_could_repeat_is_refused(cli: Cli, tmp_path: Path, name: str) -> None:
    assert cli("testnet", "up", "-n", "1", "--name", name).code == 2
    assert not list(tmp_path.glob("**/testnet.json"))


def test_failure_shows_this_starts_words_only(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli("testnet", "up", "-n", "1")
    cli("testnet", "down")
    log = tmp_path / ".gradientcoin/testnets/local/node-0/logs/node.log"
    log.write_text("of long ago\n")
    monkeypatch.setenv("FAKE_DAEMON", "crash")
    ran = cli("testnet", "up")
    assert "the disk is on fire" in ran.err
    assert "long ago" not in ran.err


def test_another_seed_for_an_old_network_is_refused(cli: Cli) -> None:
    cli("testnet", "up", "-n", "1", "--seed", "a")
    cli("testnet", "down")
    assert cli("testnet", "up", "--seed", "b").code == 2


def test_nodes_are_added_killed_and_restarted(cli: Cli) -> None:
    cli("testnet", "up", "-n", "2")
    added = cli("testnet", "add")
    assert added.code == 0
    assert "node-2 joined" in added.out
    killed = cli("testnet", "kill", "2")
    assert killed.code == 0
    assert "gradientcoin testnet restart node-2" in killed.out
    assert cli("testnet", "kill", "node-2").code == 4
    assert cli("testnet", "kill", "7").code == 5
    before = json.loads(cli("testnet", "status", "--json").out)["nodes"]
    assert json.loads(cli("testnet", "restart", "2", "--json").out)["node"] == "node-2"
    assert "runs again" in cli("testnet", "restart", "node-0").out
    after = json.loads(cli("testnet", "status", "--json").out)["nodes"]
    assert [node["pid"] is None for node in before] == [False, False, True]
    assert [a["pid"] == b["pid"] for a, b in zip(before, after, strict=True)] == [False, True, False]
    stopped = json.loads(cli("testnet", "down", "--json").out)
    assert stopped["stopped"] == ["node-0", "node-1", "node-2"]
    assert cli("testnet", "add").code == 4


def test_failed_restart_leaves_the_others_alone(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("testnet", "up", "-n", "2")
    monkeypatch.setenv("FAKE_DAEMON", "crash")
    ran = cli("testnet", "restart", "1")
    assert ran.code == 8  # the daemon's own
    assert "the disk is on fire" in ran.err
    nodes = json.loads(cli("testnet", "status", "--json").out)["nodes"]
    assert [node["pid"] is None for node in nodes] == [False, True]


def test_attached_network_stops_at_an_interrupt(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("node.cli.logs.wait", interrupt)
    ran = cli("testnet", "up", "-n", "2", "--attach")
    assert ran.code == 0
    assert "stopped 2 nodes" in ran.out
    assert cli("testnet", "status").code == 4


def test_attached_network_ends_when_others_stop_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(seconds: float) -> None:
        Testnet.load(Path(".gradientcoin/testnets/local")).stop(1)

    monkeypatch.setattr("node.cli.logs.wait", stop)
    ran = cli("testnet", "up", "-n", "1", "--attach")
    assert ran.code == 0
    assert "no node of the network runs any more" in ran.err


def test_failed_start_shows_the_log(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DAEMON", "crash")
    ran = cli("testnet", "up", "-n", "2")
    assert ran.code == 8
    assert "the disk is on fire" in ran.err
    assert "node-0" in ran.err


def test_no_network_says_where_it_looked(cli: Cli, tmp_path: Path) -> None:
    for verb in ("status", "down", "logs"):
        ran = cli("testnet", verb)
        assert ran.code == 5
        assert str(tmp_path) in ran.err


def test_logs_are_merged_by_time_and_made_readable(cli: Cli, tmp_path: Path) -> None:
    cli("testnet", "up", "-n", "2")
    root = tmp_path / ".gradientcoin/testnets/local"
    for name, second in (("node-0", 5), ("node-1", 3)):
        line = {
            "time": f"2026-01-01T00:00:0{second}.000Z",
            "level": "info",
            "from": "node.x",
            "message": f"at {second}",
        }
        (root / name / "logs/node.log").write_text(json.dumps(line) + "\n")
    lines = cli("testnet", "logs").out.splitlines()
    assert [line.split()[0] for line in lines] == ["node-1", "node-0"]
    assert lines[0].split()[1:] == ["00:00:03.000", "info", "at", "3"]
    assert len(cli("testnet", "logs", "1").out.splitlines()) == 1
    assert cli("testnet", "logs", "9").code == 5
