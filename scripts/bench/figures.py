"""What every benchmark shares: options, timing side by side, figures, a table, and a JSON file.

A figure is a median with its spread. What is compared runs in turns in one process, round after round, and a ratio
is taken within each round: so the noise of a busy machine falls on both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "numpy", "numba", "libp2p", "trio")
WARM_ROUNDS = 2  # not counted
QUICK_ROUNDS, QUICK_S = 2, 0.001

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its spread (10th and 90th percentile), what it should be, and what it cannot beat."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    floor: str = ""

    @property
    def aim(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return self.value >= self.at_least if self.at_least is not None else None


@dataclass(slots=True)
class Report:
    """The figures of one benchmark."""

    name: str
    seed: str
    quick: bool
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(self, name: str, values: Sequence[float], unit: str, **wanted: Any) -> None:  # Any: as in Figure
        """Add the median of some values."""
        ordered = sorted(values)
        low, high = pick(ordered, 0.1), pick(ordered, 0.9)
        self.figures.append(Figure(name, pick(ordered, 0.5), unit, low, high, **wanted))

    def add_one(self, name: str, value: float, unit: str, **wanted: Any) -> None:  # Any: as in Figure
        """Add a value that is no median: a percentile, a sum, a share."""
        self.figures.append(Figure(name, value, unit, **wanted))

    def time(self, works: Mapping[str, Work], rounds: int, least_s: float = 0.02) -> dict[str, list[float]]:
        """Return what `interleave` does; --quick makes it short."""
        return interleave(works, QUICK_ROUNDS, QUICK_S) if self.quick else interleave(works, rounds, least_s)

    def to_json(self) -> dict[str, Any]:  # Any: JSON
        return {
            "benchmark": self.name,
            "command": f"scripts/bench/{self.name}.py{' --quick' if self.quick else ''}",
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "seed": self.seed,
            "quick": self.quick,
            "machine": describe_machine() | {"load_before": round(self.load_before, 2)},
            "figures": [asdict(figure) | {"is_met": figure.is_met} for figure in self.figures],
            "notes": self.notes,
        }


def parse_options(name: str, doc: str | None, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"scripts/bench/{name}.py", description=(doc or "").split("\n\n")[0]
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds: shows that it runs, measures little"
    )
    parser.add_argument("--seed", default="bench", help="of all that is drawn (bench)")
    return parser.parse_args(arguments)


def finish(report: Report, options: argparse.Namespace) -> None:
    """Print the table and write the file."""
    value = report.to_json()
    print_report(value)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(value, indent=1) + "\n")


def print_report(value: Mapping[str, Any]) -> None:  # Any: JSON
    machine = value["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    print(f"{value['command']}  seed {value['seed']!r}  {value['date']}")
    print(f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {versions}")
    print(f"load before: {machine['load_before']}\n")
    for line in make_table(value["figures"], markdown=False):
        print(line)
    for note in value["notes"]:
        print(f"note: {note}")
    sys.stdout.flush()


def make_table(figures: Sequence[Mapping[str, Any]], markdown: bool) -> list[str]:  # Any: JSON
    """Return the lines of a table of figures."""
    rows = [("figure", "median", "10-90 %", "aim", "floor")]
    for figure in figures:
        aim = Figure(**{key: value for key, value in figure.items() if key != "is_met"}).aim
        if aim:
            aim += " met" if figure["is_met"] else " MISSED"
        spread = "" if figure["low"] is None else f"{show(figure['low'])} - {show(figure['high'])}"
        rows.append(
            (figure["name"], f"{show(figure['value'])} {figure['unit']}", spread, aim, figure["floor"])
        )
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return [lines[0], "|---|---|---|---|---|", *lines[1:]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def show(value: float) -> str:
    """Three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def describe_machine() -> dict[str, Any]:  # Any: JSON
    return {
        "cpu": read_cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {"python": platform.python_version()} | {name: find_version(name) for name in PACKAGES},
    }


def read_cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


# --- timing -----------------------------------------------------------------------------------------------------------


def interleave(works: Mapping[str, Work], rounds: int, least_s: float) -> dict[str, list[float]]:
    """Return seconds per call, one value a round for each: all in turns, each as often as fills `least_s`.

    Seconds of this thread's processor time: what others do on the machine costs only shared caches. So the works must
    stay in the thread.
    """
    calls = {name: count_calls(work, least_s) for name, work in works.items()}
    names = list(works)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(WARM_ROUNDS + rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:  # nobody is always first
            seconds = time_calls(works[name], calls[name])
            if number >= WARM_ROUNDS:
                times[name].append(seconds)
    return times


def count_calls(work: Work, least_s: float) -> int:
    work()
    begin_s = time.thread_time()
    work()
    return max(1, int(least_s / max(1e-9, time.thread_time() - begin_s)))


def time_calls(work: Work, calls: int) -> float:
    begin_s = time.thread_time()
    for _ in range(calls):
        work()
    return (time.thread_time() - begin_s) / calls


def divide(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio within each round."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def pick(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed."""
    return ordered[max(0, -(-round(share * len(ordered) * 1000) // 1000) - 1)]


def median(values: Sequence[float]) -> float:
    return pick(sorted(values), 0.5)


def find_version(package: str) -> str:
    """The installed version, or "-": not every benchmark needs every package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
