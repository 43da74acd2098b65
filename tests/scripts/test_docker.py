"""docker/: the Dockerfile, the compose file and the project say the same, and the entry point finds the others.

Nothing is built here: docker/check does what the files say, without an engine.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from node.datadir import KEY_FILES
from node.exits import UserError
from node.settings import DEFAULTS

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
sys.path.insert(0, str(DOCKER))
entry, image_file, compose_file = (
    importlib.import_module(name) for name in ("entry", "image_file", "compose_file")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE = image_file.parse_dockerfile(DOCKER / "Dockerfile")
ENVIRONMENT = image_file.get_environment(IMAGE)
ENTRY_VARIABLES = {"NODE_HOST", "NODE_PORT", "PUBLISH_ADDRESS_TO", "JOIN_ADDRESS_FROM"}
TAG = f"gradientcoin:{PROJECT['version']}"


@pytest.fixture
def compose() -> dict[str, Any]:
    tree: dict[str, Any] = compose_file.load_compose(DOCKER / "compose.yaml")
    return tree


def get_runs() -> list[str]:
    return [instruction.text for instruction in IMAGE if instruction.name == "RUN"]


def test_base_image_has_the_projects_python() -> None:
    base = re.fullmatch(r"python:([\d.]+)-slim-\w+", image_file.get_text(IMAGE, "FROM"))
    assert base is not None
    assert PROJECT["requires-python"] == f">={base[1]}"


def test_tags_are_the_projects_version(compose: dict[str, Any]) -> None:
    assert {service["image"] for service in compose["services"].values()} == {TAG}
    for name in ("Dockerfile", "README.md"):
        assert set(re.findall(r"gradientcoin:[\d.]+\d", (DOCKER / name).read_text())) == {TAG}


def test_image_leaves_out_exactly_what_developers_need() -> None:
    (left_out,) = [
        match[1] for run in get_runs() for match in [re.search(r'grep -vE "\^\((.*?)\)==', run)] if match
    ]
    dev = [re.split(r"[><=]", name)[0] for name in PROJECT["optional-dependencies"]["dev"]]
    assert left_out.split("|") == sorted(dev)


def test_copies_exist_and_pass_the_ignore_file() -> None:
    let_through = [
        line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    sources = [source for sources, _ in image_file.get_copies(IMAGE) for source in sources]
    assert sorted(sources) == sorted(let_through)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_image_runs_as_the_user_it_makes() -> None:
    made = re.search(r"useradd --uid (\d+) --gid (\d+)", get_runs()[0])
    assert made is not None
    assert image_file.get_text(IMAGE, "USER") == f"{made[1]}:{made[2]}"
    names = [instruction.name for instruction in IMAGE]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "/data" in get_runs()[0]


def test_ports_and_paths_agree(compose: dict[str, Any]) -> None:
    assert image_file.get_text(IMAGE, "EXPOSE") == ENVIRONMENT["NODE_PORT"]
    assert image_file.get_words(IMAGE, "VOLUME") == [ENVIRONMENT["GRADIENTCOIN_DATA_DIR"]]
    assert ENVIRONMENT["GRADIENTCOIN_NODE"] == ENVIRONMENT["GRADIENTCOIN_DATA_DIR"]
    workdir = image_file.get_text(IMAGE, "WORKDIR")
    assert image_file.get_words(IMAGE, "ENTRYPOINT") == ["python", f"{workdir}/entry.py"]
    assert ENVIRONMENT["NUMBA_CACHE_DIR"].startswith(f"{workdir}/")
    mounted = {name: service["volumes"] for name, service in compose["services"].items()}
    for name, (data, shared) in mounted.items():
        assert data == f"{name}:{ENVIRONMENT['GRADIENTCOIN_DATA_DIR']}"
        assert shared.removesuffix(":ro") == "shared:/shared"
    assert set(compose["volumes"]) == {*mounted, "shared"}


def test_one_node_publishes_and_the_others_wait_for_it_and_cannot_write(compose: dict[str, Any]) -> None:
    services = compose["services"]
    (publisher,) = [
        name for name, service in services.items() if "PUBLISH_ADDRESS_TO" in service["environment"]
    ]
    address = services[publisher]["environment"]["PUBLISH_ADDRESS_TO"]
    assert len(services) == 4
    for name, service in services.items():
        if name != publisher:
            assert service["environment"]["JOIN_ADDRESS_FROM"] == address
            assert service["depends_on"] == {publisher: {"condition": "service_healthy"}}
            assert service["volumes"][1].endswith(":ro")


def test_all_nodes_have_one_chain_and_known_settings(compose: dict[str, Any]) -> None:
    settings = {f"GRADIENTCOIN_{key.upper()}" for key in DEFAULTS} | ENTRY_VARIABLES
    services = compose["services"].values()
    for service in services:
        assert set(service["environment"]) <= settings
    assert len({service["environment"]["GRADIENTCOIN_CHAIN_SEED"] for service in services}) == 1
    assert sorted(service["environment"]["GRADIENTCOIN_NAME"] for service in services) == sorted(
        compose["services"]
    )


def test_nothing_is_reachable_from_outside(compose: dict[str, Any]) -> None:
    assert compose["networks"] == {"chain": {"internal": "true"}}
    for service in compose["services"].values():
        assert "ports" not in service
        assert service["networks"] == ["chain"]
        assert service["cap_drop"] == ["ALL"]


def test_compose_line_that_is_not_understood_is_named(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services:\n  - a\n")
    with pytest.raises(ValueError, match="line 2: not understood"):
        compose_file.load_compose(tmp_path / "compose.yaml")


# --- the entry point --------------------------------------------------------------------------------------------------


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the entry point would become."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda program, words: commands.append(words))
    monkeypatch.setenv("NODE_HOST", "10.1.2.3")
    monkeypatch.setenv("NODE_PORT", "4001")
    for name in ("PUBLISH_ADDRESS_TO", "JOIN_ADDRESS_FROM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRADIENTCOIN_DATA_DIR", str(tmp_path / "data"))
    return commands


def test_peer_id_is_that_of_libp2p(tmp_path: Path) -> None:
    seed = bytes(range(32))
    (tmp_path / KEY_FILES[0]).write_text(seed.hex() + "\n")
    assert entry.compute_peer_id(tmp_path) == ID.from_pubkey(create_new_key_pair(seed).public_key).to_string()


def test_nodes_join_through_the_published_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
) -> None:
    shared = tmp_path / "bootstrap"
    monkeypatch.setenv("PUBLISH_ADDRESS_TO", str(shared))
    entry.main()
    entry.main()  # a restart keeps the keys
    monkeypatch.delenv("PUBLISH_ADDRESS_TO")
    monkeypatch.setenv("JOIN_ADDRESS_FROM", str(shared))
    entry.main()
    address = f"/ip4/10.1.2.3/tcp/4001/p2p/{entry.compute_peer_id(tmp_path / 'data')}"
    assert shared.read_text() == address + "\n"
    assert started[0] == started[1]
    assert started[2][-2:] == ["--bootstrap", address]
    assert started[0][:2] == ["gradientcoin", "run"]


def test_missing_address_says_which_node_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
) -> None:
    monkeypatch.setenv("JOIN_ADDRESS_FROM", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no address to join through") as error:
        entry.main()
    assert "PUBLISH_ADDRESS_TO" in error.value.hint
    assert started == []
