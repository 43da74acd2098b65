"""Attacks on a whole node: it keeps answering, mining and its honest peer, and what they cost it is bounded.

The faults of stock libp2p 0.8.1 that `node/p2p/hardening.py` answers are A1 to A7; the same attacks are fired at a bare
transport in tests/node/p2p/test_hostile.py, where more is seen of each.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify_push.identify_push import ID_PUSH as IDENTIFY_PUSH
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from ledger.blocks import Header, WorkHeader, tx_root_of
from ledger.codec import decode, encode, read_bytes, read_list
from ledger.hashing import tagged_hash
from ledger.keys import KeyPair
from ledger.params import COIN
from ledger.template import Template, build_template
from ledger.transactions import Transfer, sign_transaction
from node.p2p.gossip import MESHSUB
from node.p2p.libp2p_transport import Libp2pTransport
from node.p2p.limits import DEFAULT_LIMITS
from node.p2p.transport import DialError, Verdict
from node.rpc.errors import ClientError
from node.services import gossip as gossip_module
from node.services import miner as miner_module
from node.services.importer import MAX_PARKED_PER_PEER
from node.services.messages import GET_HEADERS, MAX_HEADERS, Announcement, Status, encode_announcement
from tests.node.live import GENESIS, NAMES, WAIT_S, LiveNode, Scene, open_attacker, open_live, open_scene
from tests.node.p2p.nodes import until
from tests.node.p2p.test_hostile import make_hostile_frames
from tests.node.services.network import Builder

pytestmark = pytest.mark.integration

RAW = TProtocol("/test/raw/1")
MINER = KeyPair.from_seed(tagged_hash("gc/test", b"hostile miner"))
QUICK = replace(DEFAULT_LIMITS, handshake_timeout_s=1.0)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miner_module, "REFRESH_S", 0.1)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as opened:
        yield opened


# connections


def make_junk() -> list[bytes]:
    """What strangers send to an open port."""
    return [
        b"",
        b"\0" * 4096,
        os.urandom(4096),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x13/multistream/1.0.0\n\x07/bogus\n",
        b"\x13/multistream/1.0.0\n\x07/noise\n" + os.urandom(64 << 10),
        b"\x13/multistream/9.9.9\n",
        b"\xff" * 64,
        b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff",
    ]


async def send_junk(port: int, junk: bytes) -> None:
    with suppress(OSError, trio.BrokenResourceError), trio.move_on_after(WAIT_S):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with aclosing(stream):
            await stream.send_all(junk)
            await stream.send_eof()
            while await stream.receive_some():
                pass


async def test_junk_on_the_port_ends_nothing(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        for junk in make_junk() * 3:
            nursery.start_soon(send_junk, scene.node.port, junk)
    await until(lambda: scene.node.transport._door.open_count == 1)
    await scene.is_well()


async def drip(port: int) -> float:
    """Send a byte at a time until the socket is cut; return how long that took."""
    begin_s = trio.current_time()
    with suppress(OSError, trio.BrokenResourceError):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with aclosing(stream):
            for byte in b"\x13/multistream/1.0.0\n" * 100:
                await stream.send_all(bytes([byte]))
                with trio.move_on_after(0.1):
                    if not await stream.receive_some():
                        break
    return trio.current_time() - begin_s


async def test_silent_and_dripping_sockets_are_cut_and_capped(tmp_path: Path) -> None:
    limits = replace(QUICK, max_half_open=6)
    async with open_scene(tmp_path, limits) as scene, AsyncExitStack() as stack:
        silent = [await trio.open_tcp_stream("127.0.0.1", scene.node.port) for _ in range(5)]
        await until(lambda: scene.node.transport._door.open_count == 1 + 5)
        for stream in silent:
            stack.push_async_callback(stream.aclose)
        assert await drip(scene.node.port) < WAIT_S
        for _ in range(20):  # whatever comes, no more are half-open than may be
            stack.push_async_callback((await trio.open_tcp_stream("127.0.0.1", scene.node.port)).aclose)
            assert len(scene.node.transport._door._waiting) <= limits.max_half_open
        await until(lambda: scene.node.transport._door.open_count == 1)
        await scene.is_well()


async def test_address_has_only_so_many_connections(tmp_path: Path) -> None:
    limits = replace(DEFAULT_LIMITS, max_connections_per_ip=3, is_loopback_exempt=False)
    async with open_scene(tmp_path, limits) as scene, AsyncExitStack() as stack:
        for number in range(2):
            await stack.enter_async_context(open_attacker(scene, number))
        with pytest.raises((DialError, BaseExceptionGroup)):
            await stack.enter_async_context(open_attacker(scene, 2))
        assert len(scene.node.transport.peers()) == 3
        await scene.is_well()


async def test_inbound_slots_are_given_back(tmp_path: Path) -> None:
    """A3: stock gives no slot back while it lives."""
    async with (
        open_scene(tmp_path, replace(DEFAULT_LIMITS, max_inbound=2)) as scene,
        open_attacker(scene) as attacker,
    ):
        for _ in range(10):
            await attacker.disconnect(scene.node.peer_id)
            await until(lambda: scene.node.transport._door.open_count == 1)
            await attacker.connect(scene.node.address)
        await scene.is_well()


async def test_dead_address_can_be_dialed_again_at_once(scene: Scene) -> None:
    """A6: stock bars a peer for a minute after a failed dial."""
    async with open_attacker(scene) as other:
        dead = scene.node.address.replace(scene.node.peer_id, other.peer_id)
        with pytest.raises(ClientError):
            await scene.honest.post("/v1/peers", {"address": dead})  # another key answers there
        answer = await scene.honest.post("/v1/peers", {"address": other.addresses()[0]})
        assert answer["peer_id"] == other.peer_id
    await scene.is_well()


async def test_frozen_peer_is_dropped(tmp_path: Path) -> None:
    """A7: stock does not notice."""

    async def frozen(stream: INetStream) -> None:
        await trio.sleep_forever()

    limits = replace(DEFAULT_LIMITS, ping_interval_s=0.5, ping_timeout_s=2.0)
    async with open_scene(tmp_path, limits) as scene, open_attacker(scene) as attacker:
        attacker.host.set_stream_handler(PING, frozen)
        await until(lambda: scene.node.transport._roster.get_peer(attacker.peer_id) is None, WAIT_S)
        await scene.is_well()


# streams


async def open_raw(attacker: Libp2pTransport, node: LiveNode, protocol: str) -> INetStream:
    return await attacker.host.new_stream(ID.from_base58(node.peer_id), [TProtocol(protocol)])


async def write_raw(attacker: Libp2pTransport, node: LiveNode, protocol: str, data: bytes) -> None:
    """Write to a stream of a protocol, whatever the other side does to it."""
    with suppress(Exception), trio.move_on_after(2):
        stream = await open_raw(attacker, node, protocol)
        await stream.write(data)
        await stream.read(1)


async def test_junk_in_every_protocol_ends_at_most_its_stream(scene: Scene) -> None:
    """A1, A2, and what stock survives: identify, ping, our own requests."""

    async def broken(stream: INetStream) -> None:
        raise RuntimeError("a fault of ours")

    scene.node.transport.host.set_stream_handler(RAW, broken)
    ours = [NAMES.status, NAMES.sync, NAMES.blob, f"{NAMES.prefix}/peers/1"]
    async with open_attacker(scene) as attacker, trio.open_nursery() as nursery:
        for protocol in [RAW, PING, IDENTIFY, IDENTIFY_PUSH, MESHSUB, *ours]:
            for junk in (b"\xff" * 300, b"\0\0\0\x05ab", b"\x7f\xff\xff\xff", os.urandom(5000)):
                nursery.start_soon(write_raw, attacker, scene.node, protocol, junk)
        for frame in make_hostile_frames():
            nursery.start_soon(write_raw, attacker, scene.node, MESHSUB, frame)
    await scene.is_well()


async def test_sender_that_ignores_its_window_is_cut_off(tmp_path: Path) -> None:
    """A4: stock buffers without a bound."""

    async def never_read(stream: INetStream) -> None:
        await trio.sleep_forever()

    limits = replace(DEFAULT_LIMITS, stream_buffer_bytes=512 << 10)
    async with open_scene(tmp_path, limits) as scene, open_attacker(scene) as attacker:
        scene.node.transport.host.set_stream_handler(RAW, never_read)
        stream = await open_raw(attacker, scene.node, RAW)
        assert isinstance(stream, NetStream)
        assert isinstance(stream.muxed_stream, YamuxStream)
        stream.muxed_stream.send_window = 1 << 30
        with trio.move_on_after(5), suppress(Exception):
            await stream.write(bytes(4 << 20))
        await until(lambda: scene.node.transport._roster.get_peer(attacker.peer_id) is None)
        await scene.is_well()


async def test_cancelled_requests_break_no_connection(scene: Scene) -> None:
    """A5: stock leaves half a frame behind, and a connection that only seems open."""
    blob = os.urandom(400 << 10)
    cid = scene.node.builder.blobs.put(blob)
    transport = scene.honest.transport
    for step in range(12):
        with trio.move_on_after(0.002 * (step + 1)):
            await transport.request(scene.node.peer_id, NAMES.blob, cid, max_reply=1 << 20, timeout_s=10)
    got = await transport.request(scene.node.peer_id, NAMES.blob, cid, max_reply=1 << 20, timeout_s=10)
    assert got == blob
    await scene.is_well()


# gossip


async def join_topics(attacker: Libp2pTransport) -> None:
    async def ignore(peer_id: str, data: bytes) -> Verdict:
        return Verdict.IGNORE

    for topic in (NAMES.blocks, NAMES.transactions):
        await attacker.subscribe(topic, ignore)
    await until(lambda: all(attacker.router.mesh[topic] for topic in attacker.router.mesh), WAIT_S)


def make_forged(node: LiveNode, number: int) -> bytes:
    """Announce a header that all but a training run shows as right: on the head, with a ticket under the target."""
    chain = node.builder.chain
    now_ms = chain.head.time_ms + 1
    template: Template = build_template(chain, MINER.public, (), now_ms)
    header = Header(replace(template.work, nonce=number), bytes([number]) * 32, 2, 1)
    return encode_announcement(node.builder.seal(header, miner=MINER))


async def test_forged_headers_ban_their_sender_and_nobody_else(scene: Scene) -> None:
    node = scene.node
    async with open_attacker(scene) as attacker:
        await join_topics(attacker)
        await node.hold_mining()
        before = node.replays
        for number in range(1, 30):
            with suppress(Exception):  # the connection ends meanwhile
                await attacker.publish(NAMES.blocks, make_forged(node, number))
        await until(lambda: node.transport.is_banned(attacker.peer_id), WAIT_S)
        await until(lambda: not node.transport._gate._running.total, WAIT_S)
        assert node.replays == before + 1
        await until(lambda: not attacker.peers(), WAIT_S)  # it notices later
        with pytest.raises(DialError):
            await attacker.connect(node.address)
        node.go_on_mining()
        await scene.is_well()


async def test_flood_of_transactions_is_bounded(tmp_path: Path) -> None:
    limits = replace(DEFAULT_LIMITS, message_burst=50.0, max_seen=32)
    poor = KeyPair.from_seed(tagged_hash("gc/test", b"poor"))
    async with open_scene(tmp_path, limits) as scene, open_attacker(scene) as attacker:
        await join_topics(attacker)
        gate = scene.node.transport._gate
        most = 0
        for nonce in range(400):
            tx = sign_transaction(poor, GENESIS.chain_id, nonce, 10_000, Transfer(bytes(20), COIN, b""))
            await attacker.publish(NAMES.transactions, tx.encode())
            most = max(most, gate._running.total)
        await until(lambda: not gate._running.total, WAIT_S)
        assert most <= limits.max_validations_per_peer
        assert max(len(gate._ignored._members), len(gate._settled._members)) <= limits.max_seen
        assert len(gate._in_flight) == 0
        assert len(scene.node.parts.chain.mempool) == 0
        await scene.is_well()


async def test_flood_of_announcements_is_bounded(scene: Scene) -> None:
    """Headers on parents that nobody knows, from several peers at once."""
    node, parts = scene.node, scene.node.parts
    async with AsyncExitStack() as stack:
        attackers = [await stack.enter_async_context(open_attacker(scene, number)) for number in range(3)]
        for attacker in attackers:
            await join_topics(attacker)
        for number in range(200):
            parent = tagged_hash("gc/test", b"nobody knows %d" % number)
            header = Header(replace(make_work(parent, 10**6), nonce=number), bytes(32), 2, 1)
            data = encode_announcement(node.builder.seal(header, miner=MINER))
            await attackers[number % 3].publish(NAMES.blocks, data)
            assert parts.gossip._completing.total <= gossip_module.MAX_COMPLETING
            assert parts.importer.parked <= MAX_PARKED_PER_PEER * len(attackers)
            assert len(parts.gossip._turns) <= len(attackers)
        assert len(parts.sync.peer_heads) <= len(attackers) + 1
        await scene.is_well()
    await until(lambda: len(parts.sync.peer_heads) <= 1, WAIT_S)


# chains


def make_work(parent: bytes, height: int, time_ms: int = 1, target: int = 2**256 - 1) -> WorkHeader:
    zero = bytes(32)
    return WorkHeader(1, height, parent, time_ms, MINER.public, target, zero, tx_root_of(()), 0, zero, 0)


def make_fake_branch(count: int, builder: Builder) -> list[Announcement]:
    """Return headers from genesis on that follow each other, none of them trained for."""
    branch: list[Announcement] = []
    parent = GENESIS.chain_id
    for height in range(1, count + 1):
        header = Header(make_work(parent, height, time_ms=height), bytes(32), 2, 1)
        branch.append(Announcement(header, builder.seal(header, miner=MINER).signature, (), ()))
        parent = header.hash
    return branch


def serve_branch(attacker: Libp2pTransport, branch: list[Announcement], node: LiveNode) -> list[str]:
    """Serve a branch as an honest node would; return what was asked for so far."""
    asked: list[str] = []
    by_hash = {item.header.hash: item for item in branch}

    async def tell_status(peer_id: str, payload: bytes) -> bytes:
        return Status(GENESIS.chain_id, branch[-1].header.hash, len(branch), len(branch)).encode()

    async def tell_chain(peer_id: str, payload: bytes) -> bytes:
        kind, items, *_ = read_list(decode(payload, 4096), "request")
        wanted = [read_bytes(item, "hash", 32) for item in read_list(items, "hashes")]
        asked.append(str(kind))
        if kind == GET_HEADERS:
            known = [h for h in wanted if h in by_hash]
            start = by_hash[known[0]].header.work.height if known else 0
            return encode([[b.header.encode(), b.signature] for b in branch[start : start + MAX_HEADERS]])
        blocks = (node.builder.seal(by_hash[h].header, miner=MINER) for h in wanted)
        return encode([block.encode() for block in blocks])

    attacker.serve(NAMES.status, tell_status, max_request=4096)
    attacker.serve(NAMES.sync, tell_chain, max_request=4096)
    return asked


async def test_deep_fake_branch_costs_one_training_run_and_its_teller_the_connection(scene: Scene) -> None:
    node = scene.node
    branch = make_fake_branch(300, node.builder)
    await node.hold_mining()
    before = node.replays
    async with open_attacker(scene) as attacker:
        asked = serve_branch(attacker, branch, node)
        await until(lambda: node.transport.is_banned(attacker.peer_id), WAIT_S)
        assert asked
        main = node.builder.chain.index.main
        assert node.replays <= before + 1
        node.go_on_mining()
        assert not any(item.header.hash in main for item in branch)
        await scene.is_well()


async def test_sync_ends_with_one_honest_peer_among_liars(tmp_path: Path) -> None:
    """R9: a node that joins through three peers that lie and one that does not."""
    async with open_scene(tmp_path) as scene, AsyncExitStack() as stack:
        await until(lambda: scene.node.height >= 5, WAIT_S)
        late = await stack.enter_async_context(open_live(tmp_path, "late"))
        fake = Scene(late, scene.honest, 0.0)
        for number in range(3):
            attacker = await stack.enter_async_context(open_attacker(fake, number))
            serve_branch(attacker, make_fake_branch(40 + number, late.builder), late)
        await late.post("/v1/peers", {"address": scene.node.address})
        await until(lambda: late.height >= scene.node.height - 1 and late.height >= 5, WAIT_S)
        assert late.builder.chain.index.main[5] == scene.node.builder.chain.index.main[5]
        await scene.is_well()
