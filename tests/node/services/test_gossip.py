"""Announcements: what is relayed when, what costs the relayer its connection, and how blocks are completed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import trio

from ledger.blocks import Block
from ledger.chain import Chain
from ledger.codec import encode
from ledger.hashing import cid_of
from ledger.params import COIN
from ledger.transactions import SubmitJob, Transaction, decode_transaction, sign_transaction
from node.p2p.gate import compute_message_id
from node.services.gossip import MAX_COMPLETING_PER_PEER
from node.services.importer import MAX_PARKED_PER_PEER
from node.services.messages import Status, decode_announcement, encode_announcement
from node.services.turns import ReplayTurns
from node.worker.client import WorkerFailed
from tests.ledger.chain_builder import ALICE, BOB, CAROL, GENESIS, make_spec
from tests.ledger.market_builder import find_share, make_update, open_market
from tests.node.services.network import NAMES, BarePeer, Builder, Net, Node, forge, mine_chain, until

OTHER_DATA = b"GCD1 data that only the miner has"


def announce_forged(builder: Builder, block: Block) -> bytes:
    return encode_announcement(builder.seal(forge(block.header)))


def strip(block: Block) -> bytes:
    """Announce a block without its transactions."""
    return encode([block.header.encode(), block.signature, [tx.txid for tx in block.transactions], []])


def damage(block: Block) -> bytes:
    """Announce a block with a transaction whose signature is another's."""
    first, *others = block.transactions
    damaged = [replace(first, signature=bytes(64)), *others]
    txids = [tx.txid for tx in block.transactions]
    return encode([block.header.encode(), block.signature, txids, [tx.encode() for tx in damaged]])


def ignored_of(node: Node) -> list[bytes]:
    return [message_id for message_id, _ in node.transport._gate._ignored._members]


async def line_up(net: Net) -> tuple[BarePeer, Node, BarePeer]:
    """Return a speaker, a node between, and a listener that sees only what the node relays."""
    speaker, node, listener = await net.add_bare(), await net.add(), await net.add_bare()
    nothing = Status(GENESIS.chain_id, GENESIS.chain_id, 0, 0).encode()
    for peer in (speaker, listener):
        peer.serve(NAMES.status, lambda _: nothing)  # a node drops who does not
    await net.connect((speaker, node), (node, listener))
    return speaker, node, listener


# headers


async def test_header_is_relayed_only_after_its_replay_agreed(net: Net, tmp_path: Path) -> None:
    speaker, node, listener = await line_up(net)
    block = mine_chain(tmp_path / "miner", 1).block_at(1)
    node.builder.verifier.hold()
    await speaker.say_block(encode_announcement(block))
    await until(node.builder.verifier.entered.is_set)
    assert not listener.heard
    node.builder.verifier.released.set()
    assert await listener.hear() == encode_announcement(block)
    await node.reaches(block.hash)


async def test_forged_header_bans_its_relayer_and_is_not_relayed(net: Net, tmp_path: Path) -> None:
    speaker, node, listener = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 1)
    await speaker.say_block(announce_forged(miner, miner.block_at(1)))
    await until(lambda: node.transport.is_banned(speaker.peer_id))
    honest = await net.add_bare()
    await net.connect((honest, node))
    await honest.say_block(encode_announcement(miner.block_at(1)))
    assert await listener.hear() == encode_announcement(miner.block_at(1))
    assert len(listener.heard) == 1


async def test_forger_costs_one_training_run_however_many_headers_it_sends(net: Net, tmp_path: Path) -> None:
    speaker, node, _ = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 1)
    work = miner.block_at(1).header
    node.builder.verifier.hold()
    runs = node.builder.verifier.runs
    for number in range(10):  # all of them wait before the first is judged
        other = replace(work, digest=bytes([number]) * 32)
        await speaker.say_block(encode_announcement(miner.seal(other)))
    await until(lambda: node.transport._gate._running.total == 10)
    assert len(node.gossip._turns) == 1
    node.builder.verifier.released.set()
    await until(lambda: node.transport.is_banned(speaker.peer_id))
    await until(lambda: not node.transport._gate._running.total)
    assert node.builder.verifier.runs == runs + 1
    assert len(node.gossip._turns) == 0


async def test_peer_gets_only_so_many_headers_judged(net: Net, tmp_path: Path) -> None:
    speaker, node, listener = await line_up(net)
    node.gossip._turns = ReplayTurns(node.transport.is_banned, lambda: 0.0, burst=2)
    miner = mine_chain(tmp_path / "miner", 3)
    for height in (1, 2):
        await speaker.say_block(encode_announcement(miner.block_at(height)))
        await node.reaches(miner.block_at(height).hash)
        await listener.hear()
    await speaker.say_block(encode_announcement(miner.block_at(3)))
    await until(
        lambda: compute_message_id(NAMES.blocks, encode_announcement(miner.block_at(3))) in ignored_of(node)
    )
    assert len(listener.heard) == 2
    assert not node.transport.is_banned(speaker.peer_id)


async def test_header_signed_by_another_key_bans_its_relayer(net: Net, tmp_path: Path) -> None:
    speaker, node, _ = await line_up(net)
    block = mine_chain(tmp_path / "miner", 1).block_at(1)
    await speaker.say_block(encode_announcement(replace(block, signature=bytes(64))))
    await until(lambda: node.transport.is_banned(speaker.peer_id))


async def test_announcement_that_does_not_decode_bans_its_relayer(net: Net) -> None:
    speaker, node, listener = await line_up(net)
    await speaker.say_block(b"\x94 no announcement")
    await until(lambda: node.transport.is_banned(speaker.peer_id))
    assert not listener.heard


async def test_header_too_far_in_the_future_is_ignored_and_its_relayer_stays(
    net: Net, tmp_path: Path
) -> None:
    speaker, node, listener = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 2)
    early, late = miner.block_at(1), miner.block_at(2)
    node.now_ms = early.header.work.time_ms - 4 * miner.params.interval_ms
    await speaker.say_block(encode_announcement(early))
    await listener.hear()
    await node.reaches(early.hash)
    await speaker.say_block(encode_announcement(late))
    await speaker.say_block(encode_announcement(replace(early, signature=bytes(64))))  # judged after it
    await until(lambda: node.transport.is_banned(speaker.peer_id))  # for that one
    assert len(listener.heard) == 1
    assert node.height == 1


async def test_header_on_an_unknown_parent_is_ignored_and_its_relayer_stays(net: Net, tmp_path: Path) -> None:
    speaker, node, listener = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 2)
    await speaker.say_block(encode_announcement(miner.block_at(2)))
    await speaker.say_block(encode_announcement(miner.block_at(1)))
    assert await listener.hear() == encode_announcement(miner.block_at(1))
    assert not node.transport.is_banned(speaker.peer_id)


async def test_failing_training_process_is_no_verdict(net: Net, tmp_path: Path) -> None:
    speaker, node, listener = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 1)
    node.builder.verifier.failure = WorkerFailed("it died")
    await speaker.say_block(announce_forged(miner, miner.block_at(1)))
    await speaker.say_block(encode_announcement(miner.block_at(1)))
    await until(lambda: node.builder.verifier.failed == 2)
    assert not node.transport.is_banned(speaker.peer_id)
    node.builder.verifier.failure = None
    again = await net.add_bare()
    await net.connect((again, node))
    await again.say_block(encode_announcement(miner.block_at(1)))
    assert await listener.hear() == encode_announcement(miner.block_at(1))
    assert len(listener.heard) == 1
    await node.reaches(miner.block_at(1).hash)


async def test_second_announcement_of_a_header_is_not_relayed(net: Net, tmp_path: Path) -> None:
    """Anybody can make any number of announcements of one header, by changing what is not under its hash."""
    speaker, _, listener = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 1)
    block = miner.mine(miner.transfer(ALICE, BOB, COIN))
    await speaker.say_block(encode_announcement(miner.block_at(1)))
    await listener.hear()
    for data in (encode_announcement(block), strip(block), damage(block)):
        await speaker.say_block(data)
    last = miner.mine()
    await listener.hear()
    await speaker.say_block(encode_announcement(last))
    assert await listener.hear() == encode_announcement(last)
    assert listener.heard[1:-1] == [encode_announcement(block)]


# bodies


async def test_inline_transactions_complete_a_block_without_a_request(net: Net, tmp_path: Path) -> None:
    speaker, node, _ = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 0)
    block = miner.mine(miner.transfer(ALICE, BOB, COIN))
    await speaker.say_block(encode_announcement(block))
    await node.reaches(block.hash)
    assert NAMES.sync not in speaker.asked


async def test_missing_transactions_are_taken_from_the_mempool(net: Net, tmp_path: Path) -> None:
    speaker, node, _ = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 0)
    tx = miner.transfer(ALICE, BOB, COIN)
    await node.service.add_transaction(tx)
    block = miner.mine(tx)
    await speaker.say_block(strip(block))
    await node.reaches(block.hash)
    assert node.service.mempool.get(tx.txid) is None


async def test_missing_transactions_are_pulled_from_the_relayer(net: Net, tmp_path: Path) -> None:
    speaker, node, _ = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 0)
    block = miner.mine(miner.transfer(ALICE, BOB, COIN))
    speaker.serve(NAMES.sync, lambda _: encode([block.encode()]))
    await speaker.say_block(strip(block))
    await node.reaches(block.hash)


async def test_damaged_body_is_pulled_and_never_bans(net: Net, tmp_path: Path) -> None:
    speaker, node, listener = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 0)
    block = miner.mine(miner.transfer(ALICE, BOB, COIN))
    speaker.serve(NAMES.sync, lambda _: encode([block.encode()]))
    await speaker.say_block(damage(block))
    await node.reaches(block.hash)
    assert await listener.hear() == damage(block)
    assert not node.transport.is_banned(speaker.peer_id)


async def test_silent_relayer_does_not_hold_up_the_blocks_of_others(net: Net, tmp_path: Path) -> None:
    speaker, node, _ = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 0)
    block = miner.mine(miner.transfer(ALICE, BOB, COIN))
    asked = trio.Event()

    async def never(peer_id: str, payload: bytes) -> bytes:
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    node.fetcher._timeout_s = 60.0
    speaker.serve_async(NAMES.sync, never)
    honest = await net.add_bare()
    await net.connect((honest, node))
    await speaker.say_block(strip(block))
    with trio.fail_after(10):
        await asked.wait()
    await honest.say_block(encode_announcement(block))
    await node.reaches(block.hash)
    assert MAX_COMPLETING_PER_PEER > 1


async def test_block_with_an_invalid_body_is_relayed_by_its_header_but_never_added(
    net: Net, tmp_path: Path
) -> None:
    speaker, node, listener = await line_up(net)
    miner = mine_chain(tmp_path / "miner", 0)
    poor = miner.transfer(ALICE, BOB, 10**9 * COIN)  # more than there is
    template = miner.template(poor)
    block = miner.solve(template)
    await speaker.say_block(encode_announcement(block))
    assert await listener.hear() == encode_announcement(block)
    await until(lambda: (entry := node.builder.chain.index.get(block.hash)) is not None and entry.invalid)
    assert node.height == 0
    assert not node.transport.is_banned(speaker.peer_id)


# sidecars


def mine_job(folder: Path, data: bytes = OTHER_DATA, count: int = 1) -> list[Block]:
    """Return rival blocks 1, each with a job that nobody else has the data of."""
    blocks = []
    for number in range(count):
        miner = Builder(folder / f"miner-{number}")
        own = data + bytes([number])
        miner.blobs.put(own)
        blocks.append(miner.mine(miner.submit(ALICE, make_spec(data_cid=cid_of(own), data_size=len(own)))))
    return blocks


async def test_missing_sidecar_parks_the_block_until_it_is_there(net: Net, tmp_path: Path) -> None:
    speaker, node, _ = await line_up(net)
    (block,) = mine_job(tmp_path)
    await speaker.say_block(encode_announcement(block))
    await until(lambda: node.importer.parked == 1)
    assert node.height == 0
    assert not node.transport.is_banned(speaker.peer_id)
    speaker.serve(NAMES.blob, lambda cid: OTHER_DATA + b"\0")
    await node.reaches(block.hash)
    await until(lambda: node.importer.parked == 0)


async def test_sidecar_is_taken_from_another_peer_if_the_relayer_sends_a_wrong_one(
    net: Net, tmp_path: Path
) -> None:
    speaker, node, listener = await line_up(net)
    (block,) = mine_job(tmp_path)
    speaker.serve(NAMES.blob, lambda cid: b"something else")
    listener.serve(NAMES.blob, lambda cid: OTHER_DATA + b"\0")
    await speaker.say_block(encode_announcement(block))
    await node.reaches(block.hash)


async def test_at_most_four_blocks_of_a_peer_are_parked(net: Net, tmp_path: Path) -> None:
    speaker, node, _ = await line_up(net)
    for block in mine_job(tmp_path, count=MAX_PARKED_PER_PEER + 2):
        await node.importer.add(block, speaker.peer_id)
    assert node.importer.parked == MAX_PARKED_PER_PEER
    other = await net.add_bare()
    await net.connect((other, node))
    (block,) = mine_job(tmp_path / "other", b"more")
    await node.importer.add(block, other.peer_id)
    assert node.importer.parked == MAX_PARKED_PER_PEER + 1


async def test_all_sidecars_of_a_branch_are_fetched_in_one_go(net: Net, tmp_path: Path) -> None:
    holder, node = await net.add_bare(), await net.add(start=False)
    await net.connect((node, holder))
    node.take([node.builder.make_block()])
    miner = Builder(tmp_path / "miner")
    blobs = {cid_of(data): data for data in (b"GCD1 rare \0", b"GCD1 rare \1")}
    for number, (cid, data) in enumerate(blobs.items()):
        miner.blobs.put(data)
        miner.mine(miner.submit(ALICE, make_spec(number, data_cid=cid, data_size=len(data))))
    holder.serve(NAMES.blob, lambda cid: blobs[cid])
    first, second = miner.block_at(1), miner.block_at(2)
    assert await node.importer.add(first, holder.peer_id)
    assert node.head != first.hash  # of equal work, so that nothing was missed yet
    assert await node.importer.add(second, holder.peer_id)
    assert node.head == second.hash


# transactions


def sign_badly(tx: Transaction) -> bytes:
    return replace(tx, signature=bytes(32) + tx.signature[32:]).encode()


async def test_good_transaction_is_admitted_and_relayed(net: Net) -> None:
    speaker, node, listener = await line_up(net)
    tx = node.builder.transfer(ALICE, BOB, COIN)
    await speaker.say_transaction(tx.encode())
    assert decode_transaction(await listener.hear(), node.builder.params).txid == tx.txid
    assert node.service.mempool.get(tx.txid) is not None


async def test_transaction_with_a_bad_signature_bans(net: Net) -> None:
    speaker, node, listener = await line_up(net)
    await speaker.say_transaction(sign_badly(node.builder.transfer(ALICE, BOB, COIN)))
    await until(lambda: node.transport.is_banned(speaker.peer_id))
    assert not listener.heard


async def test_submission_with_a_false_trial_bans(net: Net) -> None:
    speaker, node, listener = await line_up(net)
    honest = node.builder.submit(ALICE, make_spec())
    assert isinstance(honest.body, SubmitJob)
    body = replace(honest.body, digest=bytes(32))
    chain_id = node.builder.chain.genesis.chain_id
    await speaker.say_transaction(sign_transaction(ALICE, chain_id, honest.nonce, honest.fee, body).encode())
    await until(lambda: node.transport.is_banned(speaker.peer_id))
    assert not listener.heard


async def test_commitment_with_a_false_share_bans_and_with_a_strangers_does_not(net: Net) -> None:
    """The first cost a training run and is wrong for ever; the second may only be of a branch that we have not."""
    speaker, node, listener = await line_up(net)
    builder = node.builder

    def prepare(_: Chain) -> tuple[Transaction, Transaction, Transaction]:
        made = make_update(builder, open_market(builder), ALICE)
        fork = builder.fork(builder.height)
        fork.mine(start=7000)
        share = find_share(builder)
        strange, false = made.commit(find_share(fork)), made.commit(replace(share, after=share.after - 1))
        good = builder.transfer(BOB, ALICE, COIN)
        return builder.sign(ALICE, strange, fee=100_000), good, builder.sign(ALICE, false, fee=100_000)

    strange, good, false = await node.service.call(prepare)
    await speaker.say_transaction(strange.encode())
    await speaker.say_transaction(good.encode())
    assert await listener.hear() == good.encode()
    assert not node.transport.is_banned(speaker.peer_id)
    await speaker.say_transaction(false.encode())
    await until(lambda: node.transport.is_banned(speaker.peer_id))
    assert len(listener.heard) == 1


async def test_transaction_with_a_stale_nonce_does_not_ban_and_is_not_relayed(net: Net) -> None:
    speaker, node, listener = await line_up(net)
    stale = node.builder.transfer(ALICE, BOB, COIN)
    await node.mine(node.builder.transfer(ALICE, CAROL, COIN), publish=False)
    await speaker.say_transaction(stale.encode())
    good = node.builder.transfer(BOB, ALICE, COIN)
    await speaker.say_transaction(good.encode())
    assert await listener.hear() == good.encode()
    assert len(listener.heard) == 1
    assert not node.transport.is_banned(speaker.peer_id)


async def test_submission_whose_data_are_missing_is_admitted_once_they_are_fetched(
    net: Net, tmp_path: Path
) -> None:
    speaker, node, listener = await line_up(net)
    miner = Builder(tmp_path / "miner")
    miner.blobs.put(OTHER_DATA)
    tx = miner.submit(ALICE, make_spec(data_cid=cid_of(OTHER_DATA), data_size=len(OTHER_DATA)))
    speaker.serve(NAMES.blob, lambda cid: OTHER_DATA)
    await speaker.say_transaction(tx.encode())
    assert await listener.hear() == tx.encode()
    assert node.service.mempool.get(tx.txid) is not None


async def test_own_transaction_is_announced(net: Net) -> None:
    _, node, listener = await line_up(net)
    tx = node.builder.transfer(ALICE, BOB, COIN)
    await until(lambda: node.service.on_transaction)
    await node.service.send_transaction(lambda chain, mempool: tx)
    assert await listener.hear() == tx.encode()


# messages


def test_announcement_of_a_large_block_names_its_transactions_only(tmp_path: Path) -> None:
    miner = mine_chain(tmp_path, 0)
    txs = tuple(miner.transfer(ALICE, BOB, COIN, nonce=nonce) for nonce in range(300))
    block = Block(miner.make_block().header, bytes(64), txs)
    decoded = decode_announcement(encode_announcement(block), miner.params)
    assert not decoded.transactions
    assert decoded.txids == tuple(tx.txid for tx in txs)
