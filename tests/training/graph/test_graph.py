"""Graphs: edges sorted once and kept in their order, reversed with their weights; wrong ones are named."""

import numpy as np
import pytest
import torch

from tests.training.graph.graphs import draw_graph, make_dense
from training.errors import ProblemRefused
from training.graph.graph import open_graph


def test_edges_to_a_node_keep_the_order_they_came_in() -> None:
    edges = torch.tensor([[5, 1, 4, 1, 0], [2, 0, 2, 2, 0]])
    graph = open_graph(edges, 6)
    assert graph.starts.tolist() == [0, 2, 2, 5, 5, 5, 5]
    assert graph.sources.tolist() == [1, 0, 5, 4, 1]
    assert graph.degrees.tolist() == [2, 0, 3, 0, 0, 0]


@pytest.mark.parametrize("weighted", [False, True])
def test_reversed_edges_are_the_transposed_matrix(weighted: bool) -> None:
    graph = draw_graph(weighted=weighted)
    assert torch.equal(make_dense(graph.reversed), make_dense(graph).T)
    assert torch.equal(make_dense(graph.reversed.reversed), make_dense(graph))


def test_normalised_graph_is_the_symmetric_matrix_of_convolutions() -> None:
    pairs = torch.tensor([[0, 1, 1, 2, 0, 2], [1, 0, 2, 1, 2, 0]])
    graph = open_graph(pairs, 4)
    adjacency = make_dense(graph) + torch.eye(4, dtype=torch.float64)
    scale = adjacency.sum(1).rsqrt()
    assert torch.allclose(make_dense(graph.normalised), scale[:, None] * adjacency * scale)


def test_graph_with_weights_is_not_normalised() -> None:
    with pytest.raises(ProblemRefused, match="weights: edges without weights expected"):
        _ = draw_graph(weighted=True).normalised


def test_parts_of_rows_have_about_as_many_edges() -> None:
    graph = draw_graph(400, 4000)
    cuts = graph.split_rows(4)
    assert cuts[0] == 0
    assert cuts[-1] == graph.nodes
    counts = np.diff(graph.starts[cuts])
    assert (abs(counts - graph.edges / 4) <= graph.degrees.max().item()).all()


def test_graph_without_edges_or_nodes_is_one() -> None:
    none = torch.zeros((2, 0), dtype=torch.int64)
    assert open_graph(none, 3).degrees.tolist() == [0, 0, 0]
    assert open_graph(none, 0).nodes == 0
    assert open_graph(none, 3).normalised.sources.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("edges", "nodes", "said"),
    [
        (torch.tensor([[0, -1], [1, 1]]), 2, "edges: numbers of 2 nodes, from 0, expected, -1 came"),
        (torch.tensor([[0, 1], [1, 2]]), 2, "edges: numbers of 2 nodes, from 0, expected, 2 came"),
        (torch.zeros((2, 3), dtype=torch.int32), 2, "edges: a tensor of int64 expected, torch.int32 came"),
        (torch.zeros((2, 3)), 2, "edges: a tensor of int64 expected, torch.float32 came"),
        (np.zeros((2, 3), np.int64), 2, "edges: a tensor of int64 expected, int64 came"),
        ([[0], [1]], 2, "edges: a tensor of int64 expected, list came"),
        (torch.zeros((3, 2), dtype=torch.int64), 2, r"edges: shape \[2, E\] expected, \[3, 2\] came"),
        (torch.zeros((2, 0), dtype=torch.int64), -1, "nodes: a number from 0 to 2"),
        (torch.zeros((2, 0), dtype=torch.int64), 2**31, "nodes: a number from 0 to 2"),
    ],
)
def test_wrong_edges_are_refused(edges: torch.Tensor, nodes: int, said: str) -> None:
    with pytest.raises(ProblemRefused, match=said):
        open_graph(edges, nodes)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (torch.ones(3), "weights: 2 real numbers expected"),
        (torch.ones(2, dtype=torch.int64), "weights: 2 real numbers expected"),
        (torch.tensor([1.0, float("nan")]), "weights: finite numbers expected"),
        (torch.ones(2, requires_grad=True), "weights: fixed numbers expected"),
    ],
)
def test_wrong_weights_are_refused(weights: torch.Tensor, said: str) -> None:
    with pytest.raises(ProblemRefused, match=said):
        open_graph(torch.tensor([[0, 1], [1, 0]]), 2, weights)
