"""Jobs that updates alone train: no height is drawn for them, everything else is as for other jobs.

Rules of docs/protocol.md, sections 4, 5, 6 and 10.4.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.blocks import HEARTBEAT
from ledger.errors import InvalidBlock, InvalidHeader, InvalidTransaction
from ledger.execution import apply_transaction
from ledger.hashing import tagged_hash
from ledger.jobspec import JobSpec, encode_spec
from ledger.lifecycle import escrow_floor, most_market_only
from ledger.params import COIN, REGTEST
from ledger.records import JobStatus, Reason
from ledger.settlement import Outcome
from ledger.slots import draw_job, is_boundary, round_at
from ledger.state import Overlay, State
from ledger.work import JobFacts
from tests.ledger.chain_builder import (
    ALICE,
    BOB,
    CAROL,
    NOW_MS,
    ChainBuilder,
    make_genesis,
    make_spec,
)
from tests.ledger.market_builder import (
    BUDGET,
    MadeUpdate,
    find_share,
    make_update,
    market_spec,
    mine_to_settlement,
    mine_to_window,
    open_market,
)
from tests.ledger.test_records import RECORD
from tests.ledger.toy_work import STEADY, STUCK, VECTOR, WORK, ToyWork

E = REGTEST.round_length


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def _spec(number: int = 0, **changes: object) -> JobSpec:
    return market_spec(number, **{"market_only": 1, "burn": 0, **changes})


def _open(builder: ChainBuilder, **changes: object) -> bytes:
    return open_market(builder, market_only=1, burn=0, **changes)


def _serve(
    builder: ChainBuilder, job: bytes, payload: bytes | None = None, reveal: bool = True
) -> MadeUpdate:
    """Bring an update of BOB's through its settlement, with a share that is a heartbeat's."""
    update = make_update(builder, job, BOB, payload, number=builder.height % 251)
    builder.mine(builder.sign(BOB, update.commit(find_share(builder, BOB)), fee=100_000))
    if reveal:
        mine_to_window(builder, update)
        builder.mine(builder.sign(BOB, update.reveal(), fee=0))
    mine_to_settlement(builder, update)
    return update


# no heights


def test_market_only_job_is_never_drawn_and_burns_nothing(builder: ChainBuilder) -> None:
    job = _open(builder)
    start = builder.job(job)
    assert (start.lock, start.escrow, start.burn) == (0, 400 * COIN - REGTEST.rent, 0)
    burned, opened = builder.supply().burned, builder.height
    for _ in range(8 * E):
        assert builder.drawn() is None
        block = builder.mine()
        assert block.header.work.job_id == HEARTBEAT
    record = builder.job(job)
    assert (record.status, record.drawn, record.lost, record.lock) == (JobStatus.LIVE, 0, 0, 0)
    rents = sum(is_boundary(job, h, REGTEST) for h in range(opened + 1, builder.height + 1))
    assert rents == 8
    assert builder.supply().burned - burned == rents * REGTEST.rent
    assert start.escrow - record.escrow == rents * REGTEST.rent


def test_other_jobs_are_drawn_as_if_it_were_not_there(builder: ChainBuilder) -> None:
    other = builder.open_job(make_spec(1), key=BOB)
    _open(builder)
    for _ in range(4 * E):
        assert builder.drawn() == (other if (builder.height + 1) % 4 else None)
        builder.mine()


def test_draws_skip_jobs_without_a_burn() -> None:
    state = Overlay(State())
    for first, spec in ((1, _spec()), (2, make_spec()), (3, _spec(1))):
        live = dataclasses.replace(RECORD, status=JobStatus.LIVE, first_round=0, spec=encode_spec(spec))
        state.put_job(bytes([first]) * 32, live)
    drawn = {draw_job(state, tagged_hash("gc/test", bytes([n])), 1, REGTEST) for n in range(100)}
    assert drawn == {bytes([2]) * 32}


def test_ticket_for_a_market_only_job_is_refused(builder: ChainBuilder) -> None:
    job = _open(builder)
    while not (builder.height + 1) % 4:
        builder.mine()
    template = builder.template()
    weights = builder.chain.load_weights(builder.job(job).weights)
    template = dataclasses.replace(template, spec=builder.chain_spec(job), weights=weights)
    work = dataclasses.replace(template.work, job_id=job)
    before = builder.snapshot()
    with pytest.raises(InvalidHeader, match="drawn for the heartbeat"):
        builder.chain.add_block(builder.solve(template, work=work), NOW_MS)
    assert builder.snapshot() == before


def test_heartbeat_beside_a_market_only_job_counts_whole(builder: ChainBuilder) -> None:
    """It is on its slot: nothing else is drawn there."""
    _open(builder)
    while not (builder.height + 1) % 4:
        builder.mine()
    assert builder.template().threshold == builder.template(heartbeat=True).threshold
    assert builder.template().threshold == builder.params.start_target


# updates


def test_updates_alone_train_it_and_are_paid(builder: ChainBuilder) -> None:
    job = _open(builder)
    losses, escrows = [], [builder.job(job).escrow]
    for version in (1, 2):
        _serve(builder, job)
        event = builder.chain.list_settlements(job)[-1].settlement
        (result,) = event.updates
        assert result.outcome is Outcome.PAID
        assert event.tickets == ()
        assert event.scale == ""
        assert 0 < result.amount <= BUDGET
        assert builder.job(job).version == version
        losses.append(event.loss_after)
        escrows.append(builder.job(job).escrow)
        while round_at(job, builder.height + 1, REGTEST) == round_at(job, builder.height, REGTEST):
            builder.mine()
    assert losses == sorted(losses, reverse=True)
    assert escrows == sorted(escrows, reverse=True)


def test_update_takes_shares_of_another_jobs_tickets(builder: ChainBuilder) -> None:
    other = builder.open_job(make_spec(1), key=BOB)
    job = _open(builder)
    while builder.drawn() != other:
        builder.mine()
    share = find_share(builder, CAROL)
    assert share.work.job_id == other
    update = make_update(builder, job, CAROL)
    builder.mine(builder.sign(CAROL, update.commit(share), fee=100_000))
    assert len(builder.view.get_commitments(job, update.round)) == 1


def test_round_without_updates_is_no_stall(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="odd", stall_rounds=2)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    job = _open(builder)
    builder.mine_many(6 * E)
    assert (builder.job(job).status, builder.job(job).stall) == (JobStatus.LIVE, 0)
    assert builder.chain.list_settlements(job) == []


@pytest.mark.parametrize("payload", [None, b"no payload of this job"])
def test_silent_and_void_updates_are_no_stall_either(builder: ChainBuilder, payload: bytes | None) -> None:
    job = _open(builder)
    before, burned = builder.job(job), builder.supply().burned
    _serve(builder, job, payload, reveal=payload is not None)
    (result,) = builder.chain.list_settlements(job)[-1].settlement.updates
    assert result.outcome is (Outcome.VOID if payload else Outcome.UNREVEALED)
    after = builder.job(job)
    assert (after.stall, after.version, after.last_losses) == (0, 0, ())
    assert after.provenance == before.provenance
    assert builder.supply().burned - burned > result.update.bond


def test_updates_that_do_not_help_stall_it(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="odd", stall_rounds=2)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    job = _open(builder, params=(STUCK, WORK, 1000))
    for stall in (1, 2):
        _serve(builder, job)
        assert builder.job(job).stall == stall
        builder.mine()
    assert (builder.job(job).status, builder.job(job).reason) == (JobStatus.CLOSING, Reason.STALLED)


# how it ends


def test_unserved_job_ends_with_its_lifetime_and_is_refunded_but_for_its_rents(builder: ChainBuilder) -> None:
    job = builder.open_job(_spec(1, lifetime=20), escrow=100 * COIN)
    paid = 0
    while builder.job(job).status is not JobStatus.DONE:
        before = builder.job(job)
        builder.mine()
        paid += before.escrow - builder.job(job).escrow if builder.job(job).escrow else 0
    assert builder.job(job).reason is Reason.LIFETIME
    assert builder.view.get_income(builder.height + 10)[0] == (ALICE.address, before.escrow)
    assert paid % REGTEST.rent == 0
    assert before.escrow + paid == 100 * COIN - (REGTEST.rent if is_boundary(job, 1, REGTEST) else 0)


def test_unserved_job_ends_when_rents_have_taken_its_escrow_to_the_floor(builder: ChainBuilder) -> None:
    spec = _spec(3, budget=COIN)
    job = builder.open_job(spec, escrow=escrow_floor(spec, REGTEST) + 3 * REGTEST.rent)
    while builder.job(job).status is JobStatus.LIVE:
        builder.mine()
    record = builder.job(job)
    assert (record.status, record.reason) == (JobStatus.CLOSING, Reason.ESCROW)
    assert record.escrow < escrow_floor(spec, REGTEST) <= record.escrow + REGTEST.rent
    builder.mine_many(E)
    assert builder.job(job).status is JobStatus.DONE


def test_target_ends_it_and_what_was_committed_is_judged(builder: ChainBuilder) -> None:
    job = _open(builder, params=(STEADY, WORK, 64), target=2**50 - 1)
    first = make_update(builder, job, BOB)
    builder.mine(builder.sign(BOB, first.commit(find_share(builder, BOB)), fee=100_000))
    mine_to_window(builder, first)
    builder.mine(builder.sign(BOB, first.reveal(), fee=0))
    late = make_update(builder, job, CAROL, number=1)
    builder.mine(builder.sign(CAROL, late.commit(find_share(builder, CAROL)), fee=100_000))
    mine_to_settlement(builder, first)
    assert (builder.job(job).status, builder.job(job).reason) == (JobStatus.CLOSING, Reason.TARGET)
    mine_to_window(builder, late)
    builder.mine(builder.sign(CAROL, late.reveal(), fee=0))
    mine_to_settlement(builder, late)
    assert (builder.job(job).status, builder.job(job).lock) == (JobStatus.DONE, 0)
    (result,) = builder.chain.list_settlements(job)[-1].settlement.updates
    assert result.update.miner == CAROL.address
    assert result.outcome is not Outcome.UNREVEALED


def test_owner_can_cancel_it(builder: ChainBuilder) -> None:
    job = _open(builder)
    builder.mine(builder.cancel(ALICE, job))
    builder.mine_many(2 * E)
    assert builder.job(job).status is JobStatus.CANCELLED


def test_ended_market_only_job_can_be_continued_with_tickets(builder: ChainBuilder) -> None:
    job = _open(builder)
    _serve(builder, job)
    builder.mine(builder.cancel(ALICE, job))
    builder.mine_many(2 * E)
    ended = builder.job(job)
    assert ended.version == 1
    child = builder.open_job(make_spec(3, parent=job, parent_weights=ended.weights), key=BOB)
    assert builder.job(child).provenance == ended.provenance != bytes(32)
    builder.mine_many(4 * E)
    assert builder.job(child).version


# submission


def _refused(builder: ChainBuilder, spec: JobSpec, message: str, escrow: int = 100 * COIN) -> None:
    tx = builder.submit(ALICE, spec, escrow)
    before = builder.snapshot()
    with pytest.raises(InvalidTransaction, match=message):
        apply_transaction(builder.view, tx, builder.height + 1, builder.chain.rules, {})
    with pytest.raises(InvalidBlock, match=message):
        builder.chain.add_block(builder.make_block(tx), NOW_MS)
    assert builder.snapshot() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"burn": REGTEST.min_burn}, "burn of a market-only job"),
        ({"price": 0}, "price"),
        ({"budget": 0}, "budget"),
        ({"params": (STEADY, 8 * WORK + 1, 1000)}, "declared work: expected 0..134217728"),
    ],
)
def test_submission_against_the_rules_is_refused(
    builder: ChainBuilder, changes: dict[str, object], message: str
) -> None:
    _refused(builder, _spec(**changes), message)


def test_objective_without_tickets_is_for_updates_alone(
    builder: ChainBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = ToyWork.inspect

    def inspect_ticketless(self: ToyWork, spec: JobSpec) -> JobFacts:
        return replace(inspect(self, spec), has_tickets=False)

    monkeypatch.setattr(ToyWork, "inspect", inspect_ticketless)
    _refused(
        builder, make_spec(), "market_only: 1 expected for toy, which is trained by updates alone, got 0"
    )
    builder.open_job(_spec(), escrow=100 * COIN)


def test_work_below_a_tickets_is_enough(builder: ChainBuilder) -> None:
    small = (STEADY, 1, 1000)
    _refused(builder, make_spec(params=small), "declared work")
    job = builder.open_job(_spec(params=small), escrow=100 * COIN)
    assert builder.job(job).work == 1


def test_escrow_covers_rent_and_two_budgets(builder: ChainBuilder) -> None:
    least = REGTEST.rent + 2 * BUDGET
    _refused(builder, _spec(), f"escrow: at least {least} units", escrow=least - 1)
    builder.open_job(_spec(), escrow=least)


def test_market_only_jobs_take_half_of_the_places_at_most(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="few", max_jobs=4)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    assert most_market_only(params) == 2
    small = {"budget": COIN, "params": (STEADY, 1, 1000)}
    jobs = [builder.open_job(_spec(n, **small), escrow=30 * COIN) for n in range(2)]
    _refused(builder, _spec(2, **small), "2 market-only ones are live already")
    builder.open_job(make_spec(3), key=BOB)
    builder.open_job(make_spec(4), key=BOB)
    _refused(builder, make_spec(5), "4 are live already")
    builder.mine(builder.cancel(ALICE, jobs[0]))
    builder.mine_many(2 * E)
    builder.open_job(_spec(2, **small), escrow=30 * COIN)


# what undoes it


def test_reorganisation_takes_a_market_only_job_back(builder: ChainBuilder) -> None:
    job = _open(builder)
    fork, root = builder.height, builder.chain.state.root
    other = builder.fork(fork)
    _serve(builder, job)
    assert builder.job(job).version == 1
    other.mine(start=8000)
    other.mine_to(builder.height + 1)
    for height in range(fork + 1, other.height + 1):
        builder.add(other.block_at(height))
    assert builder.chain.state.root == other.chain.state.root
    assert builder.job(job).version == 0
    while builder.height > fork:
        builder.chain._disconnect_head()
    assert builder.chain.state.root == root


def test_harmful_update_is_fined_and_the_fine_is_the_jobs(builder: ChainBuilder) -> None:
    job = _open(builder)
    weights = VECTOR.unpack(builder.chain.load_weights(builder.job(job).weights))
    good = make_update(builder, job, BOB)
    bad = make_update(builder, job, CAROL, VECTOR.pack(*(w >> 7 for w in weights)))
    for update in (good, bad):
        share = find_share(builder, update.miner)
        builder.mine(builder.sign(update.miner, update.commit(share), fee=100_000))
    mine_to_window(builder, good)
    builder.mine(
        builder.sign(BOB, good.reveal(), fee=0),
        builder.sign(CAROL, bad.reveal(), fee=0),
    )
    escrow = builder.job(job).escrow
    mine_to_settlement(builder, good)
    results = {r.update.miner: r for r in builder.chain.list_settlements(job)[-1].settlement.updates}
    assert results[CAROL.address].outcome is Outcome.FINED
    change = results[CAROL.address].amount - results[BOB.address].amount
    assert builder.job(job).escrow == escrow + change - REGTEST.rent
