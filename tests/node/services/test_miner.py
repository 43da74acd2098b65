"""Mining: which template the training process gets when, and what becomes of what it finds."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from ledger.blocks import HEARTBEAT, Block, Header, WorkHeader
from ledger.params import COIN
from ledger.work import TicketRun, TicketTask
from node.services import miner as miner_module
from node.services.chain_service import ChainService
from node.services.miner import RATE_WINDOW_S, Miner
from node.services.sync import Sync, SyncProgress
from node.worker.client import WorkerClient, WorkerFailed
from tests.ledger.chain_builder import ALICE, BOB, MINER, NOW_MS, make_spec
from tests.node.services.network import WAIT_S, Builder, until


@dataclass
class Given:
    """A template as the training process got it."""

    number: int
    work: WorkHeader
    threshold: int
    spec: bytes
    weights: bytes


class FakeWorker:
    """Takes templates; tests find the blocks."""

    def __init__(self) -> None:
        self.alive = True
        self.rests = 0
        self.remembered: list[TicketTask] = []
        self.given: list[Given] = []
        self._send, self._receive = trio.open_memory_channel[Given](math.inf)

    def mine(
        self, number: int, work: WorkHeader, threshold: int, spec: bytes, weights: bytes, nonce: int
    ) -> None:
        given = Given(number, work, threshold, spec, weights)
        self.given.append(given)
        self._send.send_nowait(given)

    def rest(self) -> None:
        self.rests += 1

    def remember(self, task: TicketTask, run: TicketRun) -> None:
        self.remembered.append(task)

    async def take(self) -> Given:
        with trio.fail_after(WAIT_S):
            return await self._receive.receive()


@dataclass
class FakeSync:
    now: SyncProgress = field(default_factory=lambda: SyncProgress(0, 0, 0, "running"))

    def progress(self) -> SyncProgress:
        return self.now


@dataclass
class Mine:
    """A running miner and all around it."""

    builder: Builder
    service: ChainService
    worker: FakeWorker
    sync: FakeSync
    miner: Miner = field(init=False)
    published: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        worker, sync = cast(WorkerClient, self.worker), cast(Sync, self.sync)
        self.miner = Miner(self.service, worker, sync, MINER, self._publish, True)

    async def _publish(self, block: Block) -> None:
        self.published.append(block)

    async def take_template(self, height: int) -> Given:
        """Return the next template at a height."""
        while (given := await self.worker.take()).work.height != height:
            pass
        return given

    async def find(self, given: Given) -> Block:
        """Let the training process find the block of a template."""
        spec = make_spec() if given.spec else None
        for nonce in range(1000):
            work = replace(given.work, nonce=nonce)
            task = TicketTask(work.seed, work.parent, spec, given.weights)
            run = await self.service.call(lambda _, task=task: self.builder.verifier.run(task))  # type: ignore[misc]
            header = Header(work, run.digest, run.before, run.after)
            if run.after < run.before and header.ticket < given.threshold:
                self.miner.note_event("found", [given.number, nonce, *encode_run(run)])
                return self.builder.seal(header)
        raise AssertionError("no valid run")


def encode_run(run: TicketRun) -> list[bytes]:
    return [run.digest, run.before.to_bytes(16, "big"), run.after.to_bytes(16, "big"), run.delta]


@pytest.fixture
async def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mine]:
    monkeypatch.setattr(miner_module, "REFRESH_S", 60.0)  # nothing here may need it
    builder = Builder(tmp_path)
    made = Mine(builder, ChainService(builder.chain, lambda: NOW_MS), FakeWorker(), FakeSync())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.miner.run)
        yield made
        nursery.cancel_scope.cancel()
    builder.storage.close()


async def test_first_template_is_the_heartbeat_on_genesis(mine: Mine) -> None:
    given = await mine.worker.take()
    assert given.work.height == 1
    assert given.work.job_id == HEARTBEAT
    assert given.work.miner == MINER.public


async def test_new_head_brings_a_new_template(mine: Mine) -> None:
    await mine.take_template(1)
    block = await mine.service.call(lambda _: mine.builder.make_block(miner=ALICE))
    await mine.service.add_block(block)
    assert (await mine.take_template(2)).work.parent == block.hash


async def test_head_that_changes_while_a_template_is_built_is_not_missed(mine: Mine) -> None:
    """The news came before the miner began to wait for news."""
    await mine.take_template(1)
    first = await mine.service.call(lambda _: mine.builder.make_block(miner=ALICE))
    select = mine.service.select_transactions
    second: list[Block] = []

    async def select_slowly() -> tuple[object, ...]:
        chosen = await select()
        if not second:
            second.append(await mine.service.call(lambda _: mine.builder.make_block(miner=BOB)))
            await mine.service.add_block(second[0])
        return chosen

    mine.service.select_transactions = select_slowly  # type: ignore[method-assign, assignment]
    await mine.service.add_block(first)
    await mine.take_template(3)
    assert (await mine.take_template(3)).work.parent == second[0].hash


async def test_new_transaction_brings_a_new_template(mine: Mine) -> None:
    await mine.take_template(1)
    await mine.service.add_transaction(mine.builder.transfer(ALICE, BOB, COIN))
    assert (await mine.worker.take()).work.tx_count == 1


async def test_found_block_is_added_and_published_once(mine: Mine) -> None:
    given = await mine.take_template(1)
    block = await mine.find(given)
    await until(lambda: mine.published)
    assert mine.builder.chain.head.hash == block.hash
    mine.miner.note_event("found", [given.number, block.header.work.nonce, *encode_run(run_of(mine, block))])
    await mine.take_template(2)
    await until(lambda: len(mine.worker.remembered) == 2)
    await trio.testing.wait_all_tasks_blocked()
    assert [published.hash for published in mine.published] == [block.hash]
    assert mine.miner.stats().blocks == 1


def run_of(mine: Mine, block: Block) -> TicketRun:
    return mine.builder.verifier.run(TicketTask(block.header.seed, block.header.work.parent, None, b""))


async def test_found_result_is_remembered_so_that_it_is_not_run_again(mine: Mine) -> None:
    block = await mine.find(await mine.take_template(1))
    await until(lambda: mine.published)
    assert [task.seed for task in mine.worker.remembered] == [block.header.seed]


async def test_block_on_a_head_that_is_no_more_is_not_published(mine: Mine) -> None:
    given = await mine.take_template(1)
    other = await mine.service.call(lambda _: mine.builder.make_block(miner=ALICE))
    await mine.service.add_block(other)
    await mine.take_template(2)
    await mine.find(given)
    await mine.take_template(2)  # the training process idles after a find
    assert mine.builder.chain.head.hash == other.hash
    assert not mine.published


async def mine_until_drawn(mine: Mine) -> Given:
    """Return a template of a job's slot."""
    blocks = await mine.service.call(lambda _: mine_to_slot(mine.builder))
    for block in blocks:
        await mine.service.add_block(block)
    return await mine.take_template(len(blocks) + 1)


def mine_to_slot(builder: Builder) -> list[Block]:
    fork = builder.fork(0)
    fork.mine(fork.submit(ALICE, make_spec()))
    while fork.drawn() is None:
        fork.mine()
    return [fork.block_at(height) for height in range(1, fork.height + 1)]


async def test_drawn_job_is_mined(mine: Mine) -> None:
    given = await mine_until_drawn(mine)
    assert given.work.job_id != HEARTBEAT
    assert given.spec
    assert mine.miner.stats().job_id == given.work.job_id
    await mine.find(given)
    await until(lambda: mine.published)


async def test_stuck_job_gives_way_to_the_heartbeat_until_the_next_head(mine: Mine) -> None:
    given = await mine_until_drawn(mine)
    mine.miner.note_event("stuck", [given.number, "the job's runs do not lower its loss"])
    while (instead := await mine.worker.take()).work.job_id != HEARTBEAT:
        pass  # one may have been on its way
    assert instead.work.height == given.work.height
    await mine.service.add_transaction(mine.builder.transfer(BOB, ALICE, COIN))
    while (renewed := await mine.worker.take()).work.tx_count == 0:
        assert renewed.work.job_id == HEARTBEAT
    assert renewed.work.job_id == HEARTBEAT
    await mine.find(renewed)
    await until(lambda: mine.published)
    await mine.take_template(given.work.height + 1)


async def test_word_about_a_forgotten_template_changes_nothing(mine: Mine) -> None:
    await mine.take_template(1)
    mine.miner.note_event("stuck", [999, "?"])
    mine.miner.note_event("found", [999, 0, bytes(32), bytes(16), bytes(16), b""])
    await trio.testing.wait_all_tasks_blocked()
    assert len(mine.worker.given) == 1


async def test_block_that_cannot_be_checked_is_not_published_and_mining_goes_on(mine: Mine) -> None:
    given = await mine.take_template(1)
    verifier = mine.builder.verifier
    run = verifier.run(TicketTask(given.work.seed, given.work.parent, None, b""))
    verifier.failure = WorkerFailed("it died")
    mine.miner.note_event("found", [given.number, 0, *encode_run(run)])
    await mine.take_template(1)
    assert not mine.published


async def test_node_that_is_behind_rests_and_does_not_start_again_on_old_news(mine: Mine) -> None:
    given = await mine.take_template(1)
    mine.sync.now = SyncProgress(50, 50, 0, "syncing")
    await mine.service.add_transaction(mine.builder.transfer(ALICE, BOB, COIN))
    await until(lambda: mine.worker.rests)
    mine.miner.note_event("stuck", [given.number, "?"])
    await trio.testing.wait_all_tasks_blocked()
    assert mine.worker.rests == 1
    assert len(mine.worker.given) == 1


async def test_rate_counts_recent_runs_and_forgets_old_ones(
    mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not anybody asks for the statistics."""
    now_s = 1000.0
    monkeypatch.setattr("node.services.miner.time.monotonic", lambda: now_s)
    for number in range(1, 101):
        mine.miner.note_event("mined", [1, 10, 9])
        await trio.testing.wait_all_tasks_blocked()
        assert mine.miner._runs == 10 * number
        now_s += 1.0
    stats = mine.miner.stats()
    assert stats.runs == 1000
    assert stats.runs_per_s == pytest.approx(10, rel=0.1)
    assert len(mine.miner._counts) <= RATE_WINDOW_S + 1


async def test_events_beyond_the_bound_are_dropped(mine: Mine) -> None:
    for _ in range(10 * miner_module.MAX_EVENTS):
        mine.miner.note_event("mined", [1, 1, 1])
    await until(lambda: mine.miner.stats().runs)
    await trio.testing.wait_all_tasks_blocked()
    assert mine.miner.stats().runs <= miner_module.MAX_EVENTS + 1
