"""A wide net of exponentials: its derivatives, its kernel, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.derivatives.agreement import check_derivatives, check_differences, measure_error
from training.derivatives.exponential import ExponentialLoss, make_limit_kernel, normalise
from training.errors import ProblemRefused
from training.solvers.kernel import draw_weights


def make_problem(
    samples: int, wide: int, neurons: int, seed: int = 1, scale: float = 1.0
) -> tuple[ExponentialLoss, Tensor]:
    rng = np.random.default_rng(seed)
    inputs, _ = normalise(torch.from_numpy(rng.standard_normal((samples, wide))))
    targets = torch.from_numpy(rng.uniform(-1, 1, samples))
    start, signs = draw_weights(wide, neurons, rng)
    return ExponentialLoss(inputs, targets, signs), (scale * start).flatten()


def write_residuals(loss: ExponentialLoss, x: Tensor) -> Tensor:
    return torch.exp(loss.inputs_ND @ x.view(loss.shape)) @ loss.signs_M - loss.targets_N


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 6),
    wide=st.integers(1, 4),
    neurons=st.integers(1, 8),
    seed=st.integers(0, 2**32),
    scale=st.floats(0.01, 3),
)
def test_derivatives_agree_with_autograd(
    samples: int, wide: int, neurons: int, seed: int, scale: float
) -> None:
    loss, x = make_problem(samples, wide, neurons, seed, scale)
    v = torch.from_numpy(np.random.default_rng(seed + 1).standard_normal(loss.size))
    check_derivatives(loss, lambda x: write_residuals(loss, x), x, v)


def test_derivatives_agree_with_differences() -> None:
    loss, x = make_problem(5, 3, 7)
    check_differences(loss, x, torch.ones(loss.size, dtype=torch.float64))


def test_kernel_is_jacobian_times_its_transpose() -> None:
    loss, x = make_problem(5, 3, 7)
    active = loss.activate(x.view(loss.shape))
    assert active is not None
    jacobian = loss.make_jacobian(x)
    assert measure_error(loss.make_kernel(active), jacobian @ jacobian.T) < 1e-13


def test_limit_kernel_is_approached_as_the_net_widens() -> None:
    loss, x = make_problem(4, 3, 400_000)
    active = loss.activate(x.view(loss.shape))
    assert active is not None
    limit = make_limit_kernel(loss.inputs_ND)
    assert measure_error(loss.make_kernel(active) / 400_000, limit) < 0.05
    t = float(loss.inputs_ND[0] @ loss.inputs_ND[1])
    assert float(limit[0, 1]) == pytest.approx(t * np.exp(1 + t))


def test_loss_outside_of_the_domain_is_infinite_and_has_no_gradient() -> None:
    loss, x = make_problem(3, 2, 4)
    assert loss.measure(x * 1000) == float("inf")
    assert loss.measure(x * float("nan")) == float("inf")
    with pytest.raises(ValueError, match="exponents of at most 60"):
        loss.differentiate(x * 1000)


def test_normalise_keeps_norms_and_refuses_what_has_no_direction() -> None:
    inputs = torch.tensor([[3.0, 4.0], [0.5, 0.0]], dtype=torch.float64)
    unit, norms = normalise(inputs)
    assert norms.tolist() == [5.0, 0.5]
    assert measure_error(unit * norms[:, None], inputs) < 1e-15
    with pytest.raises(ProblemRefused, match="row 1 has 0"):
        normalise(torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    with pytest.raises(ProblemRefused, match="row 0 has 2000"):
        normalise(torch.tensor([[2000.0]], dtype=torch.float64))


ONE = torch.ones(1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("inputs", "targets", "signs", "reason"),
    [
        (torch.ones(2, 1), ONE, ONE, "inputs: float64 expected"),
        (ONE, ONE, ONE, "inputs: shape nxn"),
        (torch.full((1, 1), torch.nan, dtype=torch.float64), ONE, ONE, "inputs: finite numbers"),
        (torch.ones(2, 1, dtype=torch.float64), ONE, ONE, "targets: shape 2 expected"),
        (torch.ones(1, 1, dtype=torch.float64), ONE, 0 * ONE, "signs: each -1 or"),
        (torch.ones(1, 1, dtype=torch.float64), ONE[:0], ONE, "targets: shape 1 expected"),
    ],
)
def test_bad_input_is_refused_by_its_name(
    inputs: Tensor, targets: Tensor, signs: Tensor, reason: str
) -> None:
    with pytest.raises(ProblemRefused, match=reason):
        ExponentialLoss(inputs, targets, signs)
