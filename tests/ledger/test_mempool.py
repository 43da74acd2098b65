"""The mempool: what it admits, replaces, evicts and offers, and how it follows the chain."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ledger.errors import InvalidTransaction, MissingBlobs
from ledger.hashing import cid_of
from ledger.keys import KeyPair
from ledger.mempool import Mempool, MempoolFull, MempoolLimits
from ledger.params import COIN, REGTEST
from ledger.transactions import Transaction, Transfer
from tests.ledger.chain_builder import ACCOUNTS, ALICE, BOB, CAROL, ChainBuilder, make_genesis, make_spec


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def _pool(node: ChainBuilder, **limits: int) -> Mempool:
    return Mempool(node.chain.rules, MempoolLimits(**limits))


def _tx(node: ChainBuilder, key: KeyPair, nonce: int, fee: int = 1000, amount: int = 1) -> Transaction:
    return node.sign(key, Transfer(CAROL.address, amount), fee=fee, nonce=nonce)


def _add(pool: Mempool, node: ChainBuilder, *txs: Transaction) -> None:
    for tx in txs:
        pool.add(tx, node.chain.state, node.height + 1)


def _update(pool: Mempool, node: ChainBuilder, *returned: Transaction) -> None:
    pool.update(node.chain.state, node.height + 1, list(returned))


def _select(pool: Mempool, node: ChainBuilder) -> list[Transaction]:
    return pool.select(node.chain.state, node.height + 1)


def test_nonces_form_a_chain_without_gaps(builder: ChainBuilder) -> None:
    pool = _pool(builder)
    txs = [_tx(builder, ALICE, nonce) for nonce in range(3)]
    with pytest.raises(InvalidTransaction, match="nonce"):
        _add(pool, builder, txs[1])
    _add(pool, builder, *txs)
    _add(pool, builder, txs[0])  # known: no news
    assert len(pool) == 3
    assert pool.size_bytes == sum(tx.size for tx in txs)
    assert pool.next_nonce(builder.chain.state, ALICE.address) == 3
    assert pool.next_nonce(builder.chain.state, BOB.address) == 0
    assert pool.get(txs[1].txid) == txs[1]


def test_sums_of_waiting_transactions_must_be_covered(builder: ChainBuilder) -> None:
    pool = _pool(builder)
    _add(pool, builder, _tx(builder, ALICE, 0, amount=60_000 * COIN))
    with pytest.raises(InvalidTransaction, match="balance"):
        _add(pool, builder, _tx(builder, ALICE, 1, amount=60_000 * COIN))
    with pytest.raises(InvalidTransaction, match="fee"):
        _add(pool, builder, _tx(builder, BOB, 0, fee=10))


def test_replacement_needs_a_tenth_more_and_drops_what_it_breaks(builder: ChainBuilder) -> None:
    pool = _pool(builder)
    first, second = _tx(builder, ALICE, 0), _tx(builder, ALICE, 1, amount=60_000 * COIN)
    _add(pool, builder, first, second)
    with pytest.raises(InvalidTransaction, match="1100"):
        _add(pool, builder, _tx(builder, ALICE, 0, fee=1099))
    small = _tx(builder, ALICE, 0, fee=1100)
    _add(pool, builder, small)
    assert {tx.txid for tx in pool.transactions()} == {small.txid, second.txid}
    large = _tx(builder, ALICE, 0, fee=2000, amount=60_000 * COIN)
    _add(pool, builder, large)
    assert pool.transactions() == [large]
    assert pool.size_bytes == large.size


def test_replacement_that_does_not_apply_leaves_the_replaced(builder: ChainBuilder) -> None:
    pool = _pool(builder)
    first = _tx(builder, ALICE, 0)
    _add(pool, builder, first)
    with pytest.raises(InvalidTransaction):
        _add(pool, builder, _tx(builder, ALICE, 0, fee=5000, amount=10**6 * COIN))
    assert pool.transactions() == [first]


def test_sender_has_only_so_many(builder: ChainBuilder) -> None:
    pool = _pool(builder, per_sender=2)
    _add(pool, builder, _tx(builder, ALICE, 0), _tx(builder, ALICE, 1))
    with pytest.raises(MempoolFull):
        _add(pool, builder, _tx(builder, ALICE, 2))
    _add(pool, builder, _tx(builder, ALICE, 1, fee=2000), _tx(builder, BOB, 0))
    assert len(pool) == 3


def test_full_pool_lets_the_cheapest_go_for_a_dearer_one(builder: ChainBuilder) -> None:
    pool = _pool(builder, count=3)
    cheap = _tx(builder, BOB, 1, fee=500)
    _add(pool, builder, _tx(builder, ALICE, 0), _tx(builder, BOB, 0, fee=3000), cheap)
    with pytest.raises(MempoolFull):
        _add(pool, builder, _tx(builder, CAROL, 0, fee=400))
    _add(pool, builder, _tx(builder, ALICE, 0, fee=1200))  # a replacement needs no room
    dear = _tx(builder, CAROL, 0, fee=2000)
    _add(pool, builder, dear)
    assert len(pool) == 3
    assert pool.get(cheap.txid) is None
    assert pool.get(dear.txid) == dear


def test_bytes_of_the_pool_are_limited(builder: ChainBuilder) -> None:
    one = _tx(builder, ALICE, 0)
    pool = _pool(builder, size_bytes=2 * one.size)
    _add(pool, builder, one, _tx(builder, BOB, 0))
    with pytest.raises(MempoolFull):
        _add(pool, builder, _tx(builder, CAROL, 0))
    assert pool.size_bytes == 2 * one.size


def test_submissions_are_few_and_need_their_data(builder: ChainBuilder) -> None:
    pool = _pool(builder, submissions=2)
    _add(pool, builder, *(builder.submit(key, make_spec(1)) for key in (ALICE, BOB)))
    with pytest.raises(MempoolFull, match="submissions"):
        _add(pool, builder, builder.submit(CAROL, make_spec(1)))
    blob = b"GCD1 nobody has"
    tx = builder.submit(CAROL, make_spec(1))
    spec = make_spec(2, data_cid=cid_of(blob), data_size=len(blob))
    builder.blobs.put(blob)
    body = builder.submission(spec)
    builder.blobs.path_of(cid_of(blob)).unlink()
    with pytest.raises(MissingBlobs):
        _add(_pool(builder), builder, dataclasses.replace(builder.sign(CAROL, body)))
    assert pool.get(tx.txid) is None


def test_selection_is_dearest_first_with_each_senders_nonces_in_order(builder: ChainBuilder) -> None:
    pool = _pool(builder)
    a0, a1 = _tx(builder, ALICE, 0, fee=500), _tx(builder, ALICE, 1, fee=9000)
    b0, b1 = _tx(builder, BOB, 0, fee=3000), _tx(builder, BOB, 1, fee=700)
    _add(pool, builder, a0, a1, b0, b1)
    chosen = _select(pool, builder)
    assert chosen == [b0, b1, a0, a1]
    builder.mine(*chosen)
    _update(pool, builder)
    assert len(pool) == 0
    assert pool.size_bytes == 0


def test_selection_fits_a_block_and_its_sidecars(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="tight", block_limit=1024 + 1000, sidecar_limit=20)
    builder = ChainBuilder(tmp_path, make_genesis(params))
    pool = _pool(builder)
    _add(pool, builder, *(_tx(builder, key, n) for key in ACCOUNTS for n in range(3)))
    chosen = _select(pool, builder)
    assert 3 <= len(chosen) < 30
    block = builder.mine(*chosen)
    assert len(block.encode()) <= params.block_limit
    jobs = _pool(builder)
    _add(jobs, builder, *(builder.submit(key, make_spec(1)) for key in (ALICE, BOB)))
    assert len(_select(jobs, builder)) == 1  # two blobs of 13 bytes are too many
    builder.mine(*_select(jobs, builder))


def test_what_a_reorganisation_frees_comes_back(builder: ChainBuilder) -> None:
    builder.mine()
    pool = _pool(builder)
    mined = [_tx(builder, ALICE, 0), _tx(builder, ALICE, 1), _tx(builder, BOB, 0)]
    waiting = _tx(builder, ALICE, 2)
    builder.mine(*mined)
    _add(pool, builder, waiting)
    other = builder.fork(1)
    taken = _tx(builder, BOB, 0, fee=1500)
    other.mine(taken)
    other.mine()
    for height in (2, 3):
        added = builder.add(other.block_at(height))
    returned = [tx for block in reversed(added.disconnected) for tx in block.transactions]
    assert returned == mined
    _update(pool, builder, *returned)
    assert {tx.txid for tx in pool.transactions()} == {tx.txid for tx in (*mined[:2], waiting)}
    assert _select(pool, builder) == [mined[0], mined[1], waiting]
    builder.mine(*_select(pool, builder))
    _update(pool, builder)
    assert len(pool) == 0


def test_what_a_block_makes_impossible_is_dropped(builder: ChainBuilder) -> None:
    pool = _pool(builder)
    _add(pool, builder, _tx(builder, ALICE, 0), _tx(builder, ALICE, 1, amount=60_000 * COIN))
    builder.mine(_tx(builder, ALICE, 0, fee=7000, amount=50_000 * COIN))
    _update(pool, builder)
    assert pool.transactions() == []


def test_freed_transactions_respect_the_limits(builder: ChainBuilder) -> None:
    pool = _pool(builder, per_sender=2, count=3)
    freed = [_tx(builder, ALICE, nonce) for nonce in range(4)]
    _add(pool, builder, _tx(builder, BOB, 0), _tx(builder, CAROL, 0))
    _update(pool, builder, *freed)
    assert len(pool) <= 3
    assert pool.next_nonce(builder.chain.state, ALICE.address) <= 2
    assert pool.size_bytes == sum(tx.size for tx in pool.transactions())


def test_selection_survives_a_stale_state(builder: ChainBuilder) -> None:
    pool = _pool(builder)
    _add(pool, builder, _tx(builder, ALICE, 0), _tx(builder, BOB, 0))
    builder.mine(_tx(builder, ALICE, 0, fee=5000))
    chosen = _select(pool, builder)
    assert [tx.sender for tx in chosen] == [BOB.public]
    builder.mine(*chosen)
