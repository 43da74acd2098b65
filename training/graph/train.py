"""Node classification: a net of two layers, masked softmax cross-entropy, Adam. Source: arXiv 2104.03058."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.errors import ProblemRefused
from training.graph.aggregate import check_features
from training.graph.graph import Graph
from training.graph.layers import GCN, GIN, SAGE

Kind = Literal["gcn", "sage", "sage-max", "gin"]


MOST_CLASSES = 1 << 16


@dataclass(frozen=True, slots=True)
class Plan:
    kind: Kind = "gcn"
    hidden: int = 64
    epochs: int = 200
    rate: float = 0.01
    decay: float = 5e-4  # of squared weights, added to the loss
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """A net and the loss of its training nodes before each epoch."""

    net: nn.Module
    losses: list[float]


class Network(nn.Module):
    """Two layers with a ramp between them: classes' scores [n, classes] of features [n, inputs]."""

    def __init__(self, kind: Kind, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = make_layer(kind, inputs, hidden)
        self.second = make_layer(kind, hidden, classes)

    def forward(self, graph: Graph, features: Tensor) -> Tensor:
        scores: Tensor = self.second(graph, self.first(graph, features).relu())
        return scores


def make_layer(kind: Kind, inputs: int, outputs: int) -> nn.Module:
    if kind == "gcn":
        return GCN(inputs, outputs)
    if kind == "gin":
        return GIN(inputs, outputs)
    if kind in ("sage", "sage-max"):
        return SAGE(inputs, outputs, "max" if kind == "sage-max" else "mean")
    raise ProblemRefused("kind", f"one of {', '.join(get_args(Kind))} expected, {kind} came")


def train(graph: Graph, features: Tensor, labels: Tensor, nodes: Tensor, plan: Plan | None = None) -> Trained:
    """Fit the labels [n] int64 of some nodes [count] int64, by all features [n, F] float32.

    Labels of other nodes are never looked at. Raises ProblemRefused, also where training leaves all bounds.
    """
    plan = plan or Plan()
    check_features(graph, features)
    known = check_labels(graph, labels, nodes)
    torch.manual_seed(plan.seed)
    net = Network(plan.kind, features.shape[1], plan.hidden, int(known.max()) + 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=plan.rate)
    matrices = [weights for weights in net.parameters() if weights.ndim == 2]
    losses = []
    for _ in range(plan.epochs):
        optimizer.zero_grad()
        loss = measure_loss(net, graph, features, known, nodes, plan.rate)
        decayed = loss + plan.decay / 2 * sum(weights.square().sum() for weights in matrices)
        decayed.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return Trained(net, losses)


def measure_loss(
    net: nn.Module, graph: Graph, features: Tensor, known: Tensor, nodes: Tensor, rate: float
) -> Tensor:
    """Raises ProblemRefused where numbers have grown beyond what there are."""
    try:
        loss = cross_entropy(net(graph, features)[nodes], known)
    except ProblemRefused:  # features were finite, so what a layer made of them is not
        loss = torch.tensor(float("nan"))
    if not bool(loss.isfinite()):
        raise ProblemRefused("rate", f"one at which the loss stays finite expected, {rate:g} came; lower it")
    return loss


def check_labels(graph: Graph, labels: Tensor, nodes: Tensor, name: str = "nodes") -> Tensor:
    """The labels of these nodes, which go by that name. Raises ProblemRefused."""
    if labels.dtype != torch.int64 or labels.shape != (graph.nodes,):
        came = f"{labels.dtype} {list(labels.shape)}"
        raise ProblemRefused("labels", f"int64 [{graph.nodes}] expected, one for each node, {came} came")
    if nodes.dtype != torch.int64 or nodes.ndim != 1 or not len(nodes):
        came = f"{nodes.dtype} {list(nodes.shape)}"
        raise ProblemRefused(name, f"numbers of some nodes, int64, expected, {came} came")
    least, most = (int(value) for value in nodes.aminmax())
    if least < 0 or most >= graph.nodes:
        wrong = least if least < 0 else most
        raise ProblemRefused(name, f"numbers of {graph.nodes} nodes, from 0, expected, {wrong} came")
    known = labels[nodes]
    least, most = (int(value) for value in known.aminmax())
    if least < 0 or most >= MOST_CLASSES:
        wrong = least if least < 0 else most
        raise ProblemRefused(
            "labels", f"classes 0 to {MOST_CLASSES - 1} expected where they are used, {wrong} came in {name}"
        )
    return known


@torch.no_grad()
def score(net: nn.Module, graph: Graph, features: Tensor, labels: Tensor, nodes: Tensor) -> float:
    """The share of these nodes whose class has the highest score."""
    known = check_labels(graph, labels, nodes)
    return float((net(graph, features)[nodes].argmax(1) == known).double().mean())
