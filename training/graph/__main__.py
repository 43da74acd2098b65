"""Train a graph network on a file: `python -m training.graph FILE.npz`.

FILE has `edges` [2, E] (sources over destinations), `features` [n, F], `labels` [n] (classes from 0; -1 or anything
where no split has the node), `train` and `test`, and perhaps `validation`: numbers of nodes, or true and false for each
node. Source: arXiv 2104.03058.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.arrays import Arrays, read_arrays
from training.clock import Clock
from training.errors import ProblemRefused, TrainingError
from training.graph.graph import Graph, open_graph, read_edges
from training.graph.train import Kind, Plan, check_labels, score, train
from training.memory import read_peak_mb
from training.outputs import write_outputs

LIMITS = (
    ("hidden", 1, 1 << 16), ("epochs", 1, 1 << 30), ("threads", 1, 1024), ("seed", 0, (1 << 63) - 1),
    ("rate", 1e-30, 1e30), ("decay", 0, 1e30),
)  # fmt: skip
NEEDED, SPLITS = ("edges", "features", "labels", "train", "test"), ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Report:
    """What was trained, how well, and what it took."""

    nodes: int
    edges: int
    features: int
    plan: Plan
    losses: tuple[float, float]  # of the training nodes, before the first epoch and the last
    accuracy: dict[str, float]  # of each split
    majority: float  # accuracy on `test` of who always says the commonest class of `train`
    slices: dict[str, int]  # chosen, by what is aggregated
    seconds: dict[str, float]
    peak_mb: float | None


@dataclass(frozen=True, slots=True)
class Problem:
    graph: Graph
    features: Tensor
    labels: Tensor
    splits: dict[str, Tensor]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    plan = Plan(options.layer, options.hidden, options.epochs, options.rate, options.decay, options.seed)
    try:
        report = run(options.file, plan, options.both_ways)
    except TrainingError as error:
        print(f"error: {options.file}: {error}", file=sys.stderr)
        return 3
    for line in describe(report):
        print(line)
    return write_outputs(None, {}, options.json, asdict(report))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.graph",
        description="Train a graph network of two layers to tell the classes of nodes.",
    )
    parser.add_argument(
        "file",
        type=Path,
        help=".npz with `edges`, `features`, `labels`, `train`, `test` and perhaps `validation`",
    )
    parser.add_argument("--layer", choices=get_args(Kind), default="gcn", help="what it is made of (gcn)")
    parser.add_argument("--hidden", type=int, default=64, metavar="N", help="columns between layers (64)")
    parser.add_argument("--epochs", type=int, default=200, metavar="N", help="steps of Adam (200)")
    parser.add_argument("--rate", type=float, default=0.01, metavar="R", help="of a step (0.01)")
    parser.add_argument("--decay", type=float, default=5e-4, metavar="R", help="of weights (0.0005)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of first weights (1)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch and of aggregation (torch's)")
    parser.add_argument("--both-ways", action="store_true", help="edges stand in one direction, both count")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is printed there")
    options = parser.parse_args(arguments)
    for name, low, high in LIMITS:
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            parser.error(f"--{name}: {low:g} to {high:g} expected, got {value:g}")
    return options


def run(file: Path, plan: Plan, both_ways: bool) -> Report:
    """Raises ProblemRefused."""
    clock = Clock()
    arrays = read_arrays(file)
    clock.stop("read")
    problem = open_problem(arrays, both_ways)
    clock.stop("sort")
    graph, features, labels, splits = problem.graph, problem.features, problem.labels, problem.splits
    trained = train(graph, features, labels, splits["train"], plan)
    clock.stop("train")
    accuracy = {name: score(trained.net, graph, features, labels, nodes) for name, nodes in splits.items()}
    clock.stop("score")
    common = labels[splits["train"]].bincount().argmax()
    return Report(
        nodes=graph.nodes,
        edges=graph.edges,
        features=features.shape[1],
        plan=plan,
        losses=(trained.losses[0], trained.losses[-1]),
        accuracy=accuracy,
        majority=float((labels[splits["test"]] == common).double().mean()),
        slices=dict(list_slices(graph)),
        seconds=clock.seconds,
        peak_mb=read_peak_mb(),
    )


def open_problem(arrays: Arrays, both_ways: bool) -> Problem:
    """What the arrays of a file are. Raises ProblemRefused."""
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        came = ", ".join(sorted(arrays)) or "none"
        raise ProblemRefused("file", f"arrays {', '.join(NEEDED)} expected, got {came[:200]}")
    if arrays["features"].dtype.kind not in "biuf":
        raise ProblemRefused("features", f"real numbers expected, {arrays['features'].dtype} came")
    features = torch.from_numpy(arrays["features"].astype(np.float32))
    edges = read_edges(arrays["edges"], both_ways)
    graph = open_graph(edges, len(features) if features.ndim else 0)
    splits = {name: read_split(arrays, name, graph.nodes) for name in SPLITS if name in arrays}
    labels = read_whole(arrays, "labels")
    for name, nodes in splits.items():
        check_labels(graph, labels, nodes, name)  # before anything is trained
    return Problem(graph, features, labels, splits)


def read_whole(arrays: Arrays, name: str) -> Tensor:
    if arrays[name].dtype.kind not in "iu":
        raise ProblemRefused(name, f"whole numbers expected, {arrays[name].dtype} came")
    return torch.from_numpy(arrays[name].astype(np.int64))


def read_split(arrays: Arrays, name: str, nodes: int) -> Tensor:
    array: NDArray[np.generic] = arrays[name]
    if array.dtype != np.bool_:
        return read_whole(arrays, name)
    if array.shape != (nodes,):
        raise ProblemRefused(
            name, f"numbers of nodes, or {nodes} times true or false, expected, {list(array.shape)} came"
        )
    return torch.from_numpy(np.flatnonzero(array))


def list_slices(graph: Graph) -> Iterator[tuple[str, int]]:
    """What was chosen for each width, forward and back."""
    known = vars(graph)
    for name, part in (("", graph), ("normalised ", known.get("normalised"))):
        back = None if part is None else vars(part).get("reversed")
        for way, found in (("forward", part), ("back", back)):
            for (width, _, is_mean, is_max), probe in found.probes.items() if found else ():
                reduction = "max" if is_max else "mean" if is_mean else "sum"
                yield f"{name}{reduction} of {width}, {way}", probe.chosen


def describe(report: Report) -> Iterator[str]:
    plan = report.plan
    yield f"graph of {report.nodes} nodes and {report.edges} edges, {report.features} features a node"
    yield f"{plan.kind}, {plan.hidden} columns between, {plan.epochs} epochs, rate {plan.rate:g}, seed {plan.seed}"
    yield f"loss       {report.losses[0]:.4f} at first, {report.losses[1]:.4f} in the last epoch"
    for name, share in report.accuracy.items():
        yield f"{name:10} {100 * share:.1f} % right"
    yield f"           {100 * report.majority:.1f} % of test by the commonest class of train"
    for name, slices in report.slices.items():
        yield f"slices     {slices:2} for the {name}"
    for name, seconds in report.seconds.items():
        yield f"{name:10} {seconds:8.3f} s"
    if report.peak_mb is not None:
        yield f"memory     {report.peak_mb:.0f} MB at the most"


if __name__ == "__main__":
    sys.exit(main())
