"""A round's settlement: what tickets and updates come to, against the rules in plain Python, and who earns what."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.payloads import round_delta
from tests.training.problems import SEED, Problem, make_problem
from tests.training.test_settlement import take_out_by_fractions
from training.engine import Engine
from training.errors import BadInput
from training.exact.integers import Integers
from training.hashing import compute_cid
from training.merge import Judges, Settled, Update, settle_round
from training.objectives.base import Ticket
from training.paths import FusedPath
from training.payload import encode_payload

LIMIT = 2**27 - 1
SCALES = (32, 16, 8, 4, 2, 1, 0)
NAMES = ("4", "2", "1", "1/2", "1/4", "1/8", "0")
Row = list[int]
Loss = Callable[[Any], int]  # Any: a row, or the same as an array


# --- the rules in plain Python ----------------------------------------------------------------------------------------


def settle_plainly(
    weights: Row,
    earlier: list[Row],
    deltas: list[Row],
    updates: list[tuple[int, Row | None]],
    last_updates: list[tuple[int, Row | None]],
    losses: list[Loss],
) -> tuple[Row, list[str], list[int | None], int]:
    """Sections 10.1 and 10.3: weights, the three scales, credits, L_0."""
    start, scale, along, known = weights, "", "", []
    if deltas:
        known = [merge_plainly(deltas, [1] * len(deltas))[-1]]
        start, scale = search_plainly(weights, known[0], losses[0])
    steps = [subtract(after, before) for after, before in pairwise([weights, *earlier])]
    last = [(weight, delta) for weight, delta in last_updates if delta is not None]
    if last:
        steps.append(merge_plainly([delta for _, delta in last], [weight for weight, _ in last])[-1])
    for step in steps:
        for other in known:
            step = take_out_by_fractions(step, other)
        known.append(step)

    def project(row: Row) -> Row:
        for step in known:
            row = take_out_by_fractions(row, step)
        return row

    valid = [(weight, delta) for weight, delta in updates if delta is not None]
    if not valid:
        return start, [scale, "", ""], [None] * len(updates), 0
    if known:
        mean = merge_plainly([delta for _, delta in valid], [weight for weight, _ in valid])[-1]
        start, along = search_plainly(start, subtract(mean, project(mean)), losses[0])
    valid = [(weight, project(delta)) for weight, delta in valid]
    means = merge_plainly([delta for _, delta in valid], [weight for weight, _ in valid])
    end, update_scale = search_plainly(start, means[-1], losses[1])
    line = [start] + [move_plainly(start, mean, SCALES[NAMES.index(update_scale)]) for mean in means]
    sums = [losses[2](w) for w in line]
    credits = iter([before - after for before, after in pairwise(sums)])
    scales = [scale, along, update_scale]
    return end, scales, [None if d is None else next(credits) for _, d in updates], sums[0]


def subtract(row: Row, other: Row) -> Row:
    return [x - y for x, y in zip(row, other, strict=True)]


def merge_plainly(deltas: list[Row], weights: list[int]) -> list[Row]:
    """Means over all of the first one, two, ... deltas."""
    norms = [sum(x * x for x in delta) for delta in deltas]
    median = min(
        m for m in norms if 2 * sum(w for n, w in zip(norms, weights, strict=True) if n <= m) >= sum(weights)
    )
    clipped = []
    for delta, norm in zip(deltas, norms, strict=True):
        factor = 2**20
        if norm and len(deltas) > 1:
            factor = min(factor, factor * math.isqrt(median) // math.isqrt(norm))
        clipped.append([round(Fraction(x * factor, 2**20)) for x in delta])
    means, total = [], [0] * len(deltas[0])
    for delta, weight in zip(clipped, weights, strict=True):
        total = [t + weight * x for t, x in zip(total, delta, strict=True)]
        means.append([round(Fraction(t, sum(weights))) for t in total])
    return means


def search_plainly(weights: Row, mean: Row, loss: Loss) -> tuple[Row, str]:
    _, scale = min((loss(move_plainly(weights, mean, scale)), scale) for scale in SCALES)
    return move_plainly(weights, mean, scale), NAMES[SCALES.index(scale)]


def move_plainly(weights: Row, mean: Row, scale: int) -> Row:
    moved = [w + round(Fraction(m * scale, 8)) for w, m in zip(weights, mean, strict=True)]
    return [max(-LIMIT, min(LIMIT, n)) for n in moved]


def make_loss(target: Row) -> Loss:
    return lambda weights: sum((w - t) ** 2 for w, t in zip(map(int, weights), target, strict=True))


weight_rows = st.lists(st.integers(-LIMIT, LIMIT), min_size=3, max_size=3)
delta_rows = st.lists(st.integers(-(2**28), 2**28) | st.integers(-9, 9), min_size=3, max_size=3)


@given(
    weight_rows,
    st.lists(weight_rows, max_size=4),
    st.lists(delta_rows, max_size=4),
    st.lists(st.tuples(st.integers(1, 2**20), st.none() | delta_rows), max_size=5),
    st.lists(st.tuples(st.integers(1, 2**20), st.none() | delta_rows), max_size=3),
    st.tuples(weight_rows, weight_rows, weight_rows),
)
def test_round_is_settled_by_the_rules(
    weights: Row,
    earlier: list[Row],
    deltas: list[Row],
    updates: list[tuple[int, Row | None]],
    last_updates: list[tuple[int, Row | None]],
    targets: tuple[Row, Row, Row],
) -> None:
    losses = [make_loss(target) for target in targets]
    settled = settle_round(
        np.array(weights),
        [np.array(row) for row in earlier],
        [np.array(delta) for delta in deltas],
        *(
            [(w, None if delta is None else np.array(delta)) for w, delta in u]
            for u in (updates, last_updates)
        ),
        Judges(losses[0], losses[1], losses[2], 16, None, 99),
    )
    end, scales, credits, base = settle_plainly(weights, earlier, deltas, updates, last_updates, losses)
    assert np.frombuffer(settled.weights, "<i8").tolist() == end
    assert [settled.scale, settled.known_scale, settled.update_scale] == scales
    assert (list(settled.credits), settled.credit_base) == (credits, base)
    if settled.update_scale:
        assert settled.loss_after == min(settled.update_losses) == losses[1](end)
        assert base - sum(credit for credit in credits if credit is not None) == losses[2](end)


# --- what an engine makes of payloads ---------------------------------------------------------------------------------


PROBLEM = make_problem(
    "softmax_regression", (20, 10, 0, 1), shard=24, rates=((1, 4),), steps=3, train=64, judge=48, sample=64
)
SEEDS = (SEED, bytes(32), bytes([7]) * 32)
COUNT = len(PROBLEM.weights) // 8


class Market:
    """Payloads by their CIDs, and an engine that reads them."""

    def __init__(self, problem: Problem = PROBLEM, path: str = "fused") -> None:
        self.problem = problem
        self.blobs = {problem.task.data_cid: problem.blob}
        self.engine = Engine(self.load, path)  # type: ignore[arg-type]  # tests pass names

    def load(self, cid: bytes) -> bytes:
        if cid not in self.blobs:
            raise LookupError("no such blob here")
        return self.blobs[cid]

    def add(self, payload: bytes, weight: int = 1, size: int | None = None) -> Update:
        self.blobs[compute_cid(payload)] = payload
        return Update(compute_cid(payload), len(payload) if size is None else size, weight)

    def train(self, number: int, start: bytes = PROBLEM.weights) -> bytes:
        return self.engine.run(self.problem.task, start, hashlib.sha256(bytes([number])).digest()).delta

    def settle(
        self, deltas: list[bytes], updates: Sequence[Update], earlier: Sequence[bytes] = ()
    ) -> Settled:
        task, weights = self.problem.task, self.problem.weights
        return self.engine.settle(task, weights, deltas, SEEDS, earlier, updates)

    def evaluate(self, weights: bytes, split: Literal["judge", "train"] = "judge") -> int:
        return self.engine.evaluate(self.problem.task, weights, split)[0]


def read(raw: bytes) -> Integers:
    return np.frombuffer(raw, "<i8")


def encode(delta: Integers | bytes, bits: int = 8) -> bytes:
    return encode_payload(read(delta) if isinstance(delta, bytes) else delta, 4096, bits)


@pytest.fixture
def market() -> Market:
    return Market()


def test_updates_alone_move_the_weights(market: Market) -> None:
    settled = market.settle([], [market.add(encode(market.train(1))), market.add(encode(market.train(2)))])
    assert (settled.scale_index, settled.scale, settled.losses) == (-1, "", ())
    assert settled.update_scale not in ("", "0")
    assert settled.weights != PROBLEM.weights
    assert settled.loss_before == market.evaluate(PROBLEM.weights)  # all is the sample
    assert settled.credit_base == market.evaluate(PROBLEM.weights, "train")
    assert settled.loss_after == settled.split_loss == market.evaluate(settled.weights)
    assert (settled.sample_count, settled.split_count) == (48, 48)


def test_credits_add_up_to_what_the_updates_lower_the_loss_by(market: Market) -> None:
    tickets = [market.train(number) for number in range(3)]
    updates = [market.add(encode(market.train(number)), weight=number) for number in range(10, 15)]
    settled = market.settle(tickets, updates)
    alone = market.settle(tickets, [])
    assert settled.update_scale not in ("", "0")
    assert settled.losses == alone.losses
    assert settled.loss_before == settled.losses[-1]
    assert settled.known_losses[-1] == market.evaluate(alone.weights)
    assert settled.update_losses[-1] == min(settled.known_losses)
    assert settled.credit_base < market.evaluate(
        alone.weights, "train"
    )  # along the tickets' mean nobody is paid
    end = market.evaluate(settled.weights, "train")
    assert settled.credit_base - sum(c or 0 for c in settled.credits) == end
    assert settled.loss_after == market.evaluate(settled.weights) < alone.loss_after


def test_order_changes_credits_and_not_weights(market: Market) -> None:
    updates = [market.add(encode(market.train(number))) for number in range(3)]
    settled, turned = market.settle([], updates), market.settle([], updates[::-1])
    assert settled.weights == turned.weights
    assert settled.credits != turned.credits[::-1]
    assert sum(c or 0 for c in settled.credits) == sum(c or 0 for c in turned.credits)


@pytest.mark.parametrize("bits", [4, 8])
def test_copier_of_the_tickets_mean_earns_nothing_worth_it(market: Market, bits: int) -> None:
    """What is left of a copy is its rounding."""
    tickets = [market.train(number) for number in range(3)]
    mean = np.rint(np.mean([read(ticket) for ticket in tickets], axis=0)).astype(np.int64)
    honest = [market.add(encode(market.train(number))) for number in (7, 8, 9)]
    settled = market.settle(tickets, [market.add(encode(mean, bits)), *honest])
    copied, *earned = [credit or 0 for credit in settled.credits]
    assert 10 * copied < sum(earned)
    if bits == 8:
        assert 10 * abs(copied) < sum(earned)


def test_exact_copies_earn_nothing_at_all() -> None:
    """Of the tickets' mean, a last step, the last updates' mean, and what these add up to, however long."""
    ticket, honest = np.array([0, 800, 0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0, 500, 0])
    steps = np.array(
        [[600, 0, 0, 0, 0, 0, 0], [0, 0, 9, 0, 0, 0, 0], [3, 0, 0, 7, 0, 0, 0], [0, 0, 0, 0, 8, 0, 0]]
    )
    start = np.zeros(7, np.int64)
    earlier = [-steps[: number + 1].sum(axis=0) for number in range(4)]
    payload = np.array([0, 5, 0, 0, 0, 0, 400])
    last = [(3, payload), (9, None)]
    loss = make_loss([1000] * 7)
    judges = Judges(loss, loss, loss, 16, None, 99)
    copies = [
        7 * ticket,
        -ticket,
        *steps,
        16 * steps[2],
        steps[1] - 3 * steps[3],
        -earlier[-1],
        payload,
        -9 * payload,
    ]
    settled = settle_round(
        start, earlier, [ticket], [(1, copy) for copy in copies] + [(9, honest)], last, judges
    )
    assert settled.credits[:-1] == (0,) * len(copies)
    assert settle_round(start, earlier, [ticket], [(2, honest + ticket)], last, judges).credits[0] == 10**6


def test_updates_are_followed_along_known_steps_for_nothing() -> None:
    """Further, or back where the last step went too far; it is the updates that say which."""
    start, old = np.zeros(2, np.int64), np.array([-100, 0])
    for target, way in ((50, 1), (-50, -1)):
        loss = make_loss([target, 10])
        judges = Judges(loss, loss, loss, 16, None, 99)
        settled = settle_round(start, [old], [], [(1, np.array([way * 50, 0]))], [], judges)
        assert (settled.scale, settled.known_scale, settled.update_scale) == ("", "1", "0")
        assert np.frombuffer(settled.weights, "<i8").tolist() == [target, 0]
        assert settled.credits == (0,)
        assert (settled.loss_before, settled.known_losses[-1], settled.loss_after) == (2600, 2600, 100)


def test_known_part_that_raises_the_loss_is_left() -> None:
    """Whoever sends it spoils nothing: the others are credited from the weights as they are."""
    start, old, honest = np.zeros(2, np.int64), np.array([-100, 0]), (2, np.array([0, 10]))
    loss = make_loss([50, 10])
    judges = Judges(loss, loss, loss, 16, None, 99)
    settled = settle_round(start, [old], [], [(1, np.array([-10, 0])), honest], [], judges)
    assert settled.known_scale == "0"
    assert settled.credits[0] == 0
    assert settled.credits[1] == settled.credit_base - loss(np.frombuffer(settled.weights, "<i8")) > 90


def test_tickets_alone_are_settled_without_the_steps_of_before() -> None:
    loss = make_loss([50, 10])
    judges = Judges(loss, loss, loss, 16, None, 99)
    settled = settle_round(np.zeros(2, np.int64), [np.array([-9, 0])], [np.array([0, 5])], [], [], judges)
    assert (settled.scale, settled.known_scale, settled.update_scale) == ("2", "", "")


def test_update_that_helps_nobody_moves_nothing(market: Market) -> None:
    """Not even with most of the weight: the line search is on the loss."""
    wrong = market.add(encode(-read(market.train(1))), weight=9)
    settled = market.settle([], [wrong])
    assert (settled.update_scale, settled.weights, settled.credits) == ("0", PROBLEM.weights, (0,))
    assert settled.loss_before == settled.loss_after > 0
    assert settled.credit_base == market.evaluate(PROBLEM.weights, "train")


def test_training_split_says_who_is_paid_and_the_judging_split_whether_weights_move(market: Market) -> None:
    """An update that only lowers the judging loss moves the weights, and earns nothing for it."""
    honest, overfit = market.train(1), _follow_judging_split(market)
    settled = market.settle([], [market.add(encode(honest)), market.add(encode(overfit))])
    judged = [market.evaluate(_add(delta)) for delta in (honest, overfit)]
    trained = [market.evaluate(_add(delta), "train") for delta in (honest, overfit)]
    assert judged[1] < judged[0]
    assert trained[0] < trained[1]
    assert settled.update_scale != "0"
    earned, other = (credit or 0 for credit in settled.credits)
    assert earned > other


def _follow_judging_split(market: Market) -> bytes:
    """What the job's local rule makes of the judging split."""
    objective, data = market.engine.get_dataset(PROBLEM.task)
    ticket = Ticket(np.arange(48, dtype=np.int64), PROBLEM.task.rates, 1, (2, 3, 4))
    outcome = FusedPath().run(objective, data.judge, read(PROBLEM.weights).copy(), ticket)
    return outcome.delta.astype("<i8").tobytes()


def _add(delta: bytes) -> bytes:
    return (read(PROBLEM.weights) + read(delta)).astype("<i8").tobytes()


def test_void_updates_are_as_none(market: Market) -> None:
    good = [market.add(encode(market.train(1)), 2), market.add(encode(market.train(2)), 5)]
    payload = encode(market.train(3))
    voids = [
        market.add(payload, size=len(payload) + 1),
        market.add(payload, size=len(payload) - 1),
        market.add(payload[:-1]),
        market.add(b"GCU1"),
        market.add(b""),
        market.add(PROBLEM.blob),
    ]
    alone = market.settle([market.train(0)], good)
    mixed = market.settle([market.train(0)], [voids[0], good[0], *voids[1:5], good[1], voids[5]])
    assert mixed.credits == (None, alone.credits[0], *[None] * 4, alone.credits[1], None)
    assert mixed.weights == alone.weights
    assert mixed.update_losses == alone.update_losses


def test_round_of_voids_settles_its_tickets_only(market: Market) -> None:
    tickets = [market.train(0)]
    settled, alone = market.settle(tickets, [market.add(b"")]), market.settle(tickets, [])
    assert settled.credits == (None,)
    assert settled.weights == alone.weights
    assert (settled.update_scale, settled.update_losses, settled.credit_base) == ("", (), 0)
    assert settled.loss_after == settled.losses[settled.scale_index]


def test_round_without_anything_valid_looks_at_nothing(market: Market) -> None:
    for updates in ([], [market.add(b"")]):
        settled = market.settle([], updates)
        assert settled.weights == PROBLEM.weights
        assert (settled.loss_before, settled.loss_after, settled.sample_count) == (0, 0, 0)
        assert (settled.split_loss, settled.split_count) == (0, 0)


def test_last_step_is_taken_out(market: Market) -> None:
    """A copy of the last step alone is a delta of its rounding."""
    step = read(market.train(1))
    earlier = [(read(PROBLEM.weights) - step).astype("<i8").tobytes()]
    update = market.add(encode(step))
    paid = market.settle([], [update]).credits[0]
    copied = market.settle([], [update], earlier).credits[0]
    assert paid is not None
    assert copied is not None
    assert paid > 100 * abs(copied)


def test_earlier_weights_that_are_the_same_change_nothing(market: Market) -> None:
    """But a search along nothing, which stays where it is."""
    updates = [market.add(encode(market.train(1)))]
    still = market.settle([], updates, [PROBLEM.weights])
    assert still.known_scale == "0"
    assert replace(still, known_scale="", known_losses=(), loss_before=0) == replace(
        market.settle([], updates), loss_before=0
    )


def test_each_sample_has_its_seed() -> None:
    """With a quarter of the split as the sample, each seed changes what it should and nothing before it."""
    problem = make_problem(
        "softmax_regression", (20, 10, 0, 1), shard=24, rates=((1, 4),), train=64, judge=64
    )
    market = Market(problem)
    tickets = [market.train(0, problem.weights)]
    updates = [market.add(encode(market.train(number, problem.weights))) for number in (1, 2)]

    def settle(*seeds: bytes) -> Settled:
        return market.engine.settle(
            problem.task, problem.weights, tickets, (seeds[0], seeds[1], seeds[2]), b"", updates
        )

    a, b = bytes(32), SEED
    base = settle(a, a, a)
    assert settle(b, a, a).losses != base.losses
    assert settle(a, b, a).losses == base.losses
    assert settle(a, b, a).update_losses != base.update_losses
    assert settle(a, a, b).update_losses == base.update_losses
    assert settle(a, a, b).weights == base.weights
    assert settle(a, a, b).credits != base.credits
    assert base.credit_base != settle(a, a, b).credit_base


def test_missing_payload_is_raised_as_the_loader_does(market: Market) -> None:
    present = market.add(encode(market.train(1)))
    with pytest.raises(LookupError, match="no such blob"):
        market.settle([], [present, Update(bytes(36), 5, 1)])


def test_wrong_blob_from_the_store_is_no_verdict(market: Market) -> None:
    update = market.add(encode(market.train(1)))
    market.blobs[update.payload_cid] = b"damaged"
    with pytest.raises(BadInput, match="payload"):
        market.settle([], [update])


@pytest.mark.parametrize("weights", [[0], [1, -1], [2**30, 1], [1] * 65])
def test_updates_out_of_range_are_refused(market: Market, weights: list[int]) -> None:
    payload = encode(market.train(1))
    with pytest.raises(BadInput, match="updates"):
        market.settle([], [market.add(payload, weight) for weight in weights])


def test_full_round_of_large_weights_settles() -> None:
    """64 updates at the limits of everything: the same by both paths."""
    rows = [np.where(np.arange(COUNT) % (n + 2) == 0, -(2**28), 2**28) for n in range(64)]
    settled = []
    for path in ("fused", "portable"):
        market = Market(path=path)
        updates = [market.add(round_delta(row.tolist(), 4096, 2), 2**24) for row in rows]
        settled.append(market.settle([rows[0].astype("<i8").tobytes()], updates))
    assert settled[0] == settled[1]
    assert len(settled[0].credits) == 64


@pytest.mark.parametrize("earlier", [[b""], [bytes(3)], [PROBLEM.weights, bytes(3)]])
def test_earlier_weights_of_another_size_are_refused(market: Market, earlier: list[bytes]) -> None:
    with pytest.raises(BadInput, match="weights"):
        market.settle([], [], earlier)


def test_more_than_four_earlier_weights_are_refused(market: Market) -> None:
    market.settle([], [], [PROBLEM.weights] * 4)
    with pytest.raises(BadInput, match="at most 4"):
        market.settle([], [], [PROBLEM.weights] * 5)
