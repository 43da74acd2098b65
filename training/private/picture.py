"""What an epsilon costs in error, drawn: `python -m training.private.picture FILE.svg`.

The root mean square error of an entry of Z, in units of alpha^2, at the data where it is largest (d equal records):
by samples as many as the paper's condition allows, by as many as exact accounting allows, and by Gaussian noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.pictures import Points, draw_curves
from training.private.gaussian import find_noise
from training.private.gram import Terms
from training.private.recommend import expect_error
from training.private.release import Plan, try_to_count

ROWS, RECORDS, RIDGE, DELTA = 16, 4096, 65536.0, 1e-5  # RIDGE in units of alpha^2
EPSILONS = tuple(0.1 * 2 ** (step / 3) for step in range(23))  # to 16


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.private.picture", description="Draw errors of private releases over epsilon."
    )
    parser.add_argument("file", type=Path, help="where the picture goes, as SVG")
    options = parser.parse_args(arguments)
    options.file.write_text(draw_errors(compute_errors(EPSILONS)))
    return 0


def compute_errors(epsilons: Sequence[float]) -> dict[str, Points]:
    """(epsilon, error) of each mechanism, where it is allowed at all."""
    found: dict[str, list[tuple[float, float]]] = {
        "sampling, the paper's condition": [],
        "sampling, exact accounting": [],
        "Gaussian noise": [],
    }
    for epsilon in epsilons:
        for points, error in zip(found.values(), list_errors(epsilon), strict=True):
            points += [(epsilon, error)] if error else []
    return {name: points for name, points in found.items() if points}


def list_errors(epsilon: float) -> tuple[float, float, float]:
    """By the paper's samples, by all that are allowed, by Gaussian noise; 0 where nothing is."""
    terms = Terms(1.0, RIDGE, epsilon, DELTA)
    accounted = try_to_count(terms)
    plan = Plan(terms, "sampling", accounted, find_noise(terms))
    expected = expect_error(plan, ROWS, RECORDS)
    if accounted is None:
        return 0.0, 0.0, expected.gaussian
    if not accounted.by_paper:
        return 0.0, expected.sampling_most, expected.gaussian
    fewer = replace(plan, accounted=replace(accounted, samples=accounted.by_paper))
    return expect_error(fewer, ROWS, RECORDS).sampling_most, expected.sampling_most, expected.gaussian


def draw_errors(errors: dict[str, Points]) -> str:
    title = f"Error of an entry, {ROWS} rows, {RECORDS} records, delta {DELTA:g}"
    return draw_curves(title, errors, ("epsilon", "error / alpha^2"), log_x=True, log_y=True)


if __name__ == "__main__":
    raise SystemExit(main())
