"""Tensors of low cycle rank: rotation, sketch and polish against alternating least squares on the whole tensor.

Ours without a sketch, and tensorly's where it is installed (`pip install -e '.[bench]'`). One thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module

from figures import Report, finish, parse_options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("tensor", __doc__, arguments)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's, which reads it when it is imported
    report = Report("tensor", options.seed, options.quick)
    import_module("row_cycle").measure(report, options.quick)
    finish(report, options)


if __name__ == "__main__":
    main()
