"""A graph as aggregation reads it: its edges sorted by destination, once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.errors import ProblemRefused
from training.exact.late import torch
from training.graph.probe import Probe

if TYPE_CHECKING:
    from torch import Tensor

MOST_NODES = 2**31 - 1  # their numbers are int32
Starts = NDArray[np.int64]
Sources = NDArray[np.int32]
Weights = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Graph:
    """Edges of n nodes: those to node i are starts[i] .. starts[i + 1], in the order in which they were given.

    sources [E]: where each comes from; weights [E]: what each counts in a sum, or None, all count 1.
    open_graph makes it; kernels read what it holds without looking whether it is right.
    """

    starts: Starts  # [n + 1]
    sources: Sources
    weights: Weights | None = None
    probes: dict[tuple[object, ...], Probe] = field(default_factory=dict, repr=False)

    @property
    def nodes(self) -> int:
        return len(self.starts) - 1

    @property
    def edges(self) -> int:
        return len(self.sources)

    @property
    def size_bytes(self) -> int:
        """Of the arrays, without the reversed graph's."""
        parts = (self.starts, self.sources, self.weights)
        return sum(part.nbytes for part in parts if part is not None)

    @cached_property
    def degrees(self) -> Tensor:
        """How many edges end at each node [n], int64."""
        return torch.from_numpy(np.diff(self.starts))

    @cached_property
    def reversed(self) -> Graph:
        """The same edges the other way round, with their weights: what slopes go back along."""
        order = np.argsort(self.sources, kind="stable")
        ends = self._list_ends()[order]
        weights = None if self.weights is None else self.weights[order]
        return Graph(count_starts(self.sources, self.nodes), ends, weights)

    @cached_property
    def normalised(self) -> Graph:
        """Every node its own neighbour, too, and edge j -> i weighs 1 / sqrt(d_i d_j), d being degrees with that edge:
        the adjacency of graph convolutions. Whoever gives both directions of every edge has a symmetric one.

        Raises ProblemRefused where edges have weights: those would be lost."""
        looped = self.looped
        degrees = np.diff(looped.starts).astype(np.float64)
        weights = 1 / np.sqrt(degrees[looped.sources] * degrees[looped._list_ends()])
        return Graph(looped.starts, looped.sources, weights)

    @cached_property
    def looped(self) -> Graph:
        """Every node its own neighbour, too, by the last of its edges. A loop that was there stays beside it.

        Raises ProblemRefused where edges have weights: those would be lost."""
        if self.weights is not None:
            raise ProblemRefused(
                "weights", "edges without weights expected where loops are added, weights came"
            )
        own = np.arange(self.nodes, dtype=np.int32)
        sources = np.insert(self.sources, self.starts[1:], own)
        return Graph(self.starts + np.arange(self.nodes + 1), sources)

    def split_rows(self, parts: int) -> list[int]:
        """Where to cut the nodes [parts + 1] so that each part has about as many edges."""
        wanted = np.linspace(0, self.edges, parts + 1)[1:-1]
        return [0, *(int(cut) for cut in np.searchsorted(self.starts, wanted)), self.nodes]

    def _list_ends(self) -> Sources:
        return np.repeat(np.arange(self.nodes, dtype=np.int32), np.diff(self.starts))


def open_graph(edges: Tensor, nodes: int, weights: Tensor | None = None) -> Graph:
    """The graph of edges [2, E] int64, sources over destinations, in any order, and weights [E] of them, finite.

    Raises ProblemRefused.
    """
    check_edges(edges, nodes)
    sources, ends = edges.numpy()
    numbers = None if weights is None else read_weights(weights, len(ends))
    order = np.argsort(ends, kind="stable")
    starts = count_starts(ends, nodes)
    return Graph(starts, sources[order].astype(np.int32), None if numbers is None else numbers[order])


def read_edges(array: NDArray[np.generic], both_ways: bool) -> Tensor:
    """Edges [2, E] int64 of a file's array; each in the other direction, too, behind them. Raises ProblemRefused."""
    if array.dtype.kind not in "iu":
        raise ProblemRefused("edges", f"whole numbers expected, {array.dtype} came")
    edges = torch.from_numpy(array.astype(np.int64))
    return torch.cat([edges, edges.flip(0)], 1) if both_ways and edges.ndim == 2 else edges


def check_edges(edges: object, nodes: int) -> None:
    if not 0 <= nodes <= MOST_NODES:
        raise ProblemRefused("nodes", f"a number from 0 to 2^31 - 1 expected, {nodes} came")
    if not isinstance(edges, torch.Tensor) or edges.dtype != torch.int64:
        came = getattr(edges, "dtype", type(edges).__name__)
        raise ProblemRefused("edges", f"a tensor of int64 expected, {came} came")
    if edges.device.type != "cpu":
        raise ProblemRefused("edges", f"a tensor in main memory expected, one on {edges.device} came")
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise ProblemRefused("edges", f"shape [2, E] expected, {list(edges.shape)} came")
    if not edges.numel():
        return
    least, most = (int(value) for value in edges.aminmax())
    if least < 0 or most >= nodes:
        wrong = least if least < 0 else most
        raise ProblemRefused("edges", f"numbers of {nodes} nodes, from 0, expected, {wrong} came")


def read_weights(weights: Tensor, edges: int) -> Weights:
    if not weights.is_floating_point() or weights.shape != (edges,):
        raise ProblemRefused(
            "weights", f"{edges} real numbers expected, {weights.dtype} {list(weights.shape)} came"
        )
    if not bool(weights.isfinite().all()):
        raise ProblemRefused("weights", "finite numbers expected, NaN or infinity came")
    if weights.requires_grad:
        raise ProblemRefused("weights", "fixed numbers expected, weights to be trained came; detach them")
    numbers: Weights = weights.numpy().astype(np.float64)
    return numbers


def count_starts(ends: NDArray[np.integer], nodes: int) -> Starts:
    starts = np.zeros(nodes + 1, np.int64)
    np.cumsum(np.bincount(ends, minlength=nodes), out=starts[1:])
    return starts
