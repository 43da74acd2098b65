"""What users do wrong, typed at a real node.

Each gets one message that says what was wrong, expected, came and what to do, a documented exit code and no traceback;
nothing is lost or left behind.

The node is the only one of its network and does not mine, so that balances stand still.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ledger.genesis import local_genesis
from ledger.keys import KeyPair, address_text
from node.datadir import NodeConfig, init_data_dir
from node.exits import Exit
from node.rpc.client import NodeClient
from node.testnet.network import DAEMON, Testnet
from node.testnet.process import ProcessId, is_group_left, read_start
from tests.integration.commands import CLI, LIMIT_S, Ran, clean_environment, type_command

pytestmark = [pytest.mark.integration, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"
STOP_S = 5.0


@dataclass(frozen=True)
class Place:
    """A folder to type in, with a network whose only node does not mine."""

    folder: Path
    network: Testnet

    @property
    def client(self) -> NodeClient:
        return self.network.client("node-0")

    @property
    def data_dir(self) -> Path:
        return self.network.data_dir("node-0")

    def type(self, *arguments: str) -> Ran:
        return type_command(self.folder, *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("mistakes")
    network = Testnet.create(
        folder / ".gradientcoin/testnets/local", "local", "mistakes", (*DAEMON, "--no-mine")
    )
    try:
        network.up(1)
        yield Place(folder, network)
    finally:
        network.stop(STOP_S)
        assert not network.list_left_over()


def check(ran: Ran, code: int, *words: str) -> None:
    """One error, told in a few lines, with these words in it."""
    said = ran.out + ran.err
    assert ran.code == code, said
    assert "Traceback" not in said
    assert len(ran.err.splitlines()) <= 4, ran.err
    for word in words:
        assert word in ran.err, ran.err


# job files and data: exit 3, and nothing is sent or paid

DIGITS = np.load(EXAMPLES / "data/digits.npz")
IMAGES, LABELS = DIGITS["images"], DIGITS["labels"]
WITH_NAN = IMAGES.astype(np.float64)
WITH_NAN[3, 2, 1] = np.nan
WITH_12 = LABELS.astype(np.int64)
WITH_12[5] = 12

ARRAYS = {
    "a missing column": ({"pictures": IMAGES, "labels": LABELS}, ("'images'", "pictures, labels")),
    "a NaN": ({"images": WITH_NAN, "labels": LABELS}, ("row 3", "[2, 1]", "nan")),
    "a wrong shape": ({"images": IMAGES[:, :7], "labels": LABELS}, ("[1797, 7, 8]", "[samples, 8, 8]")),
    "a wrong dtype": (
        {"images": IMAGES.astype("U3"), "labels": LABELS},
        ("<U3", "expected integers, floats"),
    ),
    "a class out of range": ({"images": IMAGES, "labels": WITH_12}, ("row 5", "12", "0 to 9")),
    "too few samples": (
        {"images": IMAGES[:900], "labels": LABELS[:900]},
        ("900 samples", "lower the counts"),
    ),
    "unequal lengths": ({"images": IMAGES, "labels": LABELS[:-1]}, ("1797", "1796")),
}
EDITS = {
    "an unknown key": ("burn = 1", "brun = 1", ("brun", "did you mean 'burn'")),
    "a negative price": ("price = 300", "price = -3", ("price", "-3")),
    "a wrong type": ("steps = 4", 'steps = "four"', ("steps", "four")),
    "a rate that diverges": (
        "X = 0.1, Y = 0.2",
        "X = 50.0, Y = 90.0",
        ("learning_rate", "too high", "works"),
    ),
    "a missing data file": ("digits.npz", "nothing.npz", ("nothing.npz", "no such file")),
    "data over the sidecar limit": (
        "fraction_bits = 2",
        "fraction_bits = 12",
        ("bytes", "524288", "at most about"),
    ),
    "not TOML at all": ("[objective]", "[[objective", ("TOML", "line")),
}


def write_job(folder: Path, old: str = "", new: str = "") -> Path:
    text = (EXAMPLES / "digits.toml").read_text()
    assert old in text
    (folder / "data").mkdir(parents=True, exist_ok=True)
    file = folder / "job.toml"
    file.write_text(text.replace(old, new, 1))
    return file


def check_refused(place: Place, file: Path, code: int, words: tuple[str, ...]) -> None:
    """Refused with these words, quote and submission alike, and nothing paid or waiting."""
    before = place.client.get("/v1/wallet")
    check(place.type("job", "submit", str(file)), code, *words)
    assert place.client.get("/v1/wallet") == before
    assert place.client.get("/v1/status")["mempool"]["count"] == 0


@pytest.mark.parametrize("mistake", ARRAYS)
def test_data_with_a_mistake_are_refused(place: Place, tmp_path: Path, mistake: str) -> None:
    arrays, words = ARRAYS[mistake]
    file = write_job(tmp_path)
    np.savez(tmp_path / "data/digits.npz", **arrays)  # type: ignore[arg-type]
    check_refused(place, file, Exit.BAD_FILE, words)


@pytest.mark.parametrize("mistake", EDITS)
def test_job_file_with_a_mistake_is_refused(place: Place, tmp_path: Path, mistake: str) -> None:
    old, new, words = EDITS[mistake]
    file = write_job(tmp_path, old, new)
    images = np.tile(IMAGES, (6, 1, 1)) if "sidecar" in mistake else IMAGES
    if "sidecar" in mistake:
        file.write_text(file.read_text().replace("train = 1000", "train = 8000"))
    np.savez(tmp_path / "data/digits.npz", images=images, labels=np.resize(LABELS, len(images)))
    check_refused(place, file, Exit.BAD_FILE, words)


def test_empty_data_file_is_refused(place: Place, tmp_path: Path) -> None:
    file = write_job(tmp_path)
    (tmp_path / "data/digits.npz").write_bytes(b"")
    check_refused(place, file, Exit.BAD_FILE, ("digits.npz", "empty"))


def test_job_file_that_is_none_is_refused(place: Place, tmp_path: Path) -> None:
    check(place.type("job", "submit", "nothing.toml"), Exit.BAD_FILE, "nothing.toml", "no such file")
    check(place.type("job", "quote", str(tmp_path)), Exit.BAD_FILE, "is a directory")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    check(place.type("job", "submit", str(tmp_path / "bytes.toml")), Exit.BAD_FILE, "no UTF-8 text")


# money


def test_too_little_balance_exits_7_with_both_amounts(place: Place, tmp_path: Path) -> None:
    place.type("wallet", "new", "poor")
    ran = place.type("wallet", "send", "local-1", "5", "--from", "poor")
    check(ran, Exit.NO_BALANCE, "account poor needs 5.0000", "can spend 0 coins", "--from")
    digits = str(EXAMPLES / "digits.toml")
    check(place.type("job", "submit", digits, "--from", "poor"), Exit.NO_BALANCE, "1,000.0")
    quoted = place.type("job", "quote", digits, "--from", "poor")
    assert quoted.code == Exit.FAILED
    assert "balance: account poor needs 1,000.0" in quoted.out
    much = place.type("wallet", "send", "local-1", "200000", "--from", "local-0")
    check(much, Exit.NO_BALANCE, "can spend 100,000 coins")


def test_escrow_that_covers_no_round_is_refused(place: Place, tmp_path: Path) -> None:
    file = write_job(tmp_path, "escrow = 1000", "escrow = 10")
    np.savez(tmp_path / "data/digits.npz", images=IMAGES, labels=LABELS)
    check_refused(place, file, Exit.FAILED, ("escrow", "at least 96.01 coins", "got 10"))


ADDRESS = address_text("rgc", KeyPair.from_seed(bytes(31) + b"1").address)
OF_MAINNET = address_text("gc", KeyPair.from_seed(bytes(31) + b"1").address)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (OF_MAINNET, ("another network", "rgc", "gc")),
        (ADDRESS[:-1] + ("q" if ADDRESS[-1] != "q" else "p"), ("checksum", "mistyped")),
        (ADDRESS[:20], ("address",)),
        ("nobody", ("'nobody'", "wallet list")),
    ],
)
def test_wrong_address_is_refused_before_anything_is_signed(
    place: Place, to: str, words: tuple[str, ...]
) -> None:
    check(place.type("wallet", "send", to, "1", "--from", "local-0"), Exit.USAGE, *words)
    assert place.client.get("/v1/status")["mempool"]["count"] == 0


@pytest.mark.parametrize("amount", ["0", "-1", "1.123456789", "many"])
def test_wrong_amount_is_usage(place: Place, amount: str) -> None:
    assert place.type("wallet", "send", "--", "local-1", amount).code == Exit.USAGE


# daemons, directories and ports


def make_data_dir(folder: Path, **changes: object) -> Path:
    init_data_dir(folder, NodeConfig("local", "mistakes", "extra", **changes))  # type: ignore[arg-type]
    return folder


def test_second_daemon_on_a_directory_exits_6_and_harms_nothing(place: Place) -> None:
    ran = place.type("run", "--data-dir", str(place.data_dir))
    check(ran, Exit.LOCKED, "in use by another daemon", "pid")
    assert place.client.get("/v1/status")["state"] == "running"
    again = place.type("testnet", "up", "--dir", str(place.network.directory))
    check(again, Exit.LOCKED, "runs already", "testnet down")


def test_port_in_use_exits_6_and_names_it(place: Place, tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path / "extra")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        api = place.type("run", "--data-dir", str(data_dir), "--no-mine", "--api-port", str(port))
        check(api, Exit.LOCKED, str(port), "in use", "--api-port")
        listen = place.type("run", "--data-dir", str(data_dir), "--listen", f"/ip4/127.0.0.1/tcp/{port}")
        check(listen, Exit.LOCKED, str(port), "in use", "--listen")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--listen", "foo", ("listen", "/ip4/127.0.0.1/tcp/0", "'foo'")),
        ("--bootstrap", "/ip4/1.2.3.4/tcp/1", ("bootstrap", "/p2p/ID")),
    ],
)
def test_wrong_address_of_a_node_exits_3_at_once(
    place: Place, tmp_path: Path, option: str, value: str, words: tuple[str, ...]
) -> None:
    data_dir = make_data_dir(tmp_path / "extra")
    check(place.type("run", "--data-dir", str(data_dir), option, value), Exit.BAD_FILE, *words)
    check(place.type("init", "--data-dir", str(tmp_path / "new"), option, value), Exit.BAD_FILE, *words)
    assert not (tmp_path / "new").exists()


def test_genesis_of_another_chain_is_named(place: Place, tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path / "extra")
    (data_dir / "genesis.bin").write_bytes(local_genesis("another").encode())
    ran = place.type("run", "--data-dir", str(data_dir))
    check(ran, Exit.USAGE, "genesis of another chain", "another --data-dir")


def test_no_node_says_what_was_tried_and_how_to_start_one(place: Place, tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path / "extra")
    ran = place.type("status", "--node", str(data_dir))
    check(ran, Exit.NOT_RUNNING, "no node runs", "gradientcoin run --data-dir")
    check(place.type("run", "--data-dir", str(tmp_path / "none")), Exit.NOT_FOUND, "gradientcoin init")
    answer = json.loads(place.type("status", "--node", str(data_dir), "--json").out)
    assert answer["error"]["exit_code"] == Exit.NOT_RUNNING


def test_broken_config_is_named_and_written_anew_with_force(place: Place, tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path / "extra")
    (data_dir / "config.toml").write_text("mine = maybe")
    check(place.type("run", "--data-dir", str(data_dir)), Exit.BAD_FILE, "config.toml", "--force")
    key = (data_dir / "wallet.key").read_text()
    assert place.type("init", "--data-dir", str(data_dir), "--force").code == Exit.DONE
    assert (data_dir / "wallet.key").read_text() == key


# interrupts


def interrupt_after(
    arguments: list[str], folder: Path, wait_s: float, number: signal.Signals = signal.SIGINT
) -> Ran:
    """Type Ctrl+C some time after the start, as a terminal sends it: to the whole foreground group."""
    process = subprocess.Popen(
        [*CLI, *arguments],
        cwd=folder,
        env=clean_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    leader = ProcessId(process.pid, read_start(process.pid) or "")
    try:
        out, err = process.communicate(timeout=wait_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=LIMIT_S)
    assert not is_group_left(leader)
    if "Failed to import the site module" in err:
        return Ran(-signal.SIGINT, "", "")  # the interpreter's own start, before any line of ours
    return Ran(process.returncode, out, err)


@pytest.mark.parametrize("wait_s", [0.05, 0.1, 0.3, 1.0])
def test_interrupt_of_a_submission_leaves_no_traceback(place: Place, wait_s: float) -> None:
    ran = interrupt_after(["job", "quote", str(EXAMPLES / "digits.toml")], place.folder, wait_s)
    assert ran.code in (Exit.DONE, Exit.INTERRUPTED, -signal.SIGINT)
    assert "Traceback" not in ran.out + ran.err
    assert place.client.get("/v1/status")["mempool"]["count"] == 0


@pytest.mark.parametrize("wait_s", [0.4, 1.2, 3.0, 5.0])
def test_interrupt_of_a_starting_daemon_leaves_no_process_and_a_directory_that_works(
    place: Place, tmp_path: Path, wait_s: float
) -> None:
    data_dir = make_data_dir(tmp_path / "extra")
    ran = interrupt_after(["run", "--data-dir", str(data_dir), "--no-mine"], tmp_path, wait_s)
    assert ran.code in (Exit.DONE, -signal.SIGINT)
    assert "Traceback" not in ran.out + ran.err
    assert not (data_dir / "node.json").exists()
    assert place.type("config", "show", "--data-dir", str(data_dir)).code == Exit.DONE


@pytest.mark.parametrize(
    ("wait_s", "number"),
    [(0.3, signal.SIGINT), (1.0, signal.SIGTERM), (2.5, signal.SIGHUP), (4.0, signal.SIGINT)],
)
def test_interrupt_of_a_starting_network_stops_all_of_it(
    tmp_path: Path, wait_s: float, number: signal.Signals
) -> None:
    ran = interrupt_after(["testnet", "up", "-n", "2"], tmp_path, wait_s, number)
    directory = tmp_path / ".gradientcoin/testnets/local"
    if (directory / "testnet.json").exists():
        network = Testnet.load(directory)
        left = network.list_left_over()
        if ran.code == Exit.DONE:  # it was up before
            network.stop(STOP_S)
        else:
            assert not left
    assert ran.code in (Exit.DONE, Exit.INTERRUPTED, -number)
    assert "Traceback" not in ran.out + ran.err
