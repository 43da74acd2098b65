"""What each verb prints, for people and as JSON, and what it sends."""

import base64
import json
from pathlib import Path

import pytest

from node.cli.curve import draw_curve
from node.cli.output import format_coins, parse_coins
from node.exits import UserError
from tests.node.cli.conftest import Cli
from tests.node.cli.fake_api import ADDRESS, CID, DONE, JOB, OTHER_JOB, STATUS, SUMMARY, FakeApi, error

JOB_FILE = '[data]\nfile = "data/digits.npz"\n'
SUBMITTED = {
    "id": JOB,
    "txid": JOB,
    "title": "Digits",
    "objective": "attention_regression",
    "data_cid": CID,
    "data_bytes": 100,
    "train": 10,
    "judge": 5,
    "spec_sha256": "ee" * 32,
    "escrow": "100000000000",
    "burn": "100000000",
    "fee": "1234",
    "quantisation": {"max_error": 0.001, "clipped": 0},
    "trial": {"before": 8.0, "after": 7.5},
    "notes": ["be patient"],
    "from": "local-0",
    "price": "0",
    "budget": "0",
    "market_only": False,
    "parent": None,
    "evaluation": None,
}
RESULT = {
    "id": JOB,
    "title": "Digits",
    "status": "done",
    "reason": "",
    "version": 6,
    "parent": None,
    "weights_cid": CID,
    "weights_sha256": "00",
    "provenance": "11",
    "loss": 3.1,
    "checkpoint_base64": base64.b64encode(b"weights").decode(),
    "record": {"blocks": [], "history": []},
}


@pytest.mark.parametrize(
    ("arguments", "route"),
    [
        (("status",), "GET /v1/status"),
        (("peers",), "GET /v1/peers"),
        (("wallet", "list"), "GET /v1/wallet"),
        (("job", "list"), "GET /v1/jobs"),
        (("job", "show", "5f3a"), "GET /v1/jobs/5f3a"),
        (("chain", "show"), "GET /v1/blocks"),
    ],
)
def test_json_is_the_nodes_answer_alone(
    cli: Cli, api: FakeApi, arguments: tuple[str, ...], route: str
) -> None:
    ran = cli(*arguments, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == api.routes[route]


def test_status_says_why_a_node_is_alone(cli: Cli, api: FakeApi) -> None:
    problems = {"/ip4/1.2.3.4/tcp/9/p2p/x": "is on another chain"}
    api.routes["GET /v1/status"] = STATUS | {
        "peers": 0,
        "sync": {**STATUS["sync"], "bootstrap_problems": problems},
    }
    out = cli("status").out
    assert "reaches none of its bootstrap addresses" in out
    assert "/ip4/1.2.3.4/tcp/9/p2p/x: is on another chain" in out


def test_status_in_words(cli: Cli, api: FakeApi) -> None:
    out = cli("status").out
    for words in (
        "node-0",
        "running",
        "height 120",
        "1.5 coins, 50 maturing",
        "5.2/s",
        "31 blocks won",
        "2, running, device auto, 1 restart",
        "own samples not used",
        "privacy   epsilon 1.2 of 8",
        ADDRESS,
    ):
        assert words in out


def test_status_of_a_lonely_node_says_what_to_do(cli: Cli, api: FakeApi) -> None:
    api.routes["GET /v1/status"] = {**STATUS, "peers": 0}
    assert "--bootstrap" in cli("status").out


def test_job_list_and_show(cli: Cli, api: FakeApi) -> None:
    assert "Digits" in cli("job", "list").out
    out = cli("job", "show", "5f3a").out
    assert JOB in out
    assert CID in out
    assert SUMMARY["next_step"] in out


def test_job_show_without_an_id_shows_the_job_submitted_last(cli: Cli, api: FakeApi) -> None:
    older = {**SUMMARY, "id": "00" * 32, "title": "Older", "submitted": 3}
    waiting = {**SUMMARY, "id": "11" * 32, "title": "Waiting", "submitted": None, "status": "pending"}
    api.routes["GET /v1/jobs"] = {"jobs": [SUMMARY, older]}
    assert json.loads(cli("job", "show", "--json").out)["title"] == "Digits"
    api.routes["GET /v1/jobs"] = {"jobs": [waiting, SUMMARY, older]}
    assert json.loads(cli("job", "show", "--json").out)["title"] == "Waiting"
    api.routes["GET /v1/jobs"] = {"jobs": []}
    assert "gradientcoin job submit" in cli("job", "show").err


def test_empty_job_list_names_the_next_command(cli: Cli, api: FakeApi) -> None:
    api.routes["GET /v1/jobs"] = {"jobs": []}
    assert "gradientcoin job submit" in cli("job", "list").out


def test_submit_sends_file_and_data_and_names_the_next_command(
    cli: Cli, api: FakeApi, tmp_path: Path
) -> None:
    (tmp_path / "job.toml").write_text(JOB_FILE)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/digits.npz").write_bytes(b"data")
    api.routes["POST /v1/jobs"] = SUBMITTED
    ran = cli("job", "submit", "job.toml", "--from", "local-0")
    assert ran.code == 0
    assert f"gradientcoin job watch {JOB[:10]}" in ran.out
    assert "1,000 coins in escrow" in ran.out
    assert "be patient" in ran.out
    [(_, body)] = api.requests
    assert body == {
        "file_name": "job.toml",
        "toml": JOB_FILE,
        "data_name": "data/digits.npz",
        "data_base64": base64.b64encode(b"data").decode(),
        "from": "local-0",
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "no such file"),
        ("x =", "TOML"),
        ("x = 1", "[data]"),
        (JOB_FILE, "digits.npz"),
        ("a" * 70_000, "bytes"),
    ],
)
def test_bad_job_file_exits_3_and_sends_nothing(
    cli: Cli, api: FakeApi, tmp_path: Path, text: str | None, word: str
) -> None:
    if text is not None:
        (tmp_path / "job.toml").write_text(text)
    ran = cli("job", "submit", "job.toml")
    assert ran.code == 3
    assert word in ran.err
    assert api.requests == []


def test_refused_job_exits_1_with_the_reason(cli: Cli, api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB_FILE)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/digits.npz").write_bytes(b"data")
    api.routes["POST /v1/jobs"] = error(
        422, "refused", "the trial does not lower the loss", "lower learning_rate"
    )
    ran = cli("job", "submit", "job.toml")
    assert ran.code == 1
    assert "lower learning_rate" in ran.err


def test_watch_prints_a_line_a_change_until_done(
    cli: Cli, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.cli.watch.POLL_S", 0.0)
    answers = [SUMMARY, SUMMARY, {**SUMMARY, "version": 5}, DONE]
    api.routes[f"GET /v1/jobs/{JOB}"] = lambda body: answers.pop(0)
    ran = cli("job", "watch", JOB)
    assert ran.code == 0
    assert ran.out.count("height 120") == 4  # three lines and the end
    assert "version 5" in ran.out
    assert "network 20.0 runs/s" in ran.out
    assert "the target was reached" in ran.out
    assert f"gradientcoin job result {JOB[:10]} -o" in ran.out


def test_watch_of_cancelled_job_exits_1(cli: Cli, api: FakeApi) -> None:
    api.routes[f"GET /v1/jobs/{JOB}"] = {**DONE, "status": "cancelled"}
    assert cli("job", "watch", JOB).code == 1


def test_watch_json_is_a_line_for_each_change(cli: Cli, api: FakeApi) -> None:
    api.routes[f"GET /v1/jobs/{JOB}"] = DONE
    ran = cli("job", "watch", JOB, "--json")
    [line] = ran.out.splitlines()
    assert json.loads(line)["network_runs_per_s"] == 20.0


def test_result_writes_checkpoint_and_record(cli: Cli, api: FakeApi, tmp_path: Path) -> None:
    api.routes[f"GET /v1/jobs/{JOB}/result"] = RESULT
    ran = cli("job", "result", "5f3a", "-o", "out")
    assert ran.code == 0
    assert (tmp_path / "out/checkpoint.safetensors").read_bytes() == b"weights"
    record = json.loads((tmp_path / "out/result.json").read_text())
    assert record["provenance"] == "11"
    assert "checkpoint_base64" not in record
    assert cli("job", "result", "5f3a", "-o", "out").code == 0  # again is fine


def test_result_does_not_replace_another_jobs(cli: Cli, api: FakeApi, tmp_path: Path) -> None:
    api.routes[f"GET /v1/jobs/{JOB}/result"] = RESULT
    (tmp_path / "out").mkdir()
    (tmp_path / "out/result.json").write_text(json.dumps({"id": OTHER_JOB}))
    assert cli("job", "result", "5f3a", "-o", "out").code == 2
    assert not (tmp_path / "out/checkpoint.safetensors").exists()


def test_send_by_name_in_coins(cli: Cli, api: FakeApi) -> None:
    api.routes["POST /v1/wallet/send"] = {"txid": "77" * 32, "payer": "node", "fee": "200"}
    ran = cli("wallet", "send", "local-0", "12.5", "--memo", "hi")
    assert ran.code == 0
    assert api.requests[-1][1] == {"to": "rgc1zzz", "amount": "1250000000", "memo": "hi"}
    assert f"gradientcoin chain tx {'77' * 32}" in ran.out


def test_send_waits_for_its_block(cli: Cli, api: FakeApi) -> None:
    api.routes["POST /v1/wallet/send"] = {"txid": "77" * 32, "payer": "node", "fee": "200"}
    api.routes[f"GET /v1/transactions/{'77' * 32}"] = {"txid": "77" * 32, "state": "confirmed", "height": 9}
    assert "in block 9" in cli("wallet", "send", "local-0", "1", "--wait").out


def test_balance_by_name_or_of_a_stranger(cli: Cli, api: FakeApi) -> None:
    assert cli("wallet", "balance", "local-0").out.startswith("100,000 coins")
    api.routes["GET /v1/accounts/rgc1farfarfarfarfar"] = {
        "address": "rgc1farfarfarfarfar",
        "balance": "1",
        "immature": "0",
        "nonce": 0,
    }
    assert cli("wallet", "balance", "rgc1farfarfarfarfar").out.startswith("0.00000001 coins")


def test_chain_show_takes_a_transaction_too(cli: Cli, api: FakeApi) -> None:
    api.routes[f"GET /v1/transactions/{'77' * 32}"] = {
        "txid": "77" * 32,
        "state": "pending",
        "kind": "transfer",
    }
    ran = cli("chain", "show", "77" * 32)
    assert ran.code == 0
    assert "pending" in ran.out
    assert cli("chain", "show", "999").code == 5


def test_export_writes_the_bytes_and_keeps_what_is_there(cli: Cli, api: FakeApi, tmp_path: Path) -> None:
    api.routes["GET /v1/chain/export"] = b"x" * 100_000
    assert cli("chain", "export", "c.bin").code == 0
    assert (tmp_path / "c.bin").stat().st_size == 100_000
    assert cli("chain", "export", "c.bin").code == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("ended_by", "target", "code"), [("target", 3.2, 0), ("escrow", 3.2, 1), ("escrow", None, 0)]
)
def test_watch_succeeds_only_if_the_job_did(
    cli: Cli, api: FakeApi, ended_by: str, target: float | None, code: int
) -> None:
    api.routes["GET /v1/jobs/5f3a"] = DONE | {"ended_by": ended_by, "target_loss": target}
    assert cli("job", "watch", "5f3a").code == code


def test_result_of_an_untrained_job_says_so(cli: Cli, api: FakeApi) -> None:
    api.routes[f"GET /v1/jobs/{JOB}/result"] = RESULT | {"version": 0}
    assert "random ones it began with" in cli("job", "result", "5f3a", "-o", "out").out


def test_file_error_names_an_example_that_is_there(cli: Cli) -> None:
    ran = cli("job", "submit", "examples/digits.toml")
    assert ran.code == 3
    [hint] = [line for line in ran.err.splitlines() if "try:" in line]
    assert Path(hint.split()[1]).is_file()


@pytest.mark.parametrize(
    "text", ["1e3", "1_000", "1,5", " 1", "٣", "0", "-1", "x", "1e30000", "nan", "inf", "0.000000001", ""]
)
def test_parse_coins_refuses_what_is_no_amount(text: str) -> None:
    with pytest.raises(UserError):
        parse_coins(text)


def test_coins_are_exact() -> None:
    assert parse_coins("90071992547.40993001") == 9007199254740993001
    assert format_coins("9007199254740993001") == "90,071,992,547.40993001"


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, 1.0], [8.0, 4.0, 3.0, 2.9], [float(i) for i in range(500)]]
)
def test_curve_fits_its_box(values: list[float]) -> None:
    lines = draw_curve(values, 60, 8, target=2.0)
    assert len(lines) == 8
    assert all(len(line) <= 60 for line in lines)
