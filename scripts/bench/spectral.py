"""Few pairs of rows for a Kronecker product: a quantum algorithm's row queries against reading all rows, and its error.

Queries are counted by an exact simulation, which itself reads everything: no seconds are compared. Source: 2402.07027.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

os.environ["OPENBLAS_NUM_THREADS"] = (
    "1"  # numpy's, which reads it when it is imported: two wait for each other
)

import numpy as np
from designs import make_rng
from figures import Report, finish, median, parse_options

from training.kronecker.factors import Factor, Floats, compute_leverage, open_factor
from training.kronecker.sparsify import count_pairs, sparsify
from training.kronecker.spectral import compute_features, measure_error

WIDTH, EPSILON = 4, 0.3
SIZES, QUICK_SIZES = (16_000, 64_000, 256_000, 1_024_000), (500, 2_000)
DRAWS = 3  # of each size
SEEDS, QUICK_SEEDS, SEEDED = 20, 2, 64_000
HEAVY, WEIGHT = (
    3,
    200.0,
)  # rows of coherent data that alone have the first column, and the size of what they have
SLOPES, CROSSOVER_AIM, MET_AIM, SECONDS_AIM = (0.45, 0.60), 64_000, 19, 15.0
TIGHT = 0.075


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("spectral", __doc__, arguments)
    report = Report("spectral", options.seed, options.quick)
    begin_s = time.process_time()
    compare_sizes(report)
    compare_errors(report)
    report.add_one("all of it, processor time", time.process_time() - begin_s, "s", at_most=SECONDS_AIM)
    finish(report, options)


def compare_sizes(report: Report) -> None:
    """Queries by the number of rows of each factor."""
    sizes = QUICK_SIZES if report.quick else SIZES
    counted = []
    for n in sizes:
        first, second = draw_factors(report.seed, n)
        runs = [sparsify(first, second, EPSILON, np.random.default_rng(seed)) for seed in range(DRAWS)]
        queries = [float(run.queries) for run in runs]
        report.add(f"d={WIDTH}, eps {EPSILON}, n={n:,}: row queries", queries, "")
        report.add(
            f"d={WIDTH}, eps {EPSILON}, n={n:,}: 2n rows read / queries", [2 * n / q for q in queries], "x"
        )
        counted.append(median(queries))
    slope = float(np.polyfit(np.log(sizes), np.log(counted), 1)[0])
    has_aim = not report.quick
    name = f"slope of log queries over log n, {sizes[0]:,} to {sizes[-1]:,} rows"
    report.add_one(name, slope, "", at_most=SLOPES[1] if has_aim else None)
    crossover = find_crossover(sizes, counted)
    report.add_one("n where queries are 2n", crossover, "rows", at_most=CROSSOVER_AIM if has_aim else None)
    report.notes.append(
        f"the slope should be {SLOPES[0]} or more, too: far below 1/2 the count would be wrong"
    )
    report.notes.append(
        "a query is a use of the oracle that marks rows; a circuit that reads a row and unreads it uses two"
    )


def find_crossover(sizes: Sequence[int], counted: Sequence[float]) -> float:
    """Along a line of the logarithms through the two smallest sizes."""
    slope = math.log(counted[1] / counted[0]) / math.log(sizes[1] / sizes[0])
    return math.exp((math.log(counted[0] / 2) - slope * math.log(sizes[0])) / (1 - slope))


def compare_errors(report: Report) -> None:
    """Spectral errors over seeds: by queries, and, with as many pairs, by leverage that is known and uniformly."""
    n, seeds = (QUICK_SIZES[-1], QUICK_SEEDS) if report.quick else (SEEDED, SEEDS)
    for title, heavy in (("even data", 0), ("coherent data", HEAVY)):
        first, second = draw_factors(report.seed, n, heavy)
        known = compute_leverage(first), compute_leverage(second)
        uniform = np.ones(n), np.ones(n)
        wanted = count_pairs(first, second, EPSILON)
        runs = [sparsify(first, second, EPSILON, np.random.default_rng(seed)) for seed in range(seeds)]
        errors = [
            measure_error(compute_features(first, second, run.first, run.second), run.weights**2)
            for run in runs
        ]
        title = f"{title}, n={n:,}"
        report.add(f"{title}: spectral error", errors, "")
        met = sum(error <= EPSILON for error in errors)
        aim = None if report.quick else MET_AIM
        report.add_one(f"{title}: of {seeds} seeds within {EPSILON}", met, "seeds", at_least=aim)
        report.add(f"{title}: row queries", [float(run.queries) for run in runs], "")
        for name, scores in (("leverage of all rows read", known), ("uniform", uniform)):
            drawn = [draw_pairs(first, second, scores, wanted, seed) for seed in range(seeds)]
            report.add(f"{title}: spectral error, {name}, as many pairs", drawn, "")
    tight = sparsify(first, second, TIGHT, np.random.default_rng(0))
    ratio = tight.queries / runs[0].queries
    report.add_one(f"{title}: queries at eps {TIGHT} / at eps {EPSILON}", ratio, "x")


def draw_pairs(first: Factor, second: Factor, scores: tuple[Floats, Floats], wanted: int, seed: int) -> float:
    """The error of so many pairs drawn in proportion to scores [n] that are known of all rows."""
    rng = np.random.default_rng(seed)
    p, q = (each / each.sum() for each in scores)
    i, j = rng.choice(len(p), wanted, p=p), rng.choice(len(q), wanted, p=q)
    return measure_error(compute_features(first, second, i, j), 1 / (wanted * p[i] * q[j]))


def draw_factors(seed: str, n: int, heavy: int = 0) -> tuple[Factor, Factor]:
    """Gaussian rows; with `heavy` rows that alone have anything in the first column."""
    factors = []
    for name in ("A1", "A2"):
        rng = make_rng(seed, f"spectral {name} {n} {heavy}")
        rows = rng.standard_normal((n, WIDTH))
        if heavy:
            rows[:, 0] = 0
            rows[rng.permutation(n)[:heavy], 0] = WEIGHT
        factors.append(open_factor(rows, name))
    return factors[0], factors[1]


if __name__ == "__main__":
    main()
