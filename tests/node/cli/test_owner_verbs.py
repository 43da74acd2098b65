"""What an owner does with money at stake: quote, cancel, new accounts; what is asked, sent and shown."""

import json

import pytest

from tests.node.cli.conftest import Cli
from tests.node.cli.fake_api import ADDRESS, JOB, FakeApi, error
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
