"""A bootstrap address that is of no use is told of, once for each reason, until it answers."""

import logging
import random

import pytest
import trio

from node.p2p.bootstrap import OTHER_CHAIN, BootstrapWatch
from node.p2p.host import Libp2pConfig
from node.p2p.keeper import Keeper, KeeperConfig
from node.p2p.libp2p_transport import open_libp2p_transport
from node.p2p.transport import Transport
from node.protocol.peer_book import BookRules, PeerBook
from tests.node.p2p.nodes import KINDS, make_seed, open_nodes, until

FAST = BookRules(first_backoff_s=0.05, max_backoff_s=0.2)


def make_keeper(node: Transport, address: str, chain: str) -> Keeper:
    book = PeerBook(node.peer_id, random.Random(1).uniform, FAST)
    book.add(address)
    return Keeper(node, book, KeeperConfig(chain, (address,), ask_interval_s=0.2))


@pytest.mark.parametrize("kind", KINDS)
async def test_peer_of_another_chain_is_told_of_and_one_of_ours_is_not(kind: str) -> None:
    async with open_nodes(kind, 3) as nodes, trio.open_nursery() as nursery:
        address = nodes[0].addresses()[0]
        other, ours = make_keeper(nodes[1], address, "other"), make_keeper(nodes[2], address, "test")
        nursery.start_soon(make_keeper(nodes[0], "", "test").run)
        await until(lambda: True)
        nursery.start_soon(other.run)
        nursery.start_soon(ours.run)
        await until(lambda: "another chain" in other.bootstrap_problems.get(address, ""))
        assert nodes[2].peers()
        assert not ours.bootstrap_problems
        nursery.cancel_scope.cancel()


async def test_dead_address_is_told_of_until_it_answers() -> None:
    async with open_libp2p_transport(Libp2pConfig(make_seed(2))) as peer:
        address = peer.addresses()[0]
    async with open_libp2p_transport(Libp2pConfig(make_seed(1))) as node, trio.open_nursery() as nursery:
        keeper = make_keeper(node, address, "test")
        nursery.start_soon(keeper.run)
        await until(lambda: "refused" in keeper.bootstrap_problems.get(address, ""))
        listen = address.split("/p2p/")[0]
        async with open_libp2p_transport(Libp2pConfig(make_seed(2), listen=(listen,))) as peer:
            nursery.start_soon(make_keeper(peer, "", "test").run)
            await until(lambda: not keeper.bootstrap_problems)
        nursery.cancel_scope.cancel()


def test_reason_is_logged_once_and_again_after_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    peer = "12D3KooWother"
    address = f"/ip4/127.0.0.1/tcp/1/p2p/{peer}"
    watch = BootstrapWatch([address], "12D3KooWours")
    with caplog.at_level(logging.WARNING):
        watch.note_failed(address, f"cannot connect to {address}: refused")
        assert not watch.problems
        for _ in range(5):
            watch.note_failed(address, f"cannot connect to {address}: refused")
        assert [record.getMessage() for record in caplog.records] == [f"bootstrap {address}: refused"]
        watch.note_answer(peer)
        assert not watch.problems
        for _ in range(2):
            watch.note_failed(address, "refused")
    assert len(caplog.records) == 2


def test_another_chain_stays_the_reason_while_its_bans_cut_connections() -> None:
    address = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWother"
    watch = BootstrapWatch([address], "12D3KooWours")
    watch.note_useless("12D3KooWother", f"{OTHER_CHAIN}, not ours")
    for _ in range(3):
        watch.note_failed(address, "connection reset by peer")
    assert watch.problems == {address: f"{OTHER_CHAIN}, not ours"}


def test_address_with_our_own_name_is_told_of() -> None:
    address = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWours"
    watch = BootstrapWatch([address], "12D3KooWours")
    watch.note_own([address])
    assert not watch.problems
    watch.note_own(["/ip4/127.0.0.1/tcp/2/p2p/12D3KooWours"])
    assert "identity.key" in watch.problems[address]
