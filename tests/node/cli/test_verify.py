"""`chain verify`: a process of its own, its progress, its verdict in words, its exit code."""

import json
from pathlib import Path

import pytest

from tests.node.cli.conftest import Cli, Verifier
from tests.node.cli.fake_api import CID, JOB, FakeApi

GOOD = {
    "verified": True,
    "blocks": 90,
    "replayed": 90,
    "runs": 54000,
    "settlements": 9,
    "head": "ab" * 32,
    "state_root": "cd" * 32,
    "weights": {JOB: CID},
}
BAD = {"verified": False, "height": 41, "error": "the digest differs"}


def test_verified_chain_of_the_node(cli: Cli, api: FakeApi, verifier: Verifier) -> None:
    verifier(0, [{"height": 10, "of": 90}, GOOD])
    api.routes["GET /v1/chain/export"] = b"GCCHAIN1..."
    ran = cli("chain", "verify")
    assert ran.code == 0
    assert ran.out.startswith("VERIFIED")
    assert "90 replayed; about 54,000" in ran.out
    assert "fetched 11 bytes" in ran.err


def test_json_is_the_verdict_alone(cli: Cli, tmp_path: Path, verifier: Verifier) -> None:
    verifier(0, [{"height": 10, "of": 90}, GOOD])
    (tmp_path / "c").write_bytes(b"GCCHAIN1x")
    assert json.loads(cli("chain", "verify", "c", "--json").out) == GOOD


@pytest.mark.parametrize(("code", "word"), [(1, "NOT VERIFIED"), (8, "DAMAGED FILE")])
def test_bad_chain_names_height_and_reason(
    cli: Cli, tmp_path: Path, verifier: Verifier, code: int, word: str
) -> None:
    verifier(code, [BAD])
    (tmp_path / "c").write_bytes(b"GCCHAIN1x")
    ran = cli("chain", "verify", "c")
    assert ran.code == code
    assert ran.out.startswith(f"{word} at height 41")
    assert "the digest differs" in ran.out


def test_verifier_without_a_verdict_never_counts_as_verified(
    cli: Cli, tmp_path: Path, verifier: Verifier
) -> None:
    verifier(0, [{"height": 10, "of": 90}])
    (tmp_path / "c").write_bytes(b"GCCHAIN1x")
    ran = cli("chain", "verify", "c")
    assert ran.code == 1
    assert "something broke" in ran.err


def test_file_that_is_no_chain_exits_3(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"# README")
    ran = cli("chain", "verify", "c")
    assert ran.code == 3
    assert "no chain file" in ran.err


def test_missing_file_exits_3(cli: Cli) -> None:
    assert cli("chain", "verify", "nothing").code == 3
