"""Every endpoint's answer has the shape docs/api.md gives it, and its numbers are the chain's."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ledger.chainfile import ChainFile
from ledger.hashing import cid_of, cid_text, tagged_hash
from ledger.keys import KeyPair
from ledger.params import COIN, REGTEST
from ledger.records import JobStatus
from ledger.transactions import Transfer
from node.wallet import Wallet
from tests.ledger.chain_builder import ALICE, BOB, make_spec
from tests.ledger.market_builder import (
    find_share,
    make_update,
    mine_to_settlement,
    mine_to_window,
    open_market,
)
from tests.ledger.samples import PRIVACY
from tests.node.rpc.api_node import SEED, ApiNode, open_api


def words(text: str) -> set[str]:
    return set(text.split())


JOB_FIELDS = words(
    "id title objective status reason next_step ended_by owner submitted first_round round version settlements loss"
    " loss_units first_loss target_loss escrow lock burn price budget drawn lost tickets"
    " pending_tickets updates paid pending_updates weights_cid work lifetime_ends samples market_only parent evaluation"
)
UPDATE_FIELDS = words(
    "round commitment miner shares bond payload_bytes payload_cid privacy state height settles_at credit amount"
)
BLOCK_FIELDS = words(
    "height hash time_ms miner job title runs_estimate transactions target loss_before loss_after"
)
POINT_FIELDS = words(
    "height round version loss_before loss_after loss scale tickets updates known_scale update_scale paid"
    " weights_cid block"
)
STATUS_FIELDS = words(
    "name chain chain_id version peer_id addresses api head genesis state sync peers mining updates worker mempool"
    " wallet jobs uptime_s parked loop_lag_ms"
)
SUBMITTED_FIELDS = words(
    "id txid title objective data_cid data_bytes train judge spec_sha256 escrow burn fee from"
    " quantisation trial notes work price budget market_only parent evaluation"
)
QUOTE_FIELDS = SUBMITTED_FIELDS - {"id", "txid"} | words(
    "accepted problems least_escrow lock total rent round_cost rounds round_blocks slot_share lifetime_blocks"
    " target_loss available"
)


async def get(node: ApiNode, path: str) -> Any:  # Any: an answer's JSON
    answer = await node.get(path)
    assert answer.status == 200, answer.raw
    check_numbers(answer.json)
    return answer.json


def check_numbers(value: Any) -> None:
    """JavaScript must read every number exactly."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            check_numbers(item)
    if type(value) is int:
        assert abs(value) < 2**53


async def test_status_shape(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.mine()
        job_id = node.builder.open_job()
        status = await get(node, "/v1/status")
        assert set(status) == STATUS_FIELDS
        assert set(status["head"]) == {"hash", "height", "time_ms", "chain_work"}
        assert status["head"]["height"] == 2
        assert status["genesis"] == node.builder.genesis.chain_id.hex()
        assert status["sync"] == {"behind": 0, "best_peer_height": 5, "bootstrap_problems": {}}
        assert set(status["mining"]) == {"enabled", "runs", "runs_per_s", "blocks", "slot"}
        assert status["mining"]["slot"] == {"job": None, "title": "heartbeat"}
        assert status["worker"] == {"alive": True, "restarts": 0, "path": "portable"}
        trainers = {"count": 2, "device": "auto", "state": "running", "restarts": 0}
        assert status["updates"]["trainers"] == trainers
        assert status["updates"]["note"] == ""
        assert status["mempool"] == {"count": 0, "bytes": 0}
        assert set(status["wallet"]) == {"address", "balance", "immature"}
        assert status["jobs"] == {"live": 1, "total": 1}
        assert status["api"] == f"http://127.0.0.1:{node.port}"
        while node.builder.drawn() is None:
            node.mine()
        slot = (await get(node, "/v1/status"))["mining"]["slot"]
        assert slot == {"job": job_id.hex(), "title": "toy"}


async def test_peers_are_shown_and_dialed(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        assert await get(node, "/v1/peers") == {"peers": []}
        answer = await node.post("/v1/peers", {"address": node.peer_address})
        assert answer.status == 200
        node.sync.peer_heads[answer.json["peer_id"]] = (7, bytes(32))
        (peer,) = (await get(node, "/v1/peers"))["peers"]
        assert set(peer) == {"peer_id", "address", "direction", "since_s", "height", "head"}
        assert (peer["height"], peer["head"], peer["direction"]) == (7, "00" * 32, "out")
        refused = await node.post("/v1/peers", {"address": "/ip4/1.2.3.4/tcp/1/p2p/nobody"})
        assert (refused.status, refused.code) == (422, "refused")


async def test_wallet_lists_own_and_funded_accounts(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        accounts = (await get(node, "/v1/wallet"))["accounts"]
        assert [a["name"] for a in accounts] == ["node", *(f"local-{i}" for i in range(10))]
        assert all(set(a) == {"name", "address", "balance", "immature", "nonce"} for a in accounts)
        assert accounts[1]["balance"] == str(100_000 * COIN)
        node.mine()
        account = await get(node, f"/v1/accounts/{accounts[4]['address']}")
        assert account["immature"] == str(50 * COIN)
        wrong = await node.get("/v1/accounts/rgc1nonsense")
        assert (wrong.status, wrong.code) == (400, "bad_request")


async def test_send_moves_coins_and_counts_what_waits(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        to = (await get(node, "/v1/wallet"))["accounts"][0]["address"]
        body = {"from": "local-0", "to": to, "amount": str(3 * COIN), "memo": "for tea"}
        first, second = [(await node.post("/v1/wallet/send", body)).json["txid"] for _ in range(2)]
        pending = await get(node, f"/v1/transactions/{first}")
        assert (pending["state"], pending["kind"], pending["amount"]) == (
            "pending",
            "transfer",
            str(3 * COIN),
        )
        node.mine(*[tx for tx in node.service.mempool.transactions() if tx.txid.hex() in (first, second)])
        confirmed = await get(node, f"/v1/transactions/{second}")
        assert (confirmed["state"], confirmed["height"], confirmed["confirmations"]) == ("confirmed", 1, 1)
        assert (await get(node, f"/v1/accounts/{to}"))["balance"] == str(6 * COIN)
        missing = await node.get(f"/v1/transactions/{'00' * 32}")
        assert (missing.status, missing.code) == (404, "not_found")


async def test_send_without_the_balance_says_needed_and_available(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        to = (await get(node, "/v1/wallet"))["accounts"][0]["address"]
        half = {"from": "local-0", "to": to, "amount": str(60_000 * COIN)}
        assert (await node.post("/v1/wallet/send", half)).status == 200
        answer = await node.post("/v1/wallet/send", half)
        assert (answer.status, answer.code) == (422, "not_enough_balance")
        assert re.search(
            r"needs 60,000\.0000\d+ coins and can spend 39,999\.9\d+ coins", answer.json["error"]["message"]
        )
        empty = await node.post("/v1/wallet/send", {"to": to, "amount": "1"})
        assert empty.code == "not_enough_balance"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 5},
        {"amount": "-5"},
        {"amount": "0"},
        {"amount": "1e3"},
        {"amount": str(2**63)},
        {"amount": "9" * 5000},
        {"amount": "٣"},
        {"to": "gc1x"},
        {"to": 3},
        {"to": "\ud800"},
        {"from": "nobody"},
        {"memo": "x" * 65},
        {"amuont": "5"},
    ],
)
async def test_send_with_a_wrong_field_is_400(tmp_path: Path, change: dict[str, object]) -> None:
    async with open_api(tmp_path) as node:
        to = node.context.wallet.own.address
        answer = await node.post("/v1/wallet/send", {"from": "local-0", "to": to, "amount": "5"} | change)
        assert (answer.status, answer.code) == (400, "bad_request")
        assert answer.json["error"]["message"]


async def test_submitted_job_is_pending_then_waiting_then_live(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        answer = await submit(node)
        assert set(answer) == SUBMITTED_FIELDS
        least = 50 * REGTEST.min_burn + 200 * (6 * REGTEST.min_burn + REGTEST.rent)
        assert answer["escrow"] == str(least)
        assert answer["quantisation"] == {"max_error": 0.25, "clipped": 3}
        assert answer["trial"]["after"] < answer["trial"]["before"]
        job = await get(node, f"/v1/jobs/{answer['id'][:4]}")
        assert set(job) == JOB_FIELDS
        assert job["status"] == "pending"
        node.mine(*node.service.mempool.transactions())
        job = await get(node, f"/v1/jobs/{answer['id']}")
        assert set(job) == JOB_FIELDS
        while job["status"] == "live":  # one id in six begins its first round at once
            answer = await submit(node)
            node.mine(*node.service.mempool.transactions())
            job = await get(node, f"/v1/jobs/{answer['id']}")
        assert job["status"] == "waiting"
        first = int(re.search(r"begins at height (\d+)", job["reason"])[1])  # type: ignore[index]
        node.builder.mine_to(first - 2)
        assert (await get(node, f"/v1/jobs/{answer['id']}"))["status"] == "waiting"
        node.builder.mine_to(first - 1)
        assert (await get(node, f"/v1/jobs/{answer['id']}"))["status"] == "live"
        record = node.builder.job(bytes.fromhex(answer["id"]))
        assert hashlib.sha256(record.spec).hexdigest() == answer["spec_sha256"]
        assert (await get(node, "/v1/jobs"))["jobs"][0] == await get(node, f"/v1/jobs/{answer['id']}")


async def submit(node: ApiNode, **changes: str) -> Any:  # Any: an answer's JSON
    body = {"file_name": "a.toml", "toml": str(REGTEST.min_burn), "data_name": "a.npz", "from": "local-0"}
    body["data_base64"] = base64.b64encode(b"data").decode()
    answer = await node.post("/v1/jobs", body | changes)
    assert answer.status == 200, answer.raw
    return answer.json


async def quote(node: ApiNode, **changes: str) -> Any:  # Any: an answer's JSON
    body = {"file_name": "a.toml", "toml": str(REGTEST.min_burn), "data_name": "a.npz", "data_base64": ""}
    answer = await node.post("/v1/jobs/quote", body | changes)
    assert answer.status == 200, answer.raw
    check_numbers(answer.json)
    return answer.json


async def test_quote_is_what_the_submission_costs_and_sends_nothing(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        quoted = await quote(node)
        assert set(quoted) == QUOTE_FIELDS
        assert (quoted["accepted"], quoted["problems"], quoted["from"]) == (True, [], "local-0")
        assert quoted["rounds"] == int(quoted["escrow"]) // int(quoted["round_cost"])
        assert quoted["slot_share"] == 0.75
        assert not node.service.mempool.transactions()
        submitted = await submit(node)
        for name in ("escrow", "fee", "burn", "spec_sha256", "trial", "work", "notes"):
            assert quoted[name] == submitted[name]
        assert int(quoted["total"]) == int(submitted["escrow"]) + int(submitted["fee"])
        node.mine(*node.service.mempool.transactions())
        again = await quote(node)
        assert again["slot_share"] == 0.375  # beside an equal one
        assert any("the same job runs already" in note for note in again["notes"])


async def test_quote_names_every_reason_for_a_refusal(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.worker.escrow_units, node.worker.work = 1, 1 << 30
        quoted = await quote(node, **{"from": "node"})
        assert not quoted["accepted"]
        assert [problem.partition(":")[0] for problem in quoted["problems"]] == ["work", "escrow", "balance"]
        assert quoted["available"] == "0"


@pytest.mark.parametrize(
    ("work", "words"),
    [(1 << 30, "a smaller shard"), (1 << 20, "a larger shard (at most"), (1 << 8, "it takes more samples")],
)
async def test_work_that_does_not_fit_is_refused_with_what_is_reachable(
    tmp_path: Path, work: int, words: str
) -> None:
    async with open_api(tmp_path) as node:
        node.worker.work = work
        assert any(words in problem for problem in (await quote(node))["problems"])
        body = {"file_name": "a.toml", "toml": str(REGTEST.min_burn), "data_name": "a.npz", "data_base64": ""}
        answer = await node.post("/v1/jobs", body)
        assert (answer.status, answer.code) == (422, "refused")
        assert words in answer.json["error"]["message"]


async def test_job_whose_numbers_are_not_for_this_chain_is_refused(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.worker.misfit = "burn: expected 50000000..9223372036854775807, got 10000000"
        body = {"file_name": "a.toml", "toml": "1", "data_name": "a.npz", "data_base64": ""}
        answer = await node.post("/v1/jobs/quote", body)
        assert (answer.status, answer.code) == (422, "refused")
        assert "a.toml: not a job for this chain: burn" in answer.json["error"]["message"]
        assert "at least 0.5 coins" in answer.json["error"]["hint"]


async def test_strangers_text_cannot_steer_a_terminal(tmp_path: Path) -> None:
    memo = "x\x1b]0;PWNED\x07\x1b[2Jfake\u202e"
    async with open_api(tmp_path) as node:
        body = Transfer(BOB.address, 5, memo.encode())
        job_id = node.builder.open_job(make_spec(title="a\x1b[31mb"))
        node.mine(node.builder.sign(ALICE, body))
        shown = (await get(node, f"/v1/blocks/{node.builder.height}"))["transactions"][0]
        assert shown["memo"] == "x\ufffd]0;PWNED\ufffd\ufffd[2Jfake\ufffd"
        assert bytes.fromhex(shown["memo_hex"]).decode() == memo
        assert (await get(node, f"/v1/jobs/{job_id.hex()}"))["title"] == "a\ufffd[31mb"
        sent = {"from": "local-0", "to": node.context.wallet.own.address, "amount": "5", "memo": memo}
        assert (await node.post("/v1/wallet/send", sent)).code == "bad_request"


async def cancel(node: ApiNode, job_id: bytes) -> Any:  # Any: an answer
    return await node.post(f"/v1/jobs/{job_id.hex()[:12]}/cancel", {})


async def test_cancelled_job_closes_when_the_answer_says(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job()
        node.builder.mine_to(20)
        record = node.builder.job(job_id)
        answer = (await cancel(node, job_id)).json
        assert set(answer) == words("id txid fee from closes_at ends_at refund burned")
        assert (answer["from"], answer["refund"]) == ("local-0", str(record.escrow))
        again = await cancel(node, job_id)
        assert (again.status, again.code) == (422, "refused")
        assert "cancelled already" in again.json["error"]["message"]
        node.mine(*node.service.mempool.transactions())
        node.builder.mine_to(answer["closes_at"])
        assert node.builder.job(job_id).status is JobStatus.CLOSING
        assert "closing already" in (await cancel(node, job_id)).json["error"]["message"]
        node.builder.mine_to(answer["ends_at"])
        assert node.builder.job(job_id).status is JobStatus.CANCELLED


async def test_job_of_another_wallet_is_not_cancelled_here(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        stranger = KeyPair.from_seed(b"s" * 32)
        node.mine(node.builder.transfer(ALICE, stranger, 1000 * COIN))
        job_id = node.builder.open_job(key=stranger)
        answer = await cancel(node, job_id)
        assert (answer.status, answer.code) == (422, "refused")
        assert "no account of this node's wallet" in answer.json["error"]["message"]
        waiting = await submit(node)
        pending = await node.post(f"/v1/jobs/{waiting['id']}/cancel", {})
        assert (pending.status, pending.code) == (422, "refused")
        assert (await node.post("/v1/jobs/abcd/cancel", {})).status == 404


async def test_account_made_here_receives_spends_and_stays(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        made = (await node.post("/v1/wallet/accounts", {"name": "savings"})).json
        assert set(made) == {"name", "address", "file"}
        assert Path(made["file"]).stat().st_mode & 0o777 == 0o600
        body = {"from": "local-0", "to": made["address"], "amount": str(COIN)}
        assert (await node.post("/v1/wallet/send", body)).status == 200
        node.mine(*node.service.mempool.transactions())
        back = {"from": "savings", "to": made["address"], "amount": "5"}
        assert (await node.post("/v1/wallet/send", back)).status == 200
        names = [account["name"] for account in (await get(node, "/v1/wallet"))["accounts"]]
        assert names[:3] == ["node", "savings", "local-0"]
        assert Wallet(tmp_path, "regtest", SEED).find("savings").address == made["address"]


@pytest.mark.parametrize("name", ["", "node", "local-3", "../x", "A", "a" * 33, "savings"])
async def test_account_name_that_cannot_be_is_400(tmp_path: Path, name: str) -> None:
    async with open_api(tmp_path) as node:
        await node.post("/v1/wallet/accounts", {"name": "savings"})
        answer = await node.post("/v1/wallet/accounts", {"name": name})
        assert (answer.status, answer.code) == (400, "bad_request")


async def test_job_that_cannot_be_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        body = {
            "file_name": "a.toml",
            "toml": "x",
            "data_name": "a.npz",
            "data_base64": "",
            "from": "local-0",
        }
        answer = await node.post("/v1/jobs", body)
        assert (answer.status, answer.code) == (422, "bad_file")
        assert answer.json["error"]["message"].startswith("a.toml: ")
        assert answer.json["error"]["hint"] == "write one"
        answer = await node.post("/v1/jobs", body | {"toml": str(REGTEST.min_burn), "from": "node"})
        assert (answer.status, answer.code) == (422, "not_enough_balance")
        answer = await node.post("/v1/jobs", body | {"toml": str(REGTEST.min_burn), "data_base64": "?"})
        assert (answer.status, answer.code) == (400, "bad_request")
        node.worker.escrow_units = 1
        answer = await node.post("/v1/jobs", body | {"toml": str(REGTEST.min_burn)})
        assert (answer.status, answer.code) == (422, "refused")
        assert not node.service.mempool.transactions()


async def test_job_without_a_payer_is_paid_by_the_first_account_that_can(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        body = {"file_name": "a.toml", "toml": str(REGTEST.min_burn), "data_name": "a.npz"}
        answer = await node.post("/v1/jobs", body | {"data_base64": base64.b64encode(b"data").decode()})
        assert answer.status == 200, answer.raw
        assert answer.json["from"] == "local-0"  # the node's own account has mined nothing yet


async def test_job_is_found_by_prefix_unless_it_is_ambiguous(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        for path, status, code in (
            ("/v1/jobs/abc", 400, "bad_request"),
            ("/v1/jobs/wxyz", 400, "bad_request"),
            ("/v1/jobs/abcd", 404, "not_found"),
            ("/v1/jobs/abcd/history", 404, "not_found"),
            ("/v1/jobs/abcd/result", 404, "not_found"),
        ):
            answer = await node.get(path)
            assert (answer.status, answer.code) == (status, code)
        record = node.builder.job(node.builder.open_job())
        twins = [bytes.fromhex("abcd" + digit * 60) for digit in "12"]
        for twin in twins:
            node.builder.chain.state.apply({b"\x03" + twin: record.encode()})
        answer = await node.get("/v1/jobs/ABCD")
        assert (answer.status, answer.code) == (409, "ambiguous")
        assert all(twin.hex() in answer.json["error"]["message"] for twin in twins)
        assert (await get(node, "/v1/jobs/abcd1"))["id"] == twins[0].hex()


async def test_updates_and_their_stories_are_shown(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        builder = node.builder
        job = open_market(builder)
        update, silent = make_update(builder, job, ALICE), make_update(builder, job, BOB)
        for made in (update, silent):
            builder.mine(builder.sign(made.miner, made.commit(find_share(builder, made.miner)), fee=100_000))
        shown = (await get(node, f"/v1/jobs/{job.hex()}/updates"))["updates"]
        assert [row["state"] for row in shown] == ["committed"] * 2
        assert all(set(row) == UPDATE_FIELDS for row in shown)
        assert (await get(node, f"/v1/jobs/{job.hex()}"))["pending_updates"] == 2
        mine_to_window(builder, update)
        builder.mine(builder.sign(ALICE, update.reveal(privacy=PRIVACY), fee=0))
        mine_to_settlement(builder, update)
        paid, lost = (await get(node, f"/v1/jobs/{job.hex()}/updates?limit=2"))["updates"]
        assert (paid["state"], lost["state"]) == ("paid", "unrevealed")
        assert lost["privacy"] is None
        assert (paid["privacy"]["data_id"], paid["privacy"]["epsilon"]) == (PRIVACY.data_id.hex(), 8.0)
        assert paid["privacy"]["cost"] < paid["privacy"]["spent"]
        assert 0 < paid["privacy"]["spent_epsilon"] < 8
        assert (paid["commitment"], paid["height"]) == (update.commitment.hex(), builder.height)
        summary = await get(node, f"/v1/jobs/{job.hex()}")
        assert (summary["updates"], summary["paid"]) == (1, paid["amount"])
        story = await get(node, f"/v1/explain/{update.commitment.hex()[:12]}")
        assert (story["kind"], story["verdict"], story["facts"]["amount"]) == (
            "update",
            "paid",
            paid["amount"],
        )
        assert (await node.get("/v1/explain/ffffffffff")).status == 404
        result = await get(node, f"/v1/jobs/{job.hex()}/result")
        assert compute_provenance(result["record"]) == result["provenance"]


async def test_slices_are_measured_at_the_last_versions(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1))
        route = f"/v1/jobs/{job_id.hex()}/slices"
        initial = (await get(node, route))["versions"]
        assert [(row["version"], row["height"]) for row in initial] == [(0, None)]
        node.builder.mine_to(40)
        moves = {s.settlement.version: s for s in node.builder.chain.list_settlements(job_id)}
        answer = await get(node, f"{route}?limit=64")
        assert answer["slices"] == [{"class": 0, "samples": 4}, {"class": 3, "samples": 2}]
        assert [row["version"] for row in answer["versions"]] == [0, *moves]
        assert answer["versions"][0] == initial[0]
        for row in answer["versions"][1:]:
            settlement = moves[row["version"]].settlement
            weights = node.builder.chain.load_weights(settlement.new_weights)
            assert row["weights_cid"] == cid_text(settlement.new_weights)
            assert row["losses"] == [len(weights) / 4, sum(weights) / 2]
            assert row["loss"] == (len(weights) + sum(weights)) / 6
        assert (await get(node, f"{route}?limit=1"))["versions"] == answer["versions"][-1:]
        assert (await node.get(f"{route}?limit=65")).status == 400


async def test_history_and_result_follow_the_settlements(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1))
        node.builder.mine_to(40)
        settled = node.builder.chain.list_settlements(job_id)
        points = (await get(node, f"/v1/jobs/{job_id.hex()}/history"))["points"]
        assert len(points) == len(settled) > 1
        assert all(set(point) == POINT_FIELDS for point in points)
        job = await get(node, f"/v1/jobs/{job_id.hex()}")
        assert job["settlements"] == len(points)
        assert job["tickets"] == sum(point["tickets"] for point in points)
        assert job["loss_units"] == str(node.builder.job(job_id).last_losses[-1])
        assert job["samples"] == {"train": 4096, "judge": 1000}
        result = await get(node, f"/v1/jobs/{job_id.hex()[:8]}/result")
        weights = base64.b64decode(result["checkpoint_base64"])
        assert hashlib.sha256(weights).hexdigest() == result["weights_sha256"]
        assert result["weights_cid"] == points[-1]["weights_cid"] == job["weights_cid"]
        assert compute_provenance(result["record"]) == result["provenance"]
        assert result["record"]["history"] == points
        for settlement in result["record"]["blocks"]:
            for ticket in settlement["tickets"]:
                block = await get(node, f"/v1/blocks/{ticket['height']}")
                assert (block["hash"], block["seed"]) == (ticket["block"], ticket["seed"])


def compute_provenance(record: Any) -> str:  # Any: an answer's JSON
    """Compute a job's provenance from nothing but its record (docs/protocol.md, section 10)."""
    provenance = bytes(32)
    for settlement in record["blocks"]:
        seeds = b"".join(bytes.fromhex(ticket["seed"]) for ticket in settlement["tickets"])
        text = settlement["weights_cid"][1:].upper()
        cid = base64.b32decode(text + "=" * (-len(text) % 8))
        credited = b"".join(
            bytes.fromhex(update["commitment"])
            for update in settlement["updates"]
            if update["outcome"] not in ("void", "unrevealed")
        )
        data = provenance + settlement["round"].to_bytes(8, "big") + seeds + credited + cid
        provenance = tagged_hash("gc/provenance", data)
    return provenance.hex()


async def test_result_of_a_pending_job_is_refused(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job = await submit(node)
        answer = await node.get(f"/v1/jobs/{job['id']}/result")
        assert (answer.status, answer.code) == (422, "refused")
        assert await get(node, f"/v1/jobs/{job['id']}/history") == {"points": []}


async def test_accuracy_is_the_workers(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job()
        body = {"inputs_base64": base64.b64encode(b"PK12").decode()}
        answer = await node.post(f"/v1/jobs/{job_id.hex()}/accuracy", body)
        weights_cid = cid_text(node.builder.job(job_id).weights)
        assert answer.json == {"accuracy": 0.5, "count": 4, "weights_cid": weights_cid}


async def test_every_status_has_a_reason_and_a_next_step(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        builder = node.builder
        cancelled = builder.open_job()
        node.mine(builder.cancel(ALICE, cancelled))
        suspended = builder.open_job(make_spec(1), key=BOB)
        seen: dict[str, tuple[str, str]] = {}
        while builder.job(suspended).status is not JobStatus.SUSPENDED:
            node.mine(heartbeat=True)
            for job in (await get(node, "/v1/jobs"))["jobs"]:
                seen[job["status"]] = (job["reason"], job["next_step"])
        seen.setdefault("waiting", ("One id in six does not wait for its round.", "."))
        assert set(seen) == {"waiting", "live", "closing", "cancelled", "suspended"}
        assert all(sentence.endswith(".") for pair in seen.values() for sentence in pair)
        assert "cancelled" in seen["cancelled"][0]


async def test_blocks_are_listed_newest_last(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        assert await get(node, "/v1/blocks") == {"blocks": []}
        job_id = node.builder.open_job()
        node.builder.mine_to(30)
        blocks = (await get(node, "/v1/blocks"))["blocks"]
        assert [b["height"] for b in blocks] == list(range(11, 31))
        assert all(set(b) == BLOCK_FIELDS for b in blocks)
        assert {b["job"] for b in blocks} == {None, job_id.hex()}
        assert all(b["loss_after"] < b["loss_before"] for b in blocks)
        part = (await get(node, "/v1/blocks?from=5&limit=3"))["blocks"]
        assert [b["height"] for b in part] == [5, 6, 7]
        assert (await get(node, "/v1/blocks?from=31"))["blocks"] == []
        for query in ("from=x", "limit=0", "limit=201", "from=-1", "from=" + "9" * 50):
            answer = await node.get(f"/v1/blocks?{query}")
            assert (answer.status, answer.code) == (400, "bad_request")


async def test_runs_estimate_knows_heartbeats_that_took_a_jobs_slot(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.builder.open_job()
        expected = []
        for _ in range(30):
            drawn = node.builder.drawn()
            node.mine(heartbeat=True)
            expected.append(4 if drawn else 1)
        blocks = (await get(node, "/v1/blocks?from=2&limit=30"))["blocks"]
        assert [b["runs_estimate"] for b in blocks] == expected
        assert 4 in expected


async def test_block_by_height_and_hash_with_its_settlements(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job()
        node.builder.mine_to(40)
        settled = node.builder.chain.list_settlements(job_id)[0]
        block = await get(node, f"/v1/blocks/{settled.height}")
        assert block == await get(node, f"/v1/blocks/{block['hash']}")
        assert set(block) > BLOCK_FIELDS
        assert block["settlements"][0]["job"] == job_id.hex()
        assert (await get(node, "/v1/blocks/1"))["transactions"][0]["kind"] == "submit_job"
        assert block == await get(node, f"/v1/blocks/{block['hash'][:10].upper()}")
        for name, status in (
            ("0", 404),
            ("41", 404),
            ("00" * 32, 404),
            ("abc", 400),
            ("1" * 63, 404),
            ("x" * 9, 400),
        ):
            assert (await node.get(f"/v1/blocks/{name}")).status == status


async def test_export_is_a_chain_file_of_the_main_chain(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.builder.open_job()
        node.builder.mine_to(150)
        answer = await node.get("/v1/chain/export")
        assert answer.headers["content-type"] == "application/octet-stream"
        source = ChainFile(io.BytesIO(answer.raw).read)
        assert source.genesis == node.builder.genesis
        blocks = list(source)
        assert [b.block.hash for b in blocks] == node.builder.chain.index.main[1:]
        assert blocks[0].blobs == (b"GCD1 toy data",)
        assert json.dumps(answer.headers["content-disposition"])


async def test_export_fetches_lost_blobs_first_or_says_which_nobody_has(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.builder.open_job()
        node.builder.mine_to(150)
        whole = (await node.get("/v1/chain/export")).raw
        data = b"GCD1 toy data"
        node.builder.blobs.remove(cid_of(data))
        refused = await node.get("/v1/chain/export")
        assert (refused.status, refused.code) == (404, "not_found")
        assert cid_text(cid_of(data)) in refused.json["error"]["message"]

        async def fetch(cids: Iterable[bytes]) -> bool:
            assert list(cids) == [cid_of(data)]
            node.builder.blobs.put(data)
            return True

        node.context.fetch_blobs = fetch
        assert (await node.get("/v1/chain/export")).raw == whole
