"""The chain with toy work: connecting, restarting, reorganising, fork choice, rollback, failures of the disk."""

from __future__ import annotations

import dataclasses
import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from ledger import sidespace
from ledger.blocks import Block, Header
from ledger.chain import CannotJudge
from ledger.difficulty import ANCHOR_HEIGHT
from ledger.errors import InvalidBlock, InvalidHeader, LedgerError, MissingBlobs, UnknownParent
from ledger.genesis import Genesis
from ledger.hashing import cid_of
from ledger.params import COIN, REGTEST
from ledger.records import JOB, decode_job
from ledger.state import State
from ledger.storage import Storage
from ledger.transactions import Transaction
from ledger.undo import decode_undo
from tests.ledger.chain_builder import (
    ALICE,
    BOB,
    CAROL,
    DATA,
    GENESIS,
    NOW_MS,
    ChainBuilder,
    make_genesis,
    make_spec,
)

PRUNING = make_genesis(dataclasses.replace(REGTEST, versions_kept=2))
WRITES = sorted(name for name in vars(Storage) if name.startswith(("put_", "delete_", "mark_")))


def _grow(builder: ChainBuilder, height: int, rng: random.Random) -> None:
    """Mine to a height with transfers and now and then a heartbeat off its slot, by chance."""
    while builder.height < height:
        sender, to = rng.sample([ALICE, BOB, CAROL], 2)
        txs = [builder.transfer(sender, to, rng.randrange(1, COIN))] if rng.random() < 0.5 else []
        builder.mine(*txs, heartbeat=rng.random() < 0.2, start=rng.randrange(2**30))


def _weights_are_kept(builder: ChainBuilder) -> None:
    for key, value in builder.chain.state.entries().items():
        if key[0] == JOB:
            cid = decode_job(value).weights
            assert cid_of(builder.chain.load_weights(cid)) == cid


def test_sixty_blocks_with_jobs_settle_and_survive_a_restart(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path, database=str(tmp_path / "chain.db"))
    first, second = builder.open_job(make_spec(1)), builder.open_job(make_spec(2), key=BOB)
    builder.mine(builder.transfer(ALICE, CAROL, 5 * COIN))
    builder.mine_to(60)
    assert len(builder.chain.list_settlements(first)) >= 7
    assert builder.job(first).version >= 5
    assert builder.job(second).version >= 5
    before = builder.snapshot()
    builder.reopen()
    assert builder.snapshot() == before
    builder.mine_to(70)


def test_heavier_branch_takes_over_with_its_state_and_weights(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    job = builder.open_job()
    builder.mine_to(30)
    other = builder.fork(15)
    _grow(other, 31, random.Random(1))
    assert other.job(job).weights != builder.job(job).weights
    for height in range(16, 31):
        assert not builder.add(other.block_at(height)).connected
    added = builder.add(other.block_at(31))
    assert [b.header.work.height for b in added.disconnected] == list(range(30, 15, -1))
    assert [b.header.work.height for b in added.connected] == list(range(16, 32))
    assert dict(builder.chain.state.entries()) == dict(other.chain.state.entries())
    assert builder.chain.list_settlements(job) == other.chain.list_settlements(job)
    _weights_are_kept(builder)


def test_reorganisation_of_twenty_blocks_leaves_no_trace_of_the_loser(tmp_path: Path) -> None:
    """State, weights, settlements and what is found of transactions are as on a node that never saw it."""
    builder = ChainBuilder(tmp_path)
    job = builder.open_job()
    _grow(builder, 40, random.Random(2))
    winner = builder.fork(20)
    _grow(winner, 41, random.Random(3))
    for height in range(21, 42):
        added = builder.add(winner.block_at(height))
    assert len(added.disconnected) == 20
    never = winner.fork(41)
    assert builder.chain.head.hash == never.chain.head.hash
    assert builder.chain.state.root == never.chain.state.root
    assert dict(builder.chain.state.entries()) == dict(never.chain.state.entries())
    cid = never.job(job).weights
    assert builder.chain.load_weights(cid) == never.chain.load_weights(cid)
    assert builder.chain.list_settlements(job) == never.chain.list_settlements(job)
    assert len(builder.chain.list_settlements(job)) >= 5
    for table in ("main", "state", "settlements", "transactions"):
        query = f"SELECT * FROM {table}"
        assert builder.storage.db.execute(query).fetchall() == never.storage.db.execute(query).fetchall()
    builder.mine_many(3)


def test_equal_work_keeps_the_first_seen(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    builder.mine_many(3)
    other = builder.fork(2)
    rival = other.mine(start=999)
    assert rival.hash != builder.chain.head.hash
    assert builder.add(rival).connected == ()
    assert builder.chain.head.hash != rival.hash
    child = other.mine()
    added = builder.add(child)
    assert [b.hash for b in added.connected] == [rival.hash, child.hash]


def test_most_work_wins_over_most_blocks(tmp_path: Path) -> None:
    params = dataclasses.replace(
        REGTEST, name="hard", start_target=2**254, fixed_target=0, half_life_blocks=2, interval_ms=1000
    )
    builder = ChainBuilder(tmp_path, make_genesis(params))
    common = ANCHOR_HEIGHT + 1
    builder.mine_many(common)
    slow, fast = builder.fork(common), builder.fork(common)
    for step_ms, node in ((9000, slow), (1, fast)):
        for _ in range(4 if node is slow else 3):
            template = node.template()
            work = dataclasses.replace(template.work, time_ms=node.chain.head.time_ms + step_ms)
            node.add(node.solve(template, work=work))
    assert slow.height > fast.height
    assert slow.chain.head.chain_work < fast.chain.head.chain_work
    for node in (slow, fast):
        for height in range(common + 1, node.height + 1):
            builder.add(node.block_at(height))
    assert builder.chain.head.hash == fast.chain.head.hash


def test_unknown_parent_is_neither_kept_nor_judged(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    other = builder.fork(0)
    other.mine_many(2)
    with pytest.raises(UnknownParent):
        builder.chain.add_block(other.block_at(2), NOW_MS)
    builder.add(other.block_at(1))
    builder.add(other.block_at(2))
    assert builder.height == 2


def test_known_block_is_no_news(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    block = builder.mine()
    before = builder.snapshot()
    added = builder.add(block)
    assert (added.known, added.connected, added.disconnected) == (True, (), ())
    assert builder.snapshot() == before


@pytest.mark.parametrize("seed", range(4))
def test_random_trees_end_in_the_state_of_the_best_branch(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    node = ChainBuilder(tmp_path, PRUNING)
    for number in range(rng.randrange(1, 4)):
        node.open_job(make_spec(number), key=[ALICE, BOB, CAROL][number])
    _grow(node, 24, rng)
    tips, blocks = [node.fork(node.height)], []
    for _ in range(4):
        source = rng.choice(tips)
        branch = source.fork(source.height - rng.randrange(1, 20))
        start = branch.height
        _grow(branch, start + rng.randrange(1, 24), rng)
        blocks += [branch.block_at(h) for h in range(start + 1, branch.height + 1)]
        tips.append(branch)
    roots = {tip.chain.head.hash: tip.chain.state.root for tip in tips}
    waiting = blocks[:]
    while waiting:
        rng.shuffle(waiting)
        for block in waiting[:]:
            try:
                node.add(block)
                waiting.remove(block)
            except UnknownParent:
                continue
    assert node.chain.head.chain_work == max(tip.chain.head.chain_work for tip in tips)
    best = next(tip for tip in tips if tip.chain.head.hash == node.chain.head.hash)
    assert node.chain.state.root == roots[node.chain.head.hash]
    assert dict(node.chain.state.entries()) == dict(best.chain.state.entries())
    assert node.chain.state.root == State(node.storage.load_state()).root
    _weights_are_kept(node)
    _undo_everything(node)


def _undo_everything(node: ChainBuilder) -> None:
    """Take back every block, checking the root that the next header has; down to genesis."""
    chain = node.chain
    while chain.head.height:
        block = chain._disconnect_head()
        assert chain.state.root == block.header.work.state_root
    assert dict(chain.state.entries()) == dict(ChainBuilder(node.folder, node.genesis).chain.state.entries())
    assert chain.state.active_jobs == set()
    assert node.storage.load_state() == dict(chain.state.entries())


def test_reorganisation_deeper_than_the_versions_kept_restores_weights(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path, PRUNING)
    job = builder.open_job()
    builder.mine_to(64)
    versions = [s.settlement.new_weights for s in builder.chain.list_settlements(job)]
    assert builder.storage.get_weights(versions[0]) is None
    assert cid_of(builder.chain.load_weights(versions[0])) == versions[0]  # step by step back
    with pytest.raises(LedgerError, match="not kept"):
        builder.chain.load_weights(cid_of(b"no version"))
    other = builder.fork(14)
    _grow(other, 66, random.Random(5))
    for height in range(15, 67):
        builder.add(other.block_at(height))
    assert builder.chain.head.hash == other.chain.head.hash
    assert builder.chain.load_weights(builder.job(job).weights)


def test_pruning_spares_weights_that_another_job_shares(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path, PRUNING)
    moving = builder.open_job(make_spec(1, burn=4 * COIN), escrow=1000 * COIN)
    resting = builder.open_job(make_spec(1), key=BOB)
    assert builder.job(moving).weights == builder.job(resting).weights
    while builder.job(moving).version < 8:
        builder.mine(heartbeat=builder.drawn() == resting)
    builder.mine_to(builder.height + 32)
    _weights_are_kept(builder)


def test_weights_of_a_branch_that_lost_go_with_the_next_pruning(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path, PRUNING)
    job = builder.open_job()
    builder.mine_to(30)
    lost = {s.settlement.new_weights for s in builder.chain.list_settlements(job) if s.height > 12}
    other = builder.fork(12)
    _grow(other, 48, random.Random(7))
    for height in range(13, 49):
        builder.add(other.block_at(height))
    lost -= {s.settlement.new_weights for s in builder.chain.list_settlements(job)}
    assert len(lost) >= 2
    assert not lost & set(builder.storage.list_weights())
    assert len(builder.storage.list_weights()) <= PRUNING.params.versions_kept + 1
    _weights_are_kept(builder)


def _sign_over(node: ChainBuilder, block: Block, **changes: object) -> Block:
    """Return a block whose ticket is right for a header with other work fields."""
    work = dataclasses.replace(block.header.work, **changes)  # type: ignore[arg-type]
    template = node.template(*block.transactions, heartbeat=True)
    return node.solve(template, work=work)


def test_invalid_block_within_a_heavier_branch_leaves_everything_as_it_was(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    builder.open_job()
    builder.mine_to(16)
    other = builder.fork(8)
    _grow(other, 12, random.Random(3))
    bad = other.solve(other.template(heartbeat=True))
    bad_work = dataclasses.replace(bad.header.work, state_root=bytes(32))
    bad = other.solve(other.template(heartbeat=True), work=bad_work)
    branch = [other.block_at(h) for h in range(9, 13)] + [bad]
    while branch[-1].header.work.height < 17:
        branch.append(_child_of(other, branch[-1]))
    for block in branch[:-1]:
        builder.add(block)
    before = builder.snapshot()
    with pytest.raises(InvalidHeader, match="state root"):
        builder.chain.add_block(branch[-1], NOW_MS)
    assert builder.snapshot() == before
    index = builder.chain.index
    assert [index[block.hash].invalid for block in branch] == [False] * 4 + [True] * 5
    with pytest.raises(InvalidBlock, match="before"):
        builder.chain.add_block(bad, NOW_MS)
    with pytest.raises(InvalidHeader, match="parent"):
        builder.chain.add_block(_child_of(other, branch[-1]), NOW_MS)
    builder.mine()


def _child_of(node: ChainBuilder, parent: Block) -> Block:
    """Return a heartbeat on any parent, whose state nobody knows."""
    work = dataclasses.replace(
        node.template(heartbeat=True).work,
        parent=parent.hash,
        height=parent.header.work.height + 1,
        time_ms=parent.header.work.time_ms + 1000,
    )
    return node.solve(node.template(heartbeat=True), work=work)


def test_invalid_mark_survives_a_restart(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path, database=str(tmp_path / "chain.db"))
    builder.mine_many(2)
    template = builder.template()
    bad = builder.solve(template, work=dataclasses.replace(template.work, state_root=bytes(32)))
    with pytest.raises(InvalidHeader):
        builder.chain.add_block(bad, NOW_MS)
    builder.reopen()
    assert builder.chain.index[bad.hash].invalid
    builder.mine()


def test_missing_sidecar_parks_and_its_arrival_connects(tmp_path: Path) -> None:
    rich = ChainBuilder(tmp_path / "rich")
    poor = ChainBuilder(tmp_path / "poor")
    blob = b"GCD1 another"
    rich.blobs.put(blob)
    spec = make_spec(9, data_cid=cid_of(blob), data_size=len(blob))
    rich.open_job(spec)
    rich.mine_many(3)
    before = poor.snapshot()
    for height in range(1, 5):
        with pytest.raises(MissingBlobs) as caught:
            poor.chain.add_block(rich.block_at(height), NOW_MS)
        assert caught.value.cids == (cid_of(blob),)
    assert poor.snapshot() == before
    assert not any(entry.invalid for entry in poor.chain.index.entries())
    poor.blobs.put(blob)
    assert len(poor.add(rich.block_at(4)).connected) == 4
    assert poor.chain.state.root == rich.chain.state.root


def test_damaged_sidecar_parks_and_is_asked_for_again(tmp_path: Path) -> None:
    rich = ChainBuilder(tmp_path / "rich")
    poor = ChainBuilder(tmp_path / "poor")
    block = rich.make_block(rich.submit(ALICE, make_spec()))
    path = poor.blobs.path_of(cid_of(DATA))
    path.write_bytes(b"GCD1 toy datA")
    with pytest.raises(MissingBlobs):
        poor.chain.add_block(block, NOW_MS)
    assert not path.exists()
    poor.blobs.put(DATA)
    assert poor.add(block).connected


def test_ticket_without_work_is_invalid_even_if_sidecars_are_missing(tmp_path: Path) -> None:
    rich, poor = ChainBuilder(tmp_path / "rich"), ChainBuilder(tmp_path / "poor")
    block = rich.make_block(_submit_unknown(rich))
    header = dataclasses.replace(block.header, digest=bytes(32))
    while header.ticket >= rich.template().threshold:  # found by hashing alone
        header = dataclasses.replace(header, before=header.before + 1)
    with pytest.raises(InvalidHeader, match="replay"):
        poor.chain.add_block(rich.seal(header, *block.transactions), NOW_MS)
    assert poor.chain.index[header.hash].invalid


def _submit_unknown(builder: ChainBuilder) -> Transaction:
    """Return a submission whose data lie with this builder only."""
    blob = b"GCD1 withheld"
    builder.blobs.put(blob)
    return builder.submit(ALICE, make_spec(9, data_cid=cid_of(blob), data_size=len(blob)))


def test_nothing_is_taken_back_for_a_branch_that_lacks_sidecars(tmp_path: Path) -> None:
    rich, poor = ChainBuilder(tmp_path / "rich"), ChainBuilder(tmp_path / "poor")
    poor.mine_many(4)
    for _ in range(4):
        rich.mine(start=1000)
    rich.mine(_submit_unknown(rich))
    for height in range(1, 5):
        poor.add(rich.block_at(height))
    with patch.object(poor.chain, "_disconnect_head") as disconnect, pytest.raises(MissingBlobs):
        poor.chain.add_block(rich.block_at(5), NOW_MS)
    disconnect.assert_not_called()
    poor.blobs.put(rich.blobs.get(cid_of(b"GCD1 withheld")))
    assert len(poor.add(rich.block_at(5)).connected) == 5


def test_headers_after_a_locator_continue_the_main_chain(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    builder.mine_many(30)
    other = builder.fork(20)
    for _ in range(15):
        other.mine(miner=BOB)
    found = builder.chain.headers_after(other.chain.index.locator(), 4)
    known = found[0][0].work.height - 1
    assert 0 < known <= 20
    assert [h.work.height for h, _ in found] == [known + 1, known + 2, known + 3, known + 4]
    assert found[0] == (builder.block_at(known + 1).header, builder.block_at(known + 1).signature)
    assert builder.chain.headers_after([], 1)[0][0].work.height == 1
    assert builder.chain.headers_after([bytes(32)], 1)[0][0].work.height == 1
    assert builder.chain.headers_after([builder.chain.head.hash], 10) == []


def test_transactions_are_found_on_the_main_chain_only(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    builder.mine()
    tx = builder.transfer(ALICE, BOB, 1)
    builder.mine(builder.transfer(BOB, ALICE, 1), tx)
    assert builder.chain.find_transaction(tx.txid) == (2, 1)
    other = builder.fork(1)
    other.mine_many(2)
    for height in (2, 3):
        builder.add(other.block_at(height))
    assert builder.chain.find_transaction(tx.txid) is None


def test_judging_near_the_head_is_right_and_farther_refused(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    builder.open_job()
    builder.mine_to(20)
    for height in range(13, 21):
        block = builder.block_at(height)
        builder.chain.judge_header(block.header, block.signature, NOW_MS)
    old = builder.block_at(12)
    with pytest.raises(CannotJudge):
        builder.chain.judge_header(old.header, old.signature, NOW_MS)


def test_full_side_space_drops_the_weakest_and_lets_the_main_chain_grow(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path, database=str(tmp_path / "chain.db"))
    builder.mine_many(3)
    strong = builder.fork(1)
    strong.mine_many(2, heartbeat=True)
    kept = [strong.block_at(2), strong.block_at(3)]
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 8):
        for block in kept:
            builder.add(block)
        weak = builder.fork(0)
        for number in range(30):
            builder.add(weak.make_block(start=number * 1000 + 7, miner=BOB))
            side = len(builder.chain.index) - len(builder.chain.index.main)
            assert side <= 8
        builder.mine_many(2)
    assert all(builder.chain.index.get(block.hash) for block in kept)
    builder.reopen()
    assert builder.height == 5


@contextmanager
def _failing(write: str, countdown: int) -> Iterator[list[int]]:
    """Let the n-th call of a storage write fail; yields the number of calls left."""
    original = getattr(Storage, write)
    left = [countdown]

    def fail(self: Storage, *args: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise sqlite3.OperationalError("disk I/O error")
        return original(self, *args)

    with patch.object(Storage, write, fail):
        yield left


@pytest.mark.parametrize("write", WRITES)
def test_failing_disk_leaves_memory_and_database_as_they_were(tmp_path: Path, write: str) -> None:
    builder = ChainBuilder(tmp_path, PRUNING)
    builder.open_job()
    _grow(builder, 34, random.Random(2))
    other = builder.fork(22)
    _grow(other, 40, random.Random(7))
    bad = _child_of(other, other.block_at(40))
    work = dataclasses.replace(bad.header.work, state_root=bytes(32))
    bad = other.solve(other.template(heartbeat=True), work=work)
    if write == "mark_invalid":
        _grow(builder, 40, random.Random(8))
    blocks = [other.block_at(h) for h in range(23, 41)] + [bad]
    failures = 0
    for block in blocks:
        for countdown in (0, 1, 5):
            before, known = builder.snapshot(), len(builder.chain.index)
            try:
                with _failing(write, countdown):
                    builder.chain.add_block(block, NOW_MS)
            except sqlite3.OperationalError:
                failures += 1
                assert builder.snapshot() == before
                assert State(builder.storage.load_state()).root == builder.chain.state.root
                if write == "put_block":
                    assert len(builder.chain.index) == known
                assert not builder.chain.index.head.invalid
            except InvalidHeader:
                break
    assert failures or write in ("put_meta", "delete_block")
    with pytest.raises((InvalidHeader, InvalidBlock)):
        builder.chain.add_block(bad, NOW_MS)
    builder.add(other.block_at(40))  # what failed before connects when it is added again
    if write != "mark_invalid":
        assert builder.chain.head.hash == other.chain.head.hash
        assert builder.chain.state.root == other.chain.state.root


@pytest.mark.parametrize("word", ["COMMIT", "BEGIN IMMEDIATE"])
def test_failing_commit_leaves_memory_and_database_as_they_were(tmp_path: Path, word: str) -> None:
    builder = ChainBuilder(tmp_path)
    builder.open_job()
    builder.mine_to(12)
    block = builder.make_block(builder.transfer(ALICE, BOB, 1))
    before = builder.snapshot()
    for healthy in (0, 1):
        connection = _FailingConnection(builder.storage.db, word, healthy)
        real = builder.storage.db
        object.__setattr__(builder.storage, "db", connection)
        with pytest.raises(sqlite3.OperationalError):
            builder.chain.add_block(block, NOW_MS)
        object.__setattr__(builder.storage, "db", real)
        assert builder.snapshot() == before
    assert builder.add(block).connected


class _FailingConnection:
    """Passes statements on, except one after some good ones."""

    def __init__(self, real: sqlite3.Connection, word: str, healthy: int) -> None:
        self._real, self._word, self._healthy = real, word, healthy

    def execute(self, query: str, *args: object) -> object:
        if query == self._word:
            self._healthy -= 1
            if self._healthy < 0:
                raise sqlite3.OperationalError("database or disk is full")
        return self._real.execute(query, *args)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def test_fault_of_the_verifier_rolls_back_and_judges_nothing(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    builder.open_job()
    builder.mine_to(20)
    other = builder.fork(12)
    _grow(other, 21, random.Random(4))
    for height in range(13, 21):
        builder.add(other.block_at(height))
    before = builder.snapshot()
    with (
        patch.object(builder.verifier, "settle", side_effect=RuntimeError("out of memory")),
        pytest.raises(RuntimeError),
    ):
        builder.chain.add_block(other.block_at(21), NOW_MS)
    assert builder.snapshot() == before
    assert builder.add(other.block_at(21)).connected


def test_database_of_another_chain_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "chain.db")
    ChainBuilder(tmp_path, database=path).storage.close()
    with pytest.raises(LedgerError, match="another chain"):
        ChainBuilder(tmp_path, Genesis(REGTEST), database=path)


def test_database_whose_supply_is_off_is_refused(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path, database=str(tmp_path / "chain.db"))
    builder.mine()
    builder.storage.db.execute("DELETE FROM state WHERE key = ?", (b"\x01" + ALICE.address,))
    with pytest.raises(LedgerError, match="damaged"):
        builder.reopen()


def test_undo_of_every_block_round_trips(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    builder.open_job()
    builder.mine_to(26)
    steps = 0
    for height in range(1, 27):
        data = builder.storage.get_undo(builder.block_at(height).hash)
        assert data is not None
        undo = decode_undo(data)
        assert undo.encode() == data
        steps += len(undo.steps)
    assert steps == builder.job(builder.block_at(1).transactions[0].txid).version


def test_genesis_state_is_the_allocations(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    assert builder.height == 0
    assert builder.chain.head.hash == GENESIS.chain_id
    assert builder.supply().issued == GENESIS.issued
    assert builder.account(ALICE).balance == 100_000 * COIN


def test_header_of_signed_header_is_decoded_alike(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    block = builder.mine(builder.transfer(ALICE, BOB, 1))
    header: Header = builder.chain.headers_after([], 1)[0][0]
    assert header == block.header
