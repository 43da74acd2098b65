"""What users see when something is wrong: one clear line, what to try, the documented exit code, no traceback."""

import json
import socket
from pathlib import Path

import pytest

from tests.node.cli.conftest import Cli
from tests.node.cli.fake_api import FakeApi, error, write_node_files


def test_no_node_anywhere_says_what_was_tried(cli: Cli) -> None:
    ran = cli("status")
    assert ran.code == 4
    for tried in ("--node", "GRADIENTCOIN_NODE", "local network", "default data directory"):
        assert tried in ran.err
    assert "gradientcoin testnet up" in ran.err
    assert ran.out == ""


def test_refused_connection_says_where_the_address_came_from(cli: Cli, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    write_node_files(tmp_path / "n", url)
    ran = cli("status", "--node", str(tmp_path / "n"))
    assert ran.code == 4
    assert url in ran.err
    assert "node.json" in ran.err
    assert "--node" in ran.err
    assert "gradientcoin run --data-dir" in ran.err


def test_wrong_token_exits_4(cli: Cli, api: FakeApi) -> None:
    write_node_files(api.data_dir, api.url, "wrong")
    ran = cli("status")
    assert ran.code == 4
    assert "token" in ran.err
    assert "restart the node" in ran.err


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "not_found", 5),
        (409, "ambiguous", 5),
        (400, "bad_request", 2),
        (422, "bad_file", 3),
        (422, "refused", 1),
        (422, "not_enough_balance", 7),
        (503, "starting", 4),
        (500, "damaged", 8),
        (504, "timeout", 9),
        (500, "internal", 1),
        (404, "a code of a later version", 5),
    ],
)
def test_error_code_of_node_gives_exit_code(
    cli: Cli, api: FakeApi, status: int, code: str, expected: int
) -> None:
    api.routes["GET /v1/jobs"] = error(status, code, "what was wrong", "what to do")
    ran = cli("job", "list")
    assert (ran.code, ran.out) == (expected, "")
    assert "what was wrong" in ran.err
    assert "what to do" in ran.err


def test_ambiguous_prefix_shows_the_nodes_words(cli: Cli, api: FakeApi) -> None:
    api.routes["GET /v1/jobs/5f3"] = error(
        409, "ambiguous", "5f3 begins two jobs: 5f3a00, 5f3b11", "give more"
    )
    ran = cli("job", "show", "5f3")
    assert ran.code == 5
    assert "5f3a00, 5f3b11" in ran.err


@pytest.mark.parametrize("answer", [b"<html>hello</html>", b"", b"[1]"])
def test_answer_of_another_program_exits_4(cli: Cli, api: FakeApi, answer: bytes) -> None:
    api.routes["GET /v1/status"] = answer
    ran = cli("status")
    assert ran.code == 4
    assert api.url in ran.err


def test_missing_field_is_one_line_and_no_traceback(cli: Cli, api: FakeApi) -> None:
    api.routes["GET /v1/status"] = {"name": "x"}
    ran = cli("status")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert "GRADIENTCOIN_DEBUG" in ran.err


def test_damaged_node_file_exits_4(cli: Cli, tmp_path: Path) -> None:
    write_node_files(tmp_path / "n", "http://127.0.0.1:1")
    (tmp_path / "n" / "node.json").write_text("{")
    assert cli("status", "--node", str(tmp_path / "n")).code == 4


@pytest.mark.parametrize(
    "arguments",
    [("wallets",), ("job",), ("job", "submit"), ("status", "--nope"), ("wallet", "send", "x", "1.123456789")],
)
def test_wrong_usage_exits_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).code == 2


def test_mistyped_command_names_the_closest(cli: Cli) -> None:
    assert "'wallet'" in cli("walet").err


def test_unknown_node_name_lists_networks(cli: Cli) -> None:
    ran = cli("status", "--node", "node-7")
    assert ran.code == 5
    assert "networks: none" in ran.err


def test_environment_names_the_node(cli: Cli, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIENTCOIN_NODE", str(api.data_dir))
    assert json.loads(cli("status", "--json").out)["name"] == "node-0"
    monkeypatch.setenv("GRADIENTCOIN_NODE", "nothing")
    ran = cli("status")
    assert ran.code == 5
    assert "GRADIENTCOIN_NODE" in ran.err
