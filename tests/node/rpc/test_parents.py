"""Jobs that continue others, and market-only ones, over the API: what is asked for, refused and shown."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from ledger.hashing import cid_text
from ledger.params import COIN, REGTEST
from ledger.records import JobStatus
from node.cli.provenance import compute_provenance
from node.rpc.parents import read_parent
from tests.ledger.chain_builder import ALICE
from tests.node.rpc.api_node import ApiNode, open_api
from tests.node.rpc.test_endpoints import JOB_FIELDS, QUOTE_FIELDS, get, quote, submit

BURN = str(REGTEST.min_burn)


def end_job(node: ApiNode, version: int = 2) -> bytes:
    """Return a job that ended at a version or later."""
    builder = node.builder
    job = builder.open_job()
    while builder.job(job).version < version:
        node.mine()
    node.mine(builder.cancel(ALICE, job))
    while builder.job(job).status is not JobStatus.CANCELLED:
        node.mine()
    return job


async def refuse(node: ApiNode, **changes: str) -> Any:  # Any: an answer's JSON
    body = {"file_name": "a.toml", "toml": BURN, "data_name": "a.npz", "data_base64": ""}
    answers = [await node.post(path, body | changes) for path in ("/v1/jobs", "/v1/jobs/quote")]
    assert answers[0].raw == answers[1].raw
    return answers[0]


@pytest.mark.parametrize("by_file", [True, False])
async def test_continued_job_is_quoted_submitted_and_shown_with_its_parent(
    tmp_path: Path, by_file: bool
) -> None:
    async with open_api(tmp_path) as node:
        parent = end_job(node)
        ended, digits = node.builder.job(parent), parent.hex()[:6]
        how = {"toml": f'parent = "{digits}" # {BURN}'} if by_file else {"parent": digits}
        quoted = await quote(node, **how)
        assert (quoted["accepted"], quoted["parent"], quoted["market_only"]) == (True, parent.hex(), False)
        answer = await submit(node, **how)
        assert answer["parent"] == parent.hex()
        shown = {
            "id": parent.hex(),
            "title": "toy",
            "version": ended.version,
            "weights_cid": cid_text(ended.weights),
        }
        assert (await get(node, f"/v1/jobs/{answer['id']}"))["parent"] == shown  # it waits for a block
        node.mine(*node.service.mempool.transactions())
        summary = await get(node, f"/v1/jobs/{answer['id']}")
        assert set(summary) == JOB_FIELDS
        assert (summary["parent"], summary["weights_cid"], summary["version"]) == (
            shown,
            shown["weights_cid"],
            0,
        )
        assert (await get(node, f"/v1/jobs/{parent.hex()}"))["parent"] is None


async def test_what_the_caller_names_wins_over_the_file(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        parents = [end_job(node), end_job(node)]
        toml = f'parent = "{parents[0].hex()}" # {BURN}'
        assert (await quote(node, toml=toml))["parent"] == parents[0].hex()
        assert (await quote(node, toml=toml, parent=parents[1].hex()))["parent"] == parents[1].hex()


async def test_parent_that_cannot_be_one_is_refused_before_the_data_are_looked_at(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.worker.stuck = True
        answer = await refuse(node, parent="abcdef")
        assert (answer.status, answer.code) == (404, "not_found")
        assert answer.json["error"]["message"] == "parent: no job's id begins with abcdef"
        answer = await refuse(node, parent="xyz")
        assert (answer.status, answer.code) == (400, "bad_request")
        assert "parent: job id: expected 4 to 64 hex digits" in answer.json["error"]["message"]
        live = node.builder.open_job()
        answer = await refuse(node, parent=live.hex())
        assert (answer.status, answer.code) == (422, "refused")
        assert "is live, expected done or cancelled" in answer.json["error"]["message"]
        assert "job watch" in answer.json["error"]["hint"]
        node.worker.stuck = False
        waits = await submit(node)
        answer = await refuse(node, parent=waits["id"])
        assert "is not in a block yet" in answer.json["error"]["message"]


async def test_provenance_of_a_continued_job_leads_through_both(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        parent = end_job(node)
        child = bytes.fromhex((await submit(node, parent=parent.hex()))["id"])
        node.mine(*node.service.mempool.transactions())
        while node.builder.job(child).version < 2:
            node.mine()
        record = (await get(node, f"/v1/jobs/{child.hex()}/provenance"))["record"]
        before = (await get(node, f"/v1/jobs/{parent.hex()}/provenance"))["record"]
        assert record["parent"]["id"] == before["job"]
        assert record["first_provenance"] == before["provenance"] == compute_provenance(before["blocks"])
        assert before["first_provenance"] == "00" * 32
        assert compute_provenance(before["blocks"] + record["blocks"]) == record["provenance"]
        assert compute_provenance(record["blocks"]) != record["provenance"]
        result = await get(node, f"/v1/jobs/{child.hex()}/result")
        assert result["parent"]["version"] == node.builder.job(parent).version
        assert base64.b64decode(result["checkpoint_base64"])


async def test_market_only_job_is_quoted_submitted_and_shown(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.worker.work = 5  # no tickets: it may be small
        quoted = await quote(node, toml="0")
        assert set(quoted) == QUOTE_FIELDS
        assert (quoted["accepted"], quoted["market_only"]) == (True, True)
        assert (quoted["burn"], quoted["lock"], quoted["slot_share"]) == ("0", "0", 0.0)
        assert quoted["round_cost"] == str(REGTEST.rent + 2 * COIN)
        node.worker.escrow_units = REGTEST.rent + 2 * COIN
        assert (await quote(node, toml="0"))["rounds"] == 1
        node.worker.escrow_units += 3 * (REGTEST.rent + COIN) - 1
        assert (await quote(node, toml="0"))["rounds"] == 3
        answer = await submit(node, toml="0")
        assert (await get(node, f"/v1/jobs/{answer['id']}"))["lock"] == "0"
        node.mine(*node.service.mempool.transactions())
        for _ in range(2 * REGTEST.round_length):
            node.mine()
        summary = await get(node, f"/v1/jobs/{answer['id']}")
        assert (summary["status"], summary["market_only"], summary["drawn"]) == ("live", True, 0)
        assert summary["reason"].startswith("Miners' updates alone train it")
        assert "updates settle a round later" in summary["next_step"]


async def test_market_only_job_too_many_is_a_problem_of_the_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.rpc.quotes.most_market_only", lambda params: 0)
    async with open_api(tmp_path) as node:
        (problem,) = (await quote(node, toml="0"))["problems"]
        assert problem.startswith("jobs: 0 market-only ones are live already")
        assert (await quote(node))["accepted"]


@pytest.mark.parametrize(
    ("toml", "parent"),
    [
        ('parent = " abcd "', "abcd"),
        ('\ufeffparent = "abcd"', "abcd"),
        ("parent = 5", ""),
        ('title = "x"', ""),
        ("parent =", ""),
        ("[" * 10_000, ""),
        ("", ""),
    ],
)
def test_parent_is_read_out_of_what_may_be_no_job_file(toml: str, parent: str) -> None:
    assert read_parent(toml) == parent
