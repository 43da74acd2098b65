"""Half-space reporting: every backend names all neurons above a threshold, however the weights have drifted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.solvers.adversarial import ShiftedNet, draw_net
from training.solvers.adversarial.lists import Lists, filter_above
from training.solvers.adversarial.net import Floats
from training.solvers.adversarial.search import Reach, list_above, make_room
from training.solvers.adversarial.skin import SkinSearch
from training.solvers.adversarial.tree import NeuronTree, TreeSearch
from training.solvers.adversarial.tree_kernels import ROOM

RADIUS = 0.05


def draw(width: int, inputs: int, seed: int, biased: bool = False) -> ShiftedNet:
    return draw_net(width, inputs, np.random.default_rng(seed), precision="float64", biased=biased)


def draw_points(count: int, inputs: int, rng: np.random.Generator) -> Floats:
    points = rng.standard_normal((count, inputs))
    unit: Floats = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


def move_within(points: Floats, norm: str, rng: np.random.Generator) -> Floats:
    """To somewhere on the edge of their balls, where scores are farthest from those of the points."""
    away = rng.standard_normal(points.shape)
    if norm == "largest":
        return points + RADIUS * np.sign(away)
    return points + RADIUS * away / np.linalg.norm(away, axis=1, keepdims=True)


def list_plainly(net: ShiftedNet, points: Floats, threshold: float) -> list[list[int]]:
    scores = points @ net.weights.T + net.biases
    return [np.flatnonzero(row > threshold).tolist() for row in scores]


def split_lists(lists: Lists | None) -> list[list[int]]:
    assert lists is not None
    return [part.tolist() for part in np.split(lists.ids, lists.starts[1:-1])]


def drift(net: ShiftedNet, scale: float, rng: np.random.Generator) -> NDArray[np.int32]:
    """Move some rows, in place; returns which."""
    touched = np.flatnonzero(rng.random(net.width) < 0.3).astype(np.int32)
    net.weights[touched] += scale * rng.standard_normal((len(touched), net.weights.shape[1]))
    return touched


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["skin", "tree"]), st.sampled_from(["euclidean", "largest"]), st.integers(1, 9),
    st.integers(2, 700), st.sampled_from([0.0, 1e-4, 1e-2, 0.5]), st.booleans(), st.integers(0, 1000),
)  # fmt: skip
def test_all_that_are_active_in_a_ball_are_listed_after_any_drift(
    backend: str, norm: str, inputs: int, width: int, scale: float, biased: bool, seed: int
) -> None:
    rng, net = np.random.default_rng(seed), draw(width, inputs, seed, biased)
    points = draw_points(5, inputs, rng)
    reach = Reach(float(np.linalg.norm(points, axis=1).max()), RADIUS, norm == "euclidean")
    search = SkinSearch(net, points, reach) if backend == "skin" else TreeSearch(net, points, reach)
    for _ in range(4):
        chosen = np.sort(rng.choice(5, 3, replace=False))
        lists = search.find(chosen)
        if lists is not None:  # small nets have all neurons near
            worst = move_within(points[chosen], norm, rng)
            found = Lists(*filter_above(net.open_kernel(), *lists, worst, net.tau))
            assert split_lists(found) == list_plainly(net, worst, net.tau)
        search.move(drift(net, scale, rng))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(2, 1500), st.booleans(), st.floats(-3, 3), st.integers(0, 1000))
def test_tree_reports_what_products_do(
    inputs: int, width: int, biased: bool, threshold: float, seed: int
) -> None:
    rng, net = np.random.default_rng(seed), draw(width, inputs, seed, biased)
    tree = NeuronTree(net, np.zeros(width))
    for scale in (0.0, 1e-3, 1.0):
        tree.move(drift(net, scale, rng))
        points = 2 * draw_points(3, inputs, rng)
        wanted = list_plainly(net, points, threshold)
        assert [tree.report(point, threshold).tolist() for point in points] == wanted
        assert split_lists(list_above(net, points, threshold)) == wanted


def test_many_points_are_listed_as_few_are() -> None:
    net, points = draw(300, 4, 1), draw_points(150, 4, np.random.default_rng(2))
    wanted = list_plainly(net, points, 1.0)
    assert split_lists(list_above(net, points, 1.0)) == wanted
    assert split_lists(list_above(net, points, 1.0, room=make_room(net, 7))) == wanted
    assert list_above(net, points, 1.0, most=sum(map(len, wanted)) - 1) is None
    assert list_above(net, points, 1.0, most=sum(map(len, wanted))) is not None


def test_tree_takes_any_crowd_in_one_place() -> None:
    net = draw(ROOM * 9, 3, 1)
    tree = NeuronTree(net, np.zeros(net.width))
    everyone = np.arange(net.width, dtype=np.int32)
    for place in (1.0, -2.0):
        net.weights[:] = place  # all leaves but one are emptied, that one is split, and again
        tree.move(everyone)
        assert len(tree.report(np.full(3, 1.0), 2.9)) == (net.width if place > 0 else 0)
        assert len(tree.report(np.full(3, -1.0), 2.9)) == (0 if place > 0 else net.width)


def test_tree_that_runs_out_of_nodes_is_built_anew() -> None:
    rng, net = np.random.default_rng(3), draw(ROOM * 5, 2, 2)
    tree = NeuronTree(net, np.zeros(net.width))
    for number in range(60):  # every leaf's neurons wander from corner to corner
        part = np.arange(number % 5, net.width, 5, dtype=np.int32)
        net.weights[part] = 10 * rng.standard_normal(2) + 1e-3 * rng.standard_normal((len(part), 2))
        tree.move(part)
    assert tree.rebuilds > 1
    points = draw_points(4, 2, rng)
    assert [tree.report(point, 1.0).tolist() for point in points] == list_plainly(net, points, 1.0)


def test_tree_of_few_inputs_reads_few_rows() -> None:
    net, points = draw(1 << 14, 3, 1), draw_points(16, 3, np.random.default_rng(2))
    tree = NeuronTree(net, np.zeros(net.width))
    for point in points:
        tree.report(point, net.tau)
    assert tree.read < 0.15 * 16 * net.width


def test_skin_is_kept_while_drift_is_within_it_and_no_longer() -> None:
    net, points = draw(400, 6, 1), draw_points(4, 6, np.random.default_rng(2))
    search, everyone = SkinSearch(net, points, Reach(1.0, RADIUS, True), 0.1), np.arange(4)
    search.find(everyone)
    edge = 0.1 / (1 + RADIUS)  # of a row's move, in the Euclidean norm
    net.weights[7, 2] += 0.999 * edge
    search.move(np.array([7], np.int32))
    search.find(everyone)
    assert search.rebuilds == 1
    assert search.drift == pytest.approx(0.999)
    net.weights[7, 2] += 0.002 * edge
    search.move(np.array([7], np.int32))
    search.find(everyone)
    assert (search.rebuilds, search.drift) == (2, 0.0)


def test_lists_that_grow_too_long_are_given_up_and_tried_again() -> None:
    net, points = draw(400, 6, 1), draw_points(4, 6, np.random.default_rng(2))
    search, everyone = SkinSearch(net, points, Reach(1.0, RADIUS, True), 10.0), np.arange(4)
    assert [search.find(everyone) for _ in range(40)] == [None] * 40
    assert search.rebuilds == 3  # each time after a rest
