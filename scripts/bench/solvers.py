"""Solvers of the papers' losses against what a user would take instead, row by row (one file each: row_*.py).

Side by side in one process, from the same start, by the same stopping rule; one thread; derivatives by formula.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import torch
from figures import Figure, Report, finish, parse_options

ROWS = ("row_exponential", "row_softmax", "row_federated", "row_attention", "row_hyperbolic")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("solvers", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("solvers", options.seed, options.quick)
    for name in ROWS:
        if find_spec(name):
            begin_s = time.monotonic()
            import_module(name).measure(report, options.quick)
            print(f"{name}: {time.monotonic() - begin_s:.0f} s", flush=True)
    report.figures[:] = name_whole(report.figures)
    finish(report, options)


def name_whole(figures: Sequence[Figure]) -> list[Figure]:
    """Figures that stand indented below another get its name, too: each is told from all others by its own."""
    head, named = "", []
    for figure in figures:
        if not figure.name.startswith(" "):
            head = figure.name
            named.append(figure)
        else:
            named.append(replace(figure, name=f"{head}: {figure.name.strip()}"))
    return named


if __name__ == "__main__":
    main()
