"""Which of a node's own training runs its next update can use."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.params import REGTEST
from node.services.share_box import MAX_SHARES, ShareBox
from tests.ledger.chain_builder import ALICE, ChainBuilder
from tests.ledger.market_builder import find_share, make_update, open_market

NONE: frozenset[bytes] = frozenset()


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def test_oldest_shares_are_used_first_and_no_more_than_asked(builder: ChainBuilder) -> None:
    box, shares = ShareBox(), []
    for _ in range(3):
        builder.mine()
        shares.append(find_share(builder))
        box.add(shares[-1])
    assert box.choose(builder.chain, 2, NONE) == tuple(shares[:2])
    assert box.choose(builder.chain, 9, NONE) == tuple(shares)


def test_share_that_waits_in_a_transaction_is_passed_over(builder: ChainBuilder) -> None:
    box = ShareBox()
    first, second = find_share(builder), find_share(builder, start=5000)
    box.add(first)
    box.add(second)
    assert box.choose(builder.chain, 9, frozenset({first.encode()})) == (second,)
    assert len(box) == 2


def test_spent_and_old_shares_are_forgotten(builder: ChainBuilder) -> None:
    box = ShareBox()
    job = open_market(builder)
    spent, old = find_share(builder), find_share(builder, start=5000)
    box.add(spent)
    box.add(old)
    builder.mine(builder.sign(ALICE, make_update(builder, job, ALICE).commit(spent), fee=100_000))
    assert box.choose(builder.chain, 9, NONE) == (old,)
    builder.mine_to(old.work.height + REGTEST.share_age)
    assert box.choose(builder.chain, 9, NONE) == ()
    assert len(box) == 0


def test_share_of_a_lost_branch_waits_in_case_it_comes_back(builder: ChainBuilder) -> None:
    box, other = ShareBox(), builder.fork(0)
    builder.mine()
    box.add(find_share(builder))
    other.mine(start=7000)
    other.mine()
    assert box.choose(other.chain, 9, NONE) == ()
    assert len(box.choose(builder.chain, 9, NONE)) == 1


def test_box_is_bounded(builder: ChainBuilder) -> None:
    box, share = ShareBox(), find_share(builder)
    for _ in range(MAX_SHARES + 5):
        box.add(share)
    assert len(box) == MAX_SHARES
