"""Local steps and averaging: where they arrive, by how much users who differ pull them off, and what control does."""

import math
from itertools import islice

import pytest
import torch
from torch import Tensor

from tests.training.derivatives.agreement import draw, draw_distributions, measure_error
from tests.training.solvers.problems import Quadratic
from training.derivatives.federated import MeanLoss
from training.derivatives.softmax import SoftmaxVector
from training.solvers.federated import Federation, Round, choose_federation, measure_smoothness, run_federated
from training.solvers.newton import run_newton
from training.solvers.outcome import run_to_end

SIZE = 4


class Bowl(Quadratic):
    """A user whose own optimum is elsewhere."""

    def __init__(self, hessian: Tensor, centre: Tensor) -> None:
        super().__init__(hessian)
        self.centre = centre

    def measure(self, x: Tensor) -> float:
        return super().measure(x - self.centre)

    def differentiate(self, x: Tensor) -> Tensor:
        return super().differentiate(x - self.centre)


def make_users(count: int = 3, apart: float = 1.0) -> MeanLoss:
    users = []
    for user in range(count):
        root = draw(user, SIZE, SIZE)
        hessian = torch.eye(SIZE, dtype=torch.float64) + 0.3 * root @ root.T
        users.append(Bowl(hessian, apart * draw(50 + user, SIZE)))
    return MeanLoss(users)


def find_optimum(users: MeanLoss) -> Tensor:
    zero = torch.zeros(users.size, dtype=torch.float64)
    return torch.linalg.solve(users.make_hessian(zero), -users.differentiate(zero))


def follow(users: MeanLoss, plan: Federation, rounds: int) -> list[Round]:
    return list(islice(run_federated(users, torch.ones(users.size, dtype=torch.float64), plan), rounds + 1))


def test_one_local_step_is_a_step_of_the_pooled_gradient() -> None:
    users = make_users()
    seen = follow(users, Federation(1, 0.02, 5.0, server_rate=1.5), 2)
    x = seen[0].x
    for reached in seen[1:]:
        x = x - 0.03 * users.differentiate(x)
        assert measure_error(reached.x, x) < 1e-14


def test_users_who_differ_pull_plain_averaging_off_by_the_order_of_the_drift() -> None:
    users = make_users()
    best, start = users.measure(find_optimum(users)), torch.ones(SIZE, dtype=torch.float64)
    gaps, drifts = [], []
    for faster in (1, 2):
        plan = choose_federation(users, start, 10, server_rate=4.0)
        plan = Federation(10, faster * plan.local_rate, plan.smoothness, 4.0)
        end = follow(users, plan, 300)[-1]
        gaps.append(end.loss - best)
        drifts.append(end.drift_term)
    assert 1e-9 < gaps[0] < drifts[0]
    assert gaps[1] / gaps[0] == pytest.approx(drifts[1] / drifts[0], rel=0.35)  # both of the rate squared


def test_control_variates_take_the_drift_out() -> None:
    users = make_users()
    plan = choose_federation(
        users, torch.ones(SIZE, dtype=torch.float64), 10, server_rate=4.0, has_control=True
    )
    seen = follow(users, plan, 300)
    assert measure_error(seen[-1].x, find_optimum(users)) < 1e-10
    assert seen[-1].spread < 1e-20
    assert seen[-1].heterogeneity > 0.1  # the users still differ


def test_users_alike_do_not_drift() -> None:
    user = make_users(1).users[0]
    users = MeanLoss([user, user])
    seen = follow(users, choose_federation(users, torch.ones(SIZE, dtype=torch.float64), 5), 5)
    assert all(r.heterogeneity == r.drift_term == r.spread == 0 for r in seen)


def test_spread_is_of_the_size_of_the_drift_term() -> None:
    users = make_users()
    first = follow(users, choose_federation(users, torch.ones(SIZE, dtype=torch.float64), 5), 1)
    drift = first[1].spread * measure_smoothness(users, first[0].x) ** 2
    assert 0.5 * first[0].drift_term < drift < 1.1 * first[0].drift_term


def test_softmax_users_stay_below_the_theorems_bound_and_the_drift() -> None:
    users = make_softmax_users()
    start = torch.ones(SIZE, dtype=torch.float64)
    best = run_to_end(run_newton(users, start))
    values = torch.linalg.eigvalsh(users.make_hessian(best.x))
    plan = choose_federation(users, start, 5)
    for seen in follow(users, plan, 60):
        time = float(values[0]) * plan.local_rate * plan.local_steps * seen.number
        bound = 0.5 * plan.smoothness * float(((start - best.x) ** 2).sum()) * math.exp(-time)
        assert seen.loss - best.loss <= bound + seen.drift_term


def make_softmax_users() -> MeanLoss:
    weight = torch.full((20,), 0.3, dtype=torch.float64)
    return MeanLoss(
        [SoftmaxVector(draw(u, 20, SIZE), draw_distributions(9 + u, 20), weight) for u in range(3)]
    )


@pytest.mark.parametrize("rate", [10.0, 1e200])
def test_rates_too_large_end_as_diverged_at_the_last_finite_point(rate: float) -> None:
    seen = follow(make_softmax_users(), Federation(5, rate, 1.0), 100)
    assert [r.diverged for r in seen] == [False] * (len(seen) - 1) + [True]
    assert len(seen) < 50
    assert bool(torch.isfinite(seen[-1].x).all())
    assert torch.equal(seen[-1].x, seen[-2].x)


def test_start_outside_of_the_domain_is_refused() -> None:
    users = make_softmax_users()
    with pytest.raises(ValueError, match="start: a point within"):
        next(run_federated(users, torch.full((SIZE,), 1e12, dtype=torch.float64), Federation(1, 0.1, 1.0)))


@pytest.mark.parametrize("name", ["local_steps", "local_rate", "smoothness", "server_rate"])
@pytest.mark.parametrize("value", [0, float("inf"), float("nan")])
def test_plans_without_sense_are_refused_by_name(name: str, value: float) -> None:
    given = {"local_steps": 1, "local_rate": 0.1, "smoothness": 1.0} | {name: value}
    with pytest.raises(ValueError, match=f"{name}: a number above 0"):
        Federation(**given)
