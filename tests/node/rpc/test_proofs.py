"""GET /v1/jobs/{job}/proof: proofs that check, of the record that was asked for, or what to wait for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ledger.hashing import cid_of
from ledger.lightchain import Shown
from ledger.lightproof import LightProof, read_start
from ledger.params import REGTEST
from ledger.prover import Prover
from ledger.records import JobStatus
from ledger.slots import is_boundary
from node.rpc import proofs
from tests.ledger.chain_builder import ALICE, make_spec
from tests.ledger.light_builder import check
from tests.node.rpc.api_node import ApiNode, open_api


async def fetch(node: ApiNode, path: str) -> tuple[LightProof, Shown]:
    """Return a proof that was checked to the end, replays included."""
    answer = await node.get(path)
    assert answer.status == 200, answer.raw
    proof = read_start(io.BytesIO(answer.raw).read)
    assert len(answer.raw) == proof.size_bytes
    return proof, check(answer.raw, node.builder.verifier)


async def test_proof_is_of_the_newest_record_that_a_heartbeat_covers(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1))
        node.builder.mine_to(41)
        answer = await node.get(f"/v1/jobs/{job_id.hex()}/proof")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert f"job-{job_id.hex()[:10]}.proof" in answer.headers["content-disposition"]
        proof, shown = await fetch(node, f"/v1/jobs/{job_id.hex()[:8]}/proof")
        assert (proof.job_id, proof.count, shown.head) == (job_id, 41, node.builder.chain.head)
        assert 37 <= proof.place <= 40
        prover = Prover(node.builder.chain, job_id)
        assert prover.take_back(node.builder.chain, 39, 10)
        newest = prover.make_proof()
        assert newest is not None
        assert proof.record == newest.record
        assert shown.cover_heartbeats >= 1


async def test_job_that_ended_is_proven_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1))
        node.builder.mine_to(30)
        node.mine(node.builder.cancel(ALICE, job_id))
        while node.builder.job(job_id).status is not JobStatus.CANCELLED:
            node.builder.mine()
        ended = node.builder.height
        node.builder.mine_to(ended + 150)
        proof, shown = await fetch(node, f"/v1/jobs/{job_id.hex()}/proof")
        assert (proof.place, proof.read_record()) == (ended + 1, node.builder.job(job_id))
        assert shown.cover_heartbeats == 150  # no job was there any more
        monkeypatch.setattr(proofs, "MAX_UNCHANGED", proofs.PIECE_BLOCKS)
        proof, _ = await fetch(node, f"/v1/jobs/{job_id.hex()}/proof")
        newest = node.builder.height - node.builder.height % 4
        assert proof.place == newest - proofs.PIECE_BLOCKS
        assert proof.read_record() == node.builder.job(job_id)


async def test_older_version_is_proven_where_it_arose(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1))
        node.builder.mine_to(
            64 if is_boundary(job_id, 60, REGTEST) else 60
        )  # a heartbeat covers all versions
        record = node.builder.job(job_id)
        initial = cid_of(node.builder.verifier.inspect(make_spec(target=1)).weights)
        assert record.version > 2
        for version in range(record.version + 1):
            proof, shown = await fetch(node, f"/v1/jobs/{job_id.hex()}/proof?version={version}")
            old = proof.read_record()
            made = [s for s in node.builder.chain.list_settlements(job_id) if s.settlement.version == version]
            assert old.version == version
            assert proof.place == (made[0].height if version else record.submitted) + 1
            assert old.weights == (made[0].settlement.new_weights if version else initial)
            assert shown.head.height == node.builder.height
        answer = await node.get(f"/v1/jobs/{job_id.hex()}/proof?version={record.version + 1}")
        assert (answer.status, answer.code) == (404, "not_found")
        assert f"expected 0 to {record.version}" in answer.json["error"]["message"]


async def test_what_no_heartbeat_covers_yet_is_to_be_waited_for(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.builder.mine_to(5)
        job_id = node.builder.open_job(make_spec(target=1))
        path = f"/v1/jobs/{job_id.hex()}/proof"
        for query in ("", "?version=0"):
            answer = await node.get(path + query)
            assert (answer.status, answer.code) == (503, "busy")
        assert "the next one is block 8" in answer.json["error"]["message"]
        node.builder.mine_to(8)
        assert (await fetch(node, path))[0].place in (7, 8)
        answer = await node.get(f"{path}?least_version=1")
        assert (answer.status, answer.code) == (503, "busy")
        assert "covers is of version 0" in answer.json["error"]["message"]
        assert (await fetch(node, f"{path}?least_version=0"))[0].place in (7, 8)


async def test_no_chain_yet_no_proof(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1))
        answer = await node.get(f"/v1/jobs/{job_id.hex()}/proof")
        assert (answer.status, answer.code) == (503, "busy")


@pytest.mark.parametrize(
    "query", ["version=-1", "version=x", "least_version=1.5", "version=99999999999999999999"]
)
async def test_version_that_is_no_number_is_400(tmp_path: Path, query: str) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1))
        answer = await node.get(f"/v1/jobs/{job_id.hex()}/proof?{query}")
        assert (answer.status, answer.code) == (400, "bad_request")


async def test_proof_of_no_job_is_not_found(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        assert (await node.get(f"/v1/jobs/{'ab' * 32}/proof")).status == 404


async def test_reorganisation_meanwhile_says_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain moves to another branch while its old blocks are taken back."""
    monkeypatch.setattr(proofs, "PIECE_BLOCKS", 1)
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1))
        node.builder.mine_to(20)
        twin = node.builder.fork(10)
        for _ in range(20):
            twin.mine(start=5000)
        start = proofs.start_proof

        def start_and_move(*args: object, **kwargs: object) -> object:
            found = start(*args, **kwargs)  # type: ignore[arg-type]
            for height in range(11, twin.height + 1):
                node.builder.add(twin.block_at(height))
            return found

        monkeypatch.setattr(proofs, "start_proof", start_and_move)
        answer = await node.get(f"/v1/jobs/{job_id.hex()}/proof?version=0")
        assert (answer.status, answer.code) == (503, "busy")
        assert "reorganised" in answer.json["error"]["message"]
        monkeypatch.setattr(proofs, "start_proof", start)
        assert (await fetch(node, f"/v1/jobs/{job_id.hex()}/proof?version=0"))[0].place == 2
