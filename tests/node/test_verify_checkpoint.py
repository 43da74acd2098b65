"""A checkpoint is believed for its proof only: honest pairs pass with the chain's own numbers, altered ones do not."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ledger.blobs import BlobStore
from ledger.blocks import HEARTBEAT, Header
from ledger.genesis import Genesis
from ledger.hashing import cid_text
from ledger.jobspec import JobSpec
from ledger.lightproof import LightProof
from ledger.params import REGTEST
from ledger.records import JobStatus, job_key
from ledger.smt import SparseMerkleTree, hash_value
from ledger.state import leaf_key
from ledger.transition import genesis_state
from node.exits import Exit
from node.verify_checkpoint import Pins, main, verify_files
from tests.ledger.chain_builder import ChainBuilder, make_spec
from tests.ledger.light_builder import CLAIM, Forger, prove, write_proof
from tests.ledger.toy_work import ToyWork

HEIGHT = 42
Json = dict[str, Any]  # Any: values of one JSON line


@dataclasses.dataclass
class Bench:
    """A chain with a job, and the two files that somebody got of it."""

    builder: ChainBuilder
    job_id: bytes
    proof: LightProof
    headers: list[Header]
    folder: Path

    @property
    def proof_file(self) -> Path:
        return self.folder / "proof"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    def write(self, proof: LightProof | None = None, headers: list[Header] | None = None) -> None:
        self.proof_file.write_bytes(write_proof(proof or self.proof, headers or self.headers))

    def verify(self, pins: Pins = Pins()) -> tuple[int, Json]:  # noqa: B008  # frozen
        lines: list[Json] = []
        verifier = ToyWork(self.builder.blobs)
        code = verify_files(self.checkpoint, self.proof_file, pins, verifier, read_toy_weights, lines.append)
        return code, lines[-1]

    def refuse(self, code: int, words: str, pins: Pins = Pins()) -> None:  # noqa: B008
        got, verdict = self.verify(pins)
        assert (got, verdict["verified"]) == (code, False)
        assert words in verdict["error"]


def read_toy_weights(spec: JobSpec, file: BinaryIO) -> bytes:
    assert spec == make_spec(target=1)
    return file.read(1000)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    builder = ChainBuilder(tmp_path / "node")
    builder.mine()
    job_id = builder.open_job(make_spec(target=1))
    builder.mine_to(HEIGHT)
    proof, headers = prove(builder, job_id)
    bench = Bench(builder, job_id, proof, headers, tmp_path)
    bench.write()
    bench.checkpoint.write_bytes(builder.chain.load_weights(proof.read_record().weights))
    return bench


def test_honest_checkpoint_is_verified_with_the_chains_numbers(bench: Bench) -> None:
    code, verdict = bench.verify()
    record, head = bench.proof.read_record(), bench.builder.chain.head
    heartbeats = [header.work.height for header in bench.headers if header.work.job_id == HEARTBEAT]
    unproven = verdict.pop("not_proven")
    assert code == Exit.DONE
    assert verdict == {
        "verified": True,
        "chain": "regtest",
        "chain_id": bench.builder.genesis.chain_id.hex(),
        "head": {"height": HEIGHT, "hash": head.hash.hex(), "time_ms": head.time_ms},
        "replayed": len(heartbeats),
        "heartbeat_work": str(len(heartbeats)),
        "cover": {"from": 40, "heartbeats": 1, "work": "1"},
        "pinned": {"chain_id": False, "blocks": []},
        "job": bench.job_id.hex(),
        "title": "toy",
        "owner": verdict["owner"],
        "submitted": 2,
        "state_after": 39,
        "status": "live",
        "reason": "It is trained at the heights drawn for it.",
        "version": record.version,
        "provenance": record.provenance.hex(),
        "parent": None,
        "weights_cid": cid_text(record.weights),
        "first_loss": record.first_loss / 2**40,
        "loss": record.last_losses[-1] / 2**40,
        "first_loss_units": str(record.first_loss),
        "last_losses_units": [str(loss) for loss in record.last_losses],
    }
    assert record.version > 1
    assert verdict["owner"].startswith("rgc1")
    assert len(unproven) == 5
    assert f"the {HEIGHT - len(heartbeats)} blocks that jobs won" in unproven[3]


def test_what_is_known_is_not_said_to_be_unproven(bench: Bench) -> None:
    late, early = bench.headers[40].hash, bench.headers[3].hash
    code, verdict = bench.verify(Pins(bench.builder.genesis.chain_id, (late, early), min_work=1, min_cover=1))
    assert code == Exit.DONE
    assert len(verdict["not_proven"]) == 3
    assert verdict["not_proven"][0] == "What became of the job after block 39."
    assert verdict["pinned"]["chain_id"] is True
    assert {block["height"]: block["hash"] for block in verdict["pinned"]["blocks"]} == {
        41: late.hex(),
        4: early.hex(),
    }
    _, verdict = bench.verify(Pins(blocks=(early,)))
    assert len(verdict["not_proven"]) == 4  # what comes after the block that is known may be a branch


def test_pin_that_does_not_hold_is_refused_before_any_replay(bench: Bench) -> None:
    work = int(bench.verify()[1]["heartbeat_work"])
    bench.builder.verifier.runs = 0
    bench.refuse(Exit.FAILED, f"chain id: expected {CLAIM.hex()}, the proof is of", Pins(CLAIM))
    bench.refuse(Exit.FAILED, f"block {CLAIM.hex()} is not among the 42", Pins(blocks=(CLAIM,)))
    words = f"heartbeat work: at least {work + 1} expected, got {work}"
    bench.refuse(Exit.FAILED, words, Pins(min_work=work + 1))
    bench.refuse(
        Exit.FAILED, "cover of the record: at least 2 expected, got 1 from height 40", Pins(min_cover=2)
    )


def test_head_chosen_with_less_work_is_refused_by_who_knows_of_more(bench: Bench) -> None:
    work = int(bench.verify()[1]["heartbeat_work"])
    proof, headers = prove(bench.builder, bench.job_id, 20)
    bench.write(dataclasses.replace(proof, count=20), headers[:20])
    bench.checkpoint.write_bytes(bench.builder.chain.load_weights(proof.read_record().weights))
    assert bench.verify()[0] == Exit.DONE  # the older record of a shorter chain is a true one
    bench.refuse(Exit.FAILED, f"at least {work} expected, got", Pins(min_work=work))
    bench.refuse(Exit.FAILED, "is not among the 20", Pins(blocks=(bench.headers[40].hash,)))


def test_checkpoint_with_a_bit_changed_is_refused(bench: Bench) -> None:
    data = bench.checkpoint.read_bytes()
    for bit in (0, 100, 8 * len(data) - 1):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        bench.checkpoint.write_bytes(changed)
        bench.refuse(
            Exit.FAILED, f"weights: the job's record has {cid_text(bench.proof.read_record().weights)}"
        )


def test_forged_heartbeat_is_refused_with_its_height(bench: Bench) -> None:
    forger = Forger(bench.builder.genesis, bench.builder.verifier, bench.headers)
    forger.forge(result=(CLAIM, 9, 8))
    bench.write(dataclasses.replace(bench.proof, count=HEIGHT + 1), forger.headers)
    bench.refuse(Exit.FAILED, "height 43: replay of height 43: expected digest")


def test_record_of_the_forgers_own_is_refused(bench: Bench) -> None:
    record = dataclasses.replace(bench.proof.read_record(), version=99).encode()
    bench.write(dataclasses.replace(bench.proof, record=record))
    bench.refuse(Exit.FAILED, "this record does not stand under the state root")


def test_spec_that_no_chain_takes_is_refused(bench: Bench) -> None:
    bench.write(dataclasses.replace(bench.proof, record=bench.proof.record[:-1]))
    bench.refuse(Exit.DAMAGED, "not MessagePack")


@pytest.mark.parametrize("status", JobStatus)
def test_forgers_own_chain_with_rounds_without_end_is_read_in_time(bench: Bench, status: JobStatus) -> None:
    params = dataclasses.replace(REGTEST, round_length=2**62, heartbeat_every=1)
    record = dataclasses.replace(bench.proof.read_record(), status=status, first_round=0, pending=()).encode()
    genesis = Genesis(params)
    tree = SparseMerkleTree({leaf_key(job_key(bench.job_id)): hash_value(record)})
    forger = Forger(genesis, bench.builder.verifier)
    forger.forge(state_root=genesis_state(genesis).root)
    forger.forge(state_root=tree.get_root())
    bench.write(LightProof(genesis, bench.job_id, record, 2, (), 2), forger.headers)
    code, verdict = bench.verify()
    assert (code, verdict["status"]) == (Exit.DONE, status.name.lower())
    assert "compare its chain id" in verdict["not_proven"][0]


def test_damaged_proof_is_told_from_a_false_one(bench: Bench) -> None:
    data = bench.proof_file.read_bytes()
    bench.proof_file.write_bytes(data[:-1])
    bench.refuse(Exit.DAMAGED, f"{len(data)} bytes expected for 42 headers, the file has {len(data) - 1}")
    bench.proof_file.write_bytes(data + bytes(286))
    bench.refuse(Exit.DAMAGED, f"the file has {len(data) + 286}")
    bench.proof_file.write_bytes(b"")
    bench.refuse(Exit.DAMAGED, "not a light proof")
    bench.proof_file.unlink()
    bench.refuse(Exit.BAD_FILE, "proof: No such file")


def test_proof_that_changes_while_it_is_read_is_no_proof(bench: Bench) -> None:
    def read_and_swap(spec: JobSpec, file: BinaryIO) -> bytes:
        proof, headers = prove(bench.builder, bench.job_id, 40)
        twin = bench.builder.fork(41)
        headers[41] = twin.make_block(start=5000).header
        bench.write(proof, headers)
        return file.read(1000)

    lines: list[Json] = []
    verifier = bench.builder.verifier
    code = verify_files(bench.checkpoint, bench.proof_file, Pins(), verifier, read_and_swap, lines.append)
    assert (code, lines[-1]["error"]) == (Exit.BAD_FILE, "the proof changed while it was read")


def test_progress_is_reported(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.verify_checkpoint.PROGRESS_S", 0)
    lines: list[Json] = []
    verify_files(
        bench.checkpoint,
        bench.proof_file,
        Pins(),
        ToyWork(BlobStore(bench.folder)),
        read_toy_weights,
        lines.append,
    )
    assert lines[:-1] == [{"height": height, "of": HEIGHT} for height in range(1, HEIGHT + 1)]


def test_whole_hashes_are_pins_and_parts_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["checkpoint", "proof", "--block", "abcd"])
    assert ended.value.code == Exit.USAGE
    assert "--block: invalid" in capsys.readouterr().err


def test_verifier_knows_no_network() -> None:
    code = (
        "import sys, node.verify_checkpoint, node.work, training.checkpoint;"
        "bad = [m for m in ('trio', 'libp2p', 'anycorn', 'starlette') if m in sys.modules];"
        "sys.exit(', '.join(bad) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
