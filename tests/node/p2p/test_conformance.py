"""What both transports promise."""

from dataclasses import replace

import pytest
import trio

from node.p2p.limits import DEFAULT_LIMITS
from node.p2p.transport import (
    DialError,
    MessageTooLarge,
    PeerUnreachable,
    ReplyTooLarge,
    RequestRefused,
    RequestTimeout,
    TransportError,
    Verdict,
)
from tests.node.p2p.nodes import ECHO, KINDS, TOPIC, Judge, Watch, accept, join, open_nodes, subscribe_all

pytestmark = pytest.mark.parametrize("kind", KINDS)


async def echo(peer_id: str, payload: bytes) -> bytes:
    return payload


async def test_accepted_message_is_forwarded_through_a_middle_node(kind: str) -> None:
    async with open_nodes(kind, 3) as nodes:
        middle, end = Judge(), Judge()
        await subscribe_all(nodes, accept, middle, end)
        await join(*nodes)
        await nodes[0].publish(TOPIC, b"hello")
        assert await middle.get_next() == (nodes[0].peer_id, b"hello")
        assert await end.get_next() == (nodes[1].peer_id, b"hello")


@pytest.mark.parametrize("verdict", [Verdict.REJECT, Verdict.IGNORE])
async def test_message_without_accept_is_not_forwarded(kind: str, verdict: Verdict) -> None:
    async with open_nodes(kind, 3) as nodes:
        middle, end = Judge(verdict), Judge()
        await subscribe_all(nodes, accept, middle, end)
        await join(*nodes)
        await nodes[0].publish(TOPIC, b"bad")
        await middle.get_next()
        middle.verdict = Verdict.ACCEPT
        await nodes[0].publish(TOPIC, b"good")
        assert await end.get_next() == (nodes[1].peer_id, b"good")  # the bad one would have come first
        assert len(end.seen) == 1


async def test_own_message_is_not_judged_at_home(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        home, far = Judge(), Judge()
        await subscribe_all(nodes, home, far)
        await join(*nodes)
        await nodes[0].publish(TOPIC, b"mine")
        await far.get_next()
        assert home.seen == []


async def test_ignored_message_is_judged_again_from_another_peer(kind: str) -> None:
    async with open_nodes(kind, 3) as nodes:
        judge = Judge(Verdict.IGNORE)
        await subscribe_all(nodes, accept, judge, accept)
        await join(nodes[0], nodes[1], nodes[2])
        await nodes[0].publish(TOPIC, b"early")
        assert await judge.get_next() == (nodes[0].peer_id, b"early")
        judge.verdict = Verdict.ACCEPT
        await nodes[2].publish(TOPIC, b"early")
        assert await judge.get_next() == (nodes[2].peer_id, b"early")


async def test_rejected_message_is_not_judged_again(kind: str) -> None:
    async with open_nodes(kind, 3) as nodes:
        judge = Judge(Verdict.REJECT)
        await subscribe_all(nodes, accept, judge, accept)
        await join(nodes[0], nodes[1], nodes[2])
        await nodes[0].publish(TOPIC, b"bad")
        await judge.get_next()
        await nodes[2].publish(TOPIC, b"bad")
        await nodes[2].publish(TOPIC, b"other")
        assert (await judge.get_next())[1] == b"other"


async def test_racing_copies_are_judged_once(kind: str) -> None:
    async with open_nodes(kind, 4) as nodes:
        release, end = trio.Event(), Judge()
        calls: list[bytes] = []
        sentinel = trio.Event()

        async def slow(peer_id: str, data: bytes) -> Verdict:
            calls.append(data)
            if data == b"sentinel":
                sentinel.set()
            else:
                await release.wait()
            return Verdict.ACCEPT

        await subscribe_all(nodes, accept, slow, accept, end)
        await join(nodes[0], nodes[1], nodes[2])
        await join(nodes[1], nodes[3])
        await nodes[0].publish(TOPIC, b"copy")
        await nodes[2].publish(TOPIC, b"copy")
        await nodes[0].publish(TOPIC, b"sentinel")
        with trio.fail_after(8):
            await sentinel.wait()
        await nodes[2].publish(TOPIC, b"second sentinel")
        with trio.fail_after(8):
            while b"second sentinel" not in calls:
                await trio.sleep(0.01)
        assert calls.count(b"copy") == 1
        release.set()
        got = [(await end.get_next())[1] for _ in range(3)]
        assert sorted(got) == [b"copy", b"second sentinel", b"sentinel"]


async def test_slow_and_raising_validators_count_as_ignore(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        judge = Judge()

        async def difficult(peer_id: str, data: bytes) -> Verdict:
            if data == b"slow":
                await trio.sleep_forever()
            if data == b"broken":
                raise RuntimeError("a fault of ours")
            return await judge(peer_id, data)

        await nodes[0].subscribe(TOPIC, accept)
        await nodes[1].subscribe(TOPIC, difficult, deadline_s=0.05)
        await join(*nodes)
        for data in (b"slow", b"broken", b"fine"):
            await nodes[0].publish(TOPIC, data)
        assert (await judge.get_next())[1] == b"fine"


async def test_largest_message_arrives_and_a_larger_one_is_refused_at_home(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        judge = Judge()
        await subscribe_all(nodes, accept, judge)
        await join(*nodes)
        with pytest.raises(MessageTooLarge):
            await nodes[0].publish(TOPIC, bytes(DEFAULT_LIMITS.max_message_bytes + 1))
        await nodes[0].publish(TOPIC, bytes(DEFAULT_LIMITS.max_message_bytes))
        assert len((await judge.get_next())[1]) == DEFAULT_LIMITS.max_message_bytes


async def test_messages_over_the_rate_are_dropped(kind: str) -> None:
    limits = replace(DEFAULT_LIMITS, message_rate_per_s=0.001, message_burst=3.0)
    async with open_nodes(kind, 3, limits) as nodes:
        judge = Judge()
        await subscribe_all(nodes, accept, judge, accept)
        await join(*nodes)
        for number in range(5):
            await nodes[0].publish(TOPIC, b"%d" % number)
        for _ in range(3):
            await judge.get_next()
        await nodes[2].publish(TOPIC, b"of another peer")
        assert (await judge.get_next())[1] == b"of another peer"


@pytest.mark.parametrize("size", [0, 1, 100_000, 1 << 20])
async def test_request_gets_its_reply(kind: str, size: int) -> None:
    async with open_nodes(kind, 2) as nodes:
        nodes[1].serve(ECHO, echo, max_request=1 << 20)
        await join(*nodes)
        payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
        reply = await nodes[0].request(nodes[1].peer_id, ECHO, payload, max_reply=1 << 20, timeout_s=10)
        assert reply == payload


async def test_requests_go_both_ways_over_one_connection(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        for node in nodes:
            node.serve(ECHO, echo, max_request=100)
        await join(*nodes)
        for asker, asked in (nodes, nodes[::-1]):
            assert await asker.request(asked.peer_id, ECHO, b"?", max_reply=9, timeout_s=5) == b"?"


async def test_reply_over_the_limit_is_refused(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        nodes[1].serve(ECHO, echo, max_request=2000)
        await join(*nodes)
        with pytest.raises(ReplyTooLarge, match=r"1001 bytes; at most 1000"):
            await nodes[0].request(nodes[1].peer_id, ECHO, bytes(1001), max_reply=1000, timeout_s=5)
        assert await nodes[0].request(nodes[1].peer_id, ECHO, b"ok", max_reply=9, timeout_s=5) == b"ok"


async def test_request_over_the_limit_is_refused_by_the_server(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        nodes[1].serve(ECHO, echo, max_request=10)
        await join(*nodes)
        with pytest.raises(RequestRefused, match="at most 10"):
            await nodes[0].request(nodes[1].peer_id, ECHO, bytes(1 << 20), max_reply=9, timeout_s=5)


async def test_handler_refusal_reaches_the_caller_with_its_reason(kind: str) -> None:
    async def refuse(peer_id: str, payload: bytes) -> bytes:
        raise RequestRefused("no such block")

    async with open_nodes(kind, 2) as nodes:
        nodes[1].serve(ECHO, refuse, max_request=10)
        await join(*nodes)
        with pytest.raises(RequestRefused, match="no such block"):
            await nodes[0].request(nodes[1].peer_id, ECHO, b"", max_reply=1, timeout_s=5)


async def test_broken_handler_fails_one_request_only(kind: str) -> None:
    async def broken(peer_id: str, payload: bytes) -> bytes:
        if payload == b"bad":
            raise RuntimeError("secret detail")
        return payload

    async with open_nodes(kind, 2) as nodes:
        nodes[1].serve(ECHO, broken, max_request=10)
        await join(*nodes)
        with pytest.raises(RequestRefused, match="failed to answer"):
            await nodes[0].request(nodes[1].peer_id, ECHO, b"bad", max_reply=9, timeout_s=5)
        assert await nodes[0].request(nodes[1].peer_id, ECHO, b"good", max_reply=9, timeout_s=5) == b"good"


async def test_silent_handler_times_out_and_the_connection_stays(kind: str) -> None:
    async def silent(peer_id: str, payload: bytes) -> bytes:
        if payload == b"sleep":
            await trio.sleep_forever()
        return payload

    async with open_nodes(kind, 2) as nodes:
        nodes[1].serve(ECHO, silent, max_request=10)
        await join(*nodes)
        with pytest.raises(RequestTimeout):
            await nodes[0].request(nodes[1].peer_id, ECHO, b"sleep", max_reply=9, timeout_s=0.2)
        assert await nodes[0].request(nodes[1].peer_id, ECHO, b"wake", max_reply=9, timeout_s=5) == b"wake"


async def test_requests_beyond_a_peers_share_are_refused(kind: str) -> None:
    limits = replace(DEFAULT_LIMITS, max_requests_in_per_peer=1, handler_timeout_s=1.0)
    release, begun = trio.Event(), trio.Event()

    async def slow(peer_id: str, payload: bytes) -> bytes:
        begun.set()
        await release.wait()
        return payload

    async with open_nodes(kind, 2, limits) as nodes:
        nodes[1].serve(ECHO, slow, max_request=10)
        await join(*nodes)

        async def ask() -> None:
            await nodes[0].request(nodes[1].peer_id, ECHO, b"1", max_reply=9, timeout_s=5)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with trio.fail_after(5):
                await begun.wait()
            with pytest.raises(RequestRefused, match="busy"):
                await nodes[0].request(nodes[1].peer_id, ECHO, b"2", max_reply=9, timeout_s=5)
            release.set()


async def test_request_to_nobody_and_for_nothing_fails_clearly(kind: str) -> None:
    async with open_nodes(kind, 3) as nodes:
        await join(nodes[0], nodes[1])
        with pytest.raises(PeerUnreachable):
            await nodes[0].request(nodes[2].peer_id, ECHO, b"", max_reply=9, timeout_s=5)
        with pytest.raises(RequestRefused, match="not served"):
            await nodes[0].request(nodes[1].peer_id, ECHO, b"", max_reply=9, timeout_s=5)


async def test_protocol_is_served_once(kind: str) -> None:
    async with open_nodes(kind, 1) as nodes:
        nodes[0].serve(ECHO, echo, max_request=1)
        with pytest.raises(TransportError):
            nodes[0].serve(ECHO, echo, max_request=1)


async def test_peers_are_told_up_and_down(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        watches = [Watch(node) for node in nodes]
        assert await nodes[0].connect(nodes[1].addresses()[0]) == nodes[1].peer_id
        ups = [await watch.get_next() for watch in watches]
        assert [(c.is_up, c.peer.direction) for c in ups] == [(True, "out"), (True, "in")]
        assert nodes[0].peers() == [ups[0].peer]
        await nodes[0].disconnect(nodes[1].peer_id)
        downs = [await watch.get_next() for watch in watches]
        assert [(c.is_up, c.peer.peer_id) for c in downs] == [
            (False, nodes[1].peer_id),
            (False, nodes[0].peer_id),
        ]
        assert nodes[0].peers() == nodes[1].peers() == []


async def test_ban_closes_and_refuses_both_ways(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        await join(*nodes)
        watch = Watch(nodes[0])
        await nodes[1].ban(nodes[0].peer_id, "test", 60)
        assert not (await watch.get_next()).is_up
        assert nodes[1].is_banned(nodes[0].peer_id)
        assert nodes[1].peers() == []
        with pytest.raises(DialError):
            await nodes[0].connect(nodes[1].addresses()[0])
        with pytest.raises(DialError, match="banned"):
            await nodes[1].connect(nodes[0].addresses()[0])
        assert nodes[1].peers() == []


async def test_ban_ends(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        await nodes[1].ban(nodes[0].peer_id, "test", 0.0)
        assert not nodes[1].is_banned(nodes[0].peer_id)
        await join(*nodes)


async def test_dial_to_nobody_or_self_fails_clearly(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        with pytest.raises(DialError):
            await nodes[0].connect("/ip4/127.0.0.1/tcp/1/p2p/" + nodes[1].peer_id)
        with pytest.raises(DialError, match="itself"):
            await nodes[0].connect(nodes[0].addresses()[0])
        with pytest.raises(DialError):
            await nodes[0].connect("nonsense")


async def test_connecting_again_changes_nothing(kind: str) -> None:
    async with open_nodes(kind, 2) as nodes:
        await join(*nodes)
        before = nodes[0].peers()
        await nodes[0].connect(nodes[1].addresses()[0])
        assert nodes[0].peers() == before
