"""Faults within a node on real sockets: clocks that are wrong, data that vanish; and what bad jobs cost, in runs."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from ledger.blobs import BlobStore
from ledger.errors import DiskFailed, MissingBlobs
from ledger.genesis import Genesis, local_accounts
from ledger.hashing import cid_of
from ledger.jobspec import encode_spec
from ledger.params import REGTEST
from ledger.template import assemble_block, build_template
from ledger.work import TicketRun, TicketTask
from node.exits import Exit
from node.rpc.errors import ClientError
from node.services import miner as miner_module
from node.services import sync as sync_module
from node.services.chain_service import read_clock_ms
from node.work import EngineVerifier
from node.worker import loop as loop_module
from node.worker.client import read_run
from node.worker.loop import Loop
from node.worker.mining import encode_mining
from node.worker.wire import Frame
from tests.ledger.chain_builder import ALICE, DATA, MINER, ChainBuilder, make_genesis, make_spec
from tests.ledger.toy_work import ToyWork
from tests.node.live import GENESIS, SEED, WAIT_S, LiveNode, open_live
from tests.node.p2p.nodes import until
from tests.node.services.network import Builder

pytestmark = pytest.mark.integration

MINUTE_MS = 60_000
OWNER = local_accounts(SEED)[0]


@dataclass
class Clock:
    """A clock that is off."""

    off_ms: int

    def __call__(self) -> int:
        return read_clock_ms() + self.off_ms


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miner_module, "REFRESH_S", 0.1)
    monkeypatch.setattr(sync_module.Sync.__init__, "__defaults__", (0.2,))


async def connect(dialer: LiveNode, listener: LiveNode) -> None:
    await dialer.post("/v1/peers", {"address": listener.address})


def has_banned(node: LiveNode, other: LiveNode) -> bool:
    return node.transport.is_banned(other.peer_id)


# clocks


async def test_clocks_a_minute_off_change_nothing_where_blocks_take_a_minute(tmp_path: Path) -> None:
    """As on testnet and mainnet: four intervals are allowed."""
    genesis = Genesis(replace(REGTEST, interval_ms=MINUTE_MS), GENESIS.allocations)
    async with (
        open_live(tmp_path, "ahead", mine=True, clock=Clock(MINUTE_MS), genesis=genesis) as ahead,
        open_live(tmp_path, "behind", clock=Clock(-MINUTE_MS), genesis=genesis) as behind,
    ):
        await connect(behind, ahead)
        await until(lambda: behind.height >= 3, WAIT_S)
        assert not has_banned(behind, ahead)


async def test_node_a_minute_behind_waits_bans_nobody_and_follows_once_its_clock_is_right(
    tmp_path: Path,
) -> None:
    """On a local chain, of one second, four seconds are allowed."""
    clock = Clock(-MINUTE_MS)
    async with (
        open_live(tmp_path, "right", mine=True) as right,
        open_live(tmp_path, "behind", clock=clock) as behind,
    ):
        await connect(behind, right)
        await until(lambda: right.height >= 3, WAIT_S)
        await until(lambda: behind.parts.sync.doubts(right.peer_id) > 0, WAIT_S)
        assert behind.height == 0
        assert not has_banned(behind, right)
        clock.off_ms = 0
        await until(lambda: behind.height >= 3, WAIT_S)
        assert not has_banned(right, behind)


async def test_blocks_of_a_node_a_minute_ahead_wait_and_it_rejoins_the_others(tmp_path: Path) -> None:
    async with (
        open_live(tmp_path, "right", mine=True) as right,
        open_live(tmp_path, "ahead", mine=True, clock=Clock(MINUTE_MS)) as ahead,
    ):
        await right.hold_mining()
        await until(lambda: ahead.height >= 2, WAIT_S)
        await connect(ahead, right)
        await ahead.hold_mining()
        before, own = ahead.height, ahead.builder.chain.head.hash
        right.go_on_mining()
        await until(lambda: right.height > before, WAIT_S)
        await until(lambda: ahead.height > before, WAIT_S)
        assert own not in right.builder.chain.index.main
        assert own not in ahead.builder.chain.index.main
        assert not has_banned(right, ahead)
        assert not has_banned(ahead, right)


# data


async def test_sidecar_that_vanishes_under_a_running_node_is_fetched_again(tmp_path: Path) -> None:
    first = Builder(tmp_path / "first", GENESIS)
    first.open_job(make_spec(), key=OWNER)
    blocks = [first.block_at(1)]
    async with (
        open_live(tmp_path, "holder", mine=True, blocks=blocks) as holder,
        open_live(tmp_path, "loser", blocks=blocks) as loser,
    ):
        await connect(loser, holder)
        await until(lambda: loser.height >= 2, WAIT_S)
        loser.builder.blobs.remove(cid_of(DATA))
        await until(lambda: loser.builder.blobs.has(cid_of(DATA)), WAIT_S)
        wanted = holder.height + 2
        await until(lambda: loser.height >= wanted, WAIT_S)


async def test_damage_found_while_running_stops_the_node_by_name(tmp_path: Path) -> None:
    async with open_live(tmp_path, "node", mine=True) as node:
        await until(lambda: node.height >= 2, WAIT_S)
        await node.hold_mining()
        first = node.builder.chain.index.main[1]

        def damage(_: object) -> None:
            node.builder.storage.db.execute(
                "UPDATE blocks SET body = zeroblob(length(body)) WHERE hash = ?", (first,)
            )

        await node.parts.chain.call(damage)
        with pytest.raises(ClientError):
            await node.get(f"/v1/blocks/{first.hex()}")
        await node.stop.event.wait()
        assert node.stop.why is not None
        assert node.stop.why.exit_code == Exit.DAMAGED
        assert "chain.sqlite" in node.stop.why.hint


async def test_blob_that_cannot_be_stored_stops_the_node_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_live(tmp_path, "node") as node:

        def fail(*paths: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "blob")

        monkeypatch.setattr(os, "replace", fail)
        blob = b"GCD1 no room"
        with pytest.raises(DiskFailed, match="No space left"):
            await node.parts.chain.put_blob(cid_of(blob), blob)
        monkeypatch.undo()
        await node.stop.event.wait()
        assert node.stop.why is not None
        assert node.stop.why.exit_code == Exit.DISK


# what bad jobs cost


class BadJobs(ToyWork):
    """Toy work on which jobs diverge, or whose data are gone; heartbeats are as they are."""

    def __init__(self, blobs: BlobStore, fault: str) -> None:
        super().__init__(blobs)
        self.fault = fault

    def run(self, task: TicketTask) -> TicketRun:
        run = super().run(task)
        if task.spec is None or not self.fault:
            return run
        if self.fault == "vanished":
            raise MissingBlobs([task.spec.data_cid])
        return replace(run, after=run.before + 1)


@dataclass
class CountingMiner:
    """Mines block after block with the training process' own loop; counts training runs."""

    chain: ChainBuilder
    verifier: BadJobs
    frames: list[Frame]

    def __post_init__(self) -> None:
        reader: Any = None  # nothing is read: frames are handed over
        self._loop = Loop(reader, 1, self.chain.genesis, cast(EngineVerifier, self.verifier))
        self._stuck_on = b""

    def mine_block(self) -> None:
        height = self.chain.height
        while self.chain.height == height:
            self._mine_template(heartbeat=self.chain.chain.head.hash == self._stuck_on)

    def _mine_template(self, heartbeat: bool) -> None:
        chain = self.chain.chain
        template = build_template(chain, MINER.public, (), chain.head.time_ms + 1, heartbeat)
        spec = encode_spec(template.spec) if template.spec else b""
        frame = encode_mining(1, template.work, template.threshold, spec, template.weights, 0)
        self._loop.handle([0, "mine", *frame])
        while not (outcome := [f for f in self.frames if f[1] in ("found", "stuck")]):
            self._loop.mine_once()
        self.frames.clear()
        if outcome[0][1] == "stuck":
            self._stuck_on = chain.head.hash
            return
        _, _, _, nonce, *result = outcome[0]
        run = read_run(result)
        self.chain.add(assemble_block(template, nonce, run, MINER, chain.genesis.chain_id))


EASY = make_genesis(replace(REGTEST, start_target=2**250))  # 64 runs a block, plus those whose loss rises
BLOCKS = 50


def count_runs(folder: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the training runs a block took on average; the only job is drawn in three slots of four."""
    frames: list[Frame] = []
    monkeypatch.setattr(loop_module, "write_frame", lambda descriptor, frame: frames.append(frame))
    builder = ChainBuilder(folder, EASY)
    miner = CountingMiner(builder, BadJobs(builder.blobs, fault), frames)
    builder.open_job(make_spec(lifetime=10_000), key=ALICE)
    while builder.drawn() is None:
        miner.mine_block()
    miner.verifier.runs, start = 0, builder.height
    while builder.height < start + BLOCKS:
        miner.mine_block()
    return miner.verifier.runs / BLOCKS


@pytest.mark.parametrize("fault", ["diverging", "vanished"])
def test_bad_job_costs_at_most_four_times_the_runs_of_a_block(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = count_runs(tmp_path / "good", "", monkeypatch)
    bad = count_runs(tmp_path / fault, fault, monkeypatch)
    print(f"runs a block: {good:.0f} with a good job, {bad:.0f} with one that is {fault}")
    assert good < bad <= 4 * good
