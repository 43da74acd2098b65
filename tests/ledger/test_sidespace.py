"""What is kept off the main chain: no heartbeat without its training, and so many bytes, the trained ones longest."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from ledger import sidespace
from ledger.blocks import HEARTBEAT, Block, Header
from ledger.errors import InvalidHeader, MissingBlobs, NoRoom
from ledger.hashing import cid_of, tagged_hash
from ledger.index import Entry
from ledger.params import REGTEST
from tests.ledger.chain_builder import BOB, NOW_MS, ChainBuilder, make_genesis, make_spec

EVERY = REGTEST.heartbeat_every
JOB = tagged_hash("gc/test", b"a job that nobody knows")


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    node = ChainBuilder(tmp_path)
    node.mine_to(3 * EVERY)
    return node


def _forge(node: ChainBuilder, parent: Entry, job_id: bytes, number: int = 0) -> Block:
    """Return a block on any parent whose ticket is no run; all that can be seen without the state is right."""
    work = dataclasses.replace(
        node.template().work,
        height=parent.height + 1,
        parent=parent.hash,
        time_ms=parent.time_ms + 1,
        job_id=job_id,
        nonce=number,
    )
    return node.seal(Header(work, bytes(32), 2, 1))


def _entry_at(node: ChainBuilder, height: int) -> Entry:
    return node.chain.index[node.block_at(height).hash]


def _is_stored(node: ChainBuilder, block: Block) -> bool:
    return node.chain.get_block_bytes(block.hash) is not None


def _send_jobs(node: ChainBuilder, count: int, height: int, first: int = 0) -> list[Block]:
    """Add forged job blocks, all of one parent."""
    blocks = [_forge(node, _entry_at(node, height), JOB, number) for number in range(first, first + count)]
    for block in blocks:
        node.add(block)
    return blocks


@pytest.mark.parametrize("height", [1, EVERY, EVERY + 2])
def test_forged_heartbeat_off_the_main_chain_is_refused_and_not_kept(
    builder: ChainBuilder, height: int
) -> None:
    block = _forge(builder, _entry_at(builder, height), HEARTBEAT)
    before, runs = builder.snapshot(), builder.verifier.runs
    with pytest.raises(InvalidHeader, match="replay"):
        builder.chain.add_block(block, NOW_MS)
    assert builder.verifier.runs == runs + 1
    assert builder.snapshot() == before
    assert builder.chain.index.get(block.hash) is None
    assert not _is_stored(builder, block)


def test_forged_branch_ends_at_the_heartbeats_slot(builder: ChainBuilder) -> None:
    parent = _entry_at(builder, EVERY)
    for _ in range(EVERY - 1):  # tickets of jobs cannot be replayed without the state
        block = _forge(builder, parent, JOB)
        builder.add(block)
        parent = builder.chain.index[block.hash]
    runs = builder.verifier.runs
    with pytest.raises(InvalidHeader, match="is the heartbeat's"):
        builder.chain.add_block(_forge(builder, parent, JOB), NOW_MS)
    assert builder.verifier.runs == runs
    with pytest.raises(InvalidHeader, match="replay"):
        builder.chain.add_block(_forge(builder, parent, HEARTBEAT), NOW_MS)


def test_ticket_over_a_heartbeats_threshold_is_refused_without_a_replay(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="hard", start_target=2**250)
    node = ChainBuilder(tmp_path, make_genesis(params))
    node.mine_to(2)
    numbers = iter(range(10**4))
    while True:
        block = _forge(node, _entry_at(node, 1), HEARTBEAT, next(numbers))
        if params.start_target <= block.header.ticket < params.start_target * params.work_max:
            break  # a job with the most work could have it
    runs = node.verifier.runs
    with pytest.raises(InvalidHeader, match="heartbeat's threshold"):
        node.chain.add_block(block, NOW_MS)
    assert node.verifier.runs == runs


def test_branch_of_trained_blocks_is_kept_and_takes_over(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    builder.open_job()
    builder.mine_to(2 * EVERY + 2)
    other = builder.fork(EVERY + 1)
    while other.height < builder.height + 1:
        other.mine(heartbeat=other.height % 3 == 0, start=1000)
    for height in range(EVERY + 2, other.height + 1):
        builder.add(other.block_at(height))
    assert builder.chain.head.hash == other.chain.head.hash


def test_child_of_the_head_is_replayed_once(builder: ChainBuilder) -> None:
    block = builder.make_block()
    runs = builder.verifier.runs
    builder.add(block)
    assert builder.verifier.runs == runs + 1


# the space


def test_bytes_off_the_main_chain_are_counted_through_reorganisations_and_restarts(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path / "node", database=str(tmp_path / "chain.db"))
    builder.mine_to(6)
    other = builder.fork(3)
    for number in range(4):
        other.mine(other.transfer(BOB, BOB, number + 1), start=1000)
    lost = [builder.block_at(height) for height in range(4, 7)]
    for height in range(4, 8):
        builder.add(other.block_at(height))
    index = builder.chain.index
    expected = sum(len(block.encode()) for block in lost)
    assert (index.side_count, index.side_bytes) == (3, expected)
    builder.reopen()
    assert (builder.chain.index.side_count, builder.chain.index.side_bytes) == (3, expected)


def test_bytes_off_the_main_chain_are_bounded(builder: ChainBuilder) -> None:
    size = len(_forge(builder, _entry_at(builder, EVERY), JOB).encode())
    with patch.object(sidespace, "MAX_SIDE_BYTES", 10 * size):
        for number in range(40):
            _send_jobs(builder, 1, EVERY, number)
            assert builder.chain.index.side_bytes <= 10 * size
    stored = builder.storage.db.execute("SELECT count(*) FROM blocks").fetchone()[0]
    assert stored == builder.height + builder.chain.index.side_count


def test_trained_branch_outlasts_forged_ones_that_claim_more_work(builder: ChainBuilder) -> None:
    twin = builder.fork(EVERY - 1)
    twin.mine(start=1000)  # a heartbeat, far below what is forged
    trained = twin.block_at(EVERY)
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 8):
        builder.add(trained)
        _send_jobs(builder, 40, 2 * EVERY)
        assert builder.chain.index.side_count <= 8
    assert _is_stored(builder, trained)


def test_invalid_blocks_go_first(builder: ChainBuilder) -> None:
    bad = _forge(builder, builder.chain.head, HEARTBEAT)
    with pytest.raises(InvalidHeader, match="replay"):
        builder.chain.add_block(bad, NOW_MS)
    assert builder.chain.index[bad.hash].invalid
    weak = _send_jobs(builder, 1, 1)[0]
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 2):
        _send_jobs(builder, 1, EVERY)
    assert builder.chain.index.get(bad.hash) is None
    assert _is_stored(builder, weak)


def _mine_rival(builder: ChainBuilder, fork: int) -> list[Block]:
    """Return a branch that outweighs the chain by one block."""
    other = builder.fork(fork)
    while other.height <= builder.height:
        other.mine(start=1000)
    return [other.block_at(height) for height in range(fork + 1, other.height + 1)]


def test_branch_on_course_to_outweigh_the_main_chain_may_outgrow_the_space(builder: ChainBuilder) -> None:
    branch = _mine_rival(builder, 1)
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 4):
        others = _send_jobs(builder, 4, EVERY)
        for block in branch:
            builder.add(block)
            assert sum(_is_stored(builder, other) for other in others) <= 4
        assert builder.chain.head.hash == branch[-1].hash


def test_branch_that_cannot_outweigh_the_main_chain_in_time_gets_half_of_the_space(
    builder: ChainBuilder,
) -> None:
    branch = _mine_rival(builder, 1)
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 8), patch.object(sidespace, "MAX_BRANCH_BLOCKS", 8):
        for block in branch[:4]:
            builder.add(block)
        with pytest.raises(NoRoom, match="4 blocks"):
            builder.chain.add_block(branch[4], NOW_MS)
    assert builder.chain.index.get(branch[4].hash) is None
    for block in branch[4:]:  # it is not called wrong: with room it takes over
        builder.add(block)
    assert builder.chain.head.hash == branch[-1].hash


def test_branch_heavy_in_bytes_gets_half_of_the_space(builder: ChainBuilder) -> None:
    branch = _mine_rival(builder, 1)
    size = len(branch[0].encode())
    room = patch.object(sidespace, "MAX_SIDE_BYTES", 8 * size)
    with room, patch.object(sidespace, "MAX_BRANCH_BYTES", 8 * size):
        for block in branch[:4]:
            builder.add(block)
        with pytest.raises(NoRoom):
            builder.chain.add_block(branch[4], NOW_MS)


def test_large_branch_leaves_the_strongest_others_half_of_the_space(builder: ChainBuilder) -> None:
    branch = _mine_rival(builder, 1)
    twin = builder.fork(EVERY - 1)
    twin.mine(start=2000)
    trained = twin.block_at(EVERY)
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 8):
        builder.add(trained)
        _send_jobs(builder, 7, EVERY)
        for block in branch[:-1]:
            builder.add(block)
    assert _is_stored(builder, trained)
    assert all(_is_stored(builder, block) for block in branch[:-1])


def test_main_chain_grows_however_full_the_space_is(builder: ChainBuilder) -> None:
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 2), patch.object(sidespace, "MAX_SIDE_BYTES", 1):
        builder.open_job(make_spec())
        builder.mine_many(3)


@pytest.mark.parametrize(
    "height", [0, 2]
)  # from the head on, it outweighs the main chain with its first block
def test_branch_that_withholds_sidecars_is_no_larger_than_a_branch_may_be(
    tmp_path: Path, height: int
) -> None:
    rich, poor = ChainBuilder(tmp_path / "rich"), ChainBuilder(tmp_path / "poor")
    poor.mine_many(height)
    blob = b"GCD1 withheld"
    rich.blobs.put(blob)
    rich.mine(rich.submit(BOB, make_spec(9, data_cid=cid_of(blob), data_size=len(blob))), start=1000)
    rich.mine_many(9, heartbeat=True)
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 4), patch.object(sidespace, "MAX_BRANCH_BLOCKS", 6):
        for number in range(1, 8):
            with suppress(MissingBlobs):
                poor.chain.add_block(rich.block_at(number), NOW_MS)
        with pytest.raises(NoRoom):
            poor.chain.add_block(rich.block_at(8), NOW_MS)
    assert poor.height == height


def test_branch_on_course_is_not_cut_for_a_block_that_nobody_trained(builder: ChainBuilder) -> None:
    builder.mine_to(5 * EVERY)
    branch = _mine_rival(builder, 1)
    with patch.object(sidespace, "MAX_SIDE_BLOCKS", 8):
        for block in branch[:-2]:
            builder.add(block)
        others = _send_jobs(builder, 20, 5 * EVERY - 2)
        assert all(_is_stored(builder, block) for block in branch[:-2])
        assert sum(_is_stored(builder, other) for other in others) <= 8
        for block in branch[-2:]:
            builder.add(block)
    assert builder.chain.head.hash == branch[-1].hash
