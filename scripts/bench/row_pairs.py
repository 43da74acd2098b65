"""Row 7 at work: conjugate gradients for a softmax regression with thousands of parameters, by two preconditioners that
know of the Kronecker product, and by none.

The sample of pairs by leverage, and the Gram matrices. From X = 0; without one, within a budget. Sources: 2402.07027
(pairs), 2307.02419 (the problem).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from chase import Chase, chase_stages
from designs import make_rng
from figures import Report, finish, parse_options
from row_softmax import Case, make_problem
from torch import Tensor

from training.derivatives.softmax import SoftmaxMatrix
from training.solvers.outcome import Limits, Stage
from training.solvers.pairs import make_pair_sketch, make_whitening
from training.solvers.steihaug import MakePreconditioner, run_steihaug

CASE, QUICK_CASE = Case(512, 48, 30, None), Case(64, 6, 30, None)
TOLERANCE = 1e-7  # of the gradient at the start
BUDGET_S, QUICK_BUDGET_S = 60.0, 0.1  # of none


class Counted:
    """A loss that counts its Hessian-vector products."""

    def __init__(self, problem: SoftmaxMatrix) -> None:
        self._problem, self.products = problem, 0
        self.size, self.measure, self.differentiate = problem.size, problem.measure, problem.differentiate
        self.make_hessian = problem.make_hessian

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        self.products += 1
        return self._problem.multiply(x, v)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("row_pairs", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("row_pairs", options.seed, options.quick)
    measure(report, options.quick)
    finish(report, options)


def measure(report: Report, quick: bool) -> None:
    """Add the figures of preconditioners."""
    case, budget_s = (QUICK_CASE, QUICK_BUDGET_S) if quick else (CASE, BUDGET_S)
    problem = make_problem(case, report.seed)
    title = f"{case.title}, {problem.size:,} parameters"
    runs: dict[str, Callable[[], tuple[Chase, int]]] = {
        "Gram matrices": lambda: run(problem, make_whitening(problem), BUDGET_S),
        "a sample of pairs": lambda: run(problem, make_pair_sketch(problem, make_rng(report.seed)), BUDGET_S),
        "none": lambda: run(problem, None, budget_s),
    }
    for name, start in runs.items():
        chase, products = start()
        reached = chase.time_to_norm(TOLERANCE)
        if reached is None:
            report.notes.append(
                f"{title}: preconditioner {name}: the gradient fell to {chase.lowest_norm:.2g} of the start's and"
                f" not to {TOLERANCE:g} in the time given"
            )
        report.add_one(f"{title}: preconditioner {name}", reached or chase.spent(), "s")
        report.add_one(f"{title}: preconditioner {name}, Hessian products", products, "")


def run(problem: SoftmaxMatrix, make: MakePreconditioner | None, budget_s: float) -> tuple[Chase, int]:
    """Until the gradient is small enough, and how many products with the Hessian that took."""
    counted, begin_s = Counted(problem), time.thread_time()
    start = torch.zeros(problem.size, dtype=torch.float64)

    def is_late() -> bool:
        return time.thread_time() - begin_s > budget_s

    def go() -> Iterator[Stage]:
        for stage in run_steihaug(counted, start, Limits(tolerance=TOLERANCE), make, is_late):
            yield stage
            if is_late():
                return

    return chase_stages(go), counted.products


if __name__ == "__main__":
    main()
