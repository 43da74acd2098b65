"""Federated local steps: users with data of their own take K gradient steps each, a server averages how they moved.

From the server's x, K times: x_u <- x_u - eta_l grad L_u(x_u); then x <- x + eta_g mean over u of (x_u - x).
Where users differ and K > 1, each drifts to its own optimum, and the fixed point is not the optimum of the mean: by the
order of (eta_l K L)^2 heterogeneity^2. A control variate (SCAFFOLD) takes the drift out.

Sources: after 2308.10502; Karimireddy et al., SCAFFOLD (2020), option II of its control variates.

Shapes: U users, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from training.derivatives.federated import MeanLoss
from training.exact.late import torch
from training.solvers.smooth import SmoothLoss

if TYPE_CHECKING:
    from torch import Tensor

SAFETY = 8  # eta_l = 1 / (8 L K): the step the convergence theorem asks for
DIVERGED = 1e3  # times the loss at the start, or one not finite: rates too large


@dataclass(frozen=True, slots=True)
class Federation:
    """How the users work together. All above 0; `smoothness` is L, the largest curvature of any user's loss."""

    local_steps: int
    local_rate: float
    smoothness: float
    server_rate: float = 1.0
    has_control: bool = False

    def __post_init__(self) -> None:
        for name in ("local_steps", "local_rate", "smoothness", "server_rate"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}: a number above 0 expected, got {value}")


@dataclass(frozen=True, slots=True)
class Round:
    """Where a federation is after `number` rounds.

    `heterogeneity`: the root mean square of |grad L_u - grad L| there. `drift_term`: (eta_l K L heterogeneity)^2, what
    the theory says of the drift. `spread`: mean |x_u - mean x_u|^2 of where the round's local steps ended, 0 at the
    start; times L^2, what the drift was. With `diverged` it is the last round, and x the one before it once more.
    """

    number: int
    x: Tensor
    loss: float
    gradient_norm: float
    heterogeneity: float
    drift_term: float
    spread: float
    diverged: bool = False


def choose_federation(
    users: MeanLoss, x: Tensor, local_steps: int, server_rate: float = 1.0, has_control: bool = False
) -> Federation:
    """The theorem's local rate for curvatures as they are at x. Raises ValueError where there are none."""
    smoothness = measure_smoothness(users, x)
    if smoothness == 0:
        raise ValueError("x: a point expected where some user's loss bends, every Hessian is 0 there")
    rate = 1 / (SAFETY * smoothness * local_steps)
    return Federation(local_steps, rate, smoothness, server_rate, has_control)


def measure_smoothness(users: MeanLoss, x: Tensor) -> float:
    """The largest absolute eigenvalue of any user's Hessian at x."""
    return max(float(torch.linalg.eigvalsh(user.make_hessian(x)).abs().max()) for user in users.users)


def run_federated(users: MeanLoss, start: Tensor, plan: Federation) -> Iterator[Round]:
    """Yield the start and every round after it, until one diverges: the caller looks and stops.

    Raises ValueError for a start outside of a user's domain.
    """
    x, spread, number = start.clone(), 0.0, 0
    controls_UP = torch.zeros(len(users.users), users.size, dtype=torch.float64)
    seen = _look(users, x, plan, number, spread)
    if not math.isfinite(seen.loss):
        raise ValueError("start: a point within every user's domain expected, its loss is not finite")
    most = DIVERGED * seen.loss
    while True:
        yield seen
        ends_UP = _run_locally(users, x, controls_UP, plan)
        moved = None if ends_UP is None else x + plan.server_rate * (ends_UP - x).mean(0)
        if ends_UP is None or moved is None or not users.measure(moved) <= most:
            yield replace(seen, diverged=True)
            return
        if plan.has_control:
            controls_UP = _update_controls(controls_UP, x, ends_UP, plan)
        x, number = moved, number + 1
        spread = float(((ends_UP - ends_UP.mean(0)) ** 2).sum(1).mean())
        seen = _look(users, x, plan, number, spread)


def _run_locally(users: MeanLoss, x: Tensor, controls_UP: Tensor, plan: Federation) -> Tensor | None:
    """Where every user ends [U, P]; None if one leaves its domain."""
    common = controls_UP.mean(0)
    ends = []
    for user, control in zip(users.users, controls_UP, strict=True):
        end = _walk(user, x, common - control, plan)
        if end is None:
            return None
        ends.append(end)
    return torch.stack(ends)


def _walk(user: SmoothLoss, x: Tensor, correction: Tensor, plan: Federation) -> Tensor | None:
    for _ in range(plan.local_steps):
        if not math.isfinite(user.measure(x)):
            return None
        x = x - plan.local_rate * (user.differentiate(x) + correction)
    return x


def _update_controls(controls_UP: Tensor, x: Tensor, ends_UP: Tensor, plan: Federation) -> Tensor:
    """Each user's mean gradient of the round, as its steps tell it."""
    return controls_UP - controls_UP.mean(0) + (x - ends_UP) / (plan.local_steps * plan.local_rate)


def _look(users: MeanLoss, x: Tensor, plan: Federation, number: int, spread: float) -> Round:
    loss = users.measure(x)
    if not math.isfinite(loss):
        return Round(number, x, loss, math.nan, math.nan, math.nan, spread)
    gradients_UP = torch.stack([user.differentiate(x) for user in users.users])
    gradient = gradients_UP.mean(0)
    apart = math.sqrt(float(((gradients_UP - gradient) ** 2).sum(1).mean()))
    drift = plan.local_rate * plan.local_steps * plan.smoothness * apart
    return Round(number, x, loss, float(gradient.norm()), apart, drift * drift, spread)
