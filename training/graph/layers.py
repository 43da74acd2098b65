"""Layers of graph networks: convolution (GCN), sample and aggregate (GraphSAGE), isomorphism (GIN).

Each aggregates where there are fewer columns: a sum over neighbours and a matrix may change places.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from training.graph.aggregate import aggregate
from training.graph.graph import Graph

Dtype = torch.dtype


class GCN(nn.Module):
    """y_i = sum over j of a_ij x_j W + b, a being the symmetrically normalised adjacency with loops.

    Kipf, Welling, arXiv 1609.02907.
    """

    def __init__(self, inputs: int, outputs: int, dtype: Dtype = torch.float32) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, dtype=dtype)

    def forward(self, graph: Graph, features: Tensor) -> Tensor:
        """Outputs [n, outputs] of features [n, inputs]. Raises ProblemRefused."""
        if self.linear.in_features <= self.linear.out_features:
            result: Tensor = self.linear(aggregate(graph.normalised, features))
            return result
        return aggregate(graph.normalised, features @ self.linear.weight.T) + self.linear.bias


class SAGE(nn.Module):
    """y_i = [x_i, mean or max over neighbours j of x_j] W + b.

    Hamilton, Ying, Leskovec, arXiv 1706.02216, with all neighbours.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        reduction: Literal["mean", "max"] = "mean",
        dtype: Dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.own = nn.Linear(inputs, outputs, dtype=dtype)
        self.others = nn.Linear(inputs, outputs, bias=False, dtype=dtype)

    def forward(self, graph: Graph, features: Tensor) -> Tensor:
        """Outputs [n, outputs] of features [n, inputs]. Raises ProblemRefused."""
        own: Tensor = self.own(features)  # two products and their sum: nothing need be put side by side
        if self.reduction == "mean" and self.others.in_features > self.others.out_features:
            return own + aggregate(graph, self.others(features), "mean")
        result: Tensor = own + self.others(aggregate(graph, features, self.reduction))
        return result


class GIN(nn.Module):
    """y_i = MLP((1 + eps) x_i + sum over neighbours j of x_j), eps trained, an MLP of two matrices.

    Xu, Hu, Leskovec, Jegelka, arXiv 1810.00826.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: int | None = None, dtype: Dtype = torch.float32
    ) -> None:
        super().__init__()
        hidden = hidden or outputs
        self.eps = nn.Parameter(torch.zeros((), dtype=dtype))
        self.first = nn.Linear(inputs, hidden, dtype=dtype)
        self.second = nn.Linear(hidden, outputs, dtype=dtype)

    def forward(self, graph: Graph, features: Tensor) -> Tensor:
        """Outputs [n, outputs] of features [n, inputs]. Raises ProblemRefused."""
        if self.first.in_features > self.first.out_features:
            moved = features @ self.first.weight.T
            hidden = (1 + self.eps) * moved + aggregate(graph, moved) + self.first.bias
        else:
            hidden = self.first((1 + self.eps) * features + aggregate(graph, features))
        result: Tensor = self.second(hidden.relu())
        return result
