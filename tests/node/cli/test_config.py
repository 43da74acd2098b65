"""`config show` and `completion`: what a node would run with, and what a shell is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.datadir import DataDirError
from node.settings import load_settings
from tests.node.cli.conftest import Cli
from tests.node.cli.fake_api import JOB, FakeApi


def test_config_shows_where_each_value_comes_from(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init", "--data-dir", "n", "--name", "mine", "--bootstrap", "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWfake")
    monkeypatch.setenv("GRADIENTCOIN_API_PORT", "4040")
    ran = cli("config", "show", "--data-dir", "n", "--origin")
    rows = {line.split()[0]: line.split() for line in ran.out.splitlines() if line and line[0].islower()}
    file = str(tmp_path / "n/config.toml")
    assert rows["name"] == ["name", "mine", file]
    assert rows["api_port"] == ["api_port", "4040", "GRADIENTCOIN_API_PORT"]
    assert rows["log_level"] == ["log_level", "INFO", "default"]
    assert rows["bootstrap"] == ["bootstrap", "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWfake", file]


def test_config_as_json_with_and_without_origin(cli: Cli) -> None:
    cli("init", "--data-dir", "n", "--no-mine")
    assert json.loads(cli("config", "show", "--data-dir", "n", "--json").out)["mine"] is False
    shown = json.loads(cli("config", "show", "--data-dir", "n", "--origin", "--json").out)
    assert shown["worker_path"] == {"value": "fused", "origin": "default"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mime = true", ("'mime'", "'mine'")),
        ('api_port = "x"', ("api_port", "a whole number", "'x'")),
        ("api_port = 70000", ("0..65535", "70000")),
        ('chain = "moon"', ("mainnet", "'moon'")),
        ('listen = "foo"', ("/ip4/127.0.0.1/tcp/0", "'foo'")),
        ('listen = "/ip4/::1/tcp/4"', ("listen",)),
        ('bootstrap = ["/ip4/1.2.3.4/tcp/1"]', ("/p2p/ID", "'/ip4/1.2.3.4/tcp/1'")),
        ("mine = 1", ("true or false",)),
        ("trainers = 0", ("1..64", "0")),
        ("trainers = true", ("a whole number",)),
        ('device = "abacus"', ("auto, cpu, cuda", "'abacus'")),
        ('solver = "lbfgs"', ("auto, newton, adam, sgd", "'lbfgs'")),
        ('precision = "bfloat16"', ("float32, float64", "'bfloat16'")),
        ('trainer_launcher = "torchrun"', ("a list of texts",)),
        ('own_samples = "abcd=x"', ("JOB=FILE",)),
        ('own_samples = {abc = "x"}', ("4 or more hex digits", "'abc=x'")),
        ("own_samples = {abcd = 1}", ("JOB=FILE", "'abcd=1'")),
        ("privacy = {epsilon = 8, delta = 1e-5}", ("within [own_samples]",)),
        (
            "own_samples = {abcd = 'x', privacy = {epsilon = 0, delta = 1e-5}}",
            ("epsilon 0.001 to 64", "'epsilon': 0"),
        ),
        ("own_samples = {abcd = 'x', privacy = 8}", ("epsilon 0.001 to 64", "8")),
        ("mine = = 1", ("cannot be read",)),
    ],
)
def test_wrong_config_names_file_key_and_what_was_expected(
    cli: Cli, tmp_path: Path, line: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n/config.toml").write_text(line + "\n")
    ran = cli("config", "show", "--data-dir", "n")
    assert ran.code == 3
    assert all(word in ran.err for word in (*words, "config.toml")), ran.err


def test_own_samples_of_the_file_lie_beside_it_and_those_of_the_shell_where_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init", "--data-dir", "n")
    with (tmp_path / "n/config.toml").open("a") as file:
        file.write('[own_samples]\nabcd = "one.npz"\n"1234" = "/else/two.npz"\n')
    shown = json.loads(cli("config", "show", "--data-dir", "n", "--json").out)
    assert shown["own_samples"] == {"abcd": str(tmp_path / "n/one.npz"), "1234": "/else/two.npz"}
    monkeypatch.setenv("GRADIENTCOIN_OWN_SAMPLES", "abcd=a file.npz, 12ef=b.npz")
    settings = load_settings(tmp_path / "n", {})
    assert settings.own_samples == (("abcd", str(tmp_path / "a file.npz")), ("12ef", str(tmp_path / "b.npz")))
    flags = {"own_samples": ["abcd=c.npz"]}
    assert load_settings(tmp_path / "n", flags).own_samples == (("abcd", str(tmp_path / "c.npz")),)
    with pytest.raises(DataDirError, match="own_samples from --samples: expected JOB=FILE"):
        load_settings(tmp_path / "n", {"own_samples": ["c.npz"]})


def test_privacy_stands_with_the_samples_and_holds_for_those_of_the_shell_too(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init", "--data-dir", "n")
    assert load_settings(tmp_path / "n", {}).privacy == ()
    with (tmp_path / "n/config.toml").open("a") as file:
        file.write('[own_samples]\nabcd = "one.npz"\nprivacy = { epsilon = 8, delta = 1e-5 }\n')
    settings = load_settings(tmp_path / "n", {"own_samples": ["12ef=c.npz"]})
    assert settings.own_samples == (("12ef", str(tmp_path / "c.npz")),)
    assert settings.privacy == (8000, 10**10, 32, 1)
    shown = json.loads(cli("config", "show", "--data-dir", "n", "--json").out)
    assert shown["privacy"] == {"epsilon": 8, "delta": 1e-5, "updates": 32, "steps": 1}
    assert list(shown["own_samples"]) == ["abcd"]
    monkeypatch.setenv("GRADIENTCOIN_PRIVACY", "epsilon=4,delta=1e-6")
    assert load_settings(tmp_path / "n", {}).privacy == (4000, 10**9, 32, 1)
    assert load_settings(tmp_path / "n", {"privacy": "epsilon=2,delta=1e-6,updates=9"}).privacy[0] == 2000


def test_privacy_without_samples_is_refused(cli: Cli, tmp_path: Path) -> None:
    cli("init", "--data-dir", "n")
    with pytest.raises(DataDirError, match="privacy: expected own samples that it is about, got none"):
        load_settings(tmp_path / "n", {"privacy": "epsilon=8,delta=1e-5"})


def test_trainers_come_from_flag_variable_or_file(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init", "--data-dir", "n")
    assert (load_settings(tmp_path / "n", {}).trainers, load_settings(tmp_path / "n", {}).device) == (
        1,
        "auto",
    )
    monkeypatch.setenv("GRADIENTCOIN_TRAINERS", "3")
    assert load_settings(tmp_path / "n", {}).trainers == 3
    assert load_settings(tmp_path / "n", {"trainers": 2, "device": "cpu"}).trainers == 2


def test_launcher_says_itself_how_many_trainers_there_are(cli: Cli, tmp_path: Path) -> None:
    cli("init", "--data-dir", "n")
    with (tmp_path / "n/config.toml").open("a") as file:
        file.write('trainer_launcher = ["torchrun", "--nnodes=2"]\n')
    assert load_settings(tmp_path / "n", {}).trainer_launcher == ("torchrun", "--nnodes=2")
    with pytest.raises(DataDirError, match="expected 1 beside trainer_launcher"):
        load_settings(tmp_path / "n", {"trainers": 2})


def test_wrong_variable_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("init", "--data-dir", "n")
    monkeypatch.setenv("GRADIENTCOIN_MINE", "perhaps")
    ran = cli("config", "show", "--data-dir", "n")
    assert ran.code == 3
    assert "GRADIENTCOIN_MINE" in ran.err


def test_mistyped_variable_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("init", "--data-dir", "n")
    monkeypatch.setenv("GRADIENTCOIN_APIPORT", "1")
    assert "GRADIENTCOIN_API_PORT" in cli("config", "show", "--data-dir", "n").err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_our_variable(cli: Cli, shell: str) -> None:
    ran = cli("completion", shell)
    assert ran.code == 0
    assert "_GRADIENTCOIN_COMPLETE" in ran.out
    assert "gcoin" in ran.out.splitlines()[-1]


def complete(words: str, data_dir: Path) -> list[str]:
    """What the shell would offer after these words."""
    environment = dict(os.environ) | {
        "_GRADIENTCOIN_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split())),
        "GRADIENTCOIN_NODE": str(data_dir),
    }
    probe = [sys.executable, "-m", "node.cli"]
    ran = subprocess.run(probe, env=environment, capture_output=True, text=True, check=True)
    return [line.partition(",")[2] for line in ran.stdout.splitlines() if line]


def test_completion_offers_verbs_and_jobs(api: FakeApi) -> None:
    assert set(complete("gradientcoin job", api.data_dir)) >= {"quote", "submit", "cancel"}
    assert complete("gradientcoin job show", api.data_dir) == [JOB[:10]]
    assert complete("gradientcoin job show", api.data_dir / "nothing") == []
    assert complete("gradientcoin wallet balance", api.data_dir) == ["node", "local-0"]
