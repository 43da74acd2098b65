"""Admission of messages, counted without a network."""

from dataclasses import replace

import trio
import trio.testing

from node.p2p.gate import GossipGate, compute_message_id
from node.p2p.limits import DEFAULT_LIMITS, Tally, TokenBuckets
from node.p2p.transport import Verdict
from tests.node.p2p.nodes import TOPIC, Judge, accept

SMALL = replace(
    DEFAULT_LIMITS, max_validations=2, max_validations_per_peer=1, max_message_bytes=10, max_seen=2
)


def make_gate(judge: Judge | None = None) -> GossipGate:
    gate = GossipGate(SMALL, lambda: 0.0)
    gate.open_topic(TOPIC, judge or accept, 1.0)
    return gate


def test_unknown_topics_and_large_messages_are_not_admitted() -> None:
    gate = make_gate()
    assert gate.admit("a", "other", b"x") is None
    assert gate.admit("a", TOPIC, bytes(11)) is None


def test_validations_are_bounded_per_peer_and_in_total() -> None:
    gate = make_gate()
    first = gate.admit("a", TOPIC, b"1")
    assert first is not None
    assert gate.admit("a", TOPIC, b"2") is None
    assert gate.admit("b", TOPIC, b"3") is not None
    assert gate.admit("c", TOPIC, b"4") is None
    gate.withdraw(first)
    assert gate.admit("c", TOPIC, b"4") is not None


def test_withdrawn_message_can_come_from_another_peer() -> None:
    gate = make_gate()
    forged = gate.admit("a", TOPIC, b"1")
    assert forged is not None
    assert gate.admit("b", TOPIC, b"1") is None
    gate.withdraw(forged)
    assert gate.admit("b", TOPIC, b"1") is not None


async def test_ignored_message_is_not_judged_again_from_the_same_peer() -> None:
    gate = make_gate(Judge(Verdict.IGNORE))
    admission = gate.admit("a", TOPIC, b"1")
    assert admission is not None
    assert await gate.judge(admission) is Verdict.IGNORE
    assert gate.admit("a", TOPIC, b"1") is None
    assert gate.admit("b", TOPIC, b"1") is not None


async def test_verdict_in_one_topic_does_not_bind_another() -> None:
    gate = make_gate(Judge(Verdict.REJECT))
    gate.open_topic("right", accept, 1.0)
    admission = gate.admit("a", TOPIC, b"1")
    assert admission is not None
    await gate.judge(admission)
    assert gate.admit("b", TOPIC, b"1") is None
    assert gate.admit("b", "right", b"1") is not None


async def test_cancelled_judgement_leaves_no_trace() -> None:
    async def endless(peer_id: str, data: bytes) -> Verdict:
        await trio.Event().wait()
        return Verdict.ACCEPT

    gate = make_gate()
    gate.open_topic(TOPIC, endless, 1000.0)
    admission = gate.admit("a", TOPIC, b"1")
    assert admission is not None
    with trio.move_on_after(0):
        await gate.judge(admission)
    assert not gate.is_known(admission.message_id)
    assert gate.admit("a", TOPIC, b"1") is not None


async def test_late_validator_counts_as_ignore(autojump_clock: trio.testing.MockClock) -> None:
    async def late(peer_id: str, data: bytes) -> Verdict:
        await trio.sleep(1.5)
        return Verdict.ACCEPT

    gate = make_gate()
    gate.open_topic(TOPIC, late, 1.0)
    admission = gate.admit("a", TOPIC, b"1")
    assert admission is not None
    assert await gate.judge(admission) is Verdict.IGNORE


def test_old_verdicts_are_forgotten() -> None:
    gate = make_gate()
    ids = [compute_message_id(TOPIC, bytes([n])) for n in range(3)]
    for message_id in ids:
        gate.settle(message_id)
    assert [gate.is_known(message_id) for message_id in ids] == [False, True, True]


def test_bucket_refills_with_time_and_forgets_the_least_recent_key() -> None:
    now = [0.0]
    buckets = TokenBuckets(2.0, 2.0, lambda: now[0], max_keys=2)
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    now[0] = 0.5
    assert buckets.take("a")
    assert not buckets.take("a")
    assert buckets.take("b")
    assert buckets.take("c")
    assert len(buckets._buckets) == 2


def test_tally_keeps_no_empty_keys() -> None:
    tally = Tally(2, 1)
    assert [tally.enter(key) for key in "aabc"] == [True, False, True, False]
    tally.leave("a")
    tally.leave("b")
    assert (tally.total, tally._counts) == (0, {})
