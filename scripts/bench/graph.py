"""Aggregation over a graph: ours against torch-geometric's messages, torch's own operations and MKL's sparse product.

torch-geometric where it is installed (`pip install -e '.[bench]'`). One thread. Source of the problem: 2104.03058.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from designs import make_rng
from figures import Report, divide, finish, parse_options
from torch import Tensor

from training.graph.aggregate import aggregate, settle_slices
from training.graph.graph import Graph, open_graph
from training.graph.probe import CHOICES
from training.memory import measure_peak

ROUNDS, MEMORY_RUNS = 5, 3
EXPONENT = 0.8  # of a power law: node number r is an end of an edge in proportion to r^-EXPONENT
FASTER_AIM, LEANER_AIM = 3.0, 5.0  # than torch-geometric
SPMM_TIME_AIM, SPMM_MEMORY_AIM, SLICES_AIM = 0.95, 1.0, 0.95
ERROR_AIM = 1e-6
OURS, ONE, MESSAGES = "ours", "ours in one slice", "torch-geometric"
PARTS, SPMM, BAG = "index_select and scatter_add_", "MKL SpMM", "embedding_bag"
AIMS = {MESSAGES: FASTER_AIM, SPMM: SPMM_TIME_AIM, ONE: SLICES_AIM}  # of another's time over ours

Aggregate = Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Case:
    kind: Literal["uniform", "power law"]
    nodes: int
    edges: int
    width: int
    with_messages: bool = True

    @property
    def title(self) -> str:
        return f"{self.kind}, {self.nodes} nodes, {self.edges} edges, {self.width} features"


CASES = (
    Case("power law", 20_000, 1_000_000, 256),
    Case("uniform", 20_000, 1_000_000, 256),
    Case("uniform", 200_000, 4_000_000, 256, with_messages=False),  # 4 GB of messages
)
QUICK_CASES = (Case("power law", 300, 4_000, 64), Case("uniform", 300, 4_000, 64, with_messages=False))


@dataclass(frozen=True, slots=True)
class Setting:
    """One graph in all forms that somebody reads, and its features."""

    edges: Tensor
    graph: Graph
    matrix: Tensor  # CSR, int32: int64 would be turned into it at every product
    features: Tensor

    def list_works(self, case: Case) -> dict[str, Aggregate]:
        works: dict[str, Aggregate] = {
            OURS: lambda: aggregate(self.graph, self.features),
            ONE: lambda: aggregate(self.graph, self.features, slices=1),
            SPMM: lambda: self.matrix @ self.features,
            BAG: self.sum_bags,
        }
        if case.with_messages:
            works[PARTS] = self.sum_parts
            if find_spec("torch_geometric"):
                works[MESSAGES] = self.open_messages()
        return works

    def sum_parts(self) -> Tensor:
        messages = self.features.index_select(0, self.edges[0])
        ends = self.edges[1][:, None].expand_as(messages)
        return torch.zeros_like(self.features).scatter_add_(0, ends, messages)

    def sum_bags(self) -> Tensor:
        starts = torch.from_numpy(self.graph.starts[:-1]).to(torch.int32)
        sources = torch.from_numpy(self.graph.sources)
        bags: Tensor = torch.nn.functional.embedding_bag(sources, self.features, starts, mode="sum")
        return bags

    def open_messages(self, features: Tensor | None = None) -> Aggregate:
        """Its path for edges as they are usually given: a message for each, added up where it goes."""
        layer: Any = import_module("torch_geometric.nn").SimpleConv(
            aggr="sum"
        )  # Any: of a package not at hand
        return partial(layer, self.features if features is None else features, self.edges)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("graph", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("graph", options.seed, options.quick)
    for case in QUICK_CASES if options.quick else CASES:
        measure(report, case)
    if not find_spec("torch_geometric"):
        report.notes.append(
            "torch-geometric is not installed, so it was not compared: pip install -e '.[bench]'"
        )
    finish(report, options)


def measure(report: Report, case: Case) -> None:
    setting = draw_setting(report.seed, case)
    works = setting.list_works(case)
    check_results(report, case, setting, works)
    compare_slices(report, case, setting)
    compare_times(report, case, works)
    compare_memory(report, case, works)
    if MESSAGES in works:
        compare_training(report, case, setting)


def draw_setting(seed: str, case: Case) -> Setting:
    rng = make_rng(seed, case.title)
    shape = (2, case.edges)
    if case.kind == "uniform":
        ends = rng.integers(0, case.nodes, shape)
    else:
        chances = np.arange(1, case.nodes + 1) ** -EXPONENT
        drawn = rng.choice(case.nodes, shape, p=chances / chances.sum())
        ends = np.stack([rng.permutation(case.nodes)[side] for side in drawn])
    edges = torch.from_numpy(ends)
    features = torch.from_numpy(rng.standard_normal((case.nodes, case.width), np.float32))
    graph = open_graph(edges, case.nodes)
    return Setting(edges, graph, make_matrix(graph, torch.float32), features)


def make_matrix(graph: Graph, dtype: torch.dtype) -> Tensor:
    with catch_warnings():
        simplefilter("ignore")  # torch says that its sparse matrices are new
        starts, sources = torch.from_numpy(graph.starts).to(torch.int32), torch.from_numpy(graph.sources)
        ones = torch.ones(graph.edges, dtype=dtype)
        return torch.sparse_csr_tensor(starts, sources, ones, (graph.nodes, graph.nodes))


def check_results(report: Report, case: Case, setting: Setting, works: dict[str, Aggregate]) -> None:
    exact = make_matrix(setting.graph, torch.float64) @ setting.features.double()
    size = exact.norm(dim=1).clamp(min=1e-300)
    for name, work in works.items():
        error = float(((work().double() - exact).norm(dim=1) / size).max())
        wanted = {"at_most": ERROR_AIM} if name == OURS else {}
        report.add_one(f"{case.title}: largest error of a row, {name}", error, "", **wanted)


def compare_slices(report: Report, case: Case, setting: Setting) -> None:
    chosen = settle_slices(setting.graph, setting.features)
    one = aggregate(setting.graph, setting.features, slices=1)
    cuts = [aggregate(setting.graph, setting.features, slices=slices) for slices in CHOICES]
    differing = sum(not torch.equal(cut, one) for cut in cuts)
    report.add_one(f"{case.title}: numbers of slices that change a bit", differing, "", at_most=0)
    report.add_one(f"{case.title}: slices chosen", chosen, "")


def compare_times(report: Report, case: Case, works: dict[str, Aggregate]) -> None:
    times = report.time(works, ROUNDS, least_s=0.0)
    for name, taken in times.items():
        report.add(f"{case.title}: {name}", [1e3 * seconds for seconds in taken], "ms")
    for name, taken in times.items():
        if name != OURS:
            wanted = {"at_least": AIMS[name]} if name in AIMS and not report.quick else {}
            report.add(f"{case.title}: time of {name} / ours", divide(taken, times[OURS]), "x", **wanted)


def compare_memory(report: Report, case: Case, works: dict[str, Aggregate]) -> None:
    peaks = {name: [measure_bytes(work) for _ in range(MEMORY_RUNS)] for name, work in works.items()}
    if any(peak is None for found in peaks.values() for peak in found):
        report.notes.append("memory was not measured: that needs Linux with a /proc that is open")
        return
    known = {name: [peak / 1e6 for peak in found if peak is not None] for name, found in peaks.items()}
    floor = f"the result: {4e-6 * case.nodes * case.width:.4g} MB"
    for name, megabytes in known.items():
        report.add(f"{case.title}: memory of {name}", megabytes, "MB", floor=floor)
    if report.quick:  # a result of some pages tells nothing
        return
    for name, wanted in ((MESSAGES, {"at_least": LEANER_AIM}), (SPMM, {"at_least": SPMM_MEMORY_AIM})):
        if name in known:
            ratios = divide(known[name], known[OURS])
            report.add(f"{case.title}: memory of {name} / ours", ratios, "x", **wanted)


def measure_bytes(work: Aggregate) -> int | None:
    """Beyond graph and features; the result is held."""
    work()
    with measure_peak() as peak:
        result = work()
    del result
    return peak.size_bytes


def compare_training(report: Report, case: Case, setting: Setting) -> None:
    """An aggregation and its slopes, as a step of training has them."""
    features = setting.features.clone().requires_grad_()
    slopes = torch.ones_like(features)
    messages = setting.open_messages(features)
    works: dict[str, Aggregate] = {
        OURS: lambda: torch.autograd.grad(aggregate(setting.graph, features), features, slopes)[0],
        MESSAGES: lambda: torch.autograd.grad(messages(), features, slopes)[0],
    }
    settle_slices(setting.graph.reversed, slopes)
    times = report.time(works, ROUNDS, least_s=0.0)
    wanted = {} if report.quick else {"at_least": FASTER_AIM}
    ratios = divide(times[MESSAGES], times[OURS])
    report.add(f"{case.title}: time of {MESSAGES} / ours, with slopes", ratios, "x", **wanted)
    peaks = {name: measure_bytes(work) for name, work in works.items()}
    theirs, ours = peaks[MESSAGES], peaks[OURS]
    if theirs is not None and ours is not None and not report.quick:
        name = f"{case.title}: memory of {MESSAGES} / ours, with slopes"
        report.add_one(name, theirs / ours, "x", at_least=LEANER_AIM)


if __name__ == "__main__":
    main()
