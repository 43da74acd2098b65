"""Row 6, single-layer attention in X and Y: damped Newton against LBFGS and Adam from the same four starts.

A planted attention with noise, queries and keys of condition 30. Not convex: every solver's best of four is compared,
and none need be the global minimum. Source of the problem: 2309.07418.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from baselines import Enough, Outcome, pair, run_adam, run_lbfgs, warm_up
from designs import draw_unit_spread, make_rng
from figures import Report, finish, median, parse_options
from torch import Tensor

from training.derivatives.attention import AttentionLoss
from training.solvers.newton import run_newton
from training.solvers.outcome import Limits, Stage, run_to_end
from training.solvers.smooth import SmoothLoss
from training.solvers.varpro import Projected

ROWS, WIDE, CONDITION, WEIGHT = 256, 8, 30.0, 1e-4
STARTS = 4
PLANTED, NOISE = 0.3, 0.03  # deviations of X's entries, and of the targets about what is planted
ENOUGH = 1e-8  # of the gradient's norm at the start
NEWTON_STEPS = 300
LBFGS_EVALUATIONS = 5000
ADAM_RATE = 1e-2
LBFGS_S, ADAM_S, QUICK_S = 8.0, 2.0, 0.3  # of a start: 40 s in all
SIZES, QUICK_SIZES = (128, 256, 512, 1024), (64, 128)
TIMES = 5


@dataclass(frozen=True, slots=True)
class Best:
    """The lowest of several ends, and what all of them took."""

    loss: float
    gradient: float  # of the norm at its start; the worst of all
    seconds: float
    steps: int


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("row_attention", __doc__, arguments)
    report = Report("row_attention", options.seed, options.quick)
    measure(report, options.quick)
    finish(report, options)


def measure(report: Report, quick: bool) -> None:
    """Add the figures of row 6."""
    warm_up()
    compare(report, quick)
    measure_scaling(report, QUICK_SIZES if quick else SIZES)


def compare(report: Report, quick: bool) -> None:
    problem, rng = make_problem(64 if quick else ROWS, 4 if quick else WIDE, report.seed)
    starts = problem.draw_starts(STARTS, rng)
    newton = run_all_newton(problem, starts)
    projected = Projected(problem)
    varpro = run_all_newton(projected, [start[: projected.size] for start in starts])
    lbfgs, adam = run_baselines(problem, starts, quick)
    title = f"attention n={len(problem.a1)} d={problem.x_shape[0]}, {STARTS} starts"
    report.add_one(f"{title}: Newton", newton.seconds, "s")
    report.add_one(f"{title}: Newton, steps", newton.steps, "steps")
    report.add_one(f"{title}: Newton, worst gradient, of the start's", newton.gradient, "", at_most=ENOUGH)
    report.add_one(f"{title}: Newton, best loss", newton.loss, "")
    for name, end in (("variable projection", varpro), ("LBFGS", lbfgs), (f"Adam {ADAM_RATE:g}", adam)):
        report.add_one(f"{title}: {name}", end.seconds, f"s, {end.steps} steps")
        report.add_one(f"{title}: {name}, worst gradient, of the start's", end.gradient, "")
        report.add_one(f"{title}: {name}, best loss", end.loss, "")
    ratio = newton.seconds / lbfgs.seconds
    report.add_one(f"{title}: Newton / LBFGS", ratio, "x", at_most=None if quick else 0.1)
    better = min(lbfgs.loss, adam.loss)
    ratio = newton.loss / better
    report.add_one(f"{title}: Newton's loss / the better of LBFGS and Adam", ratio, "x", at_most=1.01)
    if lbfgs.gradient > ENOUGH:
        report.notes.append(f"LBFGS did not reach {ENOUGH:g}: its time is {LBFGS_EVALUATIONS} evaluations or")
        report.notes[-1] += f" {QUICK_S if quick else LBFGS_S:g} s a start, whichever came first"


def make_problem(rows: int, wide: int, seed: str) -> tuple[AttentionLoss, np.random.Generator]:
    rng = make_rng(seed)
    a1, a2 = (draw_unit_spread(rng, rows, wide, CONDITION) * rows**0.5 for _ in range(2))
    a3 = torch.from_numpy(rng.standard_normal((rows, wide)))
    x = torch.from_numpy(PLANTED * rng.standard_normal((wide, wide)))
    y = torch.from_numpy(rng.standard_normal((wide, wide)))
    noise = torch.from_numpy(NOISE * rng.standard_normal((rows, wide)))
    return AttentionLoss(a1, a2, a3, torch.softmax(a1 @ x @ a2.T, 1) @ a3 @ y + noise, WEIGHT), rng


def run_all_newton(problem: SmoothLoss, starts: Sequence[Tensor]) -> Best:
    limits, begin_s = Limits(ENOUGH, NEWTON_STEPS), time.thread_time()
    ends: list[Stage] = [run_to_end(run_newton(problem, start, limits)) for start in starts]
    seconds = time.thread_time() - begin_s
    norms = [float(problem.differentiate(start).norm()) for start in starts]
    worst = max(end.gradient_norm / norm for end, norm in zip(ends, norms, strict=True))
    return Best(min(end.loss for end in ends), worst, seconds, sum(end.steps for end in ends))


def run_baselines(problem: AttentionLoss, starts: Sequence[Tensor], quick: bool) -> tuple[Best, Best]:
    """LBFGS's best and Adam's."""
    norms = [float(problem.differentiate(start).norm()) for start in starts]
    lbfgs, adam = [], []
    for start, norm in zip(starts, norms, strict=True):
        enough = make_enough(norm)
        budget_s = QUICK_S if quick else LBFGS_S
        lbfgs.append(run_lbfgs(pair(problem), start, enough, budget_s, LBFGS_EVALUATIONS))
        budget_s = QUICK_S if quick else ADAM_S
        adam.append(run_adam(pair(problem), start, ADAM_RATE, enough, budget_s))
    return join(lbfgs, norms), join(adam, norms)


def make_enough(norm: float) -> Enough:
    return lambda loss, gradient: float(gradient.norm()) <= ENOUGH * norm


def join(ends: Sequence[Outcome], norms: Sequence[float]) -> Best:
    worst = max(end.gradient_norm / norm for end, norm in zip(ends, norms, strict=True))
    seconds, evaluations = sum(end.seconds for end in ends), sum(end.evaluations for end in ends)
    return Best(min(end.loss for end in ends), worst, seconds, evaluations)


def measure_scaling(report: Report, sizes: Sequence[int]) -> None:
    """A Newton step's time against n: the slope in logarithms."""
    works = {str(rows): make_step(rows, report.seed) for rows in sizes}
    times = report.time(works, TIMES, 0.05)
    seconds = [median(times[str(rows)]) for rows in sizes]
    for rows, values in zip(sizes, (times[str(rows)] for rows in sizes), strict=True):
        report.add(f"attention n={rows} d={WIDE}: a Newton step", [s * 1e3 for s in values], "ms")
    slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    title = f"attention d={WIDE}: slope of a Newton step's time against n"
    report.add_one(title, float(slope), "", at_most=2.3)
    last = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
    report.add_one(f"{title}, between the two largest", last, "", at_most=2.3)


def make_step(rows: int, seed: str) -> Step:
    problem, rng = make_problem(rows, WIDE, seed)
    return Step(problem, problem.draw_starts(1, rng)[0])


@dataclass(slots=True)
class Step:
    """One step from a start, everything computed anew."""

    problem: AttentionLoss
    start: Tensor
    calls: int = 0

    def __call__(self) -> None:
        self.calls += 1
        start = self.start * (1 + 1e-9 * self.calls)  # a point that the loss does not remember
        run_to_end(run_newton(self.problem, start, Limits(0.0, 1)))


if __name__ == "__main__":
    main()
