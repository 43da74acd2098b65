"""Layers are what their papers say, by dense matrices, with slopes that pass gradcheck, wherever they aggregate."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from tests.training.graph.graphs import draw_features, draw_graph, make_dense, take_maxima
from training.errors import ProblemRefused
from training.graph.graph import Graph, open_graph
from training.graph.layers import GCN, GIN, SAGE
from training.graph.train import Network, Plan, make_layer, score, train

SIZES = [(3, 5), (5, 3), (4, 4)]


def is_close(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, rtol=0, atol=1e-12)


def check_slopes(layer: nn.Module, graph: Graph, features: Tensor) -> None:
    inputs = features.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(graph, x), (inputs, *layer.parameters()))


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_gcn_is_the_normalised_adjacency_times_features_times_weights(inputs: int, outputs: int) -> None:
    graph = draw_graph(10, 30, 2)
    features, layer = draw_features(graph, inputs), GCN(inputs, outputs, torch.float64)
    adjacency = make_dense(graph) + torch.eye(10, dtype=torch.float64)
    degrees = adjacency.sum(1)
    normalised = adjacency / (degrees[:, None] * degrees).sqrt()
    assert is_close(layer(graph, features), normalised @ features @ layer.linear.weight.T + layer.linear.bias)
    check_slopes(layer, graph, features)


@pytest.mark.parametrize("reduction", ["mean", "max"])
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_sage_is_own_and_neighbours_features_side_by_side_times_weights(
    inputs: int, outputs: int, reduction: Literal["mean", "max"]
) -> None:
    graph = draw_graph(10, 30, 2)
    features, layer = draw_features(graph, inputs), SAGE(inputs, outputs, reduction, torch.float64)
    mean = make_dense(graph) @ features / graph.degrees.clamp(min=1)[:, None]
    around = mean if reduction == "mean" else take_maxima(graph, features)
    weights = torch.cat([layer.own.weight, layer.others.weight], 1)
    assert is_close(layer(graph, features), torch.cat([features, around], 1) @ weights.T + layer.own.bias)
    check_slopes(layer, graph, features)


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_gin_is_a_net_of_own_and_summed_features(inputs: int, outputs: int) -> None:
    graph = draw_graph(10, 30, 2)
    features, layer = draw_features(graph, inputs), GIN(inputs, outputs, dtype=torch.float64)
    with torch.no_grad():
        layer.eps.fill_(0.25)
    mixed = 1.25 * features + make_dense(graph) @ features
    assert is_close(layer(graph, features), layer.second(layer.first(mixed).relu()))
    check_slopes(layer, graph, features)


# --- training ---------------------------------------------------------------------------------------------------------


def plant(nodes: int = 300) -> tuple[Graph, Tensor, Tensor]:
    """Nodes whose class is told by their neighbours' features alone, not by their own."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (nodes,), generator=generator)
    takers, givers = torch.arange(nodes), torch.arange(nodes, 2 * nodes)
    features = torch.randn(2 * nodes, 5, generator=generator)
    features[givers, labels] += 4
    both = torch.cat([torch.stack([givers, takers]), torch.stack([takers, givers])], 1)
    return open_graph(both, 2 * nodes), features, torch.cat([labels, torch.full((nodes,), -1)])


@pytest.mark.parametrize("kind", ["gcn", "sage", "sage-max", "gin"])
def test_training_learns_what_neighbours_tell(kind: Literal["gcn", "sage", "sage-max", "gin"]) -> None:
    graph, features, labels = plant()
    known, asked = torch.arange(200), torch.arange(200, 300)
    trained = train(graph, features, labels, known, Plan(kind, hidden=16, epochs=60, rate=0.02))
    assert trained.losses[-1] < 0.5 * trained.losses[0]
    assert score(trained.net, graph, features, labels, asked) > 0.8


def test_training_repeats_and_its_seed_matters() -> None:
    graph, features, labels = plant(60)
    nodes = torch.arange(60)
    first, second, other = (
        train(graph, features, labels, nodes, Plan(epochs=3, seed=seed)).losses for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other


def test_training_never_reads_labels_of_other_nodes() -> None:
    graph, features, labels = plant(60)
    nodes = torch.arange(40)
    changed = labels.clone()
    changed[40:] = 99
    losses = [train(graph, features, given, nodes, Plan(epochs=3)).losses for given in (labels, changed)]
    assert losses[0] == losses[1]


def test_training_that_leaves_all_bounds_names_the_rate() -> None:
    graph, features, labels = plant(60)
    with pytest.raises(ProblemRefused, match="rate: one at which the loss stays finite expected, 1e"):
        train(graph, features, labels, torch.arange(60), Plan(epochs=9, rate=1e30))


@pytest.mark.parametrize(
    ("labels", "nodes", "said"),
    [
        (torch.zeros(119, dtype=torch.int64), torch.arange(3), r"labels: int64 \[120\] expected"),
        (torch.zeros(120), torch.arange(3), r"labels: int64 \[120\] expected"),
        (
            torch.full((120,), -1),
            torch.arange(3),
            "labels: classes 0 to 65535 expected where they are used, -1",
        ),
        (torch.zeros(120, dtype=torch.int64), torch.arange(0), "nodes: numbers of some nodes"),
        (torch.zeros(120, dtype=torch.int64), torch.tensor([120]), "nodes: numbers of 120 nodes, from 0"),
        (torch.zeros(120, dtype=torch.int64), torch.tensor([-1]), "nodes: numbers of 120 nodes, from 0"),
    ],
)
def test_wrong_labels_and_nodes_are_refused(labels: Tensor, nodes: Tensor, said: str) -> None:
    graph, features, _ = plant(60)
    with pytest.raises(ProblemRefused, match=said):
        train(graph, features, labels, nodes)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ProblemRefused, match="kind: one of gcn, sage, sage-max, gin expected, gat came"):
        make_layer("gat", 2, 2)  # type: ignore[arg-type]
    assert sum(weights.numel() for weights in Network("gcn", 2, 3, 4).parameters()) == 2 * 3 + 3 + 3 * 4 + 4
