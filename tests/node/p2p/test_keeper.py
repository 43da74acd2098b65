"""Nodes that find each other and stay connected."""

import random
from collections.abc import Sequence

import msgpack
import pytest
import trio

from node.p2p.host import Libp2pConfig
from node.p2p.keeper import Keeper, KeeperConfig, decode_addresses
from node.p2p.libp2p_transport import open_libp2p_transport
from node.p2p.transport import RequestRefused, Transport
from node.protocol.peer_book import BookRules, PeerBook
from tests.node.p2p.nodes import KINDS, Watch, join, make_seed, open_nodes, until

PEERS = "/gradientcoin/test/peers/1"
FAST = BookRules(first_backoff_s=0.05, max_backoff_s=0.2)


def make_keeper(node: Transport, bootstrap: Sequence[str], saved: list[list[str]] | None = None) -> Keeper:
    book = PeerBook(node.peer_id, random.Random(1).uniform, FAST)
    for address in bootstrap:
        book.add(address)
    persist = (lambda addresses: None) if saved is None else saved.append
    return Keeper(node, book, KeeperConfig(chain="test", ask_interval_s=0.5), persist=persist)


@pytest.mark.parametrize("kind", KINDS)
async def test_five_nodes_that_know_one_address_all_meet(kind: str) -> None:
    async with open_nodes(kind, 5) as nodes, trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(make_keeper(node, nodes[0].addresses()).run)
        await until(lambda: all(len(node.peers()) == 4 for node in nodes), 15)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", KINDS)
async def test_asked_keeper_never_tells_the_asker_of_itself(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes, trio.open_nursery() as nursery:
        nursery.start_soon(make_keeper(nodes[0], []).run)
        await join(nodes[1], nodes[0])
        own = msgpack.packb(nodes[1].addresses())
        for _ in range(2):
            reply = await nodes[1].request(nodes[0].peer_id, PEERS, own, max_reply=9999, timeout_s=5)
            assert decode_addresses(reply) == []
        with pytest.raises(RequestRefused, match="list"):
            await nodes[1].request(nodes[0].peer_id, PEERS, b"\xc1", max_reply=9999, timeout_s=5)
        nursery.cancel_scope.cancel()


async def test_peer_is_dialed_again_after_its_restart() -> None:
    async with (
        open_libp2p_transport(Libp2pConfig(make_seed(1))) as node,
        trio.open_nursery() as nursery,
    ):
        watch = Watch(node)
        saved: list[list[str]] = []
        async with open_libp2p_transport(Libp2pConfig(make_seed(2))) as peer:
            address = peer.addresses()[0]
            nursery.start_soon(make_keeper(node, [address], saved).run)
            assert (await watch.get_next()).is_up
            await until(lambda: saved)
            assert saved[-1] == [address]
        assert not (await watch.get_next()).is_up
        listen = address.partition("/p2p/")[0]
        async with open_libp2p_transport(Libp2pConfig(make_seed(2), listen=(listen,))):
            change = await watch.get_next()
            assert change.is_up
            assert change.peer.direction == "out"
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc0", b"\x91\x01", msgpack.packb(["x"] * 33), msgpack.packb(["x" * 257]), b"\x91\xa1\xff"],
)
def test_address_list_that_is_none_raises(data: bytes) -> None:
    with pytest.raises(ValueError, match="list"):
        decode_addresses(data)
