"""Row 5, federated local steps: how near 8 users come to the pooled optimum in 100 rounds, with and without control.

Users' targets come from points that differ, so K > 1 local steps drift. Source: after 2308.10502.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from designs import make_rng
from figures import Report, finish, parse_options
from torch import Tensor

from training.derivatives.federated import MeanLoss
from training.derivatives.softmax import SoftmaxVector
from training.solvers.federated import Round, choose_federation, run_federated
from training.solvers.newton import run_newton
from training.solvers.outcome import run_to_end

USERS, SAMPLES, WIDE, LOCAL_STEPS = 8, 200, 10, 5
ROUNDS = 100
WEIGHT_SQUARED = 0.05
ENTRY_DEVIATION = 0.1**0.5  # of A: so that the mean curvature, w^2 A'A, is about 1
SERVER_RATE = (
    4.0  # with the theorem's local rate, K steps together are half of the longest that pooled descent takes
)
PERSONAL = 0.5  # of a user's own point beside the common one
TIMES = 5
TITLE = f"{USERS} users n={SAMPLES} d={WIDE}"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("row_federated", __doc__, arguments)
    report = Report("row_federated", options.seed, options.quick)
    measure(report, options.quick)
    finish(report, options)


def measure(report: Report, quick: bool) -> None:
    """Add the figures of row 5's local steps; quick or not, they take seconds."""
    torch.set_num_threads(1)  # only this thread's time counts
    users = make_users(report.seed)
    start = torch.ones(WIDE, dtype=torch.float64)
    best = run_to_end(run_newton(users, start)).loss
    report.add_one(f"{TITLE}: pooled Newton, loss", best, "")
    for server_rate, has_control in ((1.0, False), (SERVER_RATE, False), (SERVER_RATE, True)):
        plan = choose_federation(users, start, LOCAL_STEPS, server_rate, has_control)
        seen = list(islice(run_federated(users, start, plan), ROUNDS + 1))
        control = ", control variates" if has_control else ""
        title = f"{TITLE} K={LOCAL_STEPS}, server rate {server_rate:g}{control}"
        add_figures(report, title, seen, best, server_rate == SERVER_RATE)
        bound = bound_gap(users, start, plan.local_rate * server_rate * LOCAL_STEPS * ROUNDS)
        report.add_one(f"{title}: the theorem's bound without drift", bound, "")
    plan = choose_federation(users, start, LOCAL_STEPS)
    times = report.time(
        {
            "rounds": lambda: take(run_federated(users, start, plan), ROUNDS + 1),
            "newton": lambda: run_to_end(run_newton(users, start)),
        },
        TIMES,
    )
    report.add(
        f"{TITLE} K={LOCAL_STEPS}: a round, no chain", [s * 1e3 / ROUNDS for s in times["rounds"]], "ms"
    )
    report.add(f"{TITLE}: pooled Newton", [s * 1e3 for s in times["newton"]], "ms")


def add_figures(report: Report, title: str, seen: Sequence[Round], best: float, aimed: bool) -> None:
    end = seen[-1]
    report.add_one(
        f"{title}: gap after {end.number} rounds", abs(end.loss - best), "", at_most=1e-8 if aimed else None
    )
    report.add_one(f"{title}: gap at the start", seen[0].loss - best, "")
    report.add_one(f"{title}: gradient of the mean loss, norm", end.gradient_norm, "")
    report.add_one(f"{title}: heterogeneity, users' gradients about their mean", end.heterogeneity, "")
    report.add_one(f"{title}: drift term (eta K L heterogeneity)^2", end.drift_term, "")
    report.add_one(f"{title}: spread of users' ends, squared", end.spread, "")


def make_users(seed: str) -> MeanLoss:
    rng = make_rng(seed)
    common = rng.standard_normal(WIDE)
    return MeanLoss([make_user(rng, common) for _ in range(USERS)])


def make_user(rng: np.random.Generator, common: np.ndarray) -> SoftmaxVector:
    inputs = torch.from_numpy(ENTRY_DEVIATION * rng.standard_normal((SAMPLES, WIDE)))
    own = torch.from_numpy(common + PERSONAL * rng.standard_normal(WIDE))
    weights = torch.full((SAMPLES,), WEIGHT_SQUARED**0.5, dtype=torch.float64)
    return SoftmaxVector(inputs, torch.softmax(inputs @ own, 0), weights)


def bound_gap(users: MeanLoss, start: Tensor, time: float) -> float:
    """(L/2) |x0 - x*|^2 exp(-mu eta K T), curvatures as they are at the optimum."""
    x = run_to_end(run_newton(users, start)).x
    values = torch.linalg.eigvalsh(users.make_hessian(x))
    return float(0.5 * values[-1] * ((start - x) ** 2).sum() * torch.exp(-values[0] * time))


def take(rounds: Iterator[Round], count: int) -> None:
    for _ in islice(rounds, count):
        pass


if __name__ == "__main__":
    main()
