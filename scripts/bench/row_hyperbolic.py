"""Row 9, rescaled hyperbolic regression: damped Newton against LBFGS, raw and on a design whitened by QR; the sketch.

From the same start to the same relative gradient; QR's time counts for the whitened. Several draws of each case: how
hard one is depends much on the planted point. Source: 2305.00660.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from baselines import warm_up
from chase import Chase, chase_lbfgs, chase_stages
from designs import draw_spread, make_rng
from figures import Report, finish, median, parse_options
from torch import Tensor

from training.derivatives.hyperbolic import Hyperbolic
from training.derivatives.rescaled import Kind, compute_values
from training.solvers.newton import run_newton
from training.solvers.outcome import Limits
from training.solvers.sketch import make_sketched
from training.solvers.starts import draw_direction
from training.solvers.steihaug import run_steihaug

TOLERANCE = 1e-10  # of the gradient at the start: what is timed
LIMITS = Limits(tolerance=1e-14)  # ours go on, for the planted solution's digits
PLANTED_AIM, RAW_AIM, WHITENED_AIM, SKETCH_AIM = 1e-10, 10.0, 1.0, 1.0
ROUNDS, DRAWS = 3, 5
BUDGET_S, QUICK_BUDGET_S = 5.0, 0.1  # of each LBFGS
REPEATED_S = 2.0  # what takes longer is not measured again
NEAR = 0.3  # of the planted point's norm: how far away the planted problems start
NOISE, WEIGHT = 0.1, 1e-2


@dataclass(frozen=True, slots=True)
class Case:
    kind: Kind
    n: int
    d: int
    condition: float
    noise: float = 0.0  # on the scores; without, the planted x has loss 0

    @property
    def title(self) -> str:
        name = "planted" if self.noise == 0 else "noisy"
        return f"{self.kind} {name} n={self.n} d={self.d} condition {self.condition:g}"


@dataclass(frozen=True, slots=True)
class Trial:
    problem: Hyperbolic
    planted: Tensor
    start: Tensor


PLANTED = tuple(Case(kind, 20_000, 32, 30) for kind in ("exp", "cosh", "sinh"))
NOISY, WIDE = Case("exp", 50_000, 48, 100, NOISE), Case("exp", 100_000, 256, 100, NOISE)
QUICK_PLANTED = tuple(Case(kind, 400, 4, 30) for kind in ("exp", "cosh", "sinh"))
QUICK_NOISY, QUICK_WIDE = Case("exp", 500, 6, 100, NOISE), Case("exp", 2000, 24, 100, NOISE)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("row_hyperbolic", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("row_hyperbolic", options.seed, options.quick)
    measure(report, options.quick)
    finish(report, options)


def measure(report: Report, quick: bool) -> None:
    """Add the figures of row 9."""
    warm_up()
    rounds, draws, budget_s = (1, 1, QUICK_BUDGET_S) if quick else (ROUNDS, DRAWS, BUDGET_S)
    for case in (*QUICK_PLANTED, QUICK_NOISY) if quick else (*PLANTED, NOISY):
        compare(report, case, rounds, draws, budget_s)
    compare_sketch(report, QUICK_WIDE if quick else WIDE, rounds)


def make_trial(case: Case, seed: str) -> Trial:
    rng = make_rng(seed, case.title)
    a = draw_spread(rng, case.n, case.d, case.condition)
    planted = torch.from_numpy(rng.standard_normal(case.d))
    if float(compute_values(case.kind, a @ planted).sum()) < 0:
        planted = -planted  # of sinh's two, the one in the domain
    noise = case.noise * torch.from_numpy(rng.standard_normal(case.n))
    values = compute_values(case.kind, a @ planted + noise)
    weights = torch.full((case.n,), WEIGHT, dtype=torch.float64) if case.noise else None
    problem = Hyperbolic(case.kind, a, values / values.sum(), weights)
    return Trial(problem, planted, draw_start(case, problem, planted, rng))


def draw_start(case: Case, problem: Hyperbolic, planted: Tensor, rng: np.random.Generator) -> Tensor:
    """Near what is to be found again, as in the theorem: from 0 all three solvers end elsewhere now and then."""
    if case.noise:
        return torch.zeros_like(planted)
    away = draw_direction(case.d, NEAR * float(planted.norm()), rng)
    while not math.isfinite(problem.measure(planted + away)):
        away = away / 2  # the domain's border can be near
    return planted + away


@dataclass(frozen=True, slots=True)
class Race:
    """One draw of a case, and what everybody made of it."""

    trial: Trial
    newtons: list[Chase]
    raw: Chase
    whitened: list[Chase]

    @property
    def newton_s(self) -> float:
        return median([each.time_to_norm(TOLERANCE) or math.inf for each in self.newtons])

    @property
    def raw_s(self) -> float:
        return read_seconds(self.raw)

    @property
    def whitened_s(self) -> float:
        return median([read_seconds(each) for each in self.whitened])


def read_seconds(chase: Chase) -> float:
    """To the tolerance; of one that did not get there, what it spent."""
    return chase.time_to_norm(TOLERANCE) or chase.spent()


def run_race(case: Case, seed: str, rounds: int, budget_s: float) -> Race:
    trial = make_trial(case, seed)
    newtons = [chase_stages(lambda: run_newton(trial.problem, trial.start, LIMITS)) for _ in range(rounds)]
    raw = chase_lbfgs(trial.problem, trial.start, TOLERANCE, budget_s)
    whitened = [chase_whitened(trial, budget_s)]
    while len(whitened) < rounds and whitened[0].spent() < REPEATED_S:
        whitened.append(chase_whitened(trial, budget_s))
    return Race(trial, newtons, raw, whitened)


def compare(report: Report, case: Case, rounds: int, draws: int, budget_s: float) -> None:
    races = [run_race(case, f"{report.seed}/{draw}", rounds, budget_s) for draw in range(draws)]
    report.add(f"{case.title}: Newton", [1e3 * race.newton_s for race in races], "ms")
    report.add(f"{case.title}: Newton, steps", [count_steps(race.newtons[-1]) for race in races], "steps")
    add_opponent(report, f"{case.title}: LBFGS", [race.raw for race in races])
    add_opponent(report, f"{case.title}: whitened LBFGS", [race.whitened[-1] for race in races])
    qr = [1e3 * race.whitened[-1].marks[0].seconds for race in races]
    report.add(f"{case.title}: whitened LBFGS, of it QR", qr, "ms")
    if case.noise == 0:
        add_errors(report, case, races)
    ratios = [race.raw_s / race.newton_s for race in races]
    report.add(f"{case.title}: LBFGS / Newton", ratios, "x", at_least=RAW_AIM)
    ratios = [race.newton_s / race.whitened_s for race in races]
    report.add(f"{case.title}: Newton / whitened LBFGS", ratios, "x", at_most=WHITENED_AIM)


def count_steps(chase: Chase) -> int:
    """Until the tolerance, or all it took without coming there."""
    wanted, last = TOLERANCE * chase.marks[0].norm, len(chase.marks) - 1
    return next((i for i, mark in enumerate(chase.marks) if mark.norm <= wanted), last)


def add_opponent(report: Report, title: str, chases: Sequence[Chase]) -> None:
    late = [chase.lowest_norm for chase in chases if chase.time_to_norm(TOLERANCE) is None]
    if late:
        report.notes.append(
            f"{title} ended in {len(late)} of {len(chases)} draws before the tolerance, at a relative gradient of"
            f" {max(late):.1e} in the worst: there it would take longer than is counted"
        )
    report.add(title, [1e3 * read_seconds(chase) for chase in chases], "ms")
    report.add(f"{title}, evaluations", [len(chase.marks) for chase in chases], "")


def add_errors(report: Report, case: Case, races: Sequence[Race]) -> None:
    def measure_error(race: Race, x: Tensor | None) -> float:
        assert x is not None
        planted = race.trial.planted
        gaps = [float((x - side * planted).norm()) for side in (1, -1)]
        return (min(gaps) if case.kind == "cosh" else gaps[0]) / float(planted.norm())

    ends = {
        "Newton": [race.newtons[-1].x for race in races],
        "LBFGS": [race.raw.x for race in races],
        "whitened LBFGS": [race.whitened[-1].x for race in races],
    }
    for name, points in ends.items():
        errors = [measure_error(race, x) for race, x in zip(races, points, strict=True)]
        aim = {"at_most": PLANTED_AIM} if name == "Newton" else {}
        report.add_one(f"{case.title}: {name}, largest error of x", max(errors), "", **aim)


def chase_whitened(trial: Trial, budget_s: float) -> Chase:
    """LBFGS on y = R x with A = Q R; norms are those of the gradient in x, and so is the point where it ended."""
    begin_s = time.thread_time()
    q, r = torch.linalg.qr(trial.problem.a_nd)
    ridge = trial.problem.ridge
    problem = Hyperbolic(
        trial.problem.kind,
        q,
        trial.problem.rows.targets_RC[0],
        None if ridge is None else ridge.weight[0].sqrt(),
    )
    start = r @ trial.start
    spent_s = time.thread_time() - begin_s
    chase = chase_lbfgs(
        problem, start, TOLERANCE, budget_s, lambda gradient: float((r.T @ gradient).norm()), spent_s
    )
    assert chase.x is not None
    chase.x = torch.linalg.solve_triangular(r, chase.x[:, None], upper=True)[:, 0]
    return chase


def compare_sketch(report: Report, case: Case, rounds: int) -> None:
    trial = make_trial(case, report.seed)
    problem, start = trial.problem, trial.start
    rng = make_rng(report.seed, "sketch")
    exact: list[float] = []
    sketched: list[float] = []
    for _ in range(rounds):
        newton = chase_stages(lambda: run_newton(problem, start))
        steihaug = chase_stages(
            lambda: run_steihaug(problem, start, make_preconditioner=make_sketched(problem, rng))
        )
        exact.append(newton.time_to_norm(TOLERANCE) or math.inf)
        sketched.append(steihaug.time_to_norm(TOLERANCE) or math.inf)
    report.add(f"{case.title}: Newton", exact, "s")
    report.add(f"{case.title}: sketched Steihaug", sketched, "s")
    report.add_one(f"{case.title}: Newton, steps", count_steps(newton), "steps")
    report.add_one(f"{case.title}: sketched Steihaug, steps", count_steps(steihaug), "steps")
    ratios = [a / b for a, b in zip(sketched, exact, strict=True)]
    report.add(f"{case.title}: sketched Steihaug / Newton", ratios, "x", at_most=SKETCH_AIM)


if __name__ == "__main__":
    main()
