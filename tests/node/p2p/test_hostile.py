"""Attacks that stop or starve a stock libp2p 0.8.1 host, fired at ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.host.ping import ID as PING
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.pb import rpc_pb2
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.stream_muxer.yamux.yamux import YamuxStream
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

from node.p2p.gate import compute_message_id
from node.p2p.gossip import MESHSUB
from node.p2p.host import Libp2pConfig
from node.p2p.libp2p_transport import Libp2pTransport, open_libp2p_transport
from node.p2p.limits import DEFAULT_LIMITS, TransportLimits
from node.p2p.transport import DialError, ListenError, PeerUnreachable
from tests.node.p2p.nodes import ECHO, TOPIC, Judge, Watch, accept, join, make_seed, until

RAW = TProtocol("/test/raw/1")


async def echo(peer_id: str, payload: bytes) -> bytes:
    return payload


@asynccontextmanager
async def open_pair(
    limits: TransportLimits = DEFAULT_LIMITS,
) -> AsyncIterator[tuple[Libp2pTransport, Libp2pTransport]]:
    """Run an attacker with stock limits, connected to a victim."""
    async with (
        open_libp2p_transport(Libp2pConfig(make_seed(1))) as attacker,
        open_libp2p_transport(Libp2pConfig(make_seed(2), limits=limits)) as victim,
    ):
        victim.serve(ECHO, echo, max_request=8 << 20)
        await join(attacker, victim)
        yield attacker, victim


async def open_raw(attacker: Libp2pTransport, victim: Libp2pTransport, protocol: TProtocol) -> INetStream:
    return await attacker.host.new_stream(ID.from_base58(victim.peer_id), [protocol])


async def assert_serves(victim: Libp2pTransport, asker: Libp2pTransport) -> None:
    reply = await asker.request(victim.peer_id, ECHO, b"alive?", max_reply=10, timeout_s=5)
    assert reply == b"alive?"


async def test_raising_stream_handler_resets_only_its_stream() -> None:
    reached = trio.Event()

    async def broken(stream: INetStream) -> None:
        reached.set()
        raise RuntimeError("a fault of ours")

    async with open_pair() as (attacker, victim):
        victim.host.set_stream_handler(RAW, broken)
        with suppress(Exception):  # the reset may come before the protocol is agreed on
            await open_raw(attacker, victim, RAW)
        with trio.fail_after(5):
            await reached.wait()
        await assert_serves(victim, attacker)


def make_hostile_frames() -> list[bytes]:
    """Make gossip frames, length included, that are broken in different ways."""
    odd_key = rpc_pb2.Message(
        data=b"x", topicIDs=[TOPIC], from_id=b"\0\1", seqno=b"1", key=b"\xff", signature=b"s"
    )
    no_origin = rpc_pb2.Message(data=b"y", topicIDs=[TOPIC], seqno=b"1", signature=b"s")
    two_topics = rpc_pb2.Message(data=b"z", topicIDs=[TOPIC, "other"], from_id=b"a")
    no_topic = rpc_pb2.Message(data=b"z", from_id=b"a")
    control = rpc_pb2.ControlMessage()
    control.graft.add(topicID="no such topic")
    control.prune.add(topicID=TOPIC, backoff=(1 << 64) - 1).peers.add(
        peerID=b"junk", signedPeerRecord=b"junk"
    )
    control.ihave.add(topicID=TOPIC, messageIDs=[b"\xff" * 200])
    control.iwant.add(messageIDs=[b"0", b"zz"])
    subscription = rpc_pb2.RPC.SubOpts(subscribe=True, topicid="t" * 10_000)
    packed = [
        rpc_pb2.RPC(publish=[odd_key]),
        rpc_pb2.RPC(publish=[no_origin, two_topics, no_topic]),
        rpc_pb2.RPC(control=control),
        rpc_pb2.RPC(subscriptions=[subscription] * 20),
        rpc_pb2.RPC(senderRecord=b"junk"),
    ]
    frames = [encode_varint_prefixed(rpc.SerializeToString()) for rpc in packed]
    garbage = [b"\xff" * 40, b"\x05\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\x00"]
    too_long = encode_varint_prefixed(bytes(DEFAULT_LIMITS.max_frame_bytes + 1))
    return [*frames, *garbage, too_long]


@pytest.mark.parametrize("frame", make_hostile_frames())
async def test_hostile_gossip_frame_ends_nothing_but_its_stream(frame: bytes) -> None:
    async with open_pair() as (attacker, victim):
        judge = Judge()
        await attacker.subscribe(TOPIC, accept)
        await victim.subscribe(TOPIC, judge)
        stream = await open_raw(attacker, victim, MESHSUB)
        with suppress(Exception):  # the reset may come before all is written
            await stream.write(frame)
        await attacker.publish(TOPIC, b"honest")
        assert await judge.get_next() == (attacker.peer_id, b"honest")
        assert len(judge.seen) == 1
        await assert_serves(victim, attacker)


async def test_gossiped_ids_are_those_that_receivers_know() -> None:
    async with open_pair() as (attacker, victim):
        judge = Judge()
        await victim.subscribe(TOPIC, judge)
        await attacker.subscribe(TOPIC, accept)
        await attacker.publish(TOPIC, b"once")
        await judge.get_next()
        message_id = compute_message_id(TOPIC, b"once")
        assert attacker.router.mcache.window(TOPIC) == [message_id]
        assert victim.pubsub.seen_messages.has(message_id)


async def test_inbound_slot_is_free_again_after_each_connection() -> None:
    limits = replace(DEFAULT_LIMITS, max_inbound=1)
    async with open_pair(limits) as (attacker, victim):
        for _ in range(5):
            await attacker.disconnect(victim.peer_id)
            await until(lambda: not victim.peers() and not victim._door.open_count)
            await join(attacker, victim)
        await assert_serves(victim, attacker)


@pytest.mark.parametrize(
    "limits",
    [
        replace(DEFAULT_LIMITS, max_inbound=1),
        replace(DEFAULT_LIMITS, max_connections_per_ip=1, is_loopback_exempt=False),
    ],
    ids=["total", "per address"],
)
async def test_connections_beyond_the_limit_are_refused(limits: TransportLimits) -> None:
    async with (
        open_pair(limits) as (attacker, victim),
        open_libp2p_transport(Libp2pConfig(make_seed(3))) as second,
    ):
        with pytest.raises(DialError):
            await second.connect(victim.addresses()[0])
        await assert_serves(victim, attacker)


async def test_second_connection_of_a_peer_is_closed_beyond_its_limit() -> None:
    limits = replace(DEFAULT_LIMITS, max_connections_per_peer=1)
    async with open_pair(limits) as (attacker, victim):
        info = info_from_p2p_addr(Multiaddr(victim.addresses()[0]))
        swarm = attacker.host.get_network()
        await swarm.dial_addr(info.addrs[0], info.peer_id)
        await until(lambda: victim._door.open_count == 1)
        assert len(victim.peers()) == 1


async def test_silent_sockets_are_capped_and_dropped() -> None:
    limits = replace(DEFAULT_LIMITS, max_half_open=2, handshake_timeout_s=1.0)
    async with (
        open_libp2p_transport(Libp2pConfig(make_seed(2), limits=limits)) as victim,
        open_libp2p_transport(Libp2pConfig(make_seed(1))) as honest,
    ):
        victim.serve(ECHO, echo, max_request=10)
        port = int(victim.addresses()[0].split("/")[4])
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        await until(lambda: victim._door.open_count == 2)
        third = await trio.open_tcp_stream("127.0.0.1", port)
        with trio.fail_after(0.9):  # at once, not after the handshake's time
            assert await _read_end(third)
        await until(lambda: victim._door.open_count == 0)
        await join(honest, victim)
        await assert_serves(victim, honest)
        for stream in [*silent, third]:
            await stream.aclose()


async def _read_end(stream: trio.SocketStream) -> bool:
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
    return True


async def test_sender_that_ignores_its_window_is_cut_off() -> None:
    async def never_read(stream: INetStream) -> None:
        await trio.sleep_forever()

    limits = replace(DEFAULT_LIMITS, stream_buffer_bytes=512 << 10)
    async with open_pair(limits) as (attacker, victim):
        victim.host.set_stream_handler(RAW, never_read)
        watch = Watch(victim)
        stream = await open_raw(attacker, victim, RAW)
        assert isinstance(stream, NetStream)
        assert isinstance(stream.muxed_stream, YamuxStream)
        stream.muxed_stream.send_window = 1 << 30
        with trio.move_on_after(5), suppress(Exception):  # whatever the broken connection raises first
            await stream.write(bytes(4 << 20))
        assert not (await watch.get_next()).is_up
        await until(lambda: not attacker.peers())  # it may notice later
        await join(attacker, victim)
        await assert_serves(victim, attacker)


async def test_honest_stream_of_many_windows_is_not_cut_off() -> None:
    async with open_pair() as (attacker, victim):
        payload = bytes(6 << 20)
        reply = await attacker.request(victim.peer_id, ECHO, payload, max_reply=6 << 20, timeout_s=20)
        assert len(reply) == 6 << 20


async def test_cancelled_large_requests_keep_the_connection() -> None:
    async with open_pair() as (attacker, victim):
        watch = Watch(attacker)
        for step in range(12):
            with trio.move_on_after(0.003 * (step + 1)):
                await attacker.request(victim.peer_id, ECHO, bytes(6 << 20), max_reply=8 << 20, timeout_s=10)
        await assert_serves(victim, attacker)
        await attacker.disconnect(victim.peer_id)
        assert not (await watch.get_next()).is_up  # the first change: nothing broke before


async def test_frozen_peer_is_noticed() -> None:
    async def frozen(stream: INetStream) -> None:
        await trio.sleep_forever()

    limits = replace(DEFAULT_LIMITS, ping_interval_s=0.2, ping_timeout_s=0.2)
    async with open_pair(limits) as (attacker, victim):
        watch = Watch(victim)
        attacker.host.set_stream_handler(PING, frozen)
        assert not (await watch.get_next()).is_up


async def test_streams_beyond_a_peers_share_are_reset() -> None:
    async def hold(stream: INetStream) -> None:
        await trio.sleep_forever()

    limits = replace(DEFAULT_LIMITS, max_inbound_streams_per_peer=8)
    async with open_pair(limits) as (attacker, victim):
        victim.host.set_stream_handler(RAW, hold)
        for _ in range(4):  # gossip and identify hold some of the eight
            await open_raw(attacker, victim, RAW)
        with pytest.raises(StreamFailure):
            await exhaust(attacker, victim)
        assert len(victim.peers()) == 1


async def exhaust(attacker: Libp2pTransport, victim: Libp2pTransport) -> None:
    for _ in range(8):
        await open_raw(attacker, victim, RAW)


async def test_plaintext_dialer_is_refused() -> None:
    key_pair = create_new_key_pair(make_seed(9))
    stock = new_host(
        key_pair=key_pair, sec_opt={TProtocol(PLAINTEXT_PROTOCOL_ID): InsecureTransport(key_pair)}
    )
    async with open_libp2p_transport(Libp2pConfig(make_seed(2))) as victim, stock.run([]):
        with pytest.raises(Exception, match="unable to connect"):
            await stock.connect(info_from_p2p_addr(Multiaddr(victim.addresses()[0])))
        assert victim.peers() == []


async def test_taken_port_is_an_error() -> None:
    async with open_libp2p_transport(Libp2pConfig(make_seed(1))) as first:
        taken = first.addresses()[0].partition("/p2p/")[0]
        with pytest.raises(ListenError, match="in use"):
            async with open_libp2p_transport(Libp2pConfig(make_seed(2), listen=(taken,))):
                pass


async def test_stop_takes_less_than_a_second() -> None:
    async def sleepy(peer_id: str, payload: bytes) -> bytes:
        await trio.Event().wait()
        return b""

    async def ask(asker: Libp2pTransport, peer_id: str) -> None:
        with pytest.raises(PeerUnreachable):
            await asker.request(peer_id, "/sleepy/1", b"", max_reply=1, timeout_s=5)

    async with open_pair() as (attacker, victim), trio.open_nursery() as nursery:
        async with open_libp2p_transport(Libp2pConfig(make_seed(5))) as stopping:
            stopping.serve("/sleepy/1", sleepy, max_request=1)
            await join(attacker, stopping)
            await join(stopping, victim)
            nursery.start_soon(ask, attacker, stopping.peer_id)
            await until(lambda: stopping._desk._busy.total)
            start_s = trio.current_time()
        assert trio.current_time() - start_s < 1.0


async def test_cancelled_transport_closes_its_port_and_says_goodbye() -> None:
    listen = ""
    async with open_libp2p_transport(Libp2pConfig(make_seed(1))) as other:
        watch = Watch(other)
        with trio.CancelScope() as scope:
            async with open_libp2p_transport(Libp2pConfig(make_seed(2))) as node:
                listen = node.addresses()[0].partition("/p2p/")[0]
                await join(node, other)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert [(await watch.get_next()).is_up for _ in range(2)] == [True, False]
        async with open_libp2p_transport(Libp2pConfig(make_seed(2), listen=(listen,))) as again:
            assert again.addresses()[0].startswith(listen)
