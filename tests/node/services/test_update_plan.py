"""What a miner trains next, and when its updates are due."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ledger.mempool import Mempool
from ledger.params import COIN, REGTEST
from ledger.sidecars import most_committed
from ledger.slots import is_boundary, job_height, round_at
from node.services.kept_updates import KeptUpdate
from node.services.share_box import ShareBox
from node.services.update_plan import (
    PATIENCE_BLOCKS,
    RoundOver,
    blocks_left,
    choose_plan,
    expect_payment,
    has_ended,
    has_paying_job,
    is_due,
    is_ready,
    measure_block_s,
    take_shares,
    time_left_s,
)
from tests.ledger.chain_builder import ALICE, BOB, ChainBuilder
from tests.ledger.market_builder import (
    ESCROW,
    MadeUpdate,
    find_share,
    make_update,
    market_spec,
    mine_to_settlement,
    mine_to_window,
    open_market,
)


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def never(job_id: bytes, number: int) -> bool:
    return False


def keep(update: MadeUpdate) -> KeptUpdate:
    return KeptUpdate(update.miner.public, update.job_id, update.round, update.salt, update.payload)


def test_no_job_that_pays_is_no_plan(builder: ChainBuilder) -> None:
    assert choose_plan(builder.chain, never) is None
    open_market(builder, budget=0)
    assert choose_plan(builder.chain, never) is None


def test_plan_is_for_the_round_of_the_next_block_and_its_weights(builder: ChainBuilder) -> None:
    job = open_market(builder)
    plan = choose_plan(builder.chain, never)
    assert plan is not None
    assert (plan.job_id, plan.round) == (job, round_at(job, builder.height + 1, REGTEST))
    assert plan.weights == builder.chain.load_weights(builder.job(job).weights)
    assert plan.previous == b""


def test_plan_starts_from_the_weights_that_the_round_ends_with(builder: ChainBuilder) -> None:
    job = open_market(builder)
    made = make_update(builder, job, ALICE)
    builder.mine(builder.sign(ALICE, made.commit(find_share(builder)), fee=100_000))
    while round_at(job, builder.height + 1, REGTEST) == made.round:
        builder.mine()
    assert not is_ready(builder.chain, job, builder.job(job))  # its samples are not fixed
    mine_to_window(builder, made)
    assert not is_ready(builder.chain, job, builder.job(job))  # it is not revealed
    assert choose_plan(builder.chain, never) is None
    builder.mine(builder.sign(ALICE, made.reveal(), fee=0))
    before = builder.chain.load_weights(builder.job(job).weights)
    plan = choose_plan(builder.chain, never)
    assert plan is not None
    mine_to_settlement(builder, made)
    after = builder.chain.load_weights(builder.job(job).weights)
    assert (plan.weights, plan.previous) == (after, before)
    assert after != before


def test_silent_miner_is_not_waited_for_long(builder: ChainBuilder) -> None:
    job = open_market(builder)
    made = make_update(builder, job, ALICE)
    builder.mine(builder.sign(ALICE, made.commit(find_share(builder)), fee=100_000))
    mine_to_window(builder, made)
    while blocks_left(builder.chain, job, builder.height + 1) > PATIENCE_BLOCKS:
        assert choose_plan(builder.chain, never) is None
        builder.mine()
    assert choose_plan(builder.chain, never) is not None


def test_job_that_promises_more_comes_first_and_each_round_once(builder: ChainBuilder) -> None:
    poor = open_market(builder, budget=COIN)
    rich = builder.open_job(market_spec(2, budget=6 * COIN), escrow=ESCROW, key=BOB)
    tried: set[tuple[bytes, int]] = set()
    chosen: list[bytes] = []
    while len(chosen) < 6:
        plan = choose_plan(builder.chain, lambda job_id, number: (job_id, number) in tried)
        if plan is None:
            builder.mine()
            continue
        tried.add((plan.job_id, plan.round))
        chosen.append(plan.job_id)
    assert {poor, rich} == set(chosen)
    assert len(tried) == 6


def test_promise_follows_the_fall_of_the_loss_and_ends_at_the_budget(builder: ChainBuilder) -> None:
    job = open_market(builder)
    record, spec = builder.job(job), builder.chain_spec(job)
    assert expect_payment(spec, record) == spec.budget
    builder.mine_many(40)
    record = builder.job(job)
    before, after = record.last_losses[-2:]
    assert expect_payment(spec, record) == min(
        spec.budget, spec.price * max(0.001, (before - after) / before)
    )


def test_time_left_leaves_blocks_for_the_commitment(builder: ChainBuilder) -> None:
    job = open_market(builder)
    while not is_boundary(job, builder.height, REGTEST):
        builder.mine()
    lefts = [time_left_s(builder.chain, job, builder.height + 1 + i, 2.0) for i in range(6)]
    assert lefts == [8.0, 6.0, 4.0, 2.0, 0.0, -2.0]
    assert job_height(job, builder.height, REGTEST) % 6 == 0


def test_pace_is_that_of_the_last_blocks(builder: ChainBuilder) -> None:
    assert measure_block_s(builder.chain) == 1.0  # nothing is known yet
    builder.mine_many(20)
    assert measure_block_s(builder.chain) == pytest.approx(REGTEST.interval_ms / 1000)


def test_shares_of_a_commitment_leave_room_for_others(builder: ChainBuilder) -> None:
    job = open_market(builder)
    box = ShareBox()
    for i in range(10):
        box.add(find_share(builder, start=1000 * i))
    update = KeptUpdate(ALICE.public, job, round_at(job, builder.height + 1, REGTEST), bytes(32), bytes(100))
    now = round_at(job, builder.height + 1, REGTEST)
    assert len(take_shares(builder.chain, box, [], update)) == REGTEST.block_shares // 2
    others = [make_update(builder, job, BOB, number=i).commit(find_share(builder, BOB)) for i in range(11)]
    left = blocks_left(builder.chain, job, builder.height + 1)
    room = REGTEST.block_shares * left // (len(others) + 1)
    assert len(take_shares(builder.chain, box, others, update)) == max(1, min(8, room))
    with pytest.raises(RoundOver):
        take_shares(builder.chain, box, [], replace(update, round=now - 1))


def test_large_payload_waits_for_the_shares_that_may_declare_it(builder: ChainBuilder) -> None:
    job = open_market(builder)
    now = round_at(job, builder.height + 1, REGTEST)
    large = KeptUpdate(ALICE.public, job, now, bytes(32), bytes(most_committed(1, REGTEST) + 1))
    box = ShareBox()
    box.add(find_share(builder))
    assert take_shares(builder.chain, box, [], large) == ()
    box.add(find_share(builder, start=1000))
    assert len(take_shares(builder.chain, box, [], large)) == 2


def test_update_is_due_in_its_window_and_ended_a_round_after_its_settlement(builder: ChainBuilder) -> None:
    job = open_market(builder)
    made = make_update(builder, job, ALICE)
    update, pool = keep(made), Mempool(builder.chain.rules)
    assert update.commitment == made.commitment
    assert not is_due(builder.chain, update)
    assert not has_ended(builder.chain, update, pool)  # it may still be committed to
    builder.mine(builder.sign(ALICE, update.make_commit((find_share(builder).encode(),)), fee=100_000))
    assert not is_due(builder.chain, update)
    mine_to_window(builder, made)
    assert is_due(builder.chain, update)
    builder.mine(builder.sign(ALICE, update.make_reveal(), fee=0))
    assert not is_due(builder.chain, update)
    mine_to_settlement(builder, made)
    assert not has_ended(builder.chain, update, pool)
    builder.mine_many(REGTEST.round_length)
    assert has_ended(builder.chain, update, pool)


def test_update_whose_round_went_by_without_it_has_ended(builder: ChainBuilder) -> None:
    job = open_market(builder)
    made = make_update(builder, job, ALICE)
    mine_to_window(builder, made)
    assert has_ended(builder.chain, keep(made), Mempool(builder.chain.rules))


def test_market_only_job_is_planned_for_from_its_first_round_on(builder: ChainBuilder) -> None:
    """Nobody's tickets or updates are waited for; shares are the heartbeat's."""
    job = open_market(builder, market_only=1, burn=0)
    assert is_ready(builder.chain, job, builder.job(job))
    assert has_paying_job(builder.chain)
    plan = choose_plan(builder.chain, never)
    assert plan is not None
    assert (plan.job_id, plan.previous) == (job, b"")
    box = ShareBox()
    share = find_share(builder)
    box.add(share)
    builder.mine(miner=BOB)
    update = KeptUpdate(ALICE.public, job, round_at(job, builder.height + 1, REGTEST), bytes(32), bytes(100))
    assert take_shares(builder.chain, box, (), update) == (share.encode(),)


def test_plan_for_a_continued_job_starts_with_its_parents_momentum(builder: ChainBuilder) -> None:
    parent = open_market(builder)
    while builder.job(parent).version < 2:
        builder.mine()
    builder.mine(builder.cancel(ALICE, parent))
    builder.mine_many(2 * REGTEST.round_length)
    ended = builder.job(parent)
    child = open_market(builder, number=3, parent=parent, parent_weights=ended.weights)
    plan = choose_plan(builder.chain, never)
    assert plan is not None
    assert plan.job_id == child
    assert plan.weights == builder.chain.load_weights(ended.weights)
    assert plan.previous == builder.chain.load_weights(ended.earlier[-1])
