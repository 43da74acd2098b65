"""Commit, reveal, settle: what is accepted, what is paid, and what undoes it. Rules of docs/protocol.md, 7.1 and 10."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ledger.commitments import MAX_UPDATES
from ledger.errors import FalseShare, InvalidBlock, InvalidTransaction, MissingBlobs
from ledger.execution import apply_transaction
from ledger.hashing import cid_of, tagged_hash
from ledger.history import SettlementRecord
from ledger.keys import KeyPair
from ledger.market import bond_of, judging_price, reveal_window
from ledger.mempool import Mempool
from ledger.params import COIN, MAINNET, MAX_TARGET, REGTEST
from ledger.records import JobStatus, Reason
from ledger.settlement import Outcome
from ledger.sidecars import least_shares, most_committed, most_declared
from ledger.slots import is_boundary, round_at
from ledger.transactions import Body, CommitUpdate
from tests.ledger.chain_builder import ALICE, BOB, CAROL, ChainBuilder, make_genesis
from tests.ledger.market_builder import (
    BUDGET,
    MadeUpdate,
    find_share,
    make_update,
    mine_to_settlement,
    mine_to_window,
    open_market,
)
from tests.ledger.samples import PRIVACY
from tests.ledger.toy_work import STUCK, VECTOR, WORK

E = REGTEST.round_length


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def _commit(builder: ChainBuilder, update: MadeUpdate, shares: int = 1) -> None:
    found = [find_share(builder, update.miner, start=1000 * i) for i in range(shares)]
    builder.mine(builder.sign(update.miner, update.commit(*found), fee=100_000))


def _reveal(builder: ChainBuilder, *updates: MadeUpdate) -> None:
    mine_to_window(builder, updates[0])
    builder.mine(*(builder.sign(update.miner, update.reveal(), fee=0) for update in updates))


def _last_settlement(builder: ChainBuilder, job: bytes) -> SettlementRecord:
    return builder.chain.list_settlements(job)[-1]


def _refused(builder: ChainBuilder, key: KeyPair, body: Body, message: str, fee: int = 100_000) -> None:
    """Check that no block and no mempool takes a transaction, and that nothing remains of the attempt."""
    before = builder.snapshot()
    tx = builder.sign(key, body, fee=fee)
    with pytest.raises(InvalidTransaction, match=message):
        apply_transaction(builder.view, tx, builder.height + 1, builder.chain.rules, {})
    with pytest.raises(InvalidBlock, match=message):
        builder.add(builder.make_block(tx))
    assert builder.snapshot()[:5] == before[:5]


# what is paid


def test_update_is_committed_revealed_judged_and_paid(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    balance = builder.account(ALICE).balance
    _commit(builder, update, shares=2)
    bond, prepaid = bond_of(builder.chain_spec(job), 2, REGTEST), judging_price(WORK, REGTEST)
    assert bond == BUDGET * 2 // (32 * E)
    assert builder.account(ALICE).balance == balance - bond - prepaid - 100_000
    (entry,) = builder.view.get_commitments(job, update.round)
    assert (entry.shares, entry.bond, entry.prepaid, entry.payload) == (2, bond, prepaid, b"")
    _reveal(builder, update)
    assert builder.view.get_commitments(job, update.round)[0].payload == update.cid
    escrow = builder.job(job).escrow + builder.job(job).lock
    mine_to_settlement(builder, update)
    event = _last_settlement(builder, job).settlement
    (result,) = event.updates
    assert result.outcome is Outcome.PAID
    assert result.credit > 0
    assert result.amount == min(builder.chain_spec(job).price * result.credit // event.credit_base, BUDGET)
    assert builder.view.get_commitments(job, update.round) == ()
    assert (ALICE.address, bond + result.amount) in builder.view.get_income(builder.height + REGTEST.maturity)
    assert builder.job(job).escrow + builder.job(job).lock < escrow


def test_privacy_goes_from_the_reveal_into_the_state_and_the_settlement(builder: ChainBuilder) -> None:
    job = open_market(builder)
    private, public = make_update(builder, job, ALICE), make_update(builder, job, BOB)
    for update in (private, public):
        _commit(builder, update)
    mine_to_window(builder, private)
    builder.mine(
        builder.sign(ALICE, private.reveal(privacy=PRIVACY), fee=0), builder.sign(BOB, public.reveal(), fee=0)
    )
    told = {c.commitment: c.privacy for c in builder.view.get_commitments(job, private.round)}
    assert told == {private.commitment: PRIVACY, public.commitment: None}
    mine_to_settlement(builder, private)
    results = {r.update.commitment: r for r in _last_settlement(builder, job).settlement.updates}
    assert {name: result.update.privacy for name, result in results.items()} == told
    assert results[private.commitment].outcome is Outcome.PAID  # as any other


def test_payments_of_a_round_share_the_budget(builder: ChainBuilder) -> None:
    job = open_market(builder, budget=COIN, price=10**6 * COIN)
    updates = [make_update(builder, job, key) for key in (ALICE, BOB, CAROL)]
    for update in updates:
        _commit(builder, update)
    _reveal(builder, *updates)
    mine_to_settlement(builder, updates[0])
    results = _last_settlement(builder, job).settlement.updates
    assert all(result.outcome is Outcome.PAID for result in results)
    total = sum(result.amount for result in results)
    assert COIN - len(results) < total <= COIN
    positive = sum(result.credit for result in results)
    assert [r.amount for r in results] == [COIN * r.credit // positive for r in results]


def test_harmful_update_is_fined_at_most_its_bond(builder: ChainBuilder) -> None:
    job = open_market(builder)
    weights = VECTOR.unpack(builder.chain.load_weights(builder.job(job).weights))
    good = make_update(builder, job, ALICE)
    bad = make_update(builder, job, BOB, VECTOR.pack(*(w >> 7 for w in weights)))
    for update in (good, bad):
        _commit(builder, update)
    _reveal(builder, good, bad)
    mine_to_settlement(builder, good)
    results = {r.update.miner: r for r in _last_settlement(builder, job).settlement.updates}
    fined = results[BOB.address]
    assert fined.outcome is Outcome.FINED
    assert fined.credit < 0
    assert 0 < fined.amount <= fined.update.bond
    assert sum(r.credit for r in results.values()) > 0
    income = builder.view.get_income(builder.height + REGTEST.maturity)
    back = fined.update.bond - fined.amount
    assert ((BOB.address, back) in income) == (back > 0)


def test_bond_returns_when_nothing_lowers_the_loss(builder: ChainBuilder) -> None:
    job = open_market(builder, params=(STUCK, WORK, 1000))
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    _reveal(builder, update)
    mine_to_settlement(builder, update)
    (result,) = _last_settlement(builder, job).settlement.updates
    assert (result.outcome, result.credit, result.amount) == (Outcome.UNPAID, 0, 0)
    income = builder.view.get_income(builder.height + REGTEST.maturity)
    assert (ALICE.address, result.update.bond) in income


@pytest.mark.parametrize("revealed", [False, True])
def test_update_that_is_silent_or_void_loses_its_bond(builder: ChainBuilder, revealed: bool) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE, b"no payload of this job")
    _commit(builder, update)
    if revealed:
        _reveal(builder, update)
    balance, issued = builder.account(ALICE).balance, builder.supply()
    mine_to_settlement(builder, update)
    (result,) = _last_settlement(builder, job).settlement.updates
    assert result.outcome is (Outcome.VOID if revealed else Outcome.UNREVEALED)
    assert result.amount == result.update.bond > 0
    builder.mine_many(REGTEST.maturity + 1)
    assert builder.account(ALICE).balance == balance
    assert builder.supply().burned - issued.burned >= result.update.bond


def test_judgement_is_paid_half_to_the_miner_of_the_settlement(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    mine_to_window(builder, update)
    builder.mine_to(reveal_window(job, update.round, REGTEST).stop - 2)
    builder.mine(miner=CAROL)
    prepaid = judging_price(WORK, REGTEST)
    income = dict(builder.view.get_income(builder.height + REGTEST.maturity))
    assert income[CAROL.address] == REGTEST.coinbase + prepaid // 2


def test_provenance_names_credited_updates_only(builder: ChainBuilder) -> None:
    job = open_market(builder)
    good, silent = make_update(builder, job, ALICE), make_update(builder, job, BOB)
    for update in (good, silent):
        _commit(builder, update)
    _reveal(builder, good)
    before = builder.job(job).provenance
    mine_to_settlement(builder, good)
    event = _last_settlement(builder, job).settlement
    assert [r.update.commitment for r in event.updates] == [good.commitment, silent.commitment]
    seeds = b"".join(event.tickets)
    chained = before + event.round.to_bytes(8, "big") + seeds + good.commitment + event.new_weights
    assert builder.job(job).provenance == tagged_hash("gc/provenance", chained)


def test_updates_alone_settle_a_round(builder: ChainBuilder) -> None:
    job = open_market(builder)
    while not is_boundary(job, builder.height, REGTEST):
        builder.mine(heartbeat=True)
    update = make_update(builder, job, ALICE)
    share = find_share(builder, ALICE, heartbeat=True)
    builder.mine(builder.sign(ALICE, update.commit(share), fee=100_000), heartbeat=True)
    while builder.height < reveal_window(job, update.round, REGTEST).start - 1:
        builder.mine(heartbeat=True)
    builder.mine(builder.sign(ALICE, update.reveal(), fee=0), heartbeat=True)
    version = builder.job(job).version
    while builder.height < reveal_window(job, update.round, REGTEST).stop - 1:
        builder.mine(heartbeat=True)
    event = _last_settlement(builder, job).settlement
    assert (event.tickets, event.scale) == ((), "")
    assert builder.job(job).version == version + 1


# what is refused


def test_commitment_names_the_round_it_is_in(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update, share = make_update(builder, job, ALICE), find_share(builder)
    for wrong in (update.round - 1, update.round + 1):
        _refused(builder, ALICE, update.commit(share, round=wrong), "round: block .* is in round")


def test_commitment_before_the_first_round_is_refused(builder: ChainBuilder) -> None:
    job = builder.open_job()
    while is_boundary(job, builder.height, REGTEST):  # its first round would be the next block's
        job = builder.open_job()
    update = make_update(builder, job, ALICE)
    assert update.round < builder.job(job).first_round
    _refused(builder, ALICE, update.commit(find_share(builder)), "first round")


def test_commitment_to_a_job_that_is_not_live_is_refused(builder: ChainBuilder) -> None:
    job = open_market(builder)
    builder.mine(builder.cancel(ALICE, job))
    while builder.job(job).status is JobStatus.LIVE:
        builder.mine()
    update = make_update(builder, job, ALICE)
    _refused(builder, ALICE, update.commit(find_share(builder)), "closing, expected live")
    unknown = dataclasses.replace(update, job_id=bytes(32))
    _refused(builder, ALICE, unknown.commit(find_share(builder)), "is not known")


def test_same_commitment_twice_is_refused(builder: ChainBuilder) -> None:
    job = open_market(builder)
    while not is_boundary(job, builder.height, REGTEST):
        builder.mine()
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    _refused(builder, ALICE, update.commit(find_share(builder, start=5000)), "is there already")


def test_second_update_of_a_round_is_one_more_with_its_own_bond(builder: ChainBuilder) -> None:
    job = open_market(builder)
    while not is_boundary(job, builder.height, REGTEST):
        builder.mine()
    first, second = (make_update(builder, job, ALICE, number=number) for number in range(2))
    _commit(builder, first)
    _commit(builder, second)
    assert [c.bond for c in builder.view.get_commitments(job, first.round)] == [BUDGET // (32 * E)] * 2


def test_round_takes_a_bounded_number_of_updates(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update, share = make_update(builder, job, ALICE), find_share(builder)
    view = builder.view
    one = dataclasses.replace
    tx = builder.sign(ALICE, update.commit(share), fee=100_000)
    apply_transaction(view, tx, builder.height + 1, builder.chain.rules, {})
    (entry,) = view.get_commitments(job, update.round)
    others = tuple(one(entry, commitment=i.to_bytes(32, "big")) for i in range(MAX_UPDATES))
    full = builder.view
    full.put_commitments(job, update.round, others)
    with pytest.raises(InvalidTransaction, match="64 updates already"):
        apply_transaction(full, tx, builder.height + 1, builder.chain.rules, {})


def test_commitment_without_money_for_bond_is_refused_before_its_runs_are(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update, share = make_update(builder, job, ALICE), find_share(builder)
    poor = KeyPair.from_seed(bytes([9]) * 32)
    builder.mine(builder.transfer(ALICE, poor, 200_000))
    update = dataclasses.replace(make_update(builder, job, poor))
    share = find_share(builder, poor)
    tx = builder.sign(poor, update.commit(share), fee=100_000)
    runs = builder.verifier.runs
    with pytest.raises(InvalidTransaction, match="balance"):
        apply_transaction(builder.view, tx, builder.height + 1, builder.chain.rules, {})
    assert builder.verifier.runs == runs


def test_fee_counts_the_payload_and_reveals_are_free(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update, share = make_update(builder, job, ALICE), find_share(builder)
    body = update.commit(share)
    size = builder.sign(ALICE, body, fee=400).size
    _refused(builder, ALICE, body, "fee: at least", fee=size + len(update.payload) - 1)
    builder.mine(builder.sign(ALICE, body, fee=size + len(update.payload)))
    _reveal(builder, update)


def test_commitment_declares_at_most_its_shares_part_of_a_block(builder: ChainBuilder) -> None:
    """Else one share could leave the others of its block, and so of its round, nothing to declare."""
    job = open_market(builder)
    update, shares = make_update(builder, job, ALICE), [find_share(builder, start=1000 * i) for i in range(2)]
    for count in (1, 2):
        most = most_declared(REGTEST) * count // REGTEST.block_shares
        body = update.commit(*shares[:count], size=most + 1)
        _refused(builder, ALICE, body, rf"payload: at most {most} bytes with {count} shares", fee=10**6)
    builder.mine(builder.sign(ALICE, update.commit(*shares, size=most), fee=10**6))


def test_all_shares_of_a_block_may_declare_half_of_what_its_reveals_can_carry() -> None:
    for params in (REGTEST, MAINNET):
        whole = most_committed(params.block_shares, params)
        window = params.payload_limit * (params.round_length - params.sample_delay)
        assert whole <= most_declared(params)
        assert whole * params.round_length <= window // 2
        assert least_shares(whole, params) == params.block_shares
        assert least_shares(most_committed(3, params), params) == 3
        assert least_shares(most_committed(3, params) + 1, params) == 4


def test_shares_of_a_block_are_limited(builder: ChainBuilder) -> None:
    job = open_market(builder)
    txs = []
    for key, count in ((ALICE, 9), (BOB, 8)):
        update = make_update(builder, job, key)
        shares = [find_share(builder, key, start=1000 * i) for i in range(count)]
        txs.append(builder.sign(key, update.commit(*shares), fee=10**6))
    with pytest.raises(InvalidBlock, match="shares"):
        builder.add(builder.make_block(*txs))
    builder.add(builder.make_block(txs[0]))


@pytest.mark.parametrize("early", [True, False])
def test_reveal_outside_its_window_is_refused(builder: ChainBuilder, early: bool) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    if early:
        builder.mine_to(reveal_window(job, update.round, REGTEST).start - 2)
    else:
        mine_to_settlement(builder, update)
    _refused(builder, ALICE, update.reveal(), "is revealed in blocks", fee=0)


def test_reveal_must_open_the_commitment(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    mine_to_window(builder, update)
    other = VECTOR.pack(1, 2, 3, 4)
    builder.blobs.put(other)
    _refused(builder, ALICE, update.reveal(payload=cid_of(other)), "has no commitment", fee=0)
    _refused(builder, ALICE, update.reveal(salt=bytes(32)), "has no commitment", fee=0)
    _refused(builder, ALICE, update.reveal(size=31), "32 bytes were committed to, got 31", fee=0)
    _refused(builder, BOB, update.reveal(), "has no commitment", fee=0)  # another key
    builder.mine(builder.sign(ALICE, update.reveal(), fee=0))
    _refused(builder, ALICE, update.reveal(), "revealed already", fee=0)


def test_block_with_an_unknown_payload_waits_for_it(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    mine_to_window(builder, update)
    block = builder.make_block(builder.sign(ALICE, update.reveal(), fee=0))
    builder.blobs.remove(update.cid)
    with pytest.raises(MissingBlobs):
        builder.add(block)
    builder.blobs.put(update.payload)
    builder.add(block)
    assert builder.chain.head.hash == block.hash


def test_pool_takes_a_reveal_that_comes_a_block_or_two_early(builder: ChainBuilder) -> None:
    """Its sender may have a block that we have not: lost here, it would be in nobody's block but its sender's."""
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    opens = reveal_window(job, update.round, REGTEST).start
    pool = Mempool(builder.chain.rules)
    builder.mine_to(opens - 4)
    reveal = builder.sign(ALICE, update.reveal(), fee=0)
    with pytest.raises(InvalidTransaction, match="is revealed in blocks"):
        pool.add(reveal, builder.chain.state, opens - 3)
    builder.mine()
    pool.add(reveal, builder.chain.state, opens - 2)
    assert pool.select(builder.chain.state, opens - 2) == []
    builder.mine()
    pool.update(builder.chain.state, opens - 1, [])
    assert pool.select(builder.chain.state, opens - 1) == []
    builder.mine()
    pool.update(builder.chain.state, opens, [])
    assert pool.select(builder.chain.state, opens) == [reveal]
    builder.mine(reveal)


# shares


def test_share_is_used_once(builder: ChainBuilder) -> None:
    job = open_market(builder)
    first, second = (make_update(builder, job, ALICE, number=number) for number in range(2))
    share = find_share(builder)
    _refused(builder, ALICE, first.commit(share, share), "used before")
    builder.mine(builder.sign(ALICE, first.commit(share), fee=100_000))
    second = make_update(builder, job, ALICE, number=2)
    _refused(builder, ALICE, second.commit(share), "used before")
    assert builder.view.get_spent(share.work.height) == (share.seed,)


def test_spent_shares_are_forgotten_when_they_are_too_old_to_be_used(builder: ChainBuilder) -> None:
    job = open_market(builder)
    share = find_share(builder)
    builder.mine(builder.sign(ALICE, make_update(builder, job, ALICE).commit(share), fee=100_000))
    own = share.work.height
    builder.mine_to(own + REGTEST.share_age)
    assert builder.view.get_spent(own)
    body = make_update(builder, job, ALICE, number=1).commit(share)
    _refused(builder, ALICE, body, "share: its height is")
    builder.mine()
    assert builder.view.get_spent(own) == ()


def test_share_as_old_as_allowed_counts(builder: ChainBuilder) -> None:
    job = open_market(builder)
    share = find_share(builder)
    builder.mine_to(share.work.height + REGTEST.share_age - 1)
    builder.mine(builder.sign(ALICE, make_update(builder, job, ALICE).commit(share), fee=100_000))
    assert builder.height == share.work.height + REGTEST.share_age


def test_share_of_another_miner_is_refused(builder: ChainBuilder) -> None:
    job = open_market(builder)
    body = make_update(builder, job, ALICE).commit(find_share(builder, BOB))
    _refused(builder, ALICE, body, "expected the sender")


def test_share_must_follow_an_ancestor(builder: ChainBuilder) -> None:
    job = open_market(builder)
    fork = builder.fork(builder.height)
    fork.mine(start=7000)
    stranger = find_share(fork)
    builder.mine_many(2)
    body = make_update(builder, job, ALICE).commit(stranger)
    _refused(builder, ALICE, body, "of this chain")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_ms": 1}, "time expected later"),
        ({"target": MAX_TARGET - 1}, "target expected"),
        ({"job_id": bytes([1]) * 32}, "is drawn for"),
        ({"height": 1}, "of this chain|its height is"),
    ],
)
def test_share_with_a_wrong_header_is_refused(
    builder: ChainBuilder, changes: dict[str, object], message: str
) -> None:
    job = open_market(builder)
    share = find_share(builder)
    wrong = dataclasses.replace(share, work=dataclasses.replace(share.work, **changes))  # type: ignore[arg-type]
    _refused(builder, ALICE, make_update(builder, job, ALICE).commit(wrong), message)


def test_share_over_its_limit_is_refused(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="hard", start_target=2**250)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    job = open_market(builder)
    while builder.drawn() is None:
        builder.mine()
    share = find_share(builder, limit=2**254)  # work is standard: the threshold is the target
    builder.mine(builder.sign(ALICE, make_update(builder, job, ALICE).commit(share), fee=100_000))
    while builder.drawn() is None:
        builder.mine()
    start = 0
    while (weak := find_share(builder, start=start)).ticket < 2**254:
        start = weak.work.nonce + 1
    body = make_update(builder, job, ALICE, number=1).commit(weak)
    _refused(builder, ALICE, body, "is not under its threshold")


def test_false_share_is_told_from_one_that_is_merely_useless(builder: ChainBuilder) -> None:
    job = open_market(builder)
    share = find_share(builder)
    forged = dataclasses.replace(share, after=share.after - 1)
    body = make_update(builder, job, ALICE).commit(forged)
    tx = builder.sign(ALICE, body, fee=100_000)
    with pytest.raises(FalseShare):
        apply_transaction(builder.view, tx, builder.height + 1, builder.chain.rules, {})
    _refused(builder, ALICE, body, "replay of height")


# the job's life


def test_cancelled_job_pays_for_what_was_committed(builder: ChainBuilder) -> None:
    job = open_market(builder)
    while not is_boundary(job, builder.height, REGTEST):
        builder.mine()
    update = make_update(builder, job, BOB)
    _commit(builder, update)
    builder.mine(builder.cancel(ALICE, job))
    _reveal(builder, update)
    assert builder.job(job).status is JobStatus.CLOSING
    mine_to_settlement(builder, update)
    assert builder.job(job).status is JobStatus.CANCELLED
    (result,) = _last_settlement(builder, job).settlement.updates
    assert result.outcome is Outcome.PAID
    assert builder.view.get_commitments(job, update.round) == ()


def test_job_that_reaches_its_target_judges_what_was_committed(builder: ChainBuilder) -> None:
    job = open_market(builder, target=2**50 - 1)
    update = make_update(builder, job, BOB)
    _commit(builder, update)
    _reveal(builder, update)
    late = None
    while builder.job(job).status is JobStatus.LIVE:
        if late is None or late.round != round_at(job, builder.height + 1, REGTEST):
            late = make_update(builder, job, BOB, number=builder.height)
            _commit(builder, late)
        else:
            builder.mine()
    assert (builder.job(job).status, builder.job(job).reason) == (JobStatus.CLOSING, Reason.TARGET)
    assert late is not None
    assert builder.view.get_commitments(job, late.round)
    mine_to_settlement(builder, late)
    assert (builder.job(job).status, builder.job(job).reason) == (JobStatus.DONE, Reason.TARGET)
    assert builder.view.get_commitments(job, late.round) == ()
    assert builder.job(job).escrow == 0


def test_escrow_always_covers_what_updates_can_earn(builder: ChainBuilder) -> None:
    job = open_market(builder, price=10**9 * COIN)
    made: list[MadeUpdate] = []
    while builder.job(job).status not in (JobStatus.DONE, JobStatus.CANCELLED):
        bodies: list[Body] = [update.reveal() for update in made if _can_reveal(builder, update)]
        update = make_update(builder, job, BOB, number=builder.height % 256)
        is_new = not made or made[-1].round != update.round
        if is_new and builder.job(job).status is JobStatus.LIVE:
            bodies.append(update.commit(find_share(builder, BOB)))
            made.append(update)
        nonce = builder.account(BOB).nonce
        builder.mine(*(builder.sign(BOB, b, fee=100_000, nonce=nonce + i) for i, b in enumerate(bodies)))
        assert builder.job(job).escrow >= 0
    assert builder.job(job).reason is Reason.ESCROW
    settled = [s.settlement for s in builder.chain.list_settlements(job)]
    paid = [r.amount for event in settled for r in event.updates if r.outcome is Outcome.PAID]
    assert paid.count(BUDGET) >= 10


def _can_reveal(builder: ChainBuilder, update: MadeUpdate) -> bool:
    there = builder.view.get_commitments(update.job_id, update.round)
    waiting = any(c.commitment == update.commitment and not c.payload for c in there)
    return waiting and builder.height + 1 in reveal_window(update.job_id, update.round, REGTEST)


# undo


def test_reorganisation_takes_a_whole_market_back(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    job = open_market(builder)
    fork = builder.height
    root = builder.chain.state.root
    other = builder.fork(fork)
    assert other.chain.state.root == root
    update = make_update(builder, job, ALICE)
    _commit(builder, update, shares=2)
    _reveal(builder, update)
    mine_to_settlement(builder, update)
    builder.mine_many(3)
    other.mine(start=8000)
    other.mine_to(builder.height + 1)
    for height in range(fork + 1, other.height + 1):
        builder.add(other.block_at(height))
    assert builder.chain.head.hash == other.chain.head.hash
    assert builder.chain.state.root == other.chain.state.root
    assert builder.view.get_commitments(job, update.round) == ()
    assert builder.chain.list_settlements(job) == other.chain.list_settlements(job)


def test_share_of_the_branch_that_lost_counts_no_more(builder: ChainBuilder) -> None:
    job = open_market(builder)
    other = builder.fork(builder.height)
    builder.mine()
    share = find_share(builder)
    update = make_update(builder, job, ALICE)
    tx: CommitUpdate = update.commit(share)
    other.mine(start=8000)
    other.mine()
    for height in range(builder.height, other.height + 1):
        builder.add(other.block_at(height))
    _refused(
        builder,
        ALICE,
        dataclasses.replace(tx, round=round_at(job, builder.height + 1, REGTEST)),
        "of this chain",
    )
