"""Amounts: coinbase and maturity, fees, burns, lock and escrow, rent, refunds, and the supply they add up to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ledger.params import COIN, MAINNET, REGTEST
from ledger.records import JobStatus, Reason, immature_key
from ledger.slots import is_boundary
from ledger.transition import subsidy_at
from tests.ledger.chain_builder import ALICE, BOB, CAROL, MINER, ChainBuilder, make_genesis, make_spec

COINBASE = REGTEST.coinbase
START = 100_000 * COIN


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def test_coinbase_matures_after_ten_blocks(builder: ChainBuilder) -> None:
    builder.mine()
    builder.mine_many(9)
    assert builder.account(MINER).balance == START
    assert builder.view.get_income(11) == ((MINER.address, COINBASE),)
    builder.mine()
    assert builder.height == 11
    assert builder.account(MINER).balance == START + COINBASE
    assert builder.chain.state.get(immature_key(11)) is None


def test_income_is_spendable_in_the_block_in_which_it_matures(builder: ChainBuilder) -> None:
    builder.mine()
    builder.mine_many(9)
    all_of_it = START + COINBASE - 10_000
    builder.mine(builder.transfer(MINER, BOB, all_of_it), miner=CAROL)
    assert builder.account(MINER).balance == 0
    assert builder.account(BOB).balance == START + all_of_it


def test_half_of_the_fee_rounded_up_is_burned_and_the_rest_mined(builder: ChainBuilder) -> None:
    builder.mine(builder.sign(ALICE, builder.transfer(ALICE, BOB, 7).body, fee=1001))
    assert builder.account(ALICE).balance == START - 7 - 1001
    assert builder.account(ALICE).nonce == 1
    assert builder.account(BOB).balance == START + 7
    assert builder.supply().burned == 501
    assert builder.view.get_income(11) == ((MINER.address, COINBASE + 500),)
    assert builder.supply().issued == 10 * START + COINBASE


def test_transfer_to_oneself_costs_only_the_fee(builder: ChainBuilder) -> None:
    builder.mine(builder.transfer(ALICE, ALICE, START - 10_000))
    assert builder.account(ALICE).balance == START - 10_000


def test_transactions_see_what_earlier_ones_left(builder: ChainBuilder) -> None:
    builder.mine(
        builder.transfer(ALICE, BOB, START - 10_000),
        builder.transfer(BOB, CAROL, 2 * START - 20_000),
        builder.transfer(CAROL, ALICE, 5, nonce=0),
        builder.transfer(CAROL, ALICE, 6, nonce=1),
    )
    assert [builder.account(k).balance for k in (ALICE, BOB)] == [11, 0]
    assert builder.account(CAROL).nonce == 2


def test_subsidy_halves_and_ends() -> None:
    halving = REGTEST.halving_blocks
    assert [subsidy_at(h, REGTEST) for h in (1, halving - 1, halving)] == [COINBASE, COINBASE, COINBASE // 2]
    assert subsidy_at(32 * halving, REGTEST) == 1
    assert subsidy_at(33 * halving, MAINNET) == 0
    assert subsidy_at(100 * halving, REGTEST) == 0


def test_submission_moves_the_escrow_and_locks_fifty_burns(builder: ChainBuilder) -> None:
    spec = make_spec(burn=COIN)
    job = builder.open_job(spec, escrow=80 * COIN)
    record = builder.job(job)
    rent = REGTEST.rent if is_boundary(job, 1, REGTEST) else 0
    assert (record.lock, record.escrow) == (50 * COIN, 30 * COIN - rent)
    assert builder.account(ALICE).balance == START - 80 * COIN - 10_000
    assert (record.owner, record.submitted, record.status) == (ALICE.address, 1, JobStatus.LIVE)


def test_every_drawn_height_burns_first_the_lock_then_the_escrow(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="short", lock_slots=3, draw_window=63)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    job = builder.open_job(make_spec(burn=COIN), escrow=40 * COIN)
    while builder.height < 30:
        before, burned, drawn = builder.job(job), builder.supply().burned, builder.drawn()
        builder.mine(heartbeat=builder.height % 7 == 0)
        after = builder.job(job)
        rent = params.rent if is_boundary(job, builder.height, params) else 0
        cost = COIN if drawn else 0
        assert before.lock + before.escrow - after.lock - after.escrow == cost + rent
        assert builder.supply().burned - burned == cost + rent
        assert after.lock == max(0, before.lock - cost)
        assert after.drawn == before.drawn + (drawn is not None)
    assert builder.job(job).lock == 0


def test_mask_of_lost_draws_has_the_newest_lowest(builder: ChainBuilder) -> None:
    job = builder.open_job()
    lost: list[bool] = []
    drawn = 0
    while drawn < 60:
        takes = builder.drawn() == job
        heartbeat = drawn % 3 == 1
        builder.mine(heartbeat=heartbeat)
        if takes:
            drawn += 1
            lost.insert(0, heartbeat)
            record = builder.job(job)
            assert record.drawn == min(drawn, 50)
            assert record.lost == sum(1 << i for i, was in enumerate(lost[:50]) if was)


def test_refund_matures_like_a_coinbase_and_the_lock_is_burned(builder: ChainBuilder) -> None:
    job = builder.open_job(key=BOB)
    builder.mine(builder.cancel(BOB, job))
    while builder.job(job).status is not JobStatus.CANCELLED:
        before, burned = builder.job(job), builder.supply().burned
        drawn = builder.drawn()
        builder.mine()
    ended = builder.height
    assert builder.job(job).reason is Reason.CANCELLED
    assert (builder.job(job).escrow, builder.job(job).lock, builder.job(job).pending) == (0, 0, ())
    assert drawn is None
    assert builder.supply().burned - burned == before.lock
    assert builder.view.get_income(ended + 10)[0] == (BOB.address, before.escrow)
    balance = builder.account(BOB).balance
    builder.mine_many(9)
    assert builder.account(BOB).balance == balance
    builder.mine()
    assert builder.account(BOB).balance == balance + before.escrow


def test_job_closes_when_its_escrow_cannot_carry_a_round(builder: ChainBuilder) -> None:
    budget = 7 * COIN
    spec = make_spec(burn=COIN, budget=budget)
    round_cost = 6 * COIN + REGTEST.rent + 2 * budget
    job = builder.open_job(spec, escrow=50 * COIN + round_cost + COIN)
    while builder.job(job).status is JobStatus.LIVE:
        before = builder.job(job)
        drawn = builder.drawn()
        builder.mine()
    left = before.escrow + before.lock - (COIN if drawn else 0)
    after = builder.job(job)
    assert (after.status, after.reason) == (JobStatus.CLOSING, Reason.ESCROW)
    assert left < round_cost
    assert after.escrow + after.lock == left  # no rent any more
    builder.mine_many(6)
    assert builder.job(job).status is JobStatus.DONE
    assert builder.job(job).reason is Reason.ESCROW


def test_burn_is_never_short_whatever_is_drawn(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="bare", heartbeat_every=1000, lock_slots=1, rent=2 * COIN)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    jobs = []
    for number in range(3):
        spec = make_spec(number, burn=COIN)
        jobs.append(builder.open_job(spec, escrow=(1 + 6 + 2 + number) * COIN + 13))
    while any(builder.job(job).status is not JobStatus.DONE for job in jobs):
        builder.mine()
    assert builder.height < 60
