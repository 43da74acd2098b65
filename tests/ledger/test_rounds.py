"""Rounds, settlements, slots, and how a job's life ends, pauses and goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.hashing import cid_of, tagged_hash, word
from ledger.history import decode_settlement, encode_settlement
from ledger.jobspec import encode_spec
from ledger.params import COIN, REGTEST, TESTNET, ChainParams
from ledger.records import JobRecord, JobStatus, Reason
from ledger.slots import draw_job, is_boundary, job_height, round_at
from ledger.state import Overlay, State
from ledger.work import Settled, SettleTask
from tests.ledger.chain_builder import ALICE, BOB, ChainBuilder, make_genesis, make_spec
from tests.ledger.test_records import RECORD
from tests.ledger.toy_work import STEADY, STUCK, WORK

E = REGTEST.round_length


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def _with_params(folder: Path, **changes: object) -> ChainBuilder:
    params = dataclasses.replace(REGTEST, name="odd", **changes)  # type: ignore[arg-type]
    return ChainBuilder(folder, make_genesis(params))


def _mine_until(builder: ChainBuilder, done: Callable[[], bool], most: int = 400, **how: bool) -> None:
    for _ in range(most):
        if done():
            return
        builder.mine(**how)  # type: ignore[arg-type]
    raise AssertionError(f"not within {most} blocks")


@pytest.mark.parametrize("params", [REGTEST, TESTNET])
def test_round_holds_heights_above_its_start_up_to_its_boundary(params: ChainParams) -> None:
    length = params.round_length
    for offset in (0, 1, length - 1, length, 2**32 - 1):
        job = offset.to_bytes(4, "big") + bytes(28)
        for height in range(1, 3 * length):
            shifted = height + offset % length
            assert job_height(job, height, params) == shifted
            number = round_at(job, height, params)
            assert number * length < shifted <= (number + 1) * length
            assert is_boundary(job, height, params) == (shifted == (number + 1) * length)


@pytest.mark.parametrize("wait", range(7))
def test_first_round_is_the_one_after_the_submission(builder: ChainBuilder, wait: int) -> None:
    builder.mine_many(wait)
    job = builder.open_job()
    first = builder.job(job).first_round
    assert first == round_at(job, wait + 1, REGTEST) + 1
    drawn = []
    for _ in range(12):
        height = builder.height + 1
        if round_at(job, height, REGTEST) < first or height % 4 == 0:
            assert builder.drawn() is None
        else:
            assert builder.drawn() == job
            drawn.append(height)
        builder.mine()
    start = next(h for h in range(wait, 99) if round_at(job, h, REGTEST) == first)
    assert drawn[0] == start + (start % 4 == 0)


def test_rounds_start_two_versions_back_and_merge_onto_the_last(builder: ChainBuilder) -> None:
    tasks: list[SettleTask] = []
    settle = builder.verifier.settle

    def watch(task: SettleTask) -> Settled:
        tasks.append(task)
        return settle(task)

    builder.verifier.settle = watch  # type: ignore[method-assign]
    job = builder.open_job()
    first = builder.job(job).first_round
    weights = builder.job(job).weights
    after_round = {first - 1: weights, first - 2: weights, first - 3: weights}
    started: dict[int, set[bytes]] = {}
    tickets: dict[int, list[bytes]] = {}
    sample_hashes: dict[int, bytes] = {}
    provenance = bytes(32)
    while builder.height < 50:
        height, before, count = builder.height + 1, builder.job(job), len(tasks)
        number = round_at(job, height, REGTEST)
        drawn = builder.drawn() == job
        block = builder.mine(heartbeat=number % 5 == 0)
        record = builder.job(job)
        if drawn and number % 5:
            started.setdefault(number, set()).add(before.weights)
            tickets.setdefault(number, []).append(block.header.seed)
        if job_height(job, height, REGTEST) % E == 1:
            assert record.sample_hash == block.hash
            sample_hashes[number - 1] = block.hash
        if not is_boundary(job, height, REGTEST):
            assert len(tasks) == count
            assert (record.version, record.weights) == (before.version, before.weights)
            continue
        assert record.sample_hash == b""
        settled = job_height(job, height, REGTEST) // E - 2
        assert len(tasks) - count == (settled in tickets)
        if settled in tickets:
            assert cid_of(tasks[-1].weights) == after_round[settled - 1]
            assert len(tasks[-1].deltas) == len(tickets[settled])
            seed = sample_hashes[settled] + job + b"\x01"
            assert tasks[-1].sample_seeds[0] == tagged_hash("gc/sample", seed)
            seeds = b"".join(tickets[settled])
            chained = provenance + settled.to_bytes(8, "big") + seeds + record.weights
            provenance = tagged_hash("gc/provenance", chained)
        assert record.provenance == provenance
        after_round[settled] = record.weights
        assert [p.round for p in record.pending] == [n for n in (settled + 1,) if n in tickets]
    assert len(tasks) >= 4
    for number, bases in started.items():
        if number in after_round or number - 2 in after_round:
            assert bases == {after_round[number - 2]}


def test_history_names_the_blocks_of_the_tickets(builder: ChainBuilder) -> None:
    job = builder.open_job()
    builder.mine_to(40)
    records = builder.chain.list_settlements(job)
    assert len(records) >= 4
    for record in records:
        assert is_boundary(job, record.height, REGTEST)
        assert builder.chain.get_main_hash(record.height) == record.block
        assert tuple(place.seed for place in record.tickets) == record.settlement.tickets
        for place in record.tickets:
            block = builder.block_at(place.height)
            assert (block.hash, block.header.seed, block.header.work.job_id) == (place.block, place.seed, job)
            assert round_at(job, place.height, REGTEST) == record.settlement.round
        data = encode_settlement(record.settlement, record.tickets)
        assert decode_settlement(record.height, record.block, data) == record
    losses = [r.settlement.loss_after // r.settlement.sample_count for r in records]
    assert builder.job(job).last_losses == tuple(losses[-3:])
    first = records[0].settlement
    assert builder.job(job).first_loss == first.loss_before // first.sample_count


def test_stalled_job_closes_after_its_rounds_without_progress(tmp_path: Path) -> None:
    builder = _with_params(tmp_path, stall_rounds=3)
    job = builder.open_job(make_spec(1, params=(STUCK, WORK, 1000)))
    weights = builder.job(job).weights
    _mine_until(builder, lambda: builder.job(job).status is not JobStatus.LIVE)
    record = builder.job(job)
    assert (record.status, record.reason, record.stall) == (JobStatus.CLOSING, Reason.STALLED, 3)
    assert (record.version, record.weights) == (0, weights)
    assert len(builder.chain.list_settlements(job)) == 3
    builder.mine_many(E)
    assert builder.job(job).status is JobStatus.DONE
    assert len(builder.chain.list_settlements(job)) == 4  # the round that was pending


def test_progress_resets_the_stall(builder: ChainBuilder) -> None:
    job = builder.open_job()
    stalls = set()
    while builder.height < 80:
        builder.mine()
        stalls.add(builder.job(job).stall)
    last = builder.chain.list_settlements(job)[-1].settlement
    assert builder.job(job).stall == 0 or last.scale == "0"
    assert 0 in stalls


@pytest.mark.parametrize(("judge_count", "settlements"), [(64, 1), (65, 3)])
def test_target_is_judged_on_the_whole_split_or_on_three_means(
    builder: ChainBuilder, judge_count: int, settlements: int
) -> None:
    job = builder.open_job(make_spec(params=(STEADY, WORK, judge_count), target=2**50 - 1))
    _mine_until(builder, lambda: builder.job(job).status is not JobStatus.LIVE)
    record = builder.job(job)
    assert (record.status, record.reason) == (JobStatus.DONE, Reason.TARGET)
    events = [r.settlement for r in builder.chain.list_settlements(job)]
    moved = [e for e in events if e.old_weights != e.new_weights]
    assert len(events) >= settlements
    assert len(moved) >= 1
    assert (events[-1].split_count == 64) == (judge_count == 64)
    assert (record.escrow, record.lock, record.pending) == (0, 0, ())
    builder.mine_many(8)
    assert builder.drawn() is None


def test_target_above_nothing_is_never_reached(builder: ChainBuilder) -> None:
    job = builder.open_job(make_spec(params=(STEADY, WORK, 64), target=1))
    endless = builder.open_job(make_spec(1, params=(STEADY, WORK, 64), target=0))
    builder.mine_to(50)
    assert builder.job(job).status is builder.job(endless).status is JobStatus.LIVE


def test_lifetime_ends_at_the_first_boundary_after_it(builder: ChainBuilder) -> None:
    job = builder.open_job(make_spec(lifetime=20))
    _mine_until(builder, lambda: builder.job(job).status is JobStatus.CLOSING)
    assert builder.job(job).reason is Reason.LIFETIME
    assert 21 <= builder.height < 21 + E
    assert is_boundary(job, builder.height, REGTEST)


def test_cancel_closes_at_the_boundary_and_settles_what_is_pending(builder: ChainBuilder) -> None:
    job = builder.open_job()
    builder.mine_to(20)
    while is_boundary(job, builder.height + 1, REGTEST) or is_boundary(job, builder.height, REGTEST):
        builder.mine()
    builder.mine(builder.cancel(ALICE, job))
    assert builder.job(job).status is JobStatus.LIVE
    while not is_boundary(job, builder.height + 1, REGTEST):
        builder.mine()
    builder.mine()
    record, count = builder.job(job), len(builder.chain.list_settlements(job))
    assert (record.status, record.reason) == (JobStatus.CLOSING, Reason.CANCELLED)
    assert len(record.pending) == 1
    for _ in range(E):
        assert builder.drawn() is None
        builder.mine()
    assert builder.job(job).status is JobStatus.CANCELLED
    assert len(builder.chain.list_settlements(job)) == count + 1


def test_cancel_in_the_block_of_the_boundary_closes_there(builder: ChainBuilder) -> None:
    job = builder.open_job()
    _mine_until(builder, lambda: builder.height > 12 and is_boundary(job, builder.height + 1, REGTEST))
    builder.mine(builder.cancel(ALICE, job))
    assert builder.job(job).status is JobStatus.CLOSING


def test_job_that_loses_its_draws_is_suspended_and_resumes(tmp_path: Path) -> None:
    builder = _with_params(tmp_path, draw_window=8, lock_slots=8, suspension_blocks=20)
    burn, rent = 2 * COIN, REGTEST.rent
    job = builder.open_job(make_spec(burn=burn))
    losses = 0
    while builder.job(job).status is JobStatus.LIVE:
        takes = builder.drawn() == job
        record = builder.job(job)
        assert record.drawn < 8 or record.lost.bit_count() < 6
        wins = record.drawn < 2
        builder.mine(heartbeat=not wins)
        losses += takes and not wins
    suspended = builder.job(job)
    assert losses == 6
    assert (suspended.drawn, suspended.lost) == (8, 0b111111)
    assert suspended.suspended_until == builder.height + 20
    assert suspended.pending != ()
    total = suspended.lock + suspended.escrow
    while builder.job(job).status is JobStatus.SUSPENDED:
        assert builder.drawn() is None
        before = builder.job(job)
        builder.mine()
    assert before.pending == ()
    assert before.version >= 1
    assert before.lock + before.escrow == total
    assert suspended.suspended_until <= builder.height < suspended.suspended_until + E
    resumed = builder.job(job)
    assert resumed.status is JobStatus.LIVE
    assert (resumed.drawn, resumed.lost, resumed.lock) == (0, 0, before.lock + 8 * burn)
    assert resumed.lock + resumed.escrow == total - rent
    _mine_until(builder, lambda: builder.drawn() == job, most=2)


def test_suspended_job_that_cannot_lock_again_closes(tmp_path: Path) -> None:
    builder = _with_params(tmp_path, draw_window=8, lock_slots=8, suspension_blocks=10)
    job = builder.open_job(make_spec(burn=COIN), escrow=8 * COIN + 6 * COIN + 5 * REGTEST.rent + 7 * COIN)
    _mine_until(builder, lambda: builder.job(job).status is JobStatus.SUSPENDED, heartbeat=True)
    _mine_until(builder, lambda: builder.job(job).status is not JobStatus.SUSPENDED)
    assert (builder.job(job).status, builder.job(job).reason) == (JobStatus.CLOSING, Reason.ESCROW)
    builder.mine_many(E)
    assert builder.job(job).status is JobStatus.DONE


def test_suspended_job_can_be_cancelled(tmp_path: Path) -> None:
    builder = _with_params(tmp_path, draw_window=8, lock_slots=8, suspension_blocks=500)
    job = builder.open_job()
    _mine_until(builder, lambda: builder.job(job).status is JobStatus.SUSPENDED, heartbeat=True)
    builder.mine(builder.cancel(ALICE, job))
    builder.mine_many(2 * E)
    assert builder.job(job).status is JobStatus.CANCELLED


@pytest.mark.parametrize(("lost", "status"), [(37, JobStatus.LIVE), (38, JobStatus.SUSPENDED)])
def test_suspension_needs_three_quarters_of_fifty(
    builder: ChainBuilder, lost: int, status: JobStatus
) -> None:
    job = builder.open_job()
    done = 0
    while done < 50:
        takes = builder.drawn() == job
        builder.mine(heartbeat=done < lost)
        done += takes
    assert builder.job(job).lost.bit_count() == lost
    assert builder.job(job).status is status


# slots


def _state_with(burns: list[tuple[bytes, int]], params: ChainParams) -> Overlay:
    overlay = Overlay(State())
    for job_id, burn in burns:
        overlay.put_job(job_id, _live(burn, params))
    return overlay


def _live(burn: int, params: ChainParams) -> JobRecord:
    spec = encode_spec(make_spec(burn=burn))
    return dataclasses.replace(RECORD, spec=spec, status=JobStatus.LIVE, first_round=0)


@pytest.mark.parametrize("params", [REGTEST, TESTNET])
def test_draws_follow_the_burns_up_to_the_cap(params: ChainParams) -> None:
    burns = [(bytes([i]) * 32, burn) for i, burn in ((9, 5 * COIN), (1, COIN), (4, 2 * COIN))]
    state = _state_with(burns, params)
    counts: dict[bytes | None, int] = {}
    total, cap = 8 * COIN, 2**64 * params.slot_cap_num // params.slot_cap_den
    for number in range(2000):
        parent = tagged_hash("gc/test", number.to_bytes(4, "big"))
        drawn = draw_job(state, parent, 1, params)
        end, expected = 0, None
        for job_id, burn in sorted(burns):
            end += min(2**64 * burn // total, cap)
            if expected is None and word(tagged_hash("gc/slot", parent)) < end:
                expected = job_id
        assert drawn == expected
        counts[drawn] = counts.get(drawn, 0) + 1
        assert draw_job(state, parent, 4, params) is None
    if params is REGTEST:
        assert counts.get(None, 0) <= 1  # only what rounding leaves
        assert 1150 < counts[bytes([9]) * 32] < 1350
    else:
        assert max(count for job_id, count in counts.items() if job_id) < 400
        assert counts[None] > 900


def test_jobs_that_are_not_live_or_too_young_are_not_drawn() -> None:
    job = bytes(32)
    overlay = Overlay(State())
    for status in JobStatus:
        overlay.put_job(job, dataclasses.replace(_live(COIN, REGTEST), status=status))
        assert (draw_job(overlay, bytes(32), 1, REGTEST) == job) == (status is JobStatus.LIVE)
    overlay.put_job(job, dataclasses.replace(_live(COIN, REGTEST), first_round=1))
    assert draw_job(overlay, bytes(32), 6, REGTEST) is None
    assert draw_job(overlay, bytes(32), 7, REGTEST) == job


def test_two_jobs_share_the_heights(builder: ChainBuilder) -> None:
    jobs = {builder.open_job(make_spec(1)), builder.open_job(make_spec(2), key=BOB)}
    builder.mine_to(60)
    taken = [builder.block_at(h).header.work.job_id for h in range(15, 61)]
    assert set(taken) == jobs | {bytes(32)}
    assert all((h % 4 == 0) == (taken[h - 15] == bytes(32)) for h in range(15, 61))
