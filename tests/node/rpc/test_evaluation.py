"""Secret evaluation splits over the API: files before the submission, and what a job committed to, measured."""

import base64
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from ledger.hashing import cid_text
from ledger.params import REGTEST
from ledger.tranches import decode_tranche, make_tranches
from tests.ledger.chain_builder import make_spec
from tests.node.rpc.api_node import Answer, ApiNode, open_api


@pytest.fixture(autouse=True)
def known_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial's seed hangs on the root of the tranches: with another secret each time, one in dozens would fail."""
    numbers = count()
    monkeypatch.setattr(
        "node.rpc.job_actions.secrets.token_bytes", lambda size: next(numbers).to_bytes(size, "big")
    )


SAMPLES = (b"one", b"four", b"seven")
TRANCHES = make_tranches(SAMPLES, bytes(range(32)))
BODY = {
    "file_name": "a.toml",
    "toml": str(REGTEST.min_burn),
    "data_name": "a.npz",
    "data_base64": "",
    "from": "local-0",
}


async def evaluate(node: ApiNode, job_id: bytes, file: bytes, query: str = "") -> Answer:
    body = {"tranche_base64": base64.b64encode(file).decode()}
    return await node.post(f"/v1/jobs/{job_id.hex()}/evaluate{query}", body)


def list_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "evaluation").rglob("*") if path.is_file())


async def test_submission_writes_its_tranches_for_its_owner_alone(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.worker.secret_samples = SAMPLES
        answer = (await node.post("/v1/jobs", BODY)).json
        job = (await node.get(f"/v1/jobs/{answer['id']}")).json
        folder = tmp_path / "evaluation" / job["evaluation"]
        assert answer["evaluation"] == {"samples": 12, "tranches": 3, "folder": str(folder)}
        files = list_files(tmp_path)
        assert files == [folder / f"tranche-{number}.gct" for number in (1, 2, 3)]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700
        tranches = [decode_tranche(file.read_bytes()) for file in files]
        assert [(t.blob, t.root.hex(), t.is_proven) for t in tranches] == [
            (blob, job["evaluation"], True) for blob in SAMPLES
        ]
        node.mine(*node.service.mempool.transactions())
        told = (await node.get(f"/v1/explain/{answer['id']}")).json
        assert told["facts"]["evaluation"] == job["evaluation"]
        assert (await evaluate(node, bytes.fromhex(answer["id"]), files[1].read_bytes())).status == 200


async def test_quote_writes_nothing_and_says_where_a_submission_would(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.worker.secret_samples = SAMPLES
        quoted = (await node.post("/v1/jobs/quote", BODY)).json
        folder = str(tmp_path / "evaluation")
        assert quoted["evaluation"] == {"samples": 12, "tranches": 3, "folder": folder}
        assert not list_files(tmp_path)
        await node.post("/v1/jobs", BODY)
        node.mine(*node.service.mempool.transactions())
        again = (await node.post("/v1/jobs/quote", BODY)).json
        assert any("the same job runs already" in note for note in again["notes"])
        assert again["spec_sha256"] != quoted["spec_sha256"]


async def test_refused_submission_leaves_no_files(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.worker.secret_samples = SAMPLES
        assert (await node.post("/v1/jobs", BODY | {"from": "node"})).code == "not_enough_balance"
        node.worker.escrow_units = 1
        answer = await node.post("/v1/jobs", BODY)
        assert answer.code == "refused", answer.json
        assert list((tmp_path / "evaluation").iterdir()) == []


async def test_files_that_cannot_be_written_keep_the_job_from_being_sent(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.worker.secret_samples = SAMPLES
        (tmp_path / "evaluation").write_text("in the way")
        answer = await node.post("/v1/jobs", BODY)
        assert (answer.status, answer.code) == (507, "disk")
        assert not node.service.mempool.transactions()


async def test_job_without_a_split_says_so(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        answer = (await node.post("/v1/jobs", BODY)).json
        assert answer["evaluation"] is None
        assert (await node.get(f"/v1/jobs/{answer['id']}")).json["evaluation"] is None
        assert not list_files(tmp_path)
        job_id = node.builder.open_job(make_spec(1))
        answer = await evaluate(node, job_id, TRANCHES[0].encode())
        assert (answer.status, answer.code) == (422, "refused")
        assert "committed to no evaluation split" in answer.json["error"]["message"]


async def test_tranche_is_measured_at_the_first_and_the_newest_versions(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(target=1, evaluation=TRANCHES[0].root))
        initial = (await evaluate(node, job_id, TRANCHES[1].encode())).json
        assert [row["version"] for row in initial["versions"]] == [0]
        node.builder.mine_to(40)
        moves = [s for s in node.builder.chain.list_settlements(job_id) if s.settlement.version]
        assert len(moves) > 2
        answer = (await evaluate(node, job_id, TRANCHES[1].encode())).json
        shared = {name: answer[name] for name in answer if name != "versions"}
        assert shared == {
            "id": job_id.hex(),
            "title": "toy",
            "evaluation": TRANCHES[0].root.hex(),
            "tranche": 2,
            "tranches": 3,
            "samples": 4,
            "judge_samples": 4,
        }
        assert answer["versions"][0] == initial["versions"][0]
        newest = moves[-1]
        weights = node.builder.chain.load_weights(newest.settlement.new_weights)
        assert answer["versions"][1:] == [
            {
                "version": newest.settlement.version,
                "height": newest.height,
                "weights_cid": cid_text(newest.settlement.new_weights),
                "loss": 1.0,
                "sum_units": str(4 << 40),
                "accuracy": None,
                "judge_loss": sum(weights) / 4,
                "judge_sum_units": str(sum(weights) << 40),
                "judge_accuracy": 0.75,
            }
        ]
        numbers = [0, *(s.settlement.version for s in moves)]
        for limit, expected in ((64, numbers), (3, [0, *numbers[-2:]])):
            answer = (await evaluate(node, job_id, TRANCHES[1].encode(), f"?limit={limit}")).json
            assert [row["version"] for row in answer["versions"]] == expected
        for limit in (1, 65):
            assert (await evaluate(node, job_id, b"", f"?limit={limit}")).status == 400


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"GCD1", "no file of a tranche: tranche: a file that begins with b'GCTRANCH' expected"),
        (TRANCHES[0].encode()[:-1], "no file of a tranche: not MessagePack"),
        (replace(TRANCHES[0], blob=b"two").encode(), "tranche 1 of 3 is not what job"),
        (replace(TRANCHES[0], index=1).encode(), "tranche 2 of 3 is not what job"),
        (replace(TRANCHES[0], salt=bytes(32)).encode(), "its samples, salt or number were changed"),
        (make_tranches(SAMPLES, bytes(32))[0].encode(), f"a tranche of {TRANCHES[0].root.hex()} expected"),
        (make_tranches(SAMPLES[::-1], bytes(range(32)))[0].encode(), "expected, which job"),
    ],
)
async def test_file_that_the_job_did_not_commit_to_is_refused(
    tmp_path: Path, file: bytes, words: str
) -> None:
    async with open_api(tmp_path) as node:
        job_id = node.builder.open_job(make_spec(evaluation=TRANCHES[0].root))
        answer = await evaluate(node, job_id, file)
        assert (answer.status, answer.code) == (422, "bad_file")
        assert words in answer.json["error"]["message"]


async def test_tranche_that_is_no_data_of_the_job_is_refused(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        (tranche,) = make_tranches([b"unreadable"], bytes(32))
        job_id = node.builder.open_job(make_spec(evaluation=tranche.root))
        answer = await evaluate(node, job_id, tranche.encode())
        assert answer.code == "bad_file"
        assert "tranche 1: its samples are none of this job" in answer.json["error"]["message"]
