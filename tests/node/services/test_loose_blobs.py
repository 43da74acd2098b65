"""Data of submissions: fetched only for who can pay, kept only for what waits or was mined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ledger.blobs import BlobStore
from ledger.hashing import cid_of, tagged_hash
from ledger.keys import KeyPair
from ledger.params import COIN
from ledger.transactions import SubmitJob, Transaction
from tests.ledger.chain_builder import ALICE, BOB, DATA, make_spec
from tests.node.services.network import NAMES, BarePeer, Builder, Net, Node, until

POOR = KeyPair.from_seed(tagged_hash("gc/test", b"poor"))
FLOOD = 40


class Owner:
    """An account with data that nobody else holds."""

    def __init__(self, folder: Path) -> None:
        self.builder = Builder(folder)
        self.blobs: dict[bytes, bytes] = {}

    def submission(self, number: int, escrow: int = 100 * COIN) -> SubmitJob:
        data = b"GCD1 rare %d" % number
        cid = self.builder.blobs.put(data)
        self.blobs[cid] = data
        return self.builder.submission(make_spec(1, data_cid=cid, data_size=len(data)), escrow)

    def submit(self, number: int, key: KeyPair = ALICE, fee: int = 10_000) -> Transaction:
        return self.builder.sign(key, self.submission(number), fee=fee)


def cid_in(tx: Transaction, node: Node) -> bytes:
    (cid,) = node.service.mempool.list_sidecars() if node.service.mempool.get(tx.txid) else (b"",)
    return cid


def held(node: Node) -> set[str]:
    """The files of the node's store, but for the data that every builder has."""
    root = node.builder.folder / "blobs"
    return {path.name for path in root.rglob("*") if path.is_file()} - {
        node.builder.blobs.path_of(cid_of(DATA)).name
    }


async def meet(net: Net, owner: Owner) -> tuple[BarePeer, Node]:
    speaker, node = await net.add_bare(), await net.add()
    speaker.serve(NAMES.blob, lambda cid: owner.blobs.get(cid, b""))
    speaker.serve_chain(owner.builder)  # a node would drop who does not
    await net.connect((speaker, node))
    return speaker, node


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path / "owner")


def make_unpayable(owner: Owner, number: int) -> Transaction:
    """Return a submission that is wrong in one of the ways that can be seen without its data."""
    good = owner.submit(number)
    assert isinstance(good.body, SubmitJob)
    sign = owner.builder.sign
    return [
        lambda: sign(POOR, good.body),
        lambda: sign(ALICE, good.body, nonce=3 + number),
        lambda: sign(ALICE, good.body, fee=1),
        lambda: sign(BOB, replace(good.body, escrow=1)),
    ][number % 4]()


async def test_submissions_that_cannot_be_paid_make_nobody_fetch_their_data(net: Net, owner: Owner) -> None:
    speaker, node = await meet(net, owner)
    for number in range(FLOOD):
        await speaker.say_transaction(make_unpayable(owner, number).encode())
        await until(lambda: not node.transport._gate._running.total)  # more at once would be dropped unread
    last = owner.builder.transfer(BOB, ALICE, COIN)
    await speaker.say_transaction(last.encode())
    await until(lambda: node.service.mempool.get(last.txid))
    assert NAMES.blob not in speaker.asked
    assert not held(node)
    assert len(node.service.loose_blobs) == 0


async def test_refused_submissions_leave_no_data(net: Net, owner: Owner) -> None:
    speaker, node = await meet(net, owner)
    body = owner.submission(0)
    lie = owner.builder.sign(ALICE, replace(body, digest=bytes(32)))
    await speaker.say_transaction(lie.encode())
    await until(lambda: node.transport.is_banned(speaker.peer_id))
    assert NAMES.blob in speaker.asked
    await until(lambda: not held(node))
    assert len(node.service.loose_blobs) == 0


async def test_data_of_a_replaced_submission_go_and_those_of_the_new_one_stay(net: Net, owner: Owner) -> None:
    speaker, node = await meet(net, owner)
    for number, fee in enumerate((10_000, 20_000, 40_000)):
        tx = owner.submit(number, fee=fee)
        await speaker.say_transaction(tx.encode())
        await until(lambda tx=tx: node.service.mempool.get(tx.txid))  # type: ignore[misc]
        only = node.builder.blobs.path_of(cid_in(tx, node)).name
        await until(lambda only=only: held(node) == {only})  # type: ignore[misc]
    await until(lambda: len(node.service.loose_blobs) == 1)


async def test_data_of_a_submission_that_a_block_makes_impossible_go(net: Net, owner: Owner) -> None:
    speaker, node = await meet(net, owner)
    tx = owner.submit(0)
    await speaker.say_transaction(tx.encode())
    await until(lambda: node.service.mempool.get(tx.txid))
    assert held(node)
    await node.mine(node.builder.transfer(ALICE, BOB, COIN), publish=False)  # takes the nonce
    assert not held(node)


async def test_data_of_a_mined_submission_stay_even_off_the_main_chain(net: Net, owner: Owner) -> None:
    speaker, node = await meet(net, owner)
    tx = owner.submit(0)
    await speaker.say_transaction(tx.encode())
    await until(lambda: node.service.mempool.get(tx.txid))
    block = await node.mine(tx, publish=False)
    rival = Builder(node.builder.folder.parent / "rival")
    for _ in range(2):
        await node.service.add_block(rival.mine(start=10_000))
    assert not node.builder.chain.index.on_main(node.builder.chain.index[block.hash])
    assert len(held(node)) == 1
    assert node.service.mempool.get(tx.txid) is not None  # it waits again


async def test_data_that_two_judged_submissions_share_stay_until_both_are_judged(
    net: Net, owner: Owner
) -> None:
    speaker, node = await meet(net, owner)
    tx = owner.submit(0)
    cid = next(iter(owner.blobs))
    async with node.service.hold_blobs([cid]):
        lie = owner.builder.sign(BOB, replace(owner.submission(0), digest=bytes(32)))
        await speaker.say_transaction(lie.encode())
        await until(lambda: node.transport.is_banned(speaker.peer_id))
        assert node.builder.blobs.has(cid)
        await node.service.add_transaction(tx)
    assert node.builder.blobs.has(cid)


def test_start_removes_what_no_block_refers_to_and_halves_of_writes(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.open_job()  # with DATA
    orphan = builder.blobs.put(b"GCD1 nobody needs")
    half = builder.blobs.path_of(orphan).with_name(".half.17.18")
    half.write_bytes(b"GC")
    store = BlobStore(tmp_path / "blobs")
    assert store.sweep(builder.chain.is_sidecar) == 2
    assert store.get(cid_of(DATA)) == DATA
    assert not store.has(orphan)
    assert not half.exists()


def test_block_that_is_dropped_no_longer_keeps_its_data(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.open_job()
    block = builder.block_at(1)
    assert builder.chain.is_sidecar(cid_of(DATA))
    builder.storage.delete_block(block.hash)
    assert not builder.chain.is_sidecar(cid_of(DATA))
