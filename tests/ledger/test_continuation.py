"""A job that goes on from another's weights: which job it may name, what it takes over, and what undoes it.

Rules of docs/protocol.md, sections 4 and 10.4.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ledger.errors import FalseTrial, InvalidBlock, InvalidTransaction
from ledger.execution import apply_transaction
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec, encode_spec
from ledger.mempool import Mempool
from ledger.params import COIN, REGTEST
from ledger.records import JobRecord, JobStatus
from ledger.slots import is_boundary
from ledger.transactions import SubmitJob, Transaction
from ledger.work import SettleTask
from tests.ledger.chain_builder import ALICE, BOB, CAROL, NOW_MS, ChainBuilder, make_genesis, make_spec
from tests.ledger.toy_work import STEADY, WORK

E = REGTEST.round_length
EASY = 2**50 - 1  # a target that the first settlement that moves the weights reaches
PRUNING = make_genesis(dataclasses.replace(REGTEST, name="pruning", versions_kept=2))


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def _end(builder: ChainBuilder, job: bytes, heartbeat: bool = False) -> JobRecord:
    """Cancel a job and mine until it has ended."""
    builder.mine(builder.cancel(ALICE, job), heartbeat=heartbeat)
    while builder.job(job).status is not JobStatus.CANCELLED:
        builder.mine(heartbeat=heartbeat)
    return builder.job(job)


def _open_ended(builder: ChainBuilder, settlements: int = 3) -> bytes:
    """Return a job that ended after some settlements."""
    job = builder.open_job()
    while builder.job(job).version < settlements:
        builder.mine()
    _end(builder, job)
    return job


def _continue(builder: ChainBuilder, parent: bytes, **changes: object) -> JobSpec:
    """Return a spec that goes on from a job as it is now; its own seed is another's."""
    values: dict[str, object] = {"parent": parent, "parent_weights": builder.job(parent).weights}
    return make_spec(**{"number": 9, **values, **changes})  # type: ignore[arg-type]


def _submit(builder: ChainBuilder, spec: JobSpec, start: bytes | None = None) -> Transaction:
    """Sign a submission by BOB, whose trial ran from `start` where it is given."""
    if start is None:
        return builder.submit(BOB, spec)
    builder.storage.put_weights(spec.parent_weights, start)  # what no chain would
    try:
        return builder.submit(BOB, spec)
    finally:
        builder.storage.delete_weights(spec.parent_weights)


def _refused(builder: ChainBuilder, tx: Transaction, message: str, kind: type = InvalidTransaction) -> None:
    """Check that no block and no mempool takes a transaction, and that nothing remains of the attempt."""
    before = builder.snapshot()
    with pytest.raises(kind, match=message) as caught:
        apply_transaction(builder.view, tx, builder.height + 1, builder.chain.rules, {})
    assert isinstance(caught.value, FalseTrial) == (kind is FalseTrial)
    with pytest.raises(InvalidTransaction, match=message):
        Mempool(builder.chain.rules).add(tx, builder.chain.state, builder.height + 1)
    block = builder.make_block(tx)
    with pytest.raises(InvalidBlock, match=message):
        builder.chain.add_block(block, NOW_MS)
    assert builder.snapshot() == before


# what it takes over


def test_continued_job_begins_with_its_parents_weights_steps_and_provenance(builder: ChainBuilder) -> None:
    parent = _open_ended(builder)
    ended = builder.job(parent)
    child = builder.open_job(_continue(builder, parent, price=COIN, burn=2 * COIN), 300 * COIN, key=BOB)
    record = builder.job(child)
    assert record.weights == ended.weights
    assert ended.earlier
    assert (record.earlier, record.provenance) == (ended.earlier, ended.provenance)
    assert record.provenance != bytes(32)
    assert (record.version, record.stall, record.first_loss, record.last_losses) == (0, 0, 0, ())
    assert (record.owner, record.status) == (BOB.address, JobStatus.LIVE)


def test_continued_job_is_mined_and_settled_from_there(builder: ChainBuilder) -> None:
    parent = _open_ended(builder)
    tasks: list[SettleTask] = []
    settle = builder.verifier.settle
    builder.verifier.settle = lambda task: tasks.append(task) or settle(task)  # type: ignore[method-assign,func-returns-value]
    child = builder.open_job(_continue(builder, parent))
    start, kept = builder.job(child), builder.job(parent)
    while not builder.job(child).version:
        builder.mine()
    assert cid_of(tasks[0].weights) == kept.weights
    assert tuple(cid_of(weights) for weights in tasks[0].earlier) == kept.earlier
    events = [record.settlement for record in builder.chain.list_settlements(child)]
    provenance = start.provenance
    for event in events:
        chained = event.round.to_bytes(8, "big") + b"".join(event.tickets) + event.new_weights
        provenance = tagged_hash("gc/provenance", provenance + chained)
    assert builder.job(child).provenance == provenance
    assert builder.job(child).earlier == (kept.weights, *kept.earlier)[:4]
    assert builder.job(parent) == kept


def test_parent_that_never_settled_can_be_continued(builder: ChainBuilder) -> None:
    parent = builder.open_job()
    ended = _end(builder, parent, heartbeat=True)
    assert (ended.version, ended.provenance) == (0, bytes(32))
    child = builder.open_job(_continue(builder, parent))
    assert builder.job(child).weights == ended.weights
    assert builder.job(child).provenance == bytes(32)


def test_continued_job_can_be_continued_itself_and_twice(builder: ChainBuilder) -> None:
    parent = _open_ended(builder)
    child = builder.open_job(_continue(builder, parent))
    while builder.job(child).version < 2:
        builder.mine()
    _end(builder, child)
    twins = [
        builder.open_job(_continue(builder, child, number=n), key=key) for n, key in ((1, BOB), (2, CAROL))
    ]
    for twin in twins:
        assert builder.job(twin).weights == builder.job(child).weights
        assert builder.job(twin).provenance == builder.job(child).provenance
    builder.mine_many(4 * E)
    assert all(builder.job(twin).version for twin in twins)
    assert builder.job(twins[0]).provenance != builder.job(twins[1]).provenance


def test_job_done_by_its_target_can_be_continued(builder: ChainBuilder) -> None:
    parent = builder.open_job(make_spec(params=(STEADY, WORK, 64), target=EASY))
    while builder.job(parent).status is not JobStatus.DONE:
        builder.mine()
    child = builder.open_job(_continue(builder, parent, params=(STEADY, WORK, 64)))
    assert builder.job(child).weights == builder.job(parent).weights


# which job it may name


def test_unknown_parent_is_refused(builder: ChainBuilder) -> None:
    start = builder.verifier.inspect(make_spec()).weights
    spec = make_spec(parent=tagged_hash("gc/test", b"?"), parent_weights=cid_of(start))
    _refused(builder, _submit(builder, spec, start), "parent: job [0-9a-f]{64} is not known")


def test_parent_that_can_still_move_is_refused(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="odd", draw_window=8, lock_slots=8, suspension_blocks=20)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    job = builder.open_job()
    _refused(builder, _submit(builder, _continue(builder, job)), "is live, expected done or cancelled")
    while builder.job(job).status is not JobStatus.SUSPENDED:
        builder.mine(heartbeat=True)
    _refused(builder, _submit(builder, _continue(builder, job)), "is suspended, expected done or cancelled")
    builder.mine(builder.cancel(ALICE, job))
    while builder.job(job).status is not JobStatus.CLOSING:
        builder.mine()
    _refused(builder, _submit(builder, _continue(builder, job)), "is closing, expected done or cancelled")
    while not is_boundary(job, builder.height + 1, params):
        builder.mine()
    closing = _submit(builder, _continue(builder, job))
    _refused(builder, closing, "is closing")  # it ends with this block, after the transactions
    builder.mine()
    assert builder.job(job).status is JobStatus.CANCELLED
    builder.mine(closing)


def test_job_of_the_same_block_is_no_parent(builder: ChainBuilder) -> None:
    first = builder.submit(ALICE, make_spec(1))
    start = builder.verifier.inspect(make_spec(1)).weights
    spec = make_spec(9, parent=first.txid, parent_weights=cid_of(start))
    child = _submit(builder, spec, start)
    before = builder.snapshot()
    with pytest.raises(InvalidBlock, match="is live"):
        builder.chain.add_block(builder.make_block(first, child), NOW_MS)
    assert builder.snapshot() == before


@pytest.mark.parametrize(
    "changes",
    [{"objective": "other"}, {"params": (STEADY, WORK, 999)}, {"params": (STEADY, WORK)}],
    ids=["objective", "parameter", "count"],
)
def test_parent_of_another_model_is_refused(builder: ChainBuilder, changes: dict[str, object]) -> None:
    """Before anything is asked of the objective, which may not even exist."""
    parent = _open_ended(builder)
    spec = _continue(builder, parent, **changes)
    tx = builder.sign(
        BOB, dataclasses.replace(builder.submission(_continue(builder, parent)), spec=encode_spec(spec))
    )
    _refused(builder, tx, r"objective toy with parameters \[0, 16777216, 1000\] expected")


def test_other_weights_of_the_parent_are_refused_without_a_run(builder: ChainBuilder) -> None:
    parent = _open_ended(builder)
    earlier = builder.job(parent).earlier[0]
    tx = _submit(builder, _continue(builder, parent, parent_weights=earlier))
    runs = builder.verifier.runs
    with pytest.raises(InvalidTransaction, match="ended with weights bafkrei"):
        apply_transaction(builder.view, tx, builder.height + 1, builder.chain.rules, {})
    assert builder.verifier.runs == runs
    _refused(builder, tx, "ended with weights")


def test_trial_from_the_seeds_weights_is_false(builder: ChainBuilder) -> None:
    """False in every state, as the spec names the weights: whoever relays it is to blame."""
    parent = _open_ended(builder)
    spec = _continue(builder, parent)
    honest = builder.submission(spec)
    own = builder.submission(dataclasses.replace(spec, parent=b"", parent_weights=b""))
    false = dataclasses.replace(honest, before=own.before, after=own.after)
    _refused(builder, builder.sign(BOB, false), "trial", FalseTrial)
    assert isinstance(builder.sign(BOB, honest).body, SubmitJob)
    builder.mine(builder.sign(BOB, honest))


def test_seed_of_a_continued_job_changes_nothing_but_its_bytes(builder: ChainBuilder) -> None:
    parent = _open_ended(builder)
    jobs = [builder.open_job(_continue(builder, parent, number=n)) for n in (1, 2)]
    assert builder.job(jobs[0]).weights == builder.job(jobs[1]).weights == builder.job(parent).weights


# what undoes it


def test_reorganisation_takes_a_continuation_back_and_brings_it_again(builder: ChainBuilder) -> None:
    parent = _open_ended(builder)
    fork = builder.height
    root = builder.chain.state.root
    child = builder.open_job(_continue(builder, parent))
    builder.mine_many(4 * E)
    assert builder.job(child).version
    other, lost = builder.fork(fork), builder.chain.head.hash
    assert other.chain.state.root == root
    other.mine(start=8000)
    again = other.open_job(_continue(other, parent, number=3), key=BOB)
    other.mine_to(builder.height + 1)
    for height in range(fork + 1, other.height + 1):
        builder.add(other.block_at(height))
    assert builder.chain.state.root == other.chain.state.root
    assert builder.view.get_job(child) is None
    assert builder.job(again).provenance != bytes(32)
    assert builder.chain.head.hash != lost
    while builder.height:
        block = builder.chain._disconnect_head()
        assert builder.chain.state.root == block.header.work.state_root
        for _, record in builder.view.active_jobs():
            assert builder.chain.load_weights(record.weights)


def test_submission_is_refused_where_its_parent_ended_otherwise(builder: ChainBuilder) -> None:
    """The pool drops what a reorganisation made impossible; nobody is to blame for it."""
    job = builder.open_job()
    while builder.job(job).version < 2:
        builder.mine()
    fork = builder.height
    other = builder.fork(fork)
    _end(builder, job)
    tx = _submit(builder, _continue(builder, job))
    pool = Mempool(builder.chain.rules)
    pool.add(tx, builder.chain.state, builder.height + 1)
    other.mine(start=8000)
    _end(other, job)
    other.mine_to(builder.height + 1)
    assert other.job(job).weights != builder.job(job).weights
    for height in range(fork + 1, other.height + 1):
        builder.add(other.block_at(height))
    with pytest.raises(InvalidTransaction, match="ended with weights") as caught:
        apply_transaction(builder.view, tx, builder.height + 1, builder.chain.rules, {})
    assert not isinstance(caught.value, FalseTrial)
    pool.update(builder.chain.state, builder.height + 1, [])
    assert not len(pool)


def test_ended_jobs_weights_outlive_every_pruning(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path, PRUNING, database=str(tmp_path / "chain.sqlite"))
    parent = _open_ended(builder, settlements=7)
    busy = builder.open_job(make_spec(1))
    while builder.job(busy).version < 8:
        builder.mine()
    builder.mine_many(16)
    versions = [s.settlement.new_weights for s in builder.chain.list_settlements(busy)]
    assert builder.storage.get_weights(versions[0]) is None  # pruning did go on
    ended = builder.job(parent)
    assert cid_of(builder.storage.get_weights(ended.weights) or b"") == ended.weights
    assert builder.storage.get_weights(ended.earlier[-1]) is None  # made again from those that are kept
    for cid in ended.earlier:
        assert cid_of(builder.chain.load_weights(cid)) == cid
    builder.reopen()
    child = builder.open_job(_continue(builder, parent), key=BOB)
    builder.mine_to(builder.height + 48)
    assert builder.job(child).version
    assert cid_of(builder.chain.load_weights(builder.job(parent).weights)) == builder.job(parent).weights


def test_replay_from_genesis_comes_to_the_same_state(builder: ChainBuilder) -> None:
    parent = _open_ended(builder)
    child = builder.open_job(_continue(builder, parent))
    builder.mine_many(4 * E)
    twin = builder.fork(builder.height)
    assert twin.chain.state.root == builder.chain.state.root
    assert twin.job(child) == builder.job(child)
