"""Whom to dial, and what to believe of what peers tell."""

import random

import pytest

from node.protocol.peer_book import (
    MAX_ADDRESSES_PER_PEER,
    BookRules,
    PeerBook,
    parse_peer_id,
    replace_unspecified,
)

OWN = "ownownownown"


def make_address(number: int, host: str = "10.0.0.1") -> str:
    return f"/ip4/{host}/tcp/{4000 + number}/p2p/peer{number:08d}"


def make_book(**rules: float) -> PeerBook:
    return PeerBook(OWN, random.Random(7).uniform, BookRules(**rules))  # type: ignore[arg-type]  # int or float per rule


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/ip4/10.0.0.1/tcp/4001",
        "/ip4/10.0.0.300/tcp/4001/p2p/peer00000001",
        "/ip4/::1/tcp/4001/p2p/peer00000001",
        "/ip4/10.0.0.1/tcp/0/p2p/peer00000001",
        "/ip4/10.0.0.1/tcp/65536/p2p/peer00000001",
        "/ip4/10.0.0.1/udp/4001/quic-v1/p2p/peer00000001",
        "/ip4/10.0.0.1/tcp/4001/p2p/peer00000001\n",
        "/dns4/" + "a" * 300 + "/tcp/4001/p2p/peer00000001",
    ],
)
def test_malformed_address_is_no_address(address: str) -> None:
    assert parse_peer_id(address) is None
    assert not make_book().add(address)


def test_well_formed_addresses_are_taken() -> None:
    for address in ("/ip4/1.2.3.4/tcp/1/p2p/peer00000001", "/ip6/::1/tcp/9/p2p/peer00000001"):
        assert parse_peer_id(address) == "peer00000001"
    assert parse_peer_id("/dns4/seed.example.org/tcp/4001/p2p/peer00000001") == "peer00000001"


def test_own_address_is_never_dialed() -> None:
    book = make_book()
    assert not book.add(f"/ip4/10.0.0.1/tcp/4001/p2p/{OWN}")
    assert book.get_dials(0) == []


def test_each_peer_is_dialed_once_at_a_time() -> None:
    book = make_book()
    book.add(make_address(1))
    book.add(make_address(1, "10.0.0.2"))
    assert len(book.get_dials(0)) == 1
    assert book.get_dials(0) == []


def test_failed_dial_waits_twice_as_long_up_to_the_limit() -> None:
    book = make_book(first_backoff_s=1, max_backoff_s=8)
    book.add(make_address(1))
    now_s, waits = 0.0, []
    for _ in range(6):
        assert book.get_dials(now_s) == [make_address(1)]
        book.note_failed(make_address(1), now_s)
        waits.append(book.get_wake_s() - now_s)
        assert book.get_dials(now_s + waits[-1] - 0.001) == []
        now_s += waits[-1]
    for wait_s, middle_s in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert middle_s / 2 <= wait_s <= middle_s * 1.5


def test_learned_address_is_forgotten_after_its_failures_and_the_operators_is_not() -> None:
    book = make_book(max_failures=2)
    book.add(make_address(1))
    book.add(make_address(2), teller="peer")
    for now_s in (0.0, 100.0, 200.0):
        for address in book.get_dials(now_s):
            book.note_failed(address, now_s)
    assert book.get_dials(1000) == [make_address(1)]


def test_inbound_peers_do_not_stop_the_dialing() -> None:
    book = make_book(target_outbound=1)
    for number in range(20, 40):
        book.note_up(f"peer{number:08d}", is_outbound=False)
    book.add(make_address(1))
    assert book.get_dials(0) == [make_address(1)]
    book.note_up("peer00000001", is_outbound=True)
    book.note_dialed(make_address(1))
    book.add(make_address(2))
    assert book.get_dials(0) == []
    assert book.get_wake_s() == float("inf")


def test_lost_peer_is_dialed_again_after_a_pause() -> None:
    book = make_book()
    book.add(make_address(1))
    book.get_dials(0)
    book.note_dialed(make_address(1))
    book.note_up("peer00000001", is_outbound=True)
    book.note_down("peer00000001", 10.0)
    assert book.get_dials(10.0) == []
    assert book.get_dials(book.get_wake_s()) == [make_address(1)]


def test_one_teller_fills_only_its_share() -> None:
    book = make_book(max_per_teller=3, max_addresses=100)
    taken = [book.add(make_address(n), teller="liar") for n in range(10)]
    assert sum(taken) == 3
    assert book.add(make_address(50), teller="other")


def test_addresses_per_peer_and_in_total_are_bounded() -> None:
    book = make_book(max_addresses=5)
    same = [book.add(make_address(1, f"10.0.0.{n}"), teller=f"t{n}") for n in range(1, 9)]
    assert sum(same) == MAX_ADDRESSES_PER_PEER
    others = [book.add(make_address(n), teller=f"t{n}") for n in range(2, 9)]
    assert sum(others) == 2


def test_full_book_gives_up_an_address_that_failed() -> None:
    book = make_book(max_addresses=1)
    book.add(make_address(1), teller="a")
    book.get_dials(0)
    book.note_failed(make_address(1), 0)
    assert book.add(make_address(2), teller="b")


def test_forgotten_address_does_not_block_its_peer() -> None:
    book = make_book(max_addresses=1)
    book.add(make_address(1), teller="a")
    book.get_dials(0)
    book.note_failed(make_address(1), 0)
    assert book.get_dials(100) == [make_address(1)]
    assert book.add(make_address(2), teller="b")
    book.note_failed(make_address(1), 100)
    assert book.get_dials(200) == [make_address(2)]


def test_only_working_addresses_survive_a_restart() -> None:
    book = make_book()
    book.add(make_address(1))
    book.add(make_address(2))
    book.get_dials(0)
    book.note_dialed(make_address(2))
    book.note_failed(make_address(1), 0)
    assert book.get_worked() == [make_address(2)]
    assert book.get_shareable(9) == [make_address(2)]


def test_unspecified_host_becomes_the_one_seen() -> None:
    told = "/ip4/0.0.0.0/tcp/4001/p2p/peer00000001"
    assert replace_unspecified(told, "10.1.2.3") == "/ip4/10.1.2.3/tcp/4001/p2p/peer00000001"
    assert replace_unspecified("/ip6/::/tcp/1/p2p/p", "fe80::1") == "/ip6/fe80::1/tcp/1/p2p/p"
    assert replace_unspecified(make_address(1), "1.1.1.1") == make_address(1)
