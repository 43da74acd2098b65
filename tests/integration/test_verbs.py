"""Every verb of an owner, typed one after the other at a real network that mines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.exits import Exit
from tests.integration.commands import type_command
from tests.integration.daemons import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DIGITS = Path(__file__).parents[2] / "examples/digits.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    up = type_command(tmp_path, "testnet", "up", "-n", "1", "--seed", "verbs")
    assert up.code == Exit.DONE, up.err
    yield tmp_path
    down = type_command(tmp_path, "testnet", "down", "--delete")
    assert down.code == Exit.DONE, down.err


def ask(folder: Path, *arguments: str) -> Any:  # Any: the command's JSON
    ran = type_command(folder, *arguments, "--json")
    assert ran.code == Exit.DONE, ran.out + ran.err
    return json.loads(ran.out)


def test_owner_quotes_submits_cancels_and_pays(folder: Path) -> None:
    quoted = ask(folder, "job", "quote", str(DIGITS))
    submitted = ask(folder, "job", "submit", str(DIGITS))
    assert (quoted["total"], quoted["spec_sha256"]) == (
        str(int(submitted["escrow"]) + int(submitted["fee"])),
        submitted["spec_sha256"],
    )
    saved = ask(folder, "wallet", "new", "savings")
    sent = ask(folder, "wallet", "send", "savings", "12.5", "--from", "local-3", "--wait")
    assert sent["state"] == "confirmed"
    assert ask(folder, "chain", "tx", sent["txid"])["amount"] == "1250000000"
    assert ask(folder, "wallet", "balance", "savings")["balance"] == "1250000000"
    block = ask(folder, "chain", "show", str(sent["height"]))
    assert ask(folder, "chain", "show", block["hash"][:10])["hash"] == block["hash"]
    short = submitted["id"][:8]
    cancelled = ask(folder, "job", "cancel", short, "--wait")
    assert cancelled["id"] == submitted["id"]
    again = type_command(folder, "job", "cancel", short)
    assert again.code == Exit.FAILED
    assert "already" in again.err
    watched = type_command(folder, "job", "watch", short)
    assert watched.code == Exit.FAILED  # cancelled is not done
    job = ask(folder, "job", "show", short)
    assert (job["status"], job["escrow"]) == ("cancelled", "0")
    assert saved["address"] in type_command(folder, "wallet", "list").out
    verified = ask(folder, "chain", "verify")
    assert verified["verified"] is True


def test_checkpoint_convinces_somebody_without_a_node(folder: Path) -> None:
    job = ask(folder, "job", "submit", str(DIGITS))["id"]
    until(lambda: ask(folder, "job", "show", job)["version"] >= 1)
    result = ask(folder, "job", "result", job, "-o", "result")
    proof = ask(
        folder, "job", "proof", job, "--version", str(result["version"]), "-o", "result/checkpoint.proof"
    )
    chain_id = ask(folder, "status")["chain_id"]
    elsewhere = folder / "elsewhere"
    (folder / "result").rename(elsewhere)
    verdict = ask(
        elsewhere, "verify-checkpoint", "checkpoint.safetensors", "checkpoint.proof", "--chain-id", chain_id
    )
    assert verdict["job"] == job
    assert verdict["version"] == proof["version"] == result["version"]
    assert (verdict["weights_cid"], verdict["provenance"]) == (result["weights_cid"], result["provenance"])
    assert verdict["replayed"] >= verdict["cover"]["heartbeats"] >= 1
    other = ask(folder, "job", "proof", job, "--version", "0", "-o", "elsewhere/first.proof")
    refused = type_command(elsewhere, "verify-checkpoint", "checkpoint.safetensors", "first.proof")
    assert (refused.code, other["version"]) == (Exit.FAILED, 0)
    assert f"the job's record has {other['weights_cid']} (version 0)" in refused.out


def test_single_nodes_come_and_go(folder: Path) -> None:
    added = ask(folder, "testnet", "add")
    assert added["node"] == "node-1"
    assert ask(folder, "testnet", "kill", "1")["killed"] is True
    again = ask(folder, "testnet", "restart", "1")
    assert again["status"]["chain_id"] == added["status"]["chain_id"]
    nodes = ask(folder, "testnet", "status")["nodes"]
    assert [node["error"] for node in nodes] == [None, None]
