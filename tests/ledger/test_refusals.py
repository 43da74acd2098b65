"""A block with one thing changed is refused or parked, each for its own reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from ledger.blocks import HEARTBEAT, Block, Header, WorkHeader, decode_block
from ledger.chain import NotYet
from ledger.errors import (
    DamagedBody,
    DecodeError,
    InvalidBlock,
    InvalidHeader,
    LedgerError,
    MissingBlobs,
    UnknownParent,
)
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec, encode_spec
from ledger.keys import KeyPair
from ledger.params import COIN, MAX_TARGET, REGTEST
from ledger.slots import is_boundary
from ledger.template import assemble_block
from ledger.transactions import Body, CancelJob, SubmitJob, Transaction, Transfer
from ledger.work import TicketRun, TicketTask
from tests.ledger.chain_builder import (
    ALICE,
    BOB,
    CAROL,
    DATA,
    MINER,
    NOW_MS,
    ChainBuilder,
    make_genesis,
    make_spec,
    reroot,
)
from tests.ledger.toy_work import STEADY, WORK

WorkChange = Callable[[WorkHeader], dict[str, object]]
HALF = make_genesis(dataclasses.replace(REGTEST, name="half", start_target=2**255))

WORK_CHANGES: dict[str, tuple[WorkChange, type[LedgerError], str]] = {
    "version": (lambda w: {"version": 2}, DecodeError, "version"),
    "height up": (lambda w: {"height": w.height + 1}, InvalidHeader, "height"),
    "height down": (lambda w: {"height": w.height - 1}, InvalidHeader, "height"),
    "parent unknown": (lambda w: {"parent": tagged_hash("gc/test", b"?")}, UnknownParent, "parent"),
    "time equal": (lambda w: {"time_ms": w.time_ms - 1000}, InvalidHeader, "time"),
    "time zero": (lambda w: {"time_ms": 0}, InvalidHeader, "time"),
    "miner": (lambda w: {"miner": BOB.public}, DamagedBody, "signature"),
    "target up": (lambda w: {"target": w.target + 1}, InvalidHeader, "target"),
    "target down": (lambda w: {"target": w.target - 1}, InvalidHeader, "target"),
    "job unknown": (lambda w: {"job_id": tagged_hash("gc/test", b"?")}, InvalidHeader, "job"),
    "transaction root": (lambda w: {"tx_root": bytes(32)}, DamagedBody, "root"),
    "transaction count up": (lambda w: {"tx_count": w.tx_count + 1}, DamagedBody, "count"),
    "transaction count down": (lambda w: {"tx_count": w.tx_count - 1}, DamagedBody, "count"),
    "state root": (lambda w: {"state_root": tagged_hash("gc/test", b"?")}, InvalidHeader, "state root"),
}


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    node = ChainBuilder(tmp_path, HALF)
    node.open_job(make_spec(1))
    node.open_job(make_spec(2), key=BOB)
    while node.drawn() is None or node.height < 20:
        node.mine()
    return node


def _refuse(node: ChainBuilder, block: Block, error: type[LedgerError], match: str) -> None:
    """The chain refuses the block and is as before."""
    before = node.snapshot()
    with pytest.raises(error, match=match):
        node.chain.add_block(block, NOW_MS)
    assert node.snapshot() == before


def _transactions(node: ChainBuilder) -> tuple[Transaction, ...]:
    return (node.transfer(ALICE, CAROL, 5), node.transfer(BOB, CAROL, 6))


@pytest.mark.parametrize("name", WORK_CHANGES)
def test_changed_work_header_is_refused_for_its_reason(builder: ChainBuilder, name: str) -> None:
    change, error, match = WORK_CHANGES[name]
    template = builder.template(*_transactions(builder))
    changed = change(template.work)
    if error is DecodeError:
        work = dataclasses.replace(template.work, **changed)  # type: ignore[arg-type]
        block = builder.seal(Header(work, bytes(32), 1, 0), *template.transactions)
        with pytest.raises(DecodeError, match=match):
            decode_block(block.encode(), builder.params)
        return
    work = dataclasses.replace(template.work, **changed)  # type: ignore[arg-type]
    if work.miner == MINER.public:
        block = builder.solve(template, work=work)
    else:
        block = builder.make_block(*template.transactions)
        header = dataclasses.replace(block.header, work=dataclasses.replace(work, nonce=0))
        while header.ticket >= template.threshold:
            header = dataclasses.replace(
                header, work=dataclasses.replace(header.work, nonce=header.work.nonce + 1)
            )
        block = Block(header, block.signature, block.transactions)
    _refuse(builder, block, error, match)
    valid = builder.solve(template)
    assert builder.add(valid).connected


def test_changed_nonce_gives_another_ticket_that_is_refused(builder: ChainBuilder) -> None:
    block = builder.make_block()
    template = builder.template()
    for nonce in range(10_000, 10_040):
        header = dataclasses.replace(block.header, work=dataclasses.replace(block.header.work, nonce=nonce))
        fits = header.ticket < template.threshold
        match = "replay" if fits else "ticket"
        _refuse(builder, builder.seal(header), InvalidHeader, match)


@pytest.mark.parametrize("field", ["digest", "before", "after"])
def test_changed_result_is_refused_by_replay(builder: ChainBuilder, field: str) -> None:
    template = builder.template()
    for start in range(0, 10_000, 100):
        block = builder.solve(template, start=start)
        old = getattr(block.header, field)
        new = tagged_hash("gc/test", old) if field == "digest" else old - 1
        header = dataclasses.replace(block.header, **{field: new})  # type: ignore[arg-type]
        if header.ticket < template.threshold:
            break
    _refuse(builder, builder.seal(header), InvalidHeader, "replay")
    with pytest.raises(InvalidHeader, match="replay"):
        builder.chain.judge_header(header, _signature(builder, header), NOW_MS)


def _signature(node: ChainBuilder, header: Header) -> bytes:
    return node.seal(header).signature


def test_delta_changed_in_one_unit_is_refused(builder: ChainBuilder) -> None:
    template = builder.template()
    run = builder.verifier.run
    with patch.object(builder.verifier, "run", side_effect=lambda task: _off_by_one(run, task)):
        block = builder.solve(template)
    _refuse(builder, block, InvalidHeader, "replay")


def _off_by_one(run: Callable[[TicketTask], TicketRun], task: TicketTask) -> TicketRun:
    honest = run(task)
    delta = (int.from_bytes(honest.delta[:8], "little", signed=True) + 1).to_bytes(8, "little", signed=True)
    delta += honest.delta[8:]
    return dataclasses.replace(honest, delta=delta, digest=tagged_hash("gc/delta", task.seed + delta))


def test_loss_that_did_not_fall_is_refused(builder: ChainBuilder) -> None:
    block = builder.make_block()
    header = dataclasses.replace(block.header, after=block.header.before)
    _refuse(builder, builder.seal(header), InvalidHeader, "ticket")


def test_ticket_at_its_threshold_is_refused(builder: ChainBuilder) -> None:
    template = builder.template(heartbeat=True)
    offslot = builder.solve(template)
    for nonce in range(10_000):
        work = dataclasses.replace(template.work, nonce=nonce)
        run = builder.verifier.run(TicketTask(work.seed, work.parent, None, b""))
        header = Header(work, run.digest, run.before, run.after)
        if run.after < run.before and template.threshold <= header.ticket < 4 * template.threshold:
            break
    _refuse(builder, builder.seal(header), InvalidHeader, "threshold")  # enough on a slot of the heartbeat
    assert template.threshold == HALF.params.start_target // 4
    assert builder.add(offslot).connected


def test_another_job_than_the_drawn_one_is_refused(builder: ChainBuilder) -> None:
    drawn = builder.drawn()
    (other,) = builder.chain.state.active_jobs - {drawn}
    template = builder.template()
    work = dataclasses.replace(template.work, job_id=other)
    record = builder.job(other)
    template = dataclasses.replace(template, weights=builder.chain.load_weights(record.weights))
    _refuse(builder, builder.solve(template, work=work), InvalidHeader, "is drawn for")


def test_job_at_a_height_of_the_heartbeat_is_refused(builder: ChainBuilder) -> None:
    while (builder.height + 1) % 4:
        builder.mine()
    assert builder.drawn() is None
    job = min(builder.chain.state.active_jobs)
    template = builder.template()
    work = dataclasses.replace(template.work, job_id=job)
    _refuse(builder, builder.solve(template, work=work), InvalidHeader, "the heartbeat")


def test_time_far_ahead_waits_and_is_not_marked(builder: ChainBuilder) -> None:
    block = builder.make_block()
    time_ms = block.header.work.time_ms
    ahead_ms = builder.params.future_intervals * builder.params.interval_ms
    with pytest.raises(NotYet):
        builder.chain.add_block(block, time_ms - ahead_ms - 1)
    with pytest.raises(NotYet):
        builder.chain.judge_header(block.header, block.signature, time_ms - ahead_ms - 1)
    assert builder.chain.index.get(block.hash) is None
    assert builder.chain.add_block(block, time_ms - ahead_ms).connected


def test_wrong_signature_damages_only_the_copy(builder: ChainBuilder) -> None:
    block = builder.make_block(*_transactions(builder))
    flipped = block.signature[:40] + bytes([block.signature[40] ^ 1]) + block.signature[41:]
    _refuse(builder, dataclasses.replace(block, signature=flipped), DamagedBody, "signature")
    with pytest.raises(InvalidHeader, match="signature"):
        builder.chain.judge_header(block.header, flipped, NOW_MS)
    assert builder.chain.index.get(block.hash) is None
    assert builder.add(block).connected


@pytest.mark.parametrize("field", ["sender", "nonce", "fee", "body", "signature"])
def test_changed_transaction_field_damages_only_the_copy(builder: ChainBuilder, field: str) -> None:
    block = builder.make_block(*_transactions(builder))
    tx = block.transactions[0]
    values: dict[str, object] = {
        "sender": CAROL.public,
        "nonce": tx.nonce + 1,
        "fee": tx.fee + 1,
        "body": Transfer(CAROL.address, 6),
        "signature": tx.signature[:63] + bytes([tx.signature[63] ^ 1]),
    }
    changed = dataclasses.replace(tx, **{field: values[field]})  # type: ignore[arg-type]
    damaged = dataclasses.replace(block, transactions=(changed, *block.transactions[1:]))
    _refuse(builder, damaged, DamagedBody, "signature" if field == "signature" else "root")
    assert builder.chain.index.get(block.hash) is None
    assert builder.add(block).connected


@pytest.mark.parametrize("shape", ["reordered", "shortened", "doubled"])
def test_changed_order_of_transactions_damages_only_the_copy(builder: ChainBuilder, shape: str) -> None:
    block = builder.make_block(*_transactions(builder))
    one, two = block.transactions
    bodies = {"reordered": (two, one), "shortened": (one,), "doubled": (one, two, two)}
    damaged = dataclasses.replace(block, transactions=bodies[shape])
    _refuse(builder, damaged, DamagedBody, "transaction")
    assert builder.add(block).connected


def test_transaction_of_another_chain_damages_the_copy(builder: ChainBuilder, tmp_path: Path) -> None:
    foreign = ChainBuilder(tmp_path, make_genesis(REGTEST))
    tx = foreign.sign(ALICE, Transfer(BOB.address, 1), nonce=builder.account(ALICE).nonce)
    _refuse(builder, builder.make_block(tx), DamagedBody, "this chain")


# what transactions may not do: each is refused with its block


def _mint(node: ChainBuilder, body: Body, key: KeyPair = ALICE, **how: int) -> Transaction:
    return node.sign(key, body, **how)


def _submission(node: ChainBuilder, **changes: object) -> SubmitJob:
    return dataclasses.replace(node.submission(make_spec(7)), **changes)  # type: ignore[arg-type]


def _of_spec(node: ChainBuilder, spec: JobSpec) -> SubmitJob:
    return SubmitJob(encode_spec(spec), 100 * COIN, bytes(32), 2, 1)


BAD: dict[str, tuple[Callable[[ChainBuilder], Transaction], str]] = {
    "fee too low": (lambda b: _mint(b, Transfer(BOB.address, 1), fee=100), "fee"),
    "fee without sidecar": (lambda b: _low_fee_submission(b), "fee"),
    "nonce behind": (lambda b: _mint(b, Transfer(BOB.address, 1), nonce=0), "nonce"),
    "nonce ahead": (lambda b: _mint(b, Transfer(BOB.address, 1), nonce=9), "nonce"),
    "amount": (lambda b: _mint(b, Transfer(BOB.address, b.account(ALICE).balance - 9_999)), "balance"),
    "fee above balance": (lambda b: _mint(b, Transfer(BOB.address, 1), fee=2**62), "balance"),
    "amount huge": (lambda b: _mint(b, Transfer(BOB.address, 2**63 - 1)), "balance"),
    "trial digest": (lambda b: _mint(b, _submission(b, digest=bytes(32))), "trial"),
    "trial before": (lambda b: _mint(b, _submission(b, before=2**100)), "trial"),
    "trial after": (lambda b: _mint(b, _submission(b, after=0)), "trial"),
    "trial without progress": (lambda b: _mint(b, _failing_submission(b)), "did not lower"),
    "escrow short": (lambda b: _mint(b, _submission(b, escrow=_least_escrow(b) - 1)), "escrow"),
    "escrow above balance": (lambda b: _mint(b, _submission(b, escrow=200_000 * COIN)), "balance"),
    "spec not one": (lambda b: _mint(b, _submission(b, spec=b"\xc0")), "spec"),
    "spec of low burn": (lambda b: _mint(b, _of_spec(b, make_spec(burn=1))), "burn"),
    "spec of large data": (lambda b: _mint(b, _of_spec(b, make_spec(data_size=2**20)), fee=2**21), "size"),
    "objective": (lambda b: _mint(b, _of_spec(b, make_spec(objective="none"))), "refused"),
    "data size": (lambda b: _mint(b, _of_spec(b, make_spec(data_size=5))), "refused"),
    "work low": (lambda b: _mint(b, _of_spec(b, _with_work(WORK // 8 - 1))), "declared work"),
    "work high": (lambda b: _mint(b, _of_spec(b, _with_work(8 * WORK + 1))), "declared work"),
    "cancel unknown": (lambda b: _mint(b, CancelJob(bytes(32))), "not known"),
    "cancel of another": (lambda b: _mint(b, CancelJob(_job_of(b, BOB))), "another account"),
}


def _low_fee_submission(node: ChainBuilder) -> Transaction:
    size = _mint(node, _submission(node)).size
    return _mint(node, _submission(node), fee=size + len(DATA) - 1)


def _failing_submission(node: ChainBuilder) -> SubmitJob:
    """A submission whose trial is as stated, and does not lower the loss."""
    bodies = (node.submission(make_spec(number)) for number in range(256))
    return next(body for body in bodies if body.after >= body.before)


def _least_escrow(node: ChainBuilder) -> int:
    params = node.params
    return (params.lock_slots + params.round_length) * params.min_burn + params.rent


def _with_work(work: int) -> JobSpec:
    return make_spec(params=(STEADY, work, 1000))


def _job_of(node: ChainBuilder, key: KeyPair) -> bytes:
    return next(i for i, record in node.view.active_jobs() if record.owner == key.address)


@pytest.mark.parametrize("name", BAD)
def test_transaction_that_breaks_a_rule_makes_its_block_invalid(builder: ChainBuilder, name: str) -> None:
    make, match = BAD[name]
    block = builder.make_block(make(builder))
    _refuse(builder, block, InvalidBlock, match)
    assert builder.chain.index[block.hash].invalid
    builder.chain.judge_header(block.header, block.signature, NOW_MS)  # its ticket is right all the same
    builder.mine()


def test_good_edge_values_are_accepted(builder: ChainBuilder) -> None:
    whole = builder.account(CAROL).balance - 10_000
    least = _submission(builder, escrow=_least_escrow(builder))
    job = builder.sign(ALICE, least, fee=builder.sign(ALICE, least, fee=500).size + len(DATA))
    builder.mine(builder.sign(CAROL, Transfer(BOB.address, whole)), job)
    assert builder.account(CAROL).balance == 0
    left = _least_escrow(builder) - 50 * builder.params.min_burn
    paid = builder.params.rent if is_boundary(job.txid, builder.height, builder.params) else 0
    assert builder.job(job.txid).escrow == left - paid
    small = _mint(builder, Transfer(BOB.address, 1), fee=200)
    builder.mine(dataclasses.replace(builder.sign(ALICE, Transfer(BOB.address, 1), fee=small.size)))


def test_same_transaction_twice_in_a_chain_is_refused(builder: ChainBuilder) -> None:
    tx = builder.transfer(ALICE, BOB, 1)
    builder.mine(tx)
    _refuse(builder, builder.make_block(tx), InvalidBlock, "nonce")
    twice = builder.transfer(ALICE, BOB, 1)
    _refuse(builder, builder.make_block(twice, twice), InvalidBlock, "nonce")


def test_job_submitted_twice_has_two_ids(builder: ChainBuilder) -> None:
    first, second = builder.open_job(make_spec(5)), builder.open_job(make_spec(5))
    assert first != second
    assert builder.job(first).weights == builder.job(second).weights


def test_sidecars_of_a_block_together_are_limited(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="tight", sidecar_limit=2 * len(DATA))
    builder = ChainBuilder(tmp_path, make_genesis(params))
    txs = [builder.submit(key, make_spec(n)) for n, key in enumerate((ALICE, BOB, CAROL))]
    builder.mine(*txs[:2])
    again = [builder.submit(key, make_spec(n)) for n, key in enumerate((ALICE, BOB, CAROL))]
    _refuse(builder, builder.make_block(*again), InvalidBlock, "sidecars")


def test_too_many_sidecar_bytes_are_refused_before_they_are_fetched(tmp_path: Path) -> None:
    rich, poor = ChainBuilder(tmp_path / "rich"), ChainBuilder(tmp_path / "poor")
    blob = bytes(rich.params.sidecar_limit)
    rich.blobs.put(blob)
    spec = make_spec(data_cid=cid_of(blob), data_size=len(blob))
    txs = [
        rich.sign(ALICE, rich.submission(spec), fee=COIN),
        rich.sign(BOB, rich.submission(make_spec(1)), fee=COIN),
    ]
    block = rich.make_block(*txs)
    _refuse(poor, block, InvalidBlock, "sidecars")
    fine = rich.make_block(txs[0])
    with pytest.raises(MissingBlobs):
        poor.chain.add_block(fine, NOW_MS)
    assert rich.add(fine).connected


def test_block_put_together_beyond_the_size_is_refused_and_not_kept(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="tight", block_limit=1400)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    nonce = builder.account(ALICE).nonce
    txs = [builder.transfer(ALICE, BOB, 1, nonce=nonce + i) for i in range(9)]
    block = builder.make_block(*txs)
    assert len(block.encode()) > params.block_limit
    _refuse(builder, block, InvalidBlock, "bytes")
    assert builder.chain.index.get(block.hash) is None


def test_who_cannot_pay_the_escrow_makes_nobody_train(builder: ChainBuilder) -> None:
    tx = builder.submit(ALICE, make_spec(), escrow=2**62)
    block = builder.make_block(tx)
    with patch.object(builder.verifier, "inspect") as inspect:
        _refuse(builder, block, InvalidBlock, "balance")
    inspect.assert_not_called()


def test_jobs_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="few", max_jobs=2)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    builder.open_job(make_spec(1))
    builder.open_job(make_spec(2))
    _refuse(builder, builder.make_block(builder.submit(BOB, make_spec(3))), InvalidBlock, "jobs")


def test_assembled_block_of_a_winning_run_connects(builder: ChainBuilder) -> None:
    template = builder.template()
    block = builder.solve(template)
    task = TicketTask(block.header.seed, template.work.parent, template.spec, template.weights)
    run = builder.verifier.run(task)
    made = assemble_block(template, block.header.work.nonce, run, MINER, builder.genesis.chain_id)
    assert made == block
    assert builder.add(made).connected


def test_transaction_root_of_another_body_is_another_ticket(builder: ChainBuilder) -> None:
    template = builder.template()
    txs = _transactions(builder)
    assert reroot(template.work, txs) == builder.template(*txs).work
    assert template.work.target < MAX_TARGET
    assert template.work.job_id != HEARTBEAT
