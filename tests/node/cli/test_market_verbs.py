"""`job updates`, `job provenance`, `explain` and `verify`: what they print, and what a wrong answer gets."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ledger.hashing import cid_of, cid_text, parse_cid_text, tagged_hash
from node.cli import explain as explain_module
from node.cli.provenance import compute_provenance
from node.cli.verify import Verdict
from tests.node.cli.conftest import Cli
from tests.node.cli.fake_api import ADDRESS, JOB, OTHER_JOB, FakeApi, error

UPDATE: dict[str, Any] = {
    "round": 7,
    "commitment": "ab" * 32,
    "miner": ADDRESS,
    "shares": 2,
    "bond": "20833333",
    "payload_bytes": 4751,
    "payload_cid": None,
    "privacy": None,
    "state": "committed",
    "height": None,
    "settles_at": 130,
    "credit": None,
    "amount": None,
}
FINED = UPDATE | {"state": "fined", "height": 124, "settles_at": 124, "credit": -0.001, "amount": "20000000"}
STORY = {
    "kind": "update",
    "id": "ab" * 32,
    "verdict": "paid",
    "sentences": ["It earned 3 coins."],
    "facts": {"settled_at": 124, "shares": [{"seed": "00"}], "amount": "300000000"},
}
SETTLEMENTS: list[dict[str, Any]] = [
    {
        "version": 1 + i,
        "height": 60 + 6 * i,
        "round": 9 + i,
        "scale": "1",
        "known_scale": "1/8",
        "update_scale": "1/2",
        "sample_count": 125,
        "old_weights_cid": cid_text(cid_of(bytes([i]))),
        "weights_cid": cid_text(cid_of(bytes([i + 1]))),
        "tickets": [{"seed": bytes([i]).hex() * 32}],
        "updates": [
            {"commitment": "cd" * 32, "outcome": "paid", "amount": "120000000"},
            {"commitment": "ef" * 32, "outcome": "unrevealed", "amount": "20000000"},
        ],
    }
    for i in range(3)
]


def make_provenance() -> dict[str, Any]:
    """The node's answer, with the hash that its settlements lead to."""
    hashed = bytes(32)
    for settlement in SETTLEMENTS:
        seed, commitment = bytes.fromhex(settlement["tickets"][0]["seed"]), bytes.fromhex("cd" * 32)
        cid, number = parse_cid_text(settlement["weights_cid"]), settlement["round"].to_bytes(8, "big")
        hashed = tagged_hash("gc/provenance", hashed + number + seed + commitment + cid)
    record = {
        "job": JOB,
        "parent": None,
        "first_provenance": bytes(32).hex(),
        "blocks": copy.deepcopy(SETTLEMENTS),
        "provenance": hashed.hex(),
        "weights_cid": SETTLEMENTS[-1]["weights_cid"],
    }
    return {"title": "Digits", "version": 3, "status": "live", "record": record}


def test_updates_show_who_waits_and_who_lost(cli: Cli, api: FakeApi) -> None:
    api.routes[f"GET /v1/jobs/{JOB}/updates"] = {"updates": [UPDATE, FINED]}
    out = cli("job", "updates").out
    assert "committed, settles at 130" in out
    assert "-0.100 %" in out
    assert "-0.2" in out
    assert json.loads(cli("job", "updates", "--json").out)["updates"][0] == UPDATE


def test_job_without_updates_says_so(cli: Cli, api: FakeApi) -> None:
    api.routes[f"GET /v1/jobs/{JOB}/updates"] = {"updates": []}
    assert "no updates yet; nothing is paid for updates" in cli("job", "updates").out


def test_slices_name_the_class_that_got_worse(cli: Cli, api: FakeApi) -> None:
    answer = {
        "id": JOB,
        "title": "Digits",
        "slices": [{"class": 3, "samples": 10}, {"class": 8, "samples": 30}],
        "versions": [
            {"version": 1, "height": 60, "weights_cid": "b", "loss": 4.0, "losses": [4.0, 4.0]},
            {"version": 2, "height": 66, "weights_cid": "b", "loss": 3.5, "losses": [5.0, 3.0]},
        ],
    }
    api.routes[f"GET /v1/jobs/{JOB}/slices"] = answer
    ran = cli("job", "slices")
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["class", "samples", "v1", "v2", "change"]
    assert [line[-1] for line in lines[1:4]] == ["+1.0000", "-1.0000", "-0.5000"]
    assert "rose for class 3" in ran.out
    assert json.loads(cli("job", "slices", "--json").out) == answer


def test_provenance_agrees_with_an_honest_list_only(cli: Cli, api: FakeApi) -> None:
    answer = make_provenance()
    api.routes[f"GET /v1/jobs/{JOB}/provenance"] = answer
    ran = cli("job", "provenance")
    assert ran.code == 0
    assert "agrees with 3 settlements" in ran.out
    assert "1.2" in ran.out
    for change in (
        lambda blocks: blocks.pop(1),
        lambda blocks: blocks[0]["tickets"].clear(),
        lambda blocks: blocks[2]["updates"].pop(0),
        lambda blocks: blocks[1].update(weights_cid="no CID"),
    ):
        wrong = copy.deepcopy(answer)
        change(wrong["record"]["blocks"])
        api.routes[f"GET /v1/jobs/{JOB}/provenance"] = wrong
        ran = cli("job", "provenance")
        assert ran.code == 1
        assert "DIFFERS" in ran.out


def test_provenance_of_a_continued_job_is_computed_through_all_before_it(cli: Cli, api: FakeApi) -> None:
    whole = make_provenance()
    first, last = copy.deepcopy(whole), copy.deepcopy(whole)
    record = first["record"] | {"job": OTHER_JOB, "blocks": whole["record"]["blocks"][:2]}
    middle = compute_provenance(record["blocks"])
    first["record"] = record | {"provenance": middle}
    parent = {"id": OTHER_JOB, "title": "Before", "version": 2, "weights_cid": "bafk"}
    last["record"] |= {"blocks": whole["record"]["blocks"][2:], "parent": parent, "first_provenance": middle}
    api.routes[f"GET /v1/jobs/{JOB}/provenance"] = last
    api.routes[f"GET /v1/jobs/{OTHER_JOB}/provenance"] = first
    ran = cli("job", "provenance")
    assert ran.code == 0
    for words in (
        "agrees with 3 settlements, of 2 jobs together",
        f"job {OTHER_JOB[:10]} (Before) at version 2",
        middle,
    ):
        assert words in ran.out
    assert json.loads(cli("job", "provenance", "--json").out)["lineage"] == [OTHER_JOB, JOB]
    first["record"]["blocks"][0]["tickets"].clear()
    ran = cli("job", "provenance")
    assert (ran.code, "DIFFERS" in ran.out) == (1, True)
    first["record"]["parent"] = parent | {"id": JOB}  # a node that goes round in circles
    assert cli("job", "provenance").code == 1


def test_explain_prints_the_story_and_its_short_facts(cli: Cli, api: FakeApi) -> None:
    api.routes["GET /v1/explain/abababab"] = STORY
    out = cli("explain", "abababab").out
    assert "It earned 3 coins." in out
    assert "settled at" in out
    assert "seed" not in out
    assert json.loads(cli("explain", "abababab", "--json").out) == STORY
    api.routes["GET /v1/explain/ffffff"] = error(404, "not_found", "nothing has it")
    assert cli("explain", "ffffff").code == 5


@pytest.mark.parametrize(
    ("code", "answer", "exit_code", "word"),
    [
        (0, {"verified": True, "blocks": 9, "story": STORY}, 0, "computed again from genesis to height 9"),
        (0, {"verified": True, "blocks": 9, "not_found": "nothing has it"}, 5, "nothing has it"),
        (1, {"verified": False, "height": 4, "error": "replay of height 4"}, 1, "replay of height 4"),
    ],
)
def test_verify_tells_the_replays_story(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    answer: dict[str, Any],
    exit_code: int,
    word: str,
) -> None:
    file = tmp_path / "c.chain"
    file.write_bytes(b"GCCHAIN1 and so on")
    monkeypatch.setattr(explain_module, "run_verifier", lambda *a, **k: Verdict(code, answer, 1.0))
    ran = cli("verify", "abababab", str(file))
    assert ran.code == exit_code
    assert word in ran.out + ran.err


def test_verify_wants_a_chain_file(cli: Cli, tmp_path: Path) -> None:
    assert cli("verify", "abababab", str(tmp_path / "nothing")).code == 3
    (tmp_path / "text").write_text("no chain")
    assert cli("verify", "abababab", str(tmp_path / "text")).code == 3
