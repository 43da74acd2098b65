"""Row 3, softmax regression with X [d, d]: damped Newton against LBFGS (strong Wolfe, history 20), both by formula.

From X = 0, to 1.0001 times the lowest loss that either finds. Source of the problem: 2307.02419.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from baselines import warm_up
from chase import Chase, chase_lbfgs, chase_stages
from designs import draw_spread, make_rng
from figures import Report, finish, parse_options
from torch import Tensor

from training.derivatives.softmax import SoftmaxMatrix
from training.solvers.newton import run_newton

TOLERANCE = 1e-10  # of the gradient at the start
NEAR = 1.0001  # of the lowest loss
AIM = 10.0  # times faster
PRECISION = 1e-12
ROUNDS = 5
BUDGET_S, QUICK_BUDGET_S = 60.0, 0.1  # of LBFGS
NOISE = 0.3  # on the scores whose softmax are the targets: no X meets them


@dataclass(frozen=True, slots=True)
class Case:
    n: int
    d: int
    condition: float  # of A1 and of A2
    aim: float | None  # None: shown, not aimed at

    @property
    def title(self) -> str:
        return f"softmax n={self.n} d={self.d} condition {self.condition:g}"


CASES = (Case(512, 12, 30, AIM), Case(256, 8, 1, None))
QUICK_CASES = (Case(48, 4, 30, AIM),)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("row_softmax", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("row_softmax", options.seed, options.quick)
    measure(report, options.quick)
    finish(report, options)


def measure(report: Report, quick: bool) -> None:
    """Add the figures of row 3."""
    warm_up()
    for case in QUICK_CASES if quick else CASES:
        compare(report, case, 1 if quick else ROUNDS, QUICK_BUDGET_S if quick else BUDGET_S)
    check_formulas(report)


def make_problem(case: Case, seed: str) -> SoftmaxMatrix:
    rng = make_rng(seed, case.title)
    a1, a2 = (draw_spread(rng, case.n, case.d, case.condition) for _ in range(2))
    planted = torch.from_numpy(rng.standard_normal((case.d, case.d)))
    noise = NOISE * torch.from_numpy(rng.standard_normal((case.n, case.n)))
    return SoftmaxMatrix(a1, a2, torch.softmax(a1 @ planted @ a2.T + noise, 1))


def compare(report: Report, case: Case, rounds: int, budget_s: float) -> None:
    problem = make_problem(case, report.seed)
    start = torch.zeros(problem.size, dtype=torch.float64)
    newtons = [chase_stages(lambda: run_newton(problem, start)) for _ in range(rounds)]
    lbfgs = chase_lbfgs(problem, start, TOLERANCE, budget_s)
    add_newton(report, case, newtons)
    add_race(report, case, newtons, lbfgs)
    report.add_one(f"{case.title}: LBFGS, relative gradient at its best", lbfgs.lowest_norm, "")
    report.add_one(f"{case.title}: LBFGS, evaluations", len(lbfgs.marks), "")
    report.add_one(f"{case.title}: LBFGS, spent", lbfgs.spent(), "s")


def add_newton(report: Report, case: Case, newtons: Sequence[Chase]) -> None:
    last = newtons[-1]
    report.add(f"{case.title}: Newton to its end", [1e3 * each.spent() for each in newtons], "ms")
    report.add_one(f"{case.title}: Newton, steps", len(last.marks) - 1, "steps")
    report.add_one(
        f"{case.title}: Newton, relative gradient at its end", last.lowest_norm, "", at_most=TOLERANCE
    )


def add_race(report: Report, case: Case, newtons: Sequence[Chase], lbfgs: Chase) -> None:
    near = NEAR * min(newtons[-1].lowest, lbfgs.lowest)
    ours = [each.time_to_loss(near) or math.inf for each in newtons]
    theirs = lbfgs.time_to_loss(near) or lbfgs.spent()
    if lbfgs.time_to_loss(near) is None:
        report.notes.append(
            f"{case.title}: LBFGS did not come near the loss, and would take longer than it did"
        )
    report.add(f"{case.title}: Newton to {NEAR} of the lowest loss", [1e3 * s for s in ours], "ms")
    report.add_one(f"{case.title}: LBFGS to {NEAR} of the lowest loss", 1e3 * theirs, "ms")
    above = 100 * (lbfgs.lowest / newtons[-1].lowest - 1)
    report.add_one(f"{case.title}: LBFGS, lowest loss above Newton's", above, "%")
    report.add(f"{case.title}: LBFGS / Newton", [theirs / each for each in ours], "x", at_least=case.aim)


def check_formulas(report: Report) -> None:
    """Gradient and Hessian of a small problem against autograd's of the loss as it is written."""
    problem = make_problem(Case(40, 4, 30, None), report.seed)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal(problem.size))

    def measure_plainly(x: Tensor) -> Tensor:
        residuals = torch.softmax(problem.design.apply(x), 1) - problem.rows.targets_RC
        return 0.5 * torch.sum(residuals * residuals)

    gradient = torch.func.grad(measure_plainly)
    errors = {
        "gradient": (problem.differentiate(x), gradient(x)),
        "Hessian": (problem.make_hessian(x), torch.func.jacrev(gradient)(x)),
    }
    for name, (ours, theirs) in errors.items():
        error = float((ours - theirs).norm() / theirs.norm())
        report.add_one(f"softmax: {name}, relative difference from autograd", error, "", at_most=PRECISION)


if __name__ == "__main__":
    main()
