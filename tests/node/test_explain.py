"""Stories of a chain: every thing on it has one, and it says what happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ledger.blocks import decode_header
from ledger.params import COIN, REGTEST
from ledger.records import JobStatus
from ledger.transactions import CommitUpdate
from node.explain.explain import NotOnChain, explain
from tests.ledger.chain_builder import ALICE, BOB, CAROL, ChainBuilder, make_spec
from tests.ledger.market_builder import (
    MadeUpdate,
    find_share,
    make_update,
    mine_to_settlement,
    mine_to_window,
    open_market,
)
from tests.ledger.samples import PRIVACY
from tests.ledger.toy_work import VECTOR


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    return ChainBuilder(tmp_path)


def _commit(builder: ChainBuilder, update: MadeUpdate) -> bytes:
    tx = builder.sign(update.miner, update.commit(find_share(builder, update.miner)), fee=100_000)
    builder.mine(tx)
    return tx.txid


def _settle(builder: ChainBuilder, *updates: MadeUpdate) -> None:
    """Reveal these and mine to their settlement."""
    mine_to_window(builder, updates[0])
    builder.mine(*(builder.sign(update.miner, update.reveal(), fee=0) for update in updates))
    mine_to_settlement(builder, updates[0])


def test_update_is_told_at_every_stage(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    name = update.commitment.hex()
    story = explain(builder.chain, name[:12])
    assert (story.kind, story.id, story.verdict) == ("update", name, "committed")
    assert "waits to be revealed in blocks" in " ".join(story.sentences)
    mine_to_window(builder, update)
    builder.mine(builder.sign(ALICE, update.reveal(), fee=0))
    assert explain(builder.chain, name).verdict == "revealed"
    mine_to_settlement(builder, update)
    story = explain(builder.chain, name)
    assert story.verdict == "paid"
    assert story.facts["settled_at"] == builder.height
    assert int(story.facts["amount"]) > 0
    assert (story.facts["position"], story.facts["judged"]) == (1, 1)
    assert "It earned" in " ".join(story.sentences)


@pytest.mark.parametrize(("spent", "holds"), [(PRIVACY.spent, True), (1 << 50, False)])
def test_privacy_of_an_update_is_told_with_what_it_comes_to(
    builder: ChainBuilder, spent: int, holds: bool
) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    mine_to_window(builder, update)
    record = replace(PRIVACY, spent=spent)
    builder.mine(builder.sign(ALICE, update.reveal(privacy=record), fee=0))
    story = explain(builder.chain, update.commitment.hex())
    told = " ".join(story.sentences)
    assert f"private samples ({PRIVACY.data_id.hex()[:12]}) by 1 sum of gradients" in told
    assert "of 8 is spent on these samples, at delta 1e-05" in told
    assert ("more than the total" in told) is not holds
    assert (story.facts["privacy"]["spent_epsilon"] < 8) is holds


def test_commit_and_reveal_transactions_tell_their_update(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    commit = _commit(builder, update)
    mine_to_window(builder, update)
    reveal = builder.sign(ALICE, update.reveal(), fee=0)
    builder.mine(reveal)
    for txid in (commit, reveal.txid):
        story = explain(builder.chain, txid.hex())
        assert (story.kind, story.id) == ("update", update.commitment.hex())
        assert story.facts["txid"] == txid.hex()
    assert explain(builder.chain, update.commitment.hex()).facts["reveal_txid"] == reveal.txid.hex()


def test_lost_bonds_and_fines_say_why(builder: ChainBuilder) -> None:
    job = open_market(builder)
    weights = VECTOR.unpack(builder.chain.load_weights(builder.job(job).weights))
    good, silent = make_update(builder, job, ALICE), make_update(builder, job, BOB)
    void = make_update(builder, job, CAROL, b"nothing of this job's")
    bad = make_update(builder, job, BOB, VECTOR.pack(*(w >> 7 for w in weights)), number=1)
    for update in (good, silent, void, bad):
        _commit(builder, update)
    _settle(builder, good, void, bad)
    words = {
        silent: ("unrevealed", "was not revealed in blocks"),
        void: ("void", "could not be judged"),
        bad: ("fined", "It was fined"),
    }
    for update, (verdict, sentence) in words.items():
        story = explain(builder.chain, update.commitment.hex())
        assert story.verdict == verdict
        assert sentence in " ".join(story.sentences)


def test_budget_that_is_not_enough_is_named(builder: ChainBuilder) -> None:
    job = open_market(builder, budget=COIN, price=10**6 * COIN)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    _settle(builder, update)
    story = explain(builder.chain, update.commitment.hex())
    assert story.facts["limited_by_budget"] is True
    assert "the round's budget of 1 coin" in " ".join(story.sentences)


def test_job_block_ticket_and_share_have_stories(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    _settle(builder, update)
    story = explain(builder.chain, job.hex()[:10])
    assert (story.kind, story.verdict) == ("job", "live")
    assert story.facts["paid_updates"] == 1
    block = builder.block_at(builder.height)
    assert explain(builder.chain, str(builder.height)).id == block.hash.hex()
    assert explain(builder.chain, block.hash.hex()).kind == "block"
    ticket = explain(builder.chain, block.header.seed.hex())
    assert (ticket.kind, ticket.verdict, ticket.facts["height"]) == ("ticket", "won", builder.height)
    (commit,) = (
        tx.body
        for height in range(1, builder.height)
        for tx in builder.block_at(height).transactions
        if isinstance(tx.body, CommitUpdate)
    )
    share = explain(builder.chain, decode_header(commit.shares[0]).seed.hex())
    assert (share.kind, share.facts["update"]) == ("share", update.commitment.hex())


def test_every_transaction_of_a_chain_has_a_story(builder: ChainBuilder) -> None:
    job = open_market(builder)
    update = make_update(builder, job, BOB)
    _commit(builder, update)
    builder.mine(builder.transfer(ALICE, CAROL, 5 * COIN), builder.transfer(BOB, CAROL, COIN))
    _settle(builder, update)
    builder.mine(builder.cancel(ALICE, job))
    builder.mine_many(2 * REGTEST.round_length)
    for height in range(1, builder.height + 1):
        for tx in builder.block_at(height).transactions:
            story = explain(builder.chain, tx.txid.hex())
            assert story.facts["submitted" if tx.txid == job else "height"] == height
            assert story.sentences


@pytest.mark.parametrize("name", ["0", "9999", "abc", "zzzzzz", "ab" * 33, "", "ffffffffff"])
def test_what_is_not_there_is_told_so(builder: ChainBuilder, name: str) -> None:
    builder.mine()
    with pytest.raises(NotOnChain):
        explain(builder.chain, name)


def test_stories_of_strangers_titles_steer_no_terminal(builder: ChainBuilder) -> None:
    job = open_market(builder, title="\x1b[2Jhidden\n")
    story = explain(builder.chain, job.hex())
    assert all(sentence.isprintable() for sentence in story.sentences)


def test_continued_job_names_its_parent_and_version(builder: ChainBuilder) -> None:
    parent = builder.open_job()
    while builder.job(parent).version < 2:
        builder.mine()
    builder.mine(builder.cancel(ALICE, parent))
    builder.mine_many(2 * REGTEST.round_length)
    ended = builder.job(parent)
    child = builder.open_job(make_spec(3, parent=parent, parent_weights=ended.weights), key=BOB)
    story = explain(builder.chain, child.hex())
    told = " ".join(story.sentences)
    assert f"It continues job {parent.hex()[:8]} (toy) at version {ended.version}, the last" in told
    assert story.facts["parent"] == parent.hex()
    assert "continues" not in " ".join(explain(builder.chain, parent.hex()).sentences)


def test_market_only_job_says_that_no_heights_are_drawn(builder: ChainBuilder) -> None:
    job = open_market(builder, market_only=1, burn=0)
    told = " ".join(explain(builder.chain, job.hex()).sentences)
    assert "Miners' updates alone train it; no heights are drawn for it. None has been settled yet." in told
    assert "it burns its rent only; updates earn up to 20 coins a round" in told
    update = make_update(builder, job, ALICE)
    _commit(builder, update)
    _settle(builder, update)
    told = " ".join(explain(builder.chain, job.hex()).sentences)
    assert "of 0 tickets and 1 update (1 paid)" in told
    builder.mine(builder.cancel(ALICE, job))
    while builder.job(job).status is not JobStatus.CLOSING:
        builder.mine()
    assert "Its last updates settle at height" in " ".join(explain(builder.chain, job.hex()).sentences)
