"""Aggregation is the dense product or maximum, its slopes too, and the same bits however features are cut."""

import pytest
import torch
from torch import Tensor

from tests.training.graph.graphs import draw_features, draw_graph, make_dense, take_maxima
from training.errors import ProblemRefused
from training.graph import aggregate as module
from training.graph.aggregate import Reduction, aggregate, find_probe, settle_slices
from training.graph.graph import Graph, open_graph
from training.graph.probe import CHOICES, RUNS, Probe, cut

REDUCTIONS: tuple[Reduction, ...] = ("sum", "mean", "max")
WIDTHS = (1, 3, 7, 64, 91, 256)


def compute_dense(graph: Graph, features: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "max":
        return take_maxima(graph, features)
    total = make_dense(graph) @ features
    return total if reduction == "sum" else total / graph.degrees.clamp(min=1)[:, None]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_aggregate_is_what_dense_matrices_give(reduction: Reduction, width: int) -> None:
    graph = draw_graph()
    features = draw_features(graph, width)
    wanted = compute_dense(graph, features, reduction)
    assert torch.allclose(aggregate(graph, features, reduction), wanted, rtol=0, atol=1e-13)
    found = aggregate(graph, features.float(), reduction)
    assert found.dtype == torch.float32
    exact = compute_dense(graph, features.float().double(), reduction)
    assert torch.equal(found, exact.float()) or torch.allclose(found.double(), exact, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("width", WIDTHS)
def test_weighted_sum_is_the_weighted_matrix(width: int) -> None:
    graph = draw_graph(weighted=True)
    features = draw_features(graph, width)
    assert torch.allclose(aggregate(graph, features), make_dense(graph) @ features, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 37, 256, 300])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_slices_and_threads_change_no_bit(
    reduction: Reduction, width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = draw_graph(200, 4000)
    features = draw_features(graph, width, dtype)
    one = aggregate(graph, features, reduction, 1)
    for slices in CHOICES:
        if slices <= width:
            assert torch.equal(aggregate(graph, features, reduction, slices), one)
    monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(aggregate(graph, features, reduction, 2 if width > 1 else 1), one)


def test_sum_of_a_hub_is_right_to_the_last_bit_of_float32() -> None:
    edges = torch.stack([torch.arange(20_000), torch.zeros(20_000, dtype=torch.int64)])
    features = draw_features(open_graph(edges, 20_000), 17, torch.float32)
    found = aggregate(open_graph(edges, 20_000), features)[0]
    assert torch.equal(found, features.double().sum(0).float())


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nodes_without_edges_get_zero(reduction: Reduction) -> None:
    graph = draw_graph(alone=3)
    features = -1 - draw_features(graph, 20).abs()  # below 0: a maximum is not 0 by itself
    assert not aggregate(graph, features, reduction)[-3:].any()
    empty = open_graph(torch.zeros((2, 0), dtype=torch.int64), 5)
    assert not aggregate(empty, features[:5], reduction).any()


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_no_nodes_or_no_features_give_none(shape: tuple[int, int]) -> None:
    graph = open_graph(torch.zeros((2, 0), dtype=torch.int64), shape[0])
    for reduction in REDUCTIONS:
        assert aggregate(graph, torch.zeros(shape), reduction).shape == shape


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_slopes_pass_gradcheck(reduction: Reduction, weighted: bool) -> None:
    if weighted and reduction != "sum":
        return
    graph = draw_graph(12, 40, 2, weighted)
    features = draw_features(graph, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: aggregate(graph, x, reduction), (features,))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_slopes_of_slopes_pass_gradcheck(reduction: Reduction) -> None:
    graph = draw_graph(8, 20, 1)
    features = draw_features(graph, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: aggregate(graph, x, reduction), (features,))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_slopes_are_those_of_dense_matrices(reduction: Reduction) -> None:
    graph = draw_graph()
    found, wanted = (draw_features(graph, 70).requires_grad_() for _ in range(2))
    slopes = draw_features(graph, 70).cos()
    (found_slopes,) = torch.autograd.grad(aggregate(graph, found, reduction), found, slopes)
    (wanted_slopes,) = torch.autograd.grad(compute_dense(graph, wanted, reduction), wanted, slopes)
    assert torch.allclose(found_slopes, wanted_slopes, rtol=0, atol=1e-13)


def test_slope_of_equal_maxima_goes_to_the_first_neighbour_given() -> None:
    graph = open_graph(torch.tensor([[2, 1, 2], [0, 0, 0]]), 3)
    features = torch.tensor([[0.0], [7.0], [7.0]], requires_grad=True)
    (slopes,) = torch.autograd.grad(aggregate(graph, features, "max").sum(), features)
    assert slopes.tolist() == [[0.0], [0.0], [1.0]]


@pytest.mark.parametrize("layout", ["transposed", "every other"])
def test_features_may_lie_in_memory_in_any_way(layout: str) -> None:
    graph = draw_graph()
    wide = draw_features(graph, 80)
    features = wide[:, ::2] if layout == "every other" else wide.T.contiguous().T
    for reduction in REDUCTIONS:
        assert torch.equal(
            aggregate(graph, features, reduction), aggregate(graph, features.clone(), reduction)
        )


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (torch.zeros(40), r"float32 or float64 \[40, F\] expected, torch.float32 \[40\] came"),
        (torch.zeros((40, 2), dtype=torch.int64), "float32 or float64"),
        (torch.zeros((40, 2), dtype=torch.float16), "float32 or float64"),
        (torch.zeros((41, 2)), "rows of 40 nodes expected, 41 came"),
        (torch.zeros((40, 2)).index_fill(0, torch.tensor([7]), float("nan")), "came in row 7, column 0"),
        (torch.zeros((40, 2)).index_fill(0, torch.tensor([3]), float("inf")), "came in row 3, column 0"),
    ],
)
def test_wrong_features_are_refused(features: Tensor, said: str) -> None:
    with pytest.raises(ProblemRefused, match=said) as caught:
        aggregate(draw_graph(), features)
    assert caught.value.field == "features"


def test_large_features_whose_sum_is_beyond_float32_are_taken() -> None:
    graph = open_graph(torch.tensor([[0, 1], [1, 0]]), 2)
    features = torch.full((2, 2), 3e38)
    assert torch.equal(aggregate(graph, features), features)


def test_wrong_wishes_are_refused() -> None:
    graph, weighted = draw_graph(), draw_graph(weighted=True)
    features = draw_features(graph, 4)
    with pytest.raises(ProblemRefused, match="reduction: one of sum, mean, max expected, least came"):
        aggregate(graph, features, "least")  # type: ignore[arg-type]
    with pytest.raises(ProblemRefused, match="reduction: sum expected for edges with weights, max came"):
        aggregate(weighted, features, "max")
    for slices in (0, 5):
        with pytest.raises(ProblemRefused, match="slices: 1 to 4 slices expected"):
            aggregate(graph, features, "sum", slices)


# --- slices -----------------------------------------------------------------------------------------------------------


def test_cuts_cover_all_columns_in_whole_lines() -> None:
    for width in (1, 15, 16, 17, 100, 256, 300):
        for slices in CHOICES:
            cuts = cut(width, slices)
            assert cuts[0] == 0
            assert cuts[-1] == width
            assert cuts == sorted(set(cuts))
            assert all(place % 16 == 0 for place in cuts[:-1])
    assert cut(256, 4) == [0, 64, 128, 192, 256]


def test_probe_takes_the_fastest_choice_and_one_where_none_is_faster() -> None:
    probe = Probe(256)
    assert probe.chosen == 1
    assert set(probe.seconds) == set(CHOICES)
    probe.seconds.update({1: [1.0, 1.2], 2: [0.97, 1.1], 4: [0.5, 0.9], 8: [0.8, 0.8]})
    assert probe.chosen == 4
    probe.seconds.update({4: [0.2, 1.0], 8: [2.0]})
    assert probe.chosen == 1


def test_probe_runs_every_choice_and_then_stays() -> None:
    probe = Probe(64)
    taken = []
    while not probe.is_over:
        with probe.run() as slices:
            taken.append(slices)
    assert taken == [1, 2, 4] * RUNS
    with probe.run() as slices:
        assert slices == probe.chosen
    assert sum(len(seconds) for seconds in probe.seconds.values()) == 3 * RUNS


def test_narrow_features_are_never_cut() -> None:
    assert Probe(31).is_over
    assert Probe(31).chosen == 1


def test_slices_are_settled_for_a_graph_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 0)
    graph = draw_graph()
    features = draw_features(graph, 64)
    chosen = settle_slices(graph, features, "mean")
    assert chosen in (1, 2, 4)
    assert find_probe(graph, features, True, False).is_over
    assert settle_slices(graph, features, "mean") == chosen


def test_small_graphs_have_one_slice_without_a_probe() -> None:
    graph = draw_graph()
    features = draw_features(graph, 64)
    assert settle_slices(graph, features) == 1
    assert not find_probe(graph, features, False, False).is_over
