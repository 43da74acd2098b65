"""A whole node's part in the market: it trains, commits, reveals and is paid, whatever stops it in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import trio

from ledger.blocks import Block
from ledger.commitments import Commitment
from ledger.genesis import local_accounts
from ledger.history import SettlementRecord
from ledger.settlement import Outcome
from ledger.state import Overlay
from node.services import miner as miner_module
from node.services import update_maker
from node.services.kept_updates import FOLDER
from node.trainer.client import SamplesRefused, TrainingRefused
from node.trainer.requests import Trained, TrainRequest
from node.wallet import Wallet
from tests.ledger.market_builder import ESCROW, market_spec
from tests.ledger.samples import PRIVACY
from tests.node.live import GENESIS, SEED, LiveNode, ToyTrainer, make_settings, open_live
from tests.node.services.network import Builder

pytestmark = pytest.mark.integration

WAIT_S = 40.0
BLOCKS = 14  # enough for the node's first income to be spendable


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miner_module, "REFRESH_S", 0.1)
    monkeypatch.setattr(update_maker, "LOOK_AGAIN_S", 0.2)


async def _until(node: LiveNode, condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition that holds after some block at the latest: one is found every moment."""
    with trio.fail_after(WAIT_S):
        change = node.parts.chain.get_next_change()
        while not await condition():
            await change.wait()
            change = node.parts.chain.get_next_change()


async def _settlements(node: LiveNode, job: bytes) -> list[SettlementRecord]:
    return await node.parts.chain.call(lambda chain: chain.list_settlements(job))


async def _commitments(node: LiveNode, job: bytes) -> list[Commitment]:
    def look(chain: object) -> list[Commitment]:
        state = Overlay(node.builder.chain.state)
        return [c for number in range(100) for c in state.get_commitments(job, number)]

    return await node.parts.chain.call(look)


def _prepare(folder: Path, name: str, poor: bool = False, **changes: object) -> tuple[bytes, list[Block]]:
    """Return a job that pays for updates and the blocks to it, the node's own income among them if it is not poor."""
    settings = make_settings(folder, name, mine=True)
    own = local_accounts(SEED)[1] if poor else Wallet(settings.data_dir, settings.chain, SEED).own.keypair
    builder = Builder(folder / "before", GENESIS)
    for _ in range(BLOCKS):
        builder.mine(miner=own)
    job = builder.open_job(market_spec(**changes), escrow=ESCROW, key=local_accounts(SEED)[0])
    return job, [builder.block_at(height) for height in range(1, builder.height + 1)]


async def test_node_earns_with_updates(tmp_path: Path) -> None:
    job, blocks = _prepare(tmp_path, "maker")
    async with open_live(tmp_path, "maker", mine=True, blocks=blocks) as node:

        async def is_paid() -> bool:
            return node.parts.maker.stats.paid > 0

        await _until(node, is_paid)
        stats = node.parts.maker.stats
        results = [r for s in await _settlements(node, job) for r in s.settlement.updates]
        paid = [r for r in results if r.outcome is Outcome.PAID]
        assert paid
        assert stats.earned > 0
        assert not [r for r in results if r.outcome in (Outcome.VOID, Outcome.UNREVEALED)]


async def test_node_stopped_between_commit_and_reveal_reveals_when_it_is_back(tmp_path: Path) -> None:
    job, blocks = _prepare(tmp_path, "killed")
    async with open_live(tmp_path, "killed", mine=True, blocks=blocks) as node:

        async def is_committed() -> bool:
            return bool(await _commitments(node, job))

        await _until(node, is_committed)
        await node.miner.hold()
        (committed, *_) = await _commitments(node, job)
        assert not committed.payload
        assert (node.settings.data_dir / FOLDER / f"{committed.commitment.hex()}.json").exists()
    async with open_live(tmp_path, "killed", mine=True) as node:

        async def is_settled() -> bool:
            results = [r for s in await _settlements(node, job) for r in s.settlement.updates]
            return any(r.update.commitment == committed.commitment for r in results)

        await _until(node, is_settled)
        results = {
            r.update.commitment: r for s in await _settlements(node, job) for r in s.settlement.updates
        }
        assert results[committed.commitment].outcome is Outcome.PAID


class RefusingTrainer(ToyTrainer):
    """Never makes an update."""

    asked = 0

    async def train(self, request: TrainRequest) -> Trained:
        self.asked += 1
        raise TrainingRefused("the loss did not fall")


async def test_training_that_comes_to_nothing_costs_a_round_only(tmp_path: Path) -> None:
    job, blocks = _prepare(tmp_path, "futile")
    trainer = RefusingTrainer()
    async with open_live(tmp_path, "futile", mine=True, blocks=blocks, trainer=trainer) as node:

        async def is_asked_twice() -> bool:
            return trainer.asked >= 2

        await _until(node, is_asked_twice)
        assert not await _commitments(node, job)
        assert node.parts.maker.stats.committed == 0


class NotingTrainer(ToyTrainer):
    """Cannot use the miner's own samples."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def train(self, request: TrainRequest) -> Trained:
        self.asked.append(request.samples_path)
        return replace(await super().train(request), note="own samples not used")


async def test_own_samples_go_to_the_trainer_and_its_complaint_to_the_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job, blocks = _prepare(tmp_path, "own")
    trainer, own = NotingTrainer(), ((job.hex()[:6], "/mine.npz"), ("0" * 64, "/other.npz"))
    async with open_live(tmp_path, "own", mine=True, blocks=blocks, trainer=trainer, own_samples=own) as node:

        async def is_committed() -> bool:
            return node.parts.maker.stats.committed > 0

        await _until(node, is_committed)
        note = f"job {job.hex()[:8]}: own samples not used"
        assert set(trainer.asked) == {"/mine.npz"}
        updates = (await node.get("/v1/status"))["updates"]
        assert updates["note"] == note
        assert updates["trainers"] == {"count": 1, "device": "auto", "state": "running", "restarts": 0}
        assert caplog.messages.count(note) == 1


class PrivateTrainer(ToyTrainer):
    """Makes one private update; then the budget of the samples is spent."""

    def __init__(self) -> None:
        self.asked: list[TrainRequest] = []

    async def train(self, request: TrainRequest) -> Trained:
        self.asked.append(request)
        if len(self.asked) > 1:
            raise SamplesRefused("/mine.npz: the budget does not allow another update")
        told = tuple(cast(list[int | bytes], PRIVACY.to_list()))
        return replace(await super().train(request), privacy=told, budget="epsilon 4 of 8 is spent")


async def test_private_updates_tell_their_accounting_until_the_budget_is_spent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job, blocks = _prepare(tmp_path, "private")
    trainer, own = PrivateTrainer(), ((job.hex()[:6], "/mine.npz"),)
    terms = (8000, 10**10, 32, 1)
    async with open_live(
        tmp_path, "private", mine=True, blocks=blocks, trainer=trainer, own_samples=own, privacy=terms
    ) as node:

        async def is_over() -> bool:
            return node.parts.maker.stats.paid > 0 and len(trainer.asked) > 2

        await _until(node, is_over)
        assert {(r.samples_path, r.privacy) for r in trainer.asked} == {("/mine.npz", terms)}
        assert {r.privacy_path for r in trainer.asked} == {str(node.settings.data_dir / "privacy")}
        shown = (await node.get(f"/v1/jobs/{job.hex()}/updates"))["updates"]
        assert [row["privacy"]["data_id"] for row in shown if row["privacy"]] == [PRIVACY.data_id.hex()]
        updates = (await node.get("/v1/status"))["updates"]
        assert updates["budget"] == "epsilon 4 of 8 is spent"
        note = "no private update: /mine.npz: the budget does not allow another update"
        assert updates["note"] == f"job {job.hex()[:8]}: {note}"
        assert caplog.messages.count(updates["note"]) == 1
        assert updates["committed"] == 1


class BalanceTrainer(ToyTrainer):
    """Notes what the node can spend whenever it is asked for an update."""

    def __init__(self) -> None:
        self.get_balance: Callable[[], int] = lambda: 0
        self.balances: list[int] = []

    async def train(self, request: TrainRequest) -> Trained:
        self.balances.append(self.get_balance())
        return await super().train(request)


@pytest.mark.parametrize("terms", [(), (8000, 10**10, 32, 1)])
async def test_no_private_update_is_trained_that_could_not_be_committed_to(
    tmp_path: Path, terms: tuple[int, ...]
) -> None:
    job, blocks = _prepare(tmp_path, "poor", poor=True)
    trainer, own = BalanceTrainer(), ((job.hex()[:6], "/mine.npz"),)
    async with open_live(
        tmp_path, "poor", mine=True, blocks=blocks, trainer=trainer, own_samples=own, privacy=terms
    ) as node:
        address = node.parts.wallet.own.keypair.address
        state = node.builder.chain.state
        trainer.get_balance = lambda: Overlay(state).get_account(address).balance

        async def has_asked() -> bool:
            return bool(trainer.balances)

        await _until(node, has_asked)
        assert (trainer.balances[0] > 0) is bool(terms)  # public updates cost nothing but time


def test_samples_are_those_that_name_the_job_by_most_digits() -> None:
    own = (("abcd", "/a"), ("abcd12", "/b"), ("ffff", "/c"))
    assert update_maker.find_samples(own, bytes.fromhex("abcd12" + "00" * 29)) == "/b"
    assert update_maker.find_samples(own, bytes.fromhex("abcd13" + "00" * 29)) == "/a"
    assert update_maker.find_samples(own, bytes(32)) == ""


async def test_network_serves_a_market_only_job_with_heartbeats_for_shares(tmp_path: Path) -> None:
    job, blocks = _prepare(tmp_path, "server", market_only=1, burn=0)
    async with (
        open_live(tmp_path, "server", mine=True, blocks=blocks) as node,
        open_live(tmp_path, "follower") as follower,
    ):
        await follower.post("/v1/peers", {"address": node.address})

        async def is_trained() -> bool:
            return node.parts.maker.stats.paid > 1

        await _until(node, is_trained)
        summary = await node.get(f"/v1/jobs/{job.hex()}")
        assert (summary["status"], summary["market_only"], summary["tickets"]) == ("live", True, 0)
        assert (summary["drawn"], summary["burn"]) == (0, "0")
        assert summary["version"] >= 1
        assert int(summary["paid"]) > 0

        async def has_followed() -> bool:
            return bool((await follower.get(f"/v1/jobs/{job.hex()}"))["version"])

        await _until(follower, has_followed)
        blocks_shown = (await follower.get("/v1/blocks?limit=20"))["blocks"]
        assert {block["job"] for block in blocks_shown} == {None}
