"""Catching up: late joiners, forks of any depth, liars, partitions, other chains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ledger import sidespace
from ledger.blocks import HEARTBEAT, Block, Header
from ledger.chain import Chain
from ledger.codec import encode
from ledger.hashing import cid_of, tagged_hash
from ledger.params import LOCAL
from ledger.storage import Storage
from node.p2p.transport import RequestRefused
from node.services import serve, sync
from node.services.messages import GET_HEADERS, MAX_LOCATOR, Status, encode_get_blocks, encode_get_headers
from node.services.sync import MAX_UNSERVED
from node.services.turns import ReplayBudget
from node.worker.client import WorkerFailed
from tests.ledger.chain_builder import ALICE, DATA, GENESIS, make_genesis, make_spec
from tests.node.services.network import (
    NAMES,
    WAIT_S,
    BarePeer,
    Builder,
    Net,
    Node,
    blocks_of,
    mine_chain,
    until,
)

NORMAL, FULL = 1, 2  # of PRAGMA synchronous
BATCH = 8  # headers of an answer, in tests that need many answers


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "MAX_HEADERS", BATCH)
    monkeypatch.setattr(serve, "MAX_HEADERS", BATCH)


# catching up


@pytest.mark.usefixtures("small_batches")
async def test_late_joiner_catches_up_over_several_batches(net: Net, tmp_path: Path) -> None:
    chain = blocks_of(mine_chain(tmp_path / "chain", 5 * BATCH + 3))
    old, late = await net.add(chain), await net.add()
    await net.connect((late, old))
    await late.reaches(chain[-1].hash)
    assert late.builder.chain.state.root == old.builder.chain.state.root
    await until(lambda: late.sync.progress().state == "running")
    assert late.sync.progress().behind == 0


async def test_disk_is_waited_for_at_the_end_of_a_long_sync_only(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = blocks_of(mine_chain(tmp_path / "chain", 2 * sync.BATCH))
    old, late = await net.add(chain), await net.add()
    storage, seen = late.builder.storage, set[int]()
    put_block = Storage.put_block

    def note(self: Storage, *arguments: Any) -> None:
        if self is storage:
            seen.add(read_synchronous(storage))
        put_block(self, *arguments)

    monkeypatch.setattr(Storage, "put_block", note)
    await net.connect((late, old))
    await late.reaches(chain[-1].hash)
    await until(lambda: read_synchronous(storage) == FULL)
    assert seen == {NORMAL}


def read_synchronous(storage: Storage) -> int:
    """How commits wait for the disk: 1 is NORMAL, 2 is FULL."""
    return int(storage.db.execute("PRAGMA synchronous").fetchone()[0])


async def test_node_says_that_it_is_syncing_while_it_is(net: Net, tmp_path: Path) -> None:
    chain = blocks_of(mine_chain(tmp_path / "chain", 6))
    old, late = await net.add(chain), await net.add()
    late.builder.verifier.hold()
    await net.connect((late, old))
    await until(late.builder.verifier.entered.is_set)
    assert late.sync.progress().state == "syncing"
    assert late.sync.progress().behind == 6
    late.builder.verifier.released.set()
    await late.reaches(chain[-1].hash)


@pytest.mark.usefixtures("small_batches")
async def test_branch_that_outweighs_ours_only_after_several_batches_is_taken(
    net: Net, tmp_path: Path
) -> None:
    """Its first headers change nothing here, so the next request must begin where the last answer ended."""
    common = blocks_of(mine_chain(tmp_path / "common", 2))
    ours = blocks_of(mine_chain(tmp_path / "ours", 3 * BATCH, 1000, common))
    theirs = blocks_of(mine_chain(tmp_path / "theirs", 3 * BATCH + 1, 2000, common))
    left, right = await net.add(ours), await net.add(theirs)
    await net.connect((left, right))
    await left.reaches(theirs[-1].hash)


async def test_block_that_gossip_missed_is_pulled(net: Net) -> None:
    one, other = await net.add(), await net.add()
    await net.connect((one, other))
    block = await one.mine(count=3, publish=False)
    await other.reaches(block.hash)


async def test_missing_sidecars_of_a_pulled_chain_are_fetched(net: Net, tmp_path: Path) -> None:
    miner = Builder(tmp_path / "miner")
    for number in range(3):
        data = b"GCD1 rare " + bytes([number])
        miner.blobs.put(data)
        spec = make_spec(number, data_cid=cid_of(data), data_size=len(data))
        miner.mine(miner.submit(ALICE, spec))
    old = await net.add(start=False)
    for number in range(3):
        old.builder.blobs.put(b"GCD1 rare " + bytes([number]))
    old.take(blocks_of(miner))
    old.start(net.nursery)
    late = await net.add()
    await net.connect((late, old))
    await late.reaches(miner.chain.head.hash)
    await until(lambda: late.importer.parked == 0)


async def test_lost_data_of_a_live_job_are_fetched_though_no_block_needs_them(
    net: Net, tmp_path: Path
) -> None:
    miner = Builder(tmp_path / "miner")
    miner.open_job()
    node, holder = await net.add(blocks_of(miner)), await net.add(blocks_of(miner))
    await net.connect((node, holder))
    node.builder.blobs.remove(cid_of(DATA))
    await until(lambda: node.builder.blobs.has(cid_of(DATA)))


async def test_failing_training_process_stops_sync_but_drops_nobody(net: Net, tmp_path: Path) -> None:
    chain = blocks_of(mine_chain(tmp_path / "chain", 3))
    old, late = await net.add(chain), await net.add()
    late.builder.verifier.failure = WorkerFailed("it died")
    await net.connect((late, old))
    await until(lambda: late.builder.verifier.failed >= 2)
    assert not late.transport.is_banned(old.peer_id)
    late.builder.verifier.failure = None
    await late.reaches(chain[-1].hash)


# partitions


async def test_partition_of_two_and_two_heals_to_the_heavier_tip_with_its_weights(net: Net) -> None:
    nodes = [await net.add() for _ in range(4)]
    await net.connect(*((a, b) for a in nodes for b in nodes if a.peer_id < b.peer_id))
    tx = nodes[0].builder.submit(ALICE, make_spec())
    common = await nodes[0].mine(tx, count=20)
    for node in nodes:
        await node.reaches(common.hash)
    left, right = nodes[:2], nodes[2:]
    net.network.partition([n.peer_id for n in left], [n.peer_id for n in right])
    light, heavy = await left[0].mine(count=8), await right[0].mine(count=14)
    await left[1].reaches(light.hash)
    await right[1].reaches(heavy.hash)
    assert weights_of(left[0], tx.txid) != weights_of(right[0], tx.txid)
    net.network.partition()
    for node in nodes:
        await node.reaches(heavy.hash)
    assert len({weights_of(node, tx.txid) for node in nodes}) == 1
    assert len({node.builder.chain.state.root for node in nodes}) == 1
    assert nodes[0].builder.job(tx.txid).version > 0


def weights_of(node: Node, job_id: bytes) -> bytes:
    return node.builder.chain.load_weights(node.builder.job(job_id).weights)


async def test_transactions_of_the_lighter_side_wait_again_after_healing(net: Net) -> None:
    left, right = await net.add(), await net.add()
    await left.mine(tx := left.builder.transfer(ALICE, ALICE, 1))
    heavy = await right.mine(count=3)
    assert left.service.mempool.get(tx.txid) is None
    await net.connect((left, right))
    await left.reaches(heavy.hash)
    assert left.service.mempool.get(tx.txid) is not None


# liars


async def test_peer_that_claims_more_work_than_its_chain_has_is_dropped(net: Net, tmp_path: Path) -> None:
    node, liar = await net.add(), await net.add_bare()
    liar.serve_chain(mine_chain(tmp_path / "liar", 3), claimed_work=2**200)
    await net.connect((node, liar))
    await until(lambda: node.transport.is_banned(liar.peer_id))
    assert node.sync.progress().behind == 0


async def test_peer_that_claims_work_without_any_headers_is_dropped(net: Net, tmp_path: Path) -> None:
    node, liar = await net.add(), await net.add_bare()
    liar.serve_chain(Builder(tmp_path / "liar"), claimed_work=2**200)
    await net.connect((node, liar))
    await until(lambda: node.transport.is_banned(liar.peer_id))


@pytest.mark.parametrize("fault", ["silent", "no bodies", "refuses"])
async def test_peer_that_keeps_its_claims_back_does_not_stall_sync_with_honest_ones(
    net: Net, tmp_path: Path, fault: str
) -> None:
    honest, node, liar = await net.add(), await net.add(), await net.add_bare()
    lie(liar, mine_chain(tmp_path / "liar", 3, 1000), fault)
    await net.connect((node, liar))
    await until(lambda: node.sync.doubts(liar.peer_id))
    assert node.sync.progress().behind == 0  # so the node goes on mining
    await net.connect((node, honest))
    for _ in range(3):
        block = await honest.mine(publish=False)
        await node.reaches(block.hash)
    await until(lambda: node.sync.rank_peers() == [honest.peer_id, liar.peer_id])
    assert not node.transport.is_banned(liar.peer_id)


def lie(liar: BarePeer, chain: Builder, fault: str) -> None:
    if fault == "no bodies":
        liar.serve_chain(chain, claimed_work=2**200, bodies=False)
        return
    status = Status(GENESIS.chain_id, bytes(32), 10**6, 2**200)
    liar.serve(NAMES.status, lambda _: status.encode())
    if fault == "silent":
        liar.serve_async(NAMES.sync, never_answer)


async def never_answer(peer_id: str, payload: bytes) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


def make_forged_branch(node: Builder, fork: int, count: int) -> list[Block]:
    """Return blocks that follow the main chain's at a height, jobs' wherever they may be, and no run behind any."""
    blocks: list[Block] = []
    parent, every = node.block_at(fork).header, node.params.heartbeat_every
    job = tagged_hash("test", b"a job that nobody knows")
    for height in range(fork + 1, fork + 1 + count):
        work = replace(
            node.template().work,
            height=height,
            parent=parent.hash,
            time_ms=parent.work.time_ms + 1,
            job_id=job if height % every else HEARTBEAT,
        )
        blocks.append(node.seal(Header(work, bytes(32), 2, 1)))
        parent = blocks[-1].header
    return blocks


def serve_blocks(peer: BarePeer, blocks: list[Block]) -> None:
    """Serve these blocks as what follows whatever is asked for."""
    status = Status(GENESIS.chain_id, blocks[-1].hash, 10**6, 2**200)
    peer.serve(NAMES.status, lambda _: status.encode())

    def tell(payload: bytes) -> bytes:
        if payload[1] == GET_HEADERS:
            return encode([[block.header.encode(), block.signature] for block in blocks])
        return encode([block.encode() for block in blocks])

    peer.serve(NAMES.sync, tell)


async def test_forged_branch_costs_one_replay_and_its_teller_the_connection(net: Net, tmp_path: Path) -> None:
    """It leaves the main chain below the head: before, it was kept until it claimed more work."""
    chain = blocks_of(mine_chain(tmp_path / "chain", 20))
    node, liar = await net.add(chain), await net.add_bare()
    serve_blocks(liar, make_forged_branch(node.builder, 4, 12))
    runs = node.builder.verifier.runs
    await net.connect((node, liar))
    await until(lambda: node.transport.is_banned(liar.peer_id))
    assert node.builder.verifier.runs == runs + 1
    assert node.builder.chain.index.side_count == 3
    assert node.head == chain[-1].hash


async def test_peer_whose_branch_finds_no_room_is_doubted_and_not_dropped(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidespace, "MAX_SIDE_BLOCKS", 4)
    monkeypatch.setattr(sidespace, "MAX_BRANCH_BLOCKS", 4)
    ours, theirs = mine_chain(tmp_path / "ours", 8), mine_chain(tmp_path / "theirs", 9, 1000)
    node, peer = await net.add(blocks_of(ours)), await net.add_bare()
    peer.serve_chain(theirs)
    await net.connect((node, peer))
    await until(lambda: node.sync.doubts(peer.peer_id) >= 2)
    assert not node.transport.is_banned(peer.peer_id)
    monkeypatch.setattr(sidespace, "MAX_BRANCH_BLOCKS", 1 << 16)
    await node.reaches(theirs.chain.head.hash)


class CountedBudget(ReplayBudget):
    """Counts the replays that were asked for."""

    taken = 0

    async def take(self) -> None:
        self.taken += 1
        await super().take()


async def test_replays_off_the_main_chain_are_rationed_and_those_on_it_are_not(
    net: Net, tmp_path: Path
) -> None:
    common = blocks_of(mine_chain(tmp_path / "common", 2))
    theirs, branch = (
        mine_chain(tmp_path / f"chain-{count}", count, 1000 * count, common).chain for count in (4, 5)
    )
    node, peer = await net.add(common), await net.add(common)
    node.sync._budget = budget = CountedBudget()
    for block_hash in theirs.index.main[3:]:
        await peer.service.add_block(_load(theirs, block_hash))
    await net.connect((node, peer))
    await node.reaches(theirs.head.hash)
    assert budget.taken == 0
    for block_hash in branch.index.main[3:]:
        await peer.service.add_block(_load(branch, block_hash))
    await node.reaches(branch.head.hash)
    assert budget.taken == 5


def _load(chain: Chain, block_hash: bytes) -> Block:
    block = chain.get_block(block_hash)
    assert block is not None
    return block


@pytest.mark.usefixtures("small_batches")
async def test_peer_that_sends_the_same_headers_again_and_again_is_dropped(net: Net, tmp_path: Path) -> None:
    node, liar = await net.add(), await net.add_bare()
    chain = mine_chain(tmp_path / "liar", BATCH).chain
    status = Status(GENESIS.chain_id, chain.head.hash, BATCH, 2**200)
    liar.serve(NAMES.status, lambda _: status.encode())

    def tell(payload: bytes) -> bytes:
        if payload[1] == GET_HEADERS:
            pairs = chain.headers_after([GENESIS.chain_id], BATCH)
            return encode([[header.encode(), signature] for header, signature in pairs])
        return encode([chain.get_block_bytes(block_hash) or b"" for block_hash in chain.index.main[1:]])

    liar.serve(NAMES.sync, tell)
    await net.connect((node, liar))
    await until(lambda: node.transport.is_banned(liar.peer_id))
    assert node.height == BATCH  # its blocks were good


@pytest.mark.parametrize("answer", [b"", b"\xc1", encode([[b"short", b""]]), encode([1, 2])])
async def test_peer_whose_headers_do_not_decode_is_dropped(net: Net, answer: bytes) -> None:
    node, liar = await net.add(), await net.add_bare()
    status = Status(GENESIS.chain_id, bytes(32), 10, 2**200)
    liar.serve(NAMES.status, lambda _: status.encode())
    liar.serve(NAMES.sync, lambda _: answer)
    await net.connect((node, liar))
    await until(lambda: node.transport.is_banned(liar.peer_id))


async def test_peer_whose_status_does_not_decode_is_dropped(net: Net) -> None:
    node, liar = await net.add(), await net.add_bare()
    liar.serve(NAMES.status, lambda _: b"\xc1")
    await net.connect((node, liar))
    await until(lambda: node.transport.is_banned(liar.peer_id))


# other chains


async def test_peer_on_another_chain_is_dropped(net: Net) -> None:
    """Its protocols have other names, so all it says is that it does not serve ours."""
    ours, theirs = await net.add(), await net.add(genesis=make_genesis(LOCAL))
    await net.connect((ours, theirs))
    await until(lambda: ours.transport.is_banned(theirs.peer_id) or theirs.transport.is_banned(ours.peer_id))
    assert not ours.transport.peers()


async def test_peer_that_names_another_chain_is_dropped(net: Net) -> None:
    node, other = await net.add(), await net.add_bare()
    status = Status(tagged_hash("test", b"chain"), bytes(32), 10, 2**200)
    other.serve(NAMES.status, lambda _: status.encode())
    await net.connect((node, other))
    await until(lambda: node.transport.is_banned(other.peer_id))


async def test_peer_that_does_not_serve_yet_is_given_time(net: Net, tmp_path: Path) -> None:
    chain = mine_chain(tmp_path / "chain", 1)
    node, starting = await net.add(start=False), await net.add_bare()
    await net.connect((node, starting))
    node.sync._poll_s = 60.0
    for _ in range(MAX_UNSERVED - 1):
        await node.sync._poll()
    starting.serve_chain(chain)
    node.start(net.nursery)
    await node.reaches(chain.chain.head.hash)


# what is remembered


async def test_nothing_is_remembered_of_a_peer_that_left(net: Net, tmp_path: Path) -> None:
    """Else its last claim would keep the node from mining for ever."""
    node, peer = await net.add(), await net.add_bare()
    lie(peer, mine_chain(tmp_path / "liar", 3), "silent")
    asked = trio.Event()
    answer = trio.Event()

    async def tell_late(peer_id: str, payload: bytes) -> bytes:
        asked.set()
        await answer.wait()
        return Status(GENESIS.chain_id, bytes(32), 10**6, 2**200).encode()

    late = await net.add_bare()
    late.serve_async(NAMES.status, tell_late)
    await net.connect((node, peer), (node, late))
    with trio.fail_after(WAIT_S):
        await asked.wait()
    await until(lambda: node.sync.doubts(peer.peer_id))
    for gone in (peer, late):
        await gone.transport.disconnect(node.peer_id)
        node.sync.note_head(gone.peer_id, 10**6, bytes(32))
    answer.set()
    await until(lambda: not node.transport.peers())
    await node.sync._poll()
    assert node.sync.progress().best_peer_height == 0
    assert node.sync.progress().behind == 0
    assert not node.sync.doubts(peer.peer_id)


async def test_wake_ups_do_not_poll_peers_without_a_pause(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every header on an unknown parent wakes sync: such headers cost nothing to make."""
    monkeypatch.setattr(sync, "MIN_POLL_S", 1000.0)
    node, peer = await net.add(), await net.add_bare()
    status = Status(GENESIS.chain_id, bytes(32), 0, 0)
    peer.serve(NAMES.status, lambda _: status.encode())
    await net.connect((node, peer))
    await until(lambda: peer.asked)
    for _ in range(50):
        node.sync.note_behind(peer.peer_id)
        await trio.testing.wait_all_tasks_blocked()
    assert len(peer.asked) == 1


# serving


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\xc1",
        encode([]),
        encode([1]),
        encode([3, [], 1]),
        encode([1, [b"short"], 5]),
        encode([1, [bytes(32)] * (MAX_LOCATOR + 1), 5]),
        encode([2, [bytes(32)] * 33]),
        encode([2, [bytes(31)]]),
        encode([[], []]),
    ],
)
async def test_malformed_request_is_refused_and_the_next_one_answered(net: Net, request_bytes: bytes) -> None:
    node, peer = await net.add(), await net.add_bare()
    await net.connect((peer, node))

    async def ask(payload: bytes) -> bytes:
        return await peer.transport.request(
            node.peer_id, NAMES.sync, payload, max_reply=1 << 20, timeout_s=WAIT_S
        )

    with pytest.raises(RequestRefused, match=r"^(?!the peer failed)"):
        await ask(request_bytes)
    assert await ask(encode_get_headers([GENESIS.chain_id])) == encode([])
    assert await ask(encode_get_blocks([bytes(32)])) == encode([b""])
