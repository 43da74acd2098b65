"""`init`: what it writes, and what it never overwrites."""

import fcntl
import tomllib
from pathlib import Path

import pytest

from tests.node.cli.conftest import Cli

KEYS = ("identity.key", "wallet.key")


def test_init_writes_config_and_private_keys(cli: Cli, tmp_path: Path) -> None:
    ran = cli(
        "init",
        "--data-dir",
        "n",
        "--chain-seed",
        'a "b" é',
        "--bootstrap",
        "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWfake",
        "--no-mine",
    )
    assert ran.code == 0
    assert f"gradientcoin run --data-dir {tmp_path / 'n'}" in ran.out
    config = tomllib.loads((tmp_path / "n/config.toml").read_text())
    assert config["chain_seed"] == 'a "b" é'
    assert config["bootstrap"] == ["/ip4/1.2.3.4/tcp/1/p2p/12D3KooWfake"]
    assert config["mine"] is False
    for name in KEYS:
        path = tmp_path / "n" / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert len(bytes.fromhex(path.read_text())) == 32
    assert (tmp_path / "n/identity.key").read_text() != (tmp_path / "n/wallet.key").read_text()


def test_init_again_needs_force_and_keeps_keys(cli: Cli, tmp_path: Path) -> None:
    cli("init", "--data-dir", "n")
    keys = [(tmp_path / "n" / name).read_text() for name in KEYS]
    assert cli("init", "--data-dir", "n").code == 2
    assert cli("init", "--data-dir", "n", "--force", "--name", "other").code == 0
    assert [(tmp_path / "n" / name).read_text() for name in KEYS] == keys
    assert tomllib.loads((tmp_path / "n/config.toml").read_text())["name"] == "other"


def test_init_refuses_another_chain_beside_a_ledger(cli: Cli, tmp_path: Path) -> None:
    cli("init", "--data-dir", "n", "--chain-seed", "one")
    (tmp_path / "n/genesis.bin").write_bytes(b"g")
    ran = cli("init", "--data-dir", "n", "--force", "--chain-seed", "two")
    assert ran.code == 2
    assert "'one'" in ran.err


def test_init_force_refuses_while_a_daemon_runs(cli: Cli, tmp_path: Path) -> None:
    cli("init", "--data-dir", "n")
    with (tmp_path / "n/node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cli("init", "--data-dir", "n", "--force").code == 6


def test_chain_seed_is_for_local_chains(cli: Cli) -> None:
    assert cli("init", "--data-dir", "n", "--chain", "testnet", "--chain-seed", "x").code == 2


def test_run_without_init_says_so(cli: Cli) -> None:
    ran = cli("run", "--data-dir", "nowhere")
    assert ran.code == 5
    assert "gradientcoin init" in ran.err


def test_run_execs_the_daemon_with_flags(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("os.execve", lambda path, argv, env: called.append(argv))
    cli("init", "--data-dir", "n")
    cli("run", "--data-dir", "n", "--bootstrap", "/a", "--no-mine", "--api-port", "7")
    assert called[0][4:] == [
        "--data-dir",
        str(tmp_path / "n"),
        "--bootstrap",
        "/a",
        "--no-mine",
        "--api-port",
        "7",
    ]


def test_run_hands_trainers_device_and_samples_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("os.execve", lambda path, argv, env: called.append(argv))
    cli("init", "--data-dir", "n")
    flags = ["--trainers", "2", "--device", "cpu", "--samples", "abcd=one.npz", "--samples", "1234=two.npz"]
    cli("run", "--data-dir", "n", *flags)
    assert called[0][4:] == ["--data-dir", str(tmp_path / "n"), *flags]


@pytest.mark.parametrize("flags", [["--trainers", "0"], ["--trainers", "65"], ["--device", "abacus"]])
def test_run_refuses_trainers_and_devices_that_are_none(cli: Cli, flags: list[str]) -> None:
    cli("init", "--data-dir", "n")
    assert cli("run", "--data-dir", "n", *flags).code == 2
