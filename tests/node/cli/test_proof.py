"""`job proof` and `verify-checkpoint`: files, waiting, the verifier's process, verdicts in words, exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ledger.hashing import cid_text
from ledger.lightproof import read_start
from node.cli import proof as proof_module
from node.exits import Exit
from tests.ledger.chain_builder import ChainBuilder, make_spec
from tests.ledger.light_builder import prove, write_proof
from tests.node.cli.conftest import Cli, Verifier
from tests.node.cli.fake_api import JOB, FakeApi, error

PATH = f"GET /v1/jobs/{JOB}/proof"
PIN = "ab" * 32
GOOD = {
    "verified": True,
    "chain": "local",
    "chain_id": "cd" * 32,
    "head": {"height": 1152, "hash": "ef" * 32, "time_ms": 1_700_000_000_000},
    "replayed": 134,
    "heartbeat_work": "54691",
    "cover": {"from": 52, "heartbeats": 1, "work": "299"},
    "pinned": {"chain_id": True, "blocks": [{"height": 70, "hash": PIN}]},
    "not_proven": ["The training of jobs.", "What else the checkpoint file says."],
    "job": JOB,
    "title": "Digits",
    "owner": "rgc1qq",
    "submitted": 19,
    "state_after": 51,
    "status": "done",
    "reason": "Its target loss was reached.",
    "version": 4,
    "provenance": "12" * 32,
    "parent": None,
    "weights_cid": "bafk",
    "first_loss": 8.0308,
    "loss": None,
    "first_loss_units": None,
    "last_losses_units": [],
}


@pytest.fixture
def proof_bytes(tmp_path: Path) -> bytes:
    builder = ChainBuilder(tmp_path / "chain")
    job_id = builder.open_job(make_spec(target=1))
    builder.mine_to(20)
    return write_proof(*prove(builder, job_id))


@pytest.fixture
def files(tmp_path: Path, proof_bytes: bytes) -> tuple[str, str]:
    (tmp_path / "c.safetensors").write_bytes(b"\x10" + bytes(100))
    (tmp_path / "c.proof").write_bytes(proof_bytes)
    return "c.safetensors", "c.proof"


def test_proof_lies_beside_the_result(cli: Cli, api: FakeApi, tmp_path: Path, proof_bytes: bytes) -> None:
    api.routes[PATH] = proof_bytes
    ran = cli("job", "proof")
    file = tmp_path / f"job-{JOB[:10]}" / "checkpoint.proof"
    assert (ran.code, file.read_bytes()) == (0, proof_bytes)
    assert f"{len(proof_bytes):,} bytes, 20 headers" in ran.out
    assert f"next: gradientcoin verify-checkpoint job-{JOB[:10]}/checkpoint.safetensors" in ran.out
    version = api.routes[f"GET /v1/jobs/{JOB}"]["version"]  # type: ignore[index,call-overload]
    assert api.requests[-1][0].endswith(f"/proof?least_version={version}")
    assert cli("job", "proof").code == 0  # a proof may be replaced by a newer one


def test_version_is_asked_for_and_json_is_one_value(cli: Cli, api: FakeApi, proof_bytes: bytes) -> None:
    api.routes[PATH] = proof_bytes
    ran = cli("job", "proof", "5f3a", "--version", "3", "-o", "p", "--json")
    answer = json.loads(ran.out)
    assert api.requests[-1][0].endswith("/proof?version=3")
    assert (answer["proof"], answer["bytes"], answer["headers"], answer["id"]) == (
        "p",
        len(proof_bytes),
        20,
        JOB,
    )
    record = read_start(io.BytesIO(proof_bytes).read).read_record()
    assert (answer["version"], answer["weights_cid"]) == (record.version, cid_text(record.weights))


def test_other_file_is_not_replaced(cli: Cli, api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    ran = cli("job", "proof", "-o", "notes")
    assert ran.code == Exit.USAGE
    assert "is no proof" in ran.err
    assert (tmp_path / "notes").read_text() == "mine"


def test_heartbeat_is_waited_for(
    cli: Cli, api: FakeApi, proof_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [error(503, "busy", "no proof yet"), error(503, "busy", "no proof yet"), proof_bytes]
    api.routes[PATH] = lambda body: answers.pop(0)
    monkeypatch.setattr(proof_module, "POLL_S", 0)
    assert cli("job", "proof").code == 0
    assert not answers


def test_waiting_ends_with_what_the_node_said(
    cli: Cli, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_module, "WAIT_S", 0)
    api.routes[PATH] = error(
        503, "busy", "no proof yet: no heartbeat covers it", "try again after some blocks"
    )
    ran = cli("job", "proof", "-o", "p")
    assert ran.code == Exit.NOT_RUNNING
    assert "no heartbeat covers it" in ran.err
    assert not (tmp_path / "p").exists()


def test_answer_that_is_no_proof_is_named(cli: Cli, api: FakeApi) -> None:
    api.routes[PATH] = b"GCPROOF1 and then nonsense"
    ran = cli("job", "proof", "-o", "p")
    assert ran.code == Exit.FAILED
    assert "the node sent no proof" in ran.err


def test_verdict_says_what_is_proven_and_what_is_not(
    cli: Cli,
    files: tuple[str, str],
    verifier: Verifier,
) -> None:
    verifier(0, [{"height": 10, "of": 1152}, GOOD])
    ran = cli("verify-checkpoint", *files)
    assert ran.code == 0
    assert ran.out.startswith("VERIFIED  c.safetensors holds version 4 of the job 'Digits'")
    for words in (
        "as you named it",
        "block 1,152",
        "2023-11-14 22:13:20 UTC",
        f"70, {PIN}",
        "54,691 standard runs in 134 heartbeat headers, all replayed here",
        "299 of these runs, in 1 header from block 52 on",
        "done: Its target loss was reached.",
        "not proven:\n  - The training of jobs.",
    ):
        assert words in ran.out


def test_json_is_the_verdict_alone(cli: Cli, files: tuple[str, str], verifier: Verifier) -> None:
    verifier(0, [{"height": 10, "of": 1152}, GOOD])
    assert json.loads(cli("verify-checkpoint", *files, "--json").out) == GOOD


@pytest.mark.parametrize(("code", "word"), [(1, "NOT VERIFIED"), (3, "NOT VERIFIED"), (8, "DAMAGED PROOF")])
def test_bad_verdict_has_its_reason_and_exit_code(
    cli: Cli,
    files: tuple[str, str],
    verifier: Verifier,
    code: int,
    word: str,
) -> None:
    verifier(code, [{"verified": False, "error": "height 41: the digest differs"}])
    ran = cli("verify-checkpoint", *files)
    assert (ran.code, ran.out) == (code, f"{word}\n  height 41: the digest differs\n")


def test_verifier_without_a_verdict_never_counts_as_verified(
    cli: Cli,
    files: tuple[str, str],
    verifier: Verifier,
) -> None:
    verifier(0, [{"height": 10, "of": 90}])
    ran = cli("verify-checkpoint", *files)
    assert ran.code == Exit.FAILED
    assert "something broke" in ran.err
    assert "python -m node.verify_checkpoint -h" in ran.err


def test_files_that_are_none_exit_3(cli: Cli, files: tuple[str, str]) -> None:
    checkpoint, proof = files
    assert cli("verify-checkpoint", "nothing", proof).code == Exit.BAD_FILE
    assert cli("verify-checkpoint", checkpoint, "nothing").code == Exit.BAD_FILE
    swapped = cli("verify-checkpoint", proof, checkpoint)
    assert swapped.code == Exit.BAD_FILE
    assert f"gradientcoin verify-checkpoint {checkpoint} {proof}" in swapped.err


@pytest.mark.parametrize("option", ["--block", "--chain-id"])
@pytest.mark.parametrize("value", ["", "abcd", "g" * 64, "a" * 65])
def test_part_of_a_hash_is_no_pin(cli: Cli, files: tuple[str, str], option: str, value: str) -> None:
    ran = cli("verify-checkpoint", *files, option, value)
    assert ran.code == Exit.USAGE
    assert "expected 64 hex digits" in ran.err


def test_pins_reach_the_verifier(
    cli: Cli, files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "verifier"
    program.write_text(
        '#!/bin/sh\necho "$@" > arguments\necho \'{"verified": false, "error": "no"}\'\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr("node.cli.verify.sys.executable", str(program))
    pins = (
        "--chain-id",
        PIN.upper(),
        "--block",
        PIN,
        "--block",
        "cd" * 32,
        "--min-work",
        "7",
        "--min-cover",
        "3",
    )
    assert cli("verify-checkpoint", *files, *pins, "--path", "portable").code == 1
    sent = (tmp_path / "arguments").read_text()
    for words in ("--path portable", "--min-work 7", "--min-cover 3", f"--block {PIN} --block {'cd' * 32}"):
        assert words in sent
    assert f"--chain-id {PIN}" in sent.lower()
