"""Solvers of the papers' losses against what a user would take instead, row by row (one file each: row_*.py).

Side by side in one process, from the same start, by the same stopping rule; one thread; derivatives by formula.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module

import torch
from figures import Report, finish, parse_options

ROWS = ("row_exponential", "row_softmax", "row_federated", "row_attention", "row_hyperbolic", "row_pairs")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("solvers", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("solvers", options.seed, options.quick)
    for name in ROWS:
        begin_s = time.monotonic()
        import_module(name).measure(report, options.quick)
        print(f"{name}: {time.monotonic() - begin_s:.0f} s", flush=True)
    finish(report, options)


if __name__ == "__main__":
    main()
