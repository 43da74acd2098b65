"""Data for a job of objective graph_network from any graph: `python -m training.graph.rows FILE.npz -o rows.npz`.

Of two layers without biases, `Z = agg(relu(agg(X) U)) V`, the inner aggregation is done here, once: row j of node i is
w_ij agg(X)_j, so that Z_i = sum over j of relu(row_j U) V, for any weights w_ij of edges above 0 (docs/protocol.md,
section 9.12). FILE has `edges`, `features` and `labels` as for `python -m training.graph`; of nodes without a label
(below 0) there are no rows. Source: arXiv 2104.03058; drawing neighbours where there are many is GraphSAGE's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.arrays import Arrays, read_arrays
from training.errors import ProblemRefused, TrainingError
from training.graph.aggregate import aggregate
from training.graph.graph import Graph, open_graph, read_edges
from training.outputs import write_outputs

Kind = Literal["gcn", "mean", "sum"]
NEEDED = ("edges", "features", "labels")
MOST_ROWS = 64  # of a node, as the objective has it
MOST_BYTES = 1 << 30
MOST_LABEL = 255
Edges = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """values [n, L, d] float32, zeros where a node has fewer edges; `cut` nodes had more than L."""

    values: NDArray[np.float32]
    cut: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows [N, L, d] and classes [N] of the nodes that have one."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64]


def make_rows(graph: Graph, features: Tensor, most: int, seed: int, kind: Kind = "gcn") -> Rows:
    """At most `most` rows for each node; features [n, d] float32 or float64.

    kind: how both layers weigh edges, of which a node's loop is one: "gcn" symmetrically, "mean" by the number of the
    node's edges, "sum" by 1. Where a node has more edges, `most` of them are drawn, its loop as likely as any, and
    count the more. Raises ProblemRefused.
    """
    if not 1 <= most <= MOST_ROWS:
        raise ProblemRefused("rows", f"1 .. {MOST_ROWS} expected, {most} came")
    looped = graph.normalised if kind == "gcn" else graph.looped
    seen = aggregate(looped, features, "mean" if kind == "mean" else "sum").numpy()
    degrees = np.diff(looped.starts)
    length = min(most, int(degrees.max(initial=0)))
    size = graph.nodes * length * seen.shape[1] * 4
    if size > MOST_BYTES:
        raise ProblemRefused("rows", f"at most {MOST_BYTES} bytes of rows expected, {size} would come")
    edges = draw_edges(looped, length, np.random.default_rng(seed))
    ends = np.repeat(np.arange(graph.nodes), np.minimum(degrees, length))
    weights = (
        compute_weights(looped, edges, kind, degrees[ends]) * np.maximum(1, degrees / max(1, length))[ends]
    )
    values = np.zeros((graph.nodes, length, seen.shape[1]), np.float32)
    slots = (
        np.arange(len(edges)) - (np.cumsum(np.minimum(degrees, length)) - np.minimum(degrees, length))[ends]
    )
    values[ends, slots] = weights[:, None] * seen[looped.sources[edges]]
    if not np.isfinite(values).all():
        raise ProblemRefused("features", "such whose sums are numbers of float32 expected, larger ones came")
    return Rows(values, int((degrees > length).sum()))


def draw_edges(graph: Graph, most: int, rng: np.random.Generator) -> Edges:
    """Numbers of the edges that stay, in order: at most `most` of each node, each of its edges as likely."""
    ends = np.repeat(np.arange(graph.nodes), np.diff(graph.starts))
    order = np.lexsort((rng.random(graph.edges), ends))
    rank = np.arange(graph.edges) - graph.starts[ends]
    return np.sort(order[rank < most])


def compute_weights(graph: Graph, edges: Edges, kind: Kind, degrees: Edges) -> NDArray[np.float64]:
    if graph.weights is not None:
        return graph.weights[edges]
    return 1 / degrees if kind == "mean" else np.ones(len(edges))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        found = run(read_arrays(options.file), options)
    except TrainingError as error:
        print(f"error: {options.file}: {error}", file=sys.stderr)
        return 3
    arrays = {"rows": found.values, "labels": found.labels}
    if code := write_outputs(options.output, arrays, compressed=True):
        return code
    shape = " x ".join(map(str, found.values.shape))
    print(f"{options.output}: rows {shape}, within {np.abs(found.values).max(initial=0):.3g}, and labels")
    print("next: a job file with objective graph_network, see docs/job-files.md")
    return 0


def run(arrays: Arrays, options: argparse.Namespace) -> Labelled:
    """The rows and labels of the nodes that have one. Raises ProblemRefused."""
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        came = ", ".join(sorted(arrays)) or "none"
        raise ProblemRefused("file", f"arrays {', '.join(NEEDED)} expected, got {came[:200]}")
    for name, kinds, wanted in (("features", "biuf", "real"), ("labels", "iu", "whole")):
        if arrays[name].dtype.kind not in kinds:
            raise ProblemRefused(name, f"{wanted} numbers expected, {arrays[name].dtype} came")
    features, labels = (
        torch.from_numpy(arrays["features"].astype(np.float32)),
        arrays["labels"].astype(np.int64),
    )
    graph = open_graph(read_edges(arrays["edges"], options.both_ways), len(features) if features.ndim else 0)
    if labels.shape != (graph.nodes,):
        raise ProblemRefused("labels", f"{graph.nodes} expected, {list(labels.shape)} came")
    if not features.shape[1]:
        raise ProblemRefused("features", "at least one for each node expected, none came")
    if labels.max(initial=-1) < 0 or labels.max() > MOST_LABEL:
        raise ProblemRefused(
            "labels", f"classes 0 to {MOST_LABEL} expected, {labels.max(initial=-1)} came at the most"
        )
    rows = make_rows(graph, features, options.rows, options.seed, options.kind)
    print(f"{rows.cut} of {graph.nodes} nodes have more edges than rows: of theirs some are drawn")
    return Labelled(rows.values[labels >= 0], labels[labels >= 0])


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.graph.rows",
        description="Make the data of a graph_network job from a graph.",
    )
    parser.add_argument("file", type=Path, help=".npz with `edges`, `features` and `labels`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where the rows go")
    parser.add_argument("--rows", type=int, default=16, metavar="L", help="of a node, at the most (16)")
    parser.add_argument("--kind", choices=get_args(Kind), default="gcn", help="what edges weigh (gcn)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is drawn (1)")
    parser.add_argument("--both-ways", action="store_true", help="edges stand in one direction, both count")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed: a number from 0 expected, got {options.seed}")
    return options


if __name__ == "__main__":
    sys.exit(main())
