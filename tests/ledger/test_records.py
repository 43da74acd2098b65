"""Records of the state and undo: their bytes come back, and nothing else is read."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import Encodable, encode
from ledger.errors import DecodeError, InvalidBlock
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import encode_spec
from ledger.records import (
    Account,
    JobRecord,
    JobStatus,
    PendingRound,
    Reason,
    Supply,
    account_key,
    decode_account,
    decode_income,
    decode_job,
    decode_supply,
    encode_income,
)
from ledger.state import Overlay, State, add_amounts, check_supply
from ledger.undo import Undo, WeightStep, decode_undo, make_step, take_step_back
from tests.ledger.samples import ALICE, BOB, SPEC

RECORD = JobRecord(
    owner=ALICE.address,
    spec=encode_spec(SPEC),
    submitted=17,
    status=JobStatus.SUSPENDED,
    reason=Reason.NONE,
    first_round=4,
    escrow=123_456_789,
    lock=2_500_000_000,
    work=2**24 + 5,
    judging=3 * 2**23,
    version=3,
    weights=cid_of(b"weights"),
    earlier=(cid_of(b"previous"), cid_of(b"the one before")),
    last_updates=((cid_of(b"payload"), 4751, 3),),
    provenance=tagged_hash("gc/test", b"provenance"),
    pending=(
        PendingRound(7, ((tagged_hash("gc/test", b"s1"), tagged_hash("gc/test", b"d1")),)),
        PendingRound(8, ((bytes(32), bytes(32)), (b"\xff" * 32, b"\xee" * 32))),
    ),
    sample_hash=tagged_hash("gc/test", b"sample"),
    drawn=50,
    lost=2**50 - 2,
    stall=1,
    suspended_until=600,
    first_loss=2**41,
    last_losses=(2**40, 2**39, 2**38),
)
amounts = st.integers(0, 2**63 - 1)
hashes = st.binary(min_size=32, max_size=32)


@given(amounts, amounts)
def test_accounts_and_supply_round_trip(first: int, second: int) -> None:
    account, supply = Account(first, second), Supply(first, second)
    assert decode_account(account.encode()) == account
    assert decode_supply(supply.encode()) == supply


@given(st.lists(st.tuples(st.binary(min_size=20, max_size=20), st.integers(1, 2**63 - 1)), max_size=5))
def test_income_round_trips(rows: list[tuple[bytes, int]]) -> None:
    assert decode_income(encode_income(tuple(rows))) == tuple(rows)


@given(
    st.sampled_from(JobStatus),
    st.sampled_from(Reason),
    st.lists(st.tuples(amounts, st.lists(st.tuples(hashes, hashes), max_size=3)), max_size=3),
    st.sampled_from([b"", bytes(32)]),
    st.integers(0, 2**64 - 1),
    st.lists(amounts, max_size=3),
)
def test_job_round_trips(
    status: JobStatus,
    reason: Reason,
    pending: list[tuple[int, list[tuple[bytes, bytes]]]],
    sample_hash: bytes,
    lost: int,
    losses: list[int],
) -> None:
    record = dataclasses.replace(
        RECORD,
        status=status,
        reason=reason,
        pending=tuple(PendingRound(n, tuple(tickets)) for n, tickets in pending),
        sample_hash=sample_hash,
        lost=lost,
        last_losses=tuple(losses),
    )
    assert decode_job(record.encode()) == record
    assert decode_job(record.encode()).encode() == record.encode()


def test_damaged_records_are_refused() -> None:
    data = RECORD.encode()
    for cut in range(0, len(data), 7):
        with pytest.raises(DecodeError):
            decode_job(data[:cut])
    values: list[Encodable] = [b"\0" * 20, b"", 0, 9]
    with pytest.raises(DecodeError, match="status"):
        decode_job(encode([*values, *range(19)]))
    with pytest.raises(DecodeError):
        decode_account(encode([1]))
    with pytest.raises(DecodeError):
        decode_account(encode([2**63, 0]))
    with pytest.raises(DecodeError):
        decode_income(encode([[b"short", 1]]))
    with pytest.raises(DecodeError):
        decode_undo(encode([[], [], []]))


def test_job_reads_its_burn_out_of_the_spec() -> None:
    assert RECORD.burn == SPEC.burn


def test_tickets_gather_by_round() -> None:
    record = RECORD.with_ticket(8, b"\1" * 32, b"\2" * 32).with_ticket(9, b"\3" * 32, b"\4" * 32)
    assert [p.round for p in record.pending] == [7, 8, 9]
    assert [len(p.tickets) for p in record.pending] == [1, 3, 1]


@given(
    st.dictionaries(st.binary(min_size=1, max_size=33), st.none() | st.binary(max_size=60), max_size=8),
    st.lists(st.tuples(hashes, hashes, st.binary(max_size=40)), max_size=3),
)
def test_undo_round_trips(
    changes: dict[bytes, bytes | None], steps: list[tuple[bytes, bytes, bytes]]
) -> None:
    undo = Undo(changes, tuple(WeightStep(*step) for step in steps))
    assert decode_undo(undo.encode()) == undo


weights = st.lists(st.integers(-(2**27), 2**27), min_size=3, max_size=3)


@given(weights, weights)
def test_step_taken_back_gives_the_old_weights(old: list[int], new: list[int]) -> None:
    before, after = (b"".join(w.to_bytes(8, "little", signed=True) for w in ws) for ws in (old, new))
    step = make_step(b"new", after, b"old", before)
    assert take_step_back(step, after) == before


entries = st.dictionaries(
    st.binary(min_size=20, max_size=20).map(account_key), st.none() | st.binary(min_size=1, max_size=9)
)


@given(entries, st.lists(entries, max_size=5))
def test_applied_changes_taken_back_are_no_change(
    start: dict[bytes, bytes | None], blocks: list[dict[bytes, bytes | None]]
) -> None:
    state = State({key: value for key, value in start.items() if value is not None})
    seen = []
    undos = []
    for changes in blocks:
        changes = changes | dict.fromkeys(list(state.entries())[:1])
        seen.append((state.root, dict(state.entries())))
        undos.append(state.apply(changes))
        assert state.root == State(dict(state.entries())).root
    for undo, before in zip(reversed(undos), reversed(seen), strict=True):
        state.apply(undo)
        assert (state.root, dict(state.entries())) == before


def test_dropped_overlay_changes_nothing() -> None:
    state = State({account_key(ALICE.address): Account(5, 1).encode()})
    root = state.root
    overlay = Overlay(state)
    inner = overlay.nested()
    inner.credit(BOB.address, 7)
    assert overlay.get_account(BOB.address) == Account()
    overlay.absorb(inner)
    assert overlay.get_account(BOB.address) == Account(7)
    assert state.root == root
    overlay.put_account(BOB.address, Account())
    state.apply(overlay.changes)
    assert state.root == root


def test_sums_beyond_the_largest_amount_are_refused() -> None:
    assert add_amounts(2**63 - 2, 1) == 2**63 - 1
    with pytest.raises(InvalidBlock):
        add_amounts(2**63 - 1, 1)


def test_supply_that_does_not_add_up_is_noticed() -> None:
    state = State()
    overlay = Overlay(state)
    overlay.issue(10)
    overlay.burn(3)
    overlay.credit(ALICE.address, 4)
    overlay.add_income(9, BOB.address, 3)
    check_supply(overlay.changes.items())  # type: ignore[arg-type]
    overlay.credit(ALICE.address, 1)
    with pytest.raises(InvalidBlock):
        check_supply(overlay.changes.items())  # type: ignore[arg-type]
