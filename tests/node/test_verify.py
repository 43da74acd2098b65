"""The verifier believes nothing of a file: honest chains pass, with the node's own numbers, and altered ones do not."""

import dataclasses
import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ledger.blobs import BlobStore
from ledger.blocks import Header
from ledger.chain import Chain
from ledger.chainfile import encode_block, encode_end, encode_start
from ledger.genesis import local_accounts, regtest_genesis
from ledger.hashing import cid_text
from ledger.storage import open_storage
from ledger.template import assemble_block, build_template
from ledger.work import TicketTask
from node.exits import Exit
from node.explain.explain import explain
from node.verify import main, tell_one, verify_file, verify_with_stories, write_stories
from tests.ledger.chain_builder import ChainBuilder
from tests.ledger.test_chainfile import write_chain
from tests.ledger.toy_work import ToyWork

Lines = list[dict[str, Any]]  # Any: values of one JSON line


def verify(path: Path) -> tuple[int, Lines]:
    lines: Lines = []
    return verify_file(path, ToyWork, lines.append), lines


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    builder = ChainBuilder(tmp_path / "node")
    builder.mine()
    builder.open_job()
    builder.mine_to(40)
    return builder


def test_honest_chain_is_verified_with_its_numbers(builder: ChainBuilder, tmp_path: Path) -> None:
    path = tmp_path / "chain"
    path.write_bytes(write_chain(builder.chain))
    code, lines = verify(path)
    (job_id,) = builder.chain.state.active_jobs
    assert code == Exit.DONE
    assert lines[-1] == {
        "verified": True,
        "blocks": 40,
        "replayed": 40,
        "runs": 40,  # on regtest every valid ticket wins
        "settlements": len(builder.chain.list_settlements(job_id)),
        "head": builder.chain.head.hash.hex(),
        "state_root": builder.chain.state.root.hex(),
        "weights": {job_id.hex(): cid_text(builder.job(job_id).weights)},
    }


def test_verifier_tells_a_story_of_its_own_replay(builder: ChainBuilder, tmp_path: Path) -> None:
    path, lines = tmp_path / "chain", list[dict[str, Any]]()
    path.write_bytes(write_chain(builder.chain))
    (job_id,) = builder.chain.state.active_jobs
    assert verify_file(path, ToyWork, lines.append, partial(tell_one, name=job_id.hex())) == Exit.DONE
    assert lines[-1]["verified"] is True
    assert lines[-1]["story"] == explain(builder.chain, job_id.hex()).to_json()
    assert verify_file(path, ToyWork, lines.append, partial(tell_one, name="ff" * 32)) == Exit.DONE
    assert "nothing on the chain" in lines[-1]["not_found"]


def test_verifier_tells_the_stories_of_everything(builder: ChainBuilder, tmp_path: Path) -> None:
    path, lines, stories = tmp_path / "chain", list[dict[str, Any]](), io.StringIO()
    path.write_bytes(write_chain(builder.chain))
    assert verify_file(path, ToyWork, lines.append, partial(write_stories, file=stories)) == Exit.DONE
    told = [json.loads(line) for line in stories.getvalue().splitlines()]
    blocks = [builder.block_at(height) for height in range(1, 41)]
    ids = [story["id"] for story in told if story["kind"] == "block"]
    assert ids == [block.hash.hex() for block in blocks]
    txids = {tx.txid.hex() for block in blocks for tx in block.transactions}
    (job_id,) = builder.chain.state.active_jobs
    assert {job_id.hex()} | txids <= {story["id"] for story in told}
    assert all(story["sentences"] for story in told)
    assert sum(lines[-1]["stories"].values()) == len(told)


def test_stories_that_cannot_be_written_end_it_before_the_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "chain"), "--stories", str(tmp_path / "no" / "where")]) == Exit.BAD_FILE
    assert "No such file" in json.loads(capsys.readouterr().out)["error"]


def test_stories_replace_a_file_only_when_the_chain_is_verified(
    builder: ChainBuilder, tmp_path: Path
) -> None:
    path, stories, lines = tmp_path / "chain", tmp_path / "stories", list[dict[str, Any]]()
    data = write_chain(builder.chain)
    path.write_bytes(data)
    assert verify_with_stories(path, stories, ToyWork, lines.append) == Exit.DONE
    told = stories.read_text()
    assert len(told.splitlines()) == sum(lines[-1]["stories"].values())
    path.write_bytes(data[:-5])
    assert verify_with_stories(path, stories, ToyWork, lines.append) == Exit.DAMAGED
    assert stories.read_text() == told
    assert sorted(file.name for file in tmp_path.iterdir()) == ["chain", "node", "stories"]


def test_stories_that_do_not_fit_say_nothing_of_the_chain(builder: ChainBuilder, tmp_path: Path) -> None:
    path, lines = tmp_path / "chain", list[dict[str, Any]]()
    path.write_bytes(write_chain(builder.chain))
    with patch("node.verify.write_stories", side_effect=OSError(28, "No space left on device")):
        assert verify_with_stories(path, tmp_path / "stories", ToyWork, lines.append) == Exit.BAD_FILE
    assert (
        lines[-1]["error"]
        == f"the stories cannot be written to {tmp_path / 'stories'}: No space left on device"
    )
    assert not (tmp_path / "stories").exists()


def test_damaged_file_is_told_from_a_false_chain(builder: ChainBuilder, tmp_path: Path) -> None:
    path = tmp_path / "chain"
    data = bytearray(write_chain(builder.chain))
    path.write_bytes(data[:-5])
    assert verify(path)[0] == Exit.DAMAGED
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, lines = verify(path)
    assert code == Exit.DAMAGED
    assert lines[-1]["verified"] is False
    path.write_bytes(b"")
    assert verify(path)[0] == Exit.DAMAGED
    assert verify(tmp_path / "nothing")[0] == Exit.BAD_FILE


@pytest.mark.parametrize("field", ["digest", "before", "after", "state_root"])
def test_false_block_is_found_at_its_height(builder: ChainBuilder, tmp_path: Path, field: str) -> None:
    header = builder.make_block().header
    if field == "digest":
        header = dataclasses.replace(header, digest=bytes(32))
    elif field == "state_root":
        header = dataclasses.replace(header, work=dataclasses.replace(header.work, state_root=bytes(32)))
    else:
        header = dataclasses.replace(header, **{field: getattr(header, field) - 1})
    false = builder.seal(header)
    blocks = [builder.block_at(h) for h in range(1, 41)]
    parts = [encode_start(builder.genesis)]
    for block in [*blocks, false]:
        parts += encode_block(block.encode(), [b"GCD1 toy data"] if block == blocks[1] else [])
    path = tmp_path / "chain"
    path.write_bytes(b"".join([*parts, encode_end(41, false.hash)]))
    code, lines = verify(path)
    assert code == Exit.FAILED
    assert lines[-1]["verified"] is False
    assert lines[-1]["height"] == 41


def test_block_that_leaves_the_chain_is_refused(builder: ChainBuilder, tmp_path: Path) -> None:
    twin = builder.fork(39)
    other = twin.mine(start=5000)
    assert other.hash != builder.chain.head.hash
    data = write_chain(builder.chain)[: -len(encode_end(0, bytes(32)))]
    path = tmp_path / "chain"
    path.write_bytes(data + b"".join(encode_block(other.encode(), [])) + encode_end(41, other.hash))
    assert verify(path)[0] == Exit.FAILED


@pytest.mark.slow
def test_real_heartbeats_are_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from node.work import EngineVerifier
    from training.engine import Engine

    genesis, key = regtest_genesis("verify"), local_accounts("verify")[0]
    blobs = BlobStore(tmp_path / "blobs")
    verifier = EngineVerifier(Engine(blobs.get, "portable"))
    chain = Chain(open_storage(":memory:"), blobs, genesis, verifier)
    for height in range(1, 4):
        template = build_template(chain, key.public, (), 1000 * height)
        for nonce in range(100):
            work = dataclasses.replace(template.work, nonce=nonce)
            run = verifier.run(TicketTask(work.seed, work.parent, None, b""))
            header = Header(work, run.digest, run.before, run.after)
            if run.after < run.before and header.ticket < template.threshold:
                break
        chain.add_block(assemble_block(template, nonce, run, key, genesis.chain_id), 1 << 60)
    path = tmp_path / "chain"
    path.write_bytes(write_chain(chain))
    assert main([str(path), "--path", "portable"]) == Exit.DONE
    verdict = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (verdict["verified"], verdict["blocks"], verdict["replayed"]) == (True, 3, 3)
    assert verdict["head"] == chain.head.hash.hex()


def test_verifier_knows_no_network() -> None:
    code = (
        "import sys, node.verify, node.work;"
        "bad = [m for m in ('trio', 'libp2p', 'anycorn', 'starlette') if m in sys.modules];"
        "sys.exit(', '.join(bad) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
