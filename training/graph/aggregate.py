"""Sums, means and maxima over neighbours: y_i = sum over edges j -> i of w_ij x_j, with their slopes.

Slopes of sums are sums over the reversed edges; those of maxima go to the first neighbour that has it. Nodes without
edges get 0. One output is all the memory that is taken, and of maxima whose they are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from training.errors import ProblemRefused
from training.graph.graph import Graph
from training.graph.kernels import reduce_max, reduce_sum, return_to_winners
from training.graph.probe import Probe, cut

Reduction = Literal["sum", "mean", "max"]
NUMBERS = (torch.float32, torch.float64)
SMALL = 1 << 20  # edges times columns, below which threads and slices cost more than they bring
COLUMNS = 16  # whose slopes go back to winners at a time


def aggregate(
    graph: Graph, features: Tensor, reduction: Reduction = "sum", slices: int | None = None
) -> Tensor:
    """What nodes [n, F] get from their neighbours' features [n, F], float32 or float64; sums are made in float64.

    slices: into how many parts features are cut, 1 .. F; by default what proves fastest (training.graph.probe), the
    result is the same bit for bit. Raises ProblemRefused.
    """
    check_features(graph, features)
    if reduction not in get_args(Reduction):
        raise ProblemRefused(
            "reduction", f"one of {', '.join(get_args(Reduction))} expected, {reduction} came"
        )
    if graph.weights is not None and reduction != "sum":
        raise ProblemRefused("reduction", f"sum expected for edges with weights, {reduction} came")
    if slices is not None and not 1 <= slices <= max(1, features.shape[1]):
        raise ProblemRefused("slices", f"1 to {features.shape[1]} slices expected, {slices} came")
    function = _Max if reduction == "max" else _Sum
    result: Tensor = function.apply(features, graph, reduction == "mean", slices)  # type: ignore[no-untyped-call]
    return result


def check_features(graph: Graph, features: Tensor) -> None:
    if features.dtype not in NUMBERS or features.ndim != 2:
        came = f"{features.dtype} {list(features.shape)}"
        raise ProblemRefused("features", f"float32 or float64 [{graph.nodes}, F] expected, {came} came")
    if features.device.type != "cpu":
        raise ProblemRefused("features", f"a tensor in main memory expected, one on {features.device} came")
    if len(features) != graph.nodes:
        raise ProblemRefused("features", f"rows of {graph.nodes} nodes expected, {len(features)} came")
    # A sum is finite only where all are; where it is not, they may be all the same.
    if not bool(features.detach().sum().isfinite()) and not bool(features.detach().isfinite().all()):
        row, column = (~features.detach().isfinite()).nonzero()[0].tolist()
        raise ProblemRefused(
            "features", f"finite numbers expected, NaN or infinity came in row {row}, column {column}"
        )


def settle_slices(graph: Graph, features: Tensor, reduction: Reduction = "sum") -> int:
    """Find out now how many slices are fastest for features like these; return it. Small graphs have one."""
    if is_small(graph, features):
        return 1
    probe = find_probe(graph, features, reduction == "mean", reduction == "max")
    with torch.no_grad():
        while not probe.is_over:
            aggregate(graph, features, reduction)
    return probe.chosen


def is_small(graph: Graph, features: Tensor) -> bool:
    return graph.edges * features.shape[1] < SMALL


def find_probe(graph: Graph, features: Tensor, is_mean: bool, is_max: bool) -> Probe:
    key = (features.shape[1], features.dtype, is_mean, is_max)
    return graph.probes.setdefault(key, Probe(features.shape[1]))


class _Sum(Function):
    @staticmethod
    def forward(  # Any: torch's context has no type
        context: Any, features: Tensor, graph: Graph, is_mean: bool, slices: int | None
    ) -> Tensor:
        context.graph, context.is_mean, context.slices = graph, is_mean, slices
        result = torch.empty_like(features, memory_format=torch.contiguous_format)
        y, x = result.numpy(), features.detach().contiguous().numpy()

        def run(cuts: Any, first: int, last: int) -> None:
            reduce_sum(y, x, graph.starts, graph.sources, graph.weights, is_mean, cuts, first, last)

        run_sliced(run, graph, features, find_probe(graph, features, is_mean, False), slices)
        return result

    @staticmethod
    def backward(context: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        graph, is_mean = context.graph, context.is_mean
        if is_mean:
            slopes = slopes / graph.degrees.clamp(min=1)[:, None]
        back = _Sum.apply(slopes, graph.reversed, False, context.slices)  # type: ignore[no-untyped-call]
        return back, None, None, None


class _Max(Function):
    @staticmethod
    def forward(  # Any: as above
        context: Any, features: Tensor, graph: Graph, is_mean: bool, slices: int | None
    ) -> Tensor:
        result = torch.empty_like(features, memory_format=torch.contiguous_format)
        winners = torch.empty(features.shape, dtype=torch.int32)
        y, x, which = result.numpy(), features.detach().contiguous().numpy(), winners.numpy()

        def run(cuts: Any, first: int, last: int) -> None:
            reduce_max(y, which, x, graph.starts, graph.sources, cuts, first, last)

        run_sliced(run, graph, features, find_probe(graph, features, False, True), slices)
        context.save_for_backward(winners)
        return result

    @staticmethod
    @once_differentiable
    def backward(context: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        (winners,) = context.saved_tensors
        result = torch.empty_like(slopes, memory_format=torch.contiguous_format)
        y, which, x = slopes.contiguous().numpy(), winners.numpy(), result.numpy()
        room = np.empty((len(slopes), COLUMNS))
        for first in range(0, slopes.shape[1], COLUMNS):
            return_to_winners(x, room, y, which, first, min(first + COLUMNS, slopes.shape[1]))
        return result, None, None, None


def run_sliced(
    run: Callable[[Any, int, int], None], graph: Graph, features: Tensor, probe: Probe, slices: int | None
) -> None:
    """Run a kernel over all nodes, in parts for torch's threads; each part goes through all slices."""
    small = is_small(graph, features)
    threads = 1 if small else torch.get_num_threads()
    given = 1 if slices is None and small else slices
    with nullcontext(given) if given is not None else probe.run() as parts:
        cuts = np.array(cut(features.shape[1], parts))
        if threads == 1:
            run(cuts, 0, graph.nodes)
            return
        rows = graph.split_rows(threads)
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(run, cuts, *pair) for pair in pairwise(rows)]:
                done.result()
