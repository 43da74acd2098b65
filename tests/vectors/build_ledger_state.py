"""Vectors of the state: encoded entries with their tree keys, genesis roots, rounds and slot draws."""

from __future__ import annotations

import dataclasses

from ledger.commitments import (
    Commitment,
    commitments_key,
    encode_commitments,
    encode_spent,
    spent_key,
)
from ledger.genesis import MAINNET_GENESIS, TESTNET_GENESIS, local_genesis, regtest_genesis
from ledger.hashing import tagged_hash
from ledger.jobspec import encode_spec
from ledger.market import bond_of, judging_price, reveal_window
from ledger.params import COIN, LOCAL, MAINNET
from ledger.records import (
    SUPPLY_KEY,
    Account,
    JobRecord,
    JobStatus,
    PendingRound,
    Reason,
    Supply,
    account_key,
    encode_income,
    immature_key,
    job_key,
)
from ledger.settlement import DueRound, get_due_round, judge_updates, sample_seeds
from ledger.sidecars import most_declared
from ledger.slots import draw_job, is_boundary, job_height, round_at
from ledger.smt import SparseMerkleTree, hash_leaf, hash_value
from ledger.state import Overlay, State, leaf_key
from ledger.transition import genesis_state, subsidy_at
from ledger.work import Settled
from tests.ledger.samples import (
    ALICE,
    BOB,
    COMMITMENT,
    JOB_ID,
    MARKET_SPEC,
    PAYLOAD,
    PRIVACY,
    SALT,
    SEED,
    SPEC,
)

FRESH = JobRecord(
    owner=ALICE.address,
    spec=encode_spec(SPEC),
    submitted=17,
    status=JobStatus.LIVE,
    reason=Reason.NONE,
    first_round=4,
    escrow=123_456_789,
    lock=2_500_000_000,
    work=2**24 + 5,
    judging=3 * 2**23,
    version=0,
    weights=SPEC.data_cid,
    earlier=(SPEC.data_cid, bytes(36)),
    last_updates=((SPEC.data_cid, 300, 4), (bytes(36), 1, 1)),
    provenance=bytes(32),
    pending=(),
    sample_hash=b"",
    drawn=0,
    lost=0,
    stall=0,
    suspended_until=0,
    first_loss=0,
    last_losses=(),
)
OLDER = dataclasses.replace(
    FRESH,
    status=JobStatus.SUSPENDED,
    reason=Reason.CANCELLED,
    version=3,
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
COMMITMENTS = (
    Commitment(COMMITMENT, ALICE.address, 2, 10**8, 10**6, 2**15, PAYLOAD),
    Commitment(tagged_hash("gc/test", b"hidden"), BOB.address, 1, 5 * 10**7, 10**6, 2**14),
    Commitment(tagged_hash("gc/test", b"private"), BOB.address, 1, 0, 10**6, 2**14, PAYLOAD, PRIVACY),
)
ENTRIES: dict[str, tuple[bytes, bytes]] = {
    "account": (account_key(ALICE.address), Account(12_345_678_901, 7).encode()),
    "account without coins": (account_key(BOB.address), Account(0, 1).encode()),
    "income": (immature_key(300), encode_income(((BOB.address, 5 * COIN), (ALICE.address, 50 * COIN)))),
    "job": (job_key(JOB_ID), FRESH.encode()),
    "older job": (job_key(tagged_hash("gc/test", b"older")), OLDER.encode()),
    "commitments": (commitments_key(JOB_ID, 7), encode_commitments(COMMITMENTS)),
    "spent shares": (spent_key(6), encode_spent((tagged_hash("gc/test", b"seed"), bytes(32)))),
    "supply": (SUPPLY_KEY, Supply(2**60, 2**50 + 1).encode()),
}
PAYMENTS: tuple[tuple[int, int, int, tuple[int | None, ...]], ...] = (
    (100 * COIN, 20 * COIN, 10**12, (10**10, 3 * 10**9, 0, -(10**9), None)),  # the price is paid
    (100 * COIN, 20 * COIN, 10**12, (2 * 10**11, 10**11, -(10**11))),  # the budget is shared
    (100 * COIN, 20 * COIN, 10**12, (2 * 10**11,)),  # just the budget
    (100 * COIN, 20 * COIN, 10**12, (1, -1)),  # less than a unit
    (100 * COIN, 0, 10**12, (10**10, -(10**10))),  # nothing is paid, and nothing fined
    (0, 20 * COIN, 10**12, (10**10, -(10**10))),
    (100 * COIN, 20 * COIN, 0, (-5, 5)),  # a loss of nothing before
    (2**63 - 1, 300 * COIN, 1, (2**70, 2**69, -(2**71))),
)
BURNS = ((1, COIN), (4, 2 * COIN), (9, 5 * COIN), (200, 20 * COIN))


def build_state() -> dict[str, object]:
    """Return the content of `ledger_state.json`."""
    return {
        "entries": _entries(),
        "root": State(dict(ENTRIES.values())).root.hex(),
        "genesis": _genesis_roots(),
        "sample_seeds": [seed.hex() for seed in sample_seeds(OLDER, JOB_ID)],
        "commitment": {
            "miner": ALICE.public.hex(),
            "job": JOB_ID.hex(),
            "round": 7,
            "payload": PAYLOAD.hex(),
            "salt": SALT.hex(),
            "commitment": COMMITMENT.hex(),
        },
        "market": _market(),
        "order": _order(),
        "payments": [_payment(*case) for case in PAYMENTS],
        "subsidy": {str(h): subsidy_at(h, LOCAL) for h in (1, 2_099_999, 2_100_000, 70_000_000, 2**40)},
        "rounds": _rounds(),
        "slots": _slots(),
    }


def _market() -> list[dict[str, object]]:
    return [
        {
            "params": params.name,
            "bond of 3 shares": bond_of(SPEC, 3, params),
            "judging price": {str(n): judging_price(n, params) for n in (1, 2**24, 2**24 + 1, 2**33)},
            "most declared": most_declared(params),
            "reveal window of round 7": [
                reveal_window(JOB_ID, 7, params).start,
                reveal_window(JOB_ID, 7, params).stop,
            ],
        }
        for params in (LOCAL, MAINNET)
    ]


def _order() -> dict[str, object]:
    """In which order a settlement takes commitments."""
    commitments = [tagged_hash("gc/test", b"update %d" % i) for i in range(5)]
    rows = tuple(Commitment(c, ALICE.address, 1, 1, 1, 1, PAYLOAD) for c in commitments)
    overlay, sample_hash = Overlay(State()), OLDER.sample_hash
    overlay.put_commitments(JOB_ID, 7, rows)
    boundary = next(h for h in range(48, 60) if job_height(JOB_ID, h, LOCAL) == 9 * LOCAL.round_length)
    due = get_due_round(overlay, JOB_ID, dataclasses.replace(OLDER, pending=()), boundary, LOCAL)
    assert due is not None
    return {
        "sample_hash": sample_hash.hex(),
        "commitments": [c.hex() for c in commitments],
        "ordered": [update.commitment.hex() for update in due.updates],
    }


def _payment(price: int, budget: int, base: int, credits: tuple[int | None, ...]) -> dict[str, object]:
    """What updates with these credits earn; a void one is null."""
    spec = dataclasses.replace(SPEC, price=price, budget=budget)
    bond = bond_of(spec, 2, LOCAL)
    updates = tuple(
        Commitment(bytes([i]) * 32, ALICE.address, 2, bond, 0, 1, PAYLOAD) for i in range(len(credits))
    )
    settled = Settled(b"", "", 0, 0, 1, 0, 0, update_scale="1", credits=credits, credit_base=base)
    results = {r.update.commitment[0]: r for r in judge_updates(DueRound(1, (), updates), spec, settled)}
    return {
        "price": price,
        "budget": budget,
        "loss_before": base,
        "bond": bond,
        "credits": list(credits),
        "outcomes": [str(results[i].outcome) for i in range(len(credits))],
        "amounts": [results[i].amount for i in range(len(credits))],
    }


def _entries() -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "key": key.hex(),
            "value": value.hex(),
            "tree_key": leaf_key(key).hex(),
            "leaf": hash_leaf(leaf_key(key), hash_value(value)).hex(),
        }
        for name, (key, value) in ENTRIES.items()
    ]


def _genesis_roots() -> list[dict[str, str]]:
    geneses = {
        f"local {SEED}": local_genesis(SEED),
        f"regtest {SEED}": regtest_genesis(SEED),
        "testnet": TESTNET_GENESIS,
        "mainnet": MAINNET_GENESIS,
    }
    return [{"name": name, "root": genesis_state(genesis).root.hex()} for name, genesis in geneses.items()]


def _rounds() -> list[dict[str, object]]:
    return [
        {
            "params": params.name,
            "job": job.hex(),
            "height": height,
            "round": round_at(job, height, params),
            "boundary": int(is_boundary(job, height, params)),
        }
        for params in (LOCAL, MAINNET)
        for job in (bytes(32), JOB_ID, b"\xff" * 32)
        for height in (1, 2, 5, 6, 7, 31, 32, 33, 1000)
    ]


def _slots() -> dict[str, object]:
    jobs = [(bytes([first]) * 32, burn) for first, burn in BURNS]
    overlay = Overlay(State())
    for job, burn in jobs:
        spec = encode_spec(dataclasses.replace(SPEC, burn=burn))
        overlay.put_job(job, dataclasses.replace(FRESH, spec=spec, first_round=0))
    market_only = dataclasses.replace(FRESH, spec=encode_spec(MARKET_SPEC), first_round=0)
    overlay.put_job(bytes([2]) * 32, market_only)  # takes no width
    rows = []
    for params in (LOCAL, MAINNET):
        for number in range(12):
            parent, height = tagged_hash("gc/test", b"parent %d" % number), number + 1
            drawn = draw_job(overlay, parent, height, params)
            rows.append(
                {
                    "params": params.name,
                    "parent": parent.hex(),
                    "height": height,
                    "drawn": drawn.hex() if drawn else "",
                }
            )
    return {
        "burns": [{"job": job.hex(), "burn": burn} for job, burn in jobs],
        "market-only": (bytes([2]) * 32).hex(),
        "draws": rows,
    }


def root_of(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Return the root of entries given as tree key and value."""
    return SparseMerkleTree({key: hash_value(value) for key, value in entries}).get_root()
