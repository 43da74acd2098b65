"""Real daemons and what befalls them: a partition, a lag, a full disk, damage, a dying training process."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.genesis import regtest_genesis
from ledger.storage import SCHEMA_VERSION, open_storage
from node.datadir import CONSOLE_FILE, LOG_FILE, NodeConfig, init_data_dir
from node.exits import Exit
from node.testnet.environment import node_environment
from node.testnet.network import DAEMON, Testnet
from node.testnet.process import get_exit_status
from tests.integration.daemons import (
    WAIT_S,
    agree_from,
    hash_at,
    height_of,
    open_network,
    process_of,
    run_again,
    status_of,
    until,
    worker_of,
    workers_of,
)
from tests.ledger.chain_builder import ALICE
from tests.node.services.network import Builder

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FIRST, SECOND = "node-0", "node-1"
SEED = "faults"
ROOM_BYTES = 8 << 10  # until the disk is full


@dataclass
class Halves:
    """Two networks of one chain, two nodes each, that met once both had blocks of their own."""

    left: Testnet
    right: Testnet
    first_before: tuple[str, str]

    def everywhere(self) -> list[tuple[Testnet, str]]:
        return [(network, name) for network in (self.left, self.right) for name in (FIRST, SECOND)]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Halves]:
    folder = tmp_path_factory.mktemp("faults")
    with ExitStack() as stack:
        left, right = (stack.enter_context(open_network(folder / name)) for name in ("left", "right"))
        for name in (FIRST, SECOND):
            for network in (left, right):
                network.add(name)
                network.start(name)
            for network in (left, right):
                network.wait_ready([name])
        until(lambda: agree_from(left, 3, FIRST, SECOND) and agree_from(right, 3, FIRST, SECOND))
        before = (hash_at(left, FIRST, 1), hash_at(right, FIRST, 1))
        left.client(FIRST).post("/v1/peers", {"address": right.addresses(FIRST)[0]})
        yield Halves(left, right, before)


def test_partition_of_two_and_two_heals_to_one_tip(halves: Halves) -> None:
    assert halves.first_before[0] != halves.first_before[1]
    run_again(halves.left, FIRST, SECOND)
    run_again(halves.right, FIRST, SECOND)
    until(lambda: hash_at(halves.left, FIRST, 1) == hash_at(halves.right, FIRST, 1))
    tip = max(height_of(*place) for place in halves.everywhere())
    until(lambda: min(height_of(*place) for place in halves.everywhere()) >= tip)
    until(lambda: len({hash_at(*place, tip) for place in halves.everywhere()}) == 1)
    lost = [before for before in halves.first_before if before != hash_at(halves.left, FIRST, 1)]
    assert len(lost) == 1
    loser = (halves.left, halves.right)[halves.first_before.index(lost[0])]
    for name in (FIRST, SECOND):
        assert "reorganised" in (loser.data_dir(name) / LOG_FILE).read_text()


def test_node_that_was_frozen_catches_up(halves: Halves) -> None:
    run_again(halves.left, FIRST, SECOND)
    process = process_of(halves.left, SECOND)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        wanted = height_of(halves.left, FIRST) + 4
        until(lambda: height_of(halves.left, FIRST) >= wanted)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    until(lambda: agree_from(halves.left, wanted, FIRST, SECOND))


def test_full_disk_stops_a_node_cleanly_and_it_comes_back_with_room(halves: Halves) -> None:
    """No file may grow further: every write fails as on a full disk."""
    network = halves.left
    run_again(network, FIRST, SECOND)
    until(lambda: agree_from(network, 3, FIRST, SECOND))
    console = network.data_dir(SECOND) / CONSOLE_FILE
    printed = console.stat().st_size
    process, wal = process_of(network, SECOND), network.data_dir(SECOND) / "chain.sqlite-wal"
    head = status_of(network, SECOND)["head"]["hash"]
    most = wal.stat().st_size + ROOM_BYTES
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    until(lambda: get_exit_status(process) is not None)
    assert get_exit_status(process) == int(Exit.DISK) == 11
    said = console.read_text()[printed:]
    assert "error: the ledger cannot be read or written" in said
    assert "make room" in said
    assert "Traceback" not in said
    network.forget(network.state.nodes[SECOND])
    with closing(open_storage(network.data_dir(SECOND) / "chain.sqlite").db) as db:
        assert db.execute("SELECT 1 FROM blocks WHERE hash = ?", (bytes.fromhex(head),)).fetchone()
    run_again(network, SECOND)
    wanted = height_of(network, FIRST) + 1
    until(lambda: agree_from(network, wanted, FIRST, SECOND))


def test_training_process_that_will_not_live_ends_the_node(halves: Halves) -> None:
    network = halves.right
    run_again(network, SECOND)
    process = process_of(network, SECOND)
    for _ in range(3):
        until(lambda: bool(workers_of(network, SECOND)))  # it is not there at once after a death
        os.kill(worker_of(network, SECOND), signal.SIGKILL)
        restarts = (network.data_dir(SECOND) / LOG_FILE).read_text().count("the training process ended")
        until(
            lambda n=restarts: (
                get_exit_status(process) is not None  # type: ignore[misc]
                or (network.data_dir(SECOND) / LOG_FILE).read_text().count("the training process ended") > n
            )
        )
    until(lambda: get_exit_status(process) is not None)
    assert get_exit_status(process) == int(Exit.WORKER) == 10
    assert "Traceback" not in (network.data_dir(SECOND) / CONSOLE_FILE).read_text()
    network.forget(network.state.nodes[SECOND])


# damage


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a node that was stopped, with some blocks."""
    folder = tmp_path_factory.mktemp("damage") / "node"
    init_data_dir(folder, NodeConfig("regtest", "toy", "damaged"))
    builder = Builder(folder, regtest_genesis("toy"), str(folder / "chain.sqlite"))
    for _ in range(12):
        builder.mine(builder.transfer(ALICE, ALICE, 1))
    builder.storage.close()
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def flip_pages(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(byte ^ 0xA5 for byte in data[4096:]))


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def start_daemon(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DAEMON, "--data-dir", str(folder), "--no-mine"],
        env=node_environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


@pytest.mark.parametrize("damage", [cut, flip_pages, make_newer])
def test_damaged_database_is_named_with_what_to_do(
    sound: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    for path in sound.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    damage(folder / "chain.sqlite")
    ended = start_daemon(folder)
    assert ended.returncode == int(Exit.DAMAGED) == 8
    assert f"move {folder / 'chain.sqlite'}" in ended.stderr
    assert "fetches the chain anew" in ended.stderr
    assert "Traceback" not in ended.stderr
    if damage is make_newer:
        assert "data version" in ended.stderr


def test_start_on_a_full_disk_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    init_data_dir(folder, NodeConfig("regtest", "toy", "full"))
    command = [*DAEMON, "--data-dir", str(folder)]
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, *command],
        env=node_environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == Exit.DISK
    assert "make room" in ended.stderr
    assert "Traceback" not in ended.stderr


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
os.execv(sys.argv[1], sys.argv[1:])
"""
