"""Graphs for tests, and what they are as dense matrices."""

import torch
from torch import Tensor

from training.graph.graph import Graph, open_graph


def draw_graph(nodes: int = 40, edges: int = 300, alone: int = 3, weighted: bool = False) -> Graph:
    """Random edges, some twice, some from a node to itself; nothing reaches or leaves the last `alone` nodes."""
    generator = torch.Generator().manual_seed(nodes + edges)
    pairs = torch.randint(0, nodes - alone, (2, edges), generator=generator)
    pairs = torch.cat([pairs, pairs[:, :20]], 1)
    weights = torch.rand(pairs.shape[1], generator=generator, dtype=torch.float64) if weighted else None
    return open_graph(pairs, nodes, weights)


def make_dense(graph: Graph) -> Tensor:
    """What each source [column] counts at each destination [row], float64."""
    dense = torch.zeros(graph.nodes, graph.nodes, dtype=torch.float64)
    for i in range(graph.nodes):
        for edge in range(graph.starts[i], graph.starts[i + 1]):
            dense[i, graph.sources[edge]] += 1 if graph.weights is None else graph.weights[edge]
    return dense


def draw_features(graph: Graph, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(width)
    return torch.randn(graph.nodes, width, generator=generator, dtype=torch.float64).to(dtype)


def take_maxima(graph: Graph, features: Tensor) -> Tensor:
    """The largest of every node's neighbours, 0 without any, by torch alone."""
    there = make_dense(graph) > 0
    spread = features[None].expand(graph.nodes, -1, -1)
    largest = spread.masked_fill(~there[:, :, None], float("-inf")).amax(1)
    return largest.masked_fill(~there.any(1)[:, None], 0.0)
