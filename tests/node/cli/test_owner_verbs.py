"""What an owner does with money at stake: quote, cancel, new accounts; what is asked, sent and shown."""

import json

import pytest

from tests.node.cli.conftest import Cli
from tests.node.cli.fake_api import ADDRESS, JOB, OTHER_JOB, SUMMARY, FakeApi, error
from tests.node.cli.test_output import JOB_FILE, SUBMITTED

QUOTE = {key: value for key, value in SUBMITTED.items() if key not in ("id", "txid")} | {
    "accepted": True,
    "problems": [],
    "work": "49889280",
    "least_escrow": "5601000000",
    "lock": "5000000000",
    "total": "100000001234",
    "rent": "1000000",
    "round_cost": "601000000",
    "rounds": 158,
    "round_blocks": 6,
    "slot_share": 0.75,
    "lifetime_blocks": 2000,
    "target_loss": 3.2,
    "available": "10000000000000",
}
CANCELLED = {
    "id": JOB,
    "txid": "99" * 32,
    "fee": "1234",
    "from": "local-0",
    "closes_at": 126,
    "ends_at": 132,
    "refund": "95000000000",
    "burned": "5000000000",
}


@pytest.fixture
def job_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("job")
    (folder / "data").mkdir()
    (folder / "data/digits.npz").write_bytes(b"npz")
    (folder / "job.toml").write_text(JOB_FILE)
    return str(folder / "job.toml")


def test_quote_shows_every_cost_and_sends_what_submit_would(cli: Cli, api: FakeApi, job_file: str) -> None:
    api.routes["POST /v1/jobs/quote"] = QUOTE
    api.routes["POST /v1/jobs"] = SUBMITTED
    ran = cli("job", "quote", job_file)
    assert ran.code == 0
    for words in ("1,000.00001234 coins", "49,889,280", "158 rounds", "at least 56.01", "4.5 of a round's 6"):
        assert words in ran.out
    assert f"gradientcoin job submit {job_file}" in ran.out
    cli("job", "submit", job_file)
    quoted, submitted = [body for request, body in api.requests if request.startswith("POST")]
    assert quoted == submitted


def test_quote_that_would_be_refused_exits_1_with_each_reason(cli: Cli, api: FakeApi, job_file: str) -> None:
    api.routes["POST /v1/jobs/quote"] = QUOTE | {
        "accepted": False,
        "problems": ["work: too little", "balance: no"],
    }
    ran = cli("job", "quote", job_file)
    assert ran.code == 1
    assert "work: too little" in ran.out
    assert "balance: no" in ran.out
    assert "next:" not in ran.out
    assert cli("job", "quote", job_file, "--json").code == 1


def test_cancel_names_the_job_and_what_it_costs(cli: Cli, api: FakeApi) -> None:
    api.routes[f"POST /v1/jobs/{JOB}/cancel"] = CANCELLED
    ran = cli("job", "cancel", "5f3a", "--yes")
    assert ran.code == 0
    for words in ("Digits", "height 126", "950 coins", "50 coins"):
        assert words in ran.out
    assert json.loads(cli("job", "cancel", "5f3a", "--json").out) == CANCELLED


def test_cancel_never_guesses_which_job(cli: Cli, api: FakeApi) -> None:
    assert cli("job", "cancel").code == 2


def test_cancel_of_anothers_job_is_the_nodes_refusal(cli: Cli, api: FakeApi) -> None:
    api.routes[f"POST /v1/jobs/{JOB}/cancel"] = error(422, "refused", "the job belongs to rgc1x", "ask it")
    ran = cli("job", "cancel", "5f3a", "-y")
    assert ran.code == 1
    assert "belongs to rgc1x" in ran.err


def test_new_account_tells_where_its_key_is(cli: Cli, api: FakeApi) -> None:
    api.routes["POST /v1/wallet/accounts"] = {
        "name": "savings",
        "address": ADDRESS,
        "file": "/d/keys/savings.key",
    }
    ran = cli("wallet", "new", "savings")
    assert ran.code == 0
    assert ADDRESS in ran.out
    assert "/d/keys/savings.key" in ran.out
    assert "back it up" in ran.out


def test_transaction_shows_coins_and_its_block(cli: Cli, api: FakeApi) -> None:
    txid = "77" * 32
    shown = {"txid": txid, "state": "confirmed", "height": 9, "confirmations": 2, "kind": "transfer"}
    api.routes[f"GET /v1/transactions/{txid}"] = shown | {"amount": "1250000000", "fee": "200", "memo": "tea"}
    ran = cli("chain", "tx", txid)
    assert ran.code == 0
    for words in ("in block 9, 2 confirmations", "12.5 coins", "0.000002 coins", "tea"):
        assert words in ran.out
    assert cli("chain", "tx", "00" * 32).code == 5


def test_error_with_json_is_one_value_with_its_exit_code(cli: Cli, api: FakeApi) -> None:
    api.routes["GET /v1/jobs"] = error(503, "busy", "what was wrong", "what to do")
    ran = cli("job", "list", "--json")
    expected = {"message": "what was wrong", "hint": "what to do", "exit_code": 4}
    assert json.loads(ran.out) == {"error": expected}
    assert ran.code == 4
    assert "what was wrong" in ran.err
    usage = cli("job", "show", "--nope", "--json")
    assert json.loads(usage.out)["error"]["exit_code"] == usage.code == 2


def test_job_to_continue_is_sent_and_named(cli: Cli, api: FakeApi, job_file: str) -> None:
    parent = {"parent": OTHER_JOB}
    api.routes["POST /v1/jobs/quote"] = QUOTE | parent
    api.routes["POST /v1/jobs"] = SUBMITTED | parent
    ran = cli("job", "quote", job_file, "--from-job", "5f3b")
    assert ran.code == 0
    assert f"job {OTHER_JOB}, from its last weights" in ran.out
    assert f"gradientcoin job submit {job_file} --from-job 5f3b" in ran.out
    ran = cli("job", "submit", job_file, "--from-job", "5f3b")
    assert f"job {OTHER_JOB}, from its last weights" in ran.out
    assert [body["parent"] for request, body in api.requests if request.startswith("POST")] == ["5f3b"] * 2


def test_quote_of_a_market_only_job_speaks_of_updates(cli: Cli, api: FakeApi, job_file: str) -> None:
    market = {"market_only": True, "burn": "0", "lock": "0", "slot_share": 0.0, "budget": "2000000000"}
    api.routes["POST /v1/jobs/quote"] = QUOTE | market
    api.routes["POST /v1/jobs"] = SUBMITTED | market
    out = cli("job", "quote", job_file).out
    for words in ("none: updates alone train it", "at most 20 coins for its updates", "158 rounds or more"):
        assert words in out
    assert "drawn" not in out
    out = cli("job", "submit", job_file).out
    assert "nothing: no block is drawn for it; updates earn up to 20 coins a round" in out


def test_market_only_job_is_shown_without_tickets(cli: Cli, api: FakeApi) -> None:
    parent = {"id": OTHER_JOB, "title": "Before", "version": 7, "weights_cid": "bafk"}
    api.routes[f"GET /v1/jobs/{JOB}"] = SUMMARY | {"market_only": True, "burn": "0", "parent": parent}
    out = cli("job", "show", JOB).out
    assert f"continues  job {OTHER_JOB[:10]} (Before) at version 7" in out
    assert "drawn" not in out
    assert "blocks" not in out
    api.routes[f"GET /v1/jobs/{JOB}"] = SUMMARY | {"parent": parent | {"title": None, "version": None}}
    out = cli("job", "show", JOB).out
    assert f"continues  job {OTHER_JOB[:10]}\n" in out
    assert "50 of the last heights" in out
