"""Kernel Gauss-Newton and the theory's descent: they arrive, at the predicted rate, or say why not."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.derivatives.agreement import measure_error
from training.derivatives.exponential import ExponentialLoss, normalise
from training.solvers.kernel import (
    KernelStage,
    NotInterpolable,
    draw_weights,
    measure_deviation,
    measure_drift,
    measure_spectrum,
    run_gradient_descent,
    run_kernel_newton,
)


def make_problem(inputs: Tensor, targets: Tensor, neurons: int) -> tuple[ExponentialLoss, Tensor]:
    start, signs = draw_weights(inputs.shape[1], neurons, np.random.default_rng(3))
    return ExponentialLoss(inputs, targets, signs), start


def draw_problem(samples: int, wide: int, neurons: int) -> tuple[ExponentialLoss, Tensor]:
    rng = np.random.default_rng(4)
    inputs, _ = normalise(torch.from_numpy(rng.standard_normal((samples, wide))))
    return make_problem(inputs, torch.from_numpy(rng.uniform(-1, 1, samples)), neurons)


def follow(stages: Iterator[KernelStage], enough: float, most: int = 1000) -> list[KernelStage]:
    seen = []
    for stage in stages:
        seen.append(stage)
        if stage.residual_norm <= enough or stage.steps == most:
            break
    return seen


def make_kernel(loss: ExponentialLoss, weights: Tensor) -> Tensor:
    active = loss.activate(weights)
    assert active is not None
    return loss.make_kernel(active)


def test_kernel_newton_converges_quadratically() -> None:
    stages = follow(run_kernel_newton(*draw_problem(10, 5, 1024)), 1e-9)
    assert stages[-1].residual_norm <= 1e-9
    assert stages[-1].steps <= 6
    assert stages[0].steps == 0


def test_kernel_newton_step_is_that_of_least_squares() -> None:
    loss, start = draw_problem(6, 3, 40)
    active = loss.activate(start)
    assert active is not None
    expected = torch.linalg.lstsq(
        loss.make_jacobian(start.flatten()), loss.get_residual(active), driver="gelsd"
    )
    stages = follow(run_kernel_newton(loss, start), 0, 1)
    moved = (start - stages[1].weights_DM).flatten() / stages[1].rate
    assert measure_error(moved, expected.solution) < 1e-10


def test_kernel_newton_ends_where_the_residual_falls_no_more() -> None:
    stages = follow(run_kernel_newton(*draw_problem(6, 4, 256)), 0)
    assert stages[-1].steps < 40
    assert stages[-1].residual_norm < 1e-10


def test_descent_falls_no_slower_than_predicted() -> None:
    loss, start = draw_problem(8, 5, 8192)
    spectrum = measure_spectrum(loss, make_kernel(loss, start))
    stages = follow(run_gradient_descent(loss, start), 1e-6)
    assert stages[-1].residual_norm <= 1e-6
    half = stages[len(stages) // 2]
    steps = stages[-1].steps - half.steps
    observed = (stages[-1].residual_norm / half.residual_norm) ** (1 / steps)
    assert observed <= spectrum.shrinkage + 0.02


def test_drift_and_deviation_fall_as_the_net_widens() -> None:
    drifts, deviations = [], []
    for neurons in (128, 8192):
        loss, start = draw_problem(6, 4, neurons)
        end = follow(run_gradient_descent(loss, start), 1e-4)[-1]
        drifts.append(measure_drift(end.weights_DM, start))
        deviations.append(measure_deviation(loss, make_kernel(loss, start)))
    assert drifts[1] < drifts[0] / 2
    assert deviations[1] < deviations[0]


def test_descent_halves_a_rate_that_overflows_or_raises_the_residual() -> None:
    loss, start = draw_problem(6, 4, 256)
    stages = follow(run_gradient_descent(loss, start, rate=1e9), 1e-3, 400)
    norms = [stage.residual_norm for stage in stages]
    assert all(after < before for before, after in pairwise(norms))
    assert stages[-1].rate < 1
    assert bool(torch.isfinite(stages[-1].weights_DM).all())


def test_equal_inputs_with_different_targets_are_not_interpolable() -> None:
    inputs, _ = normalise(torch.tensor([[1.0, 2], [3, -1], [2, 4]], dtype=torch.float64))
    loss, start = make_problem(inputs, torch.tensor([0.5, 0, -0.5], dtype=torch.float64), 64)
    for run in (run_kernel_newton, run_gradient_descent):
        with pytest.raises(NotInterpolable, match="inputs 0 and 2 are equal, their targets differ by 1:"):
            run(loss, start)


def test_more_samples_than_weights_are_not_interpolable() -> None:
    loss, start = draw_problem(9, 2, 4)
    with pytest.raises(NotInterpolable, match="9 samples and only 8 weights"):
        run_kernel_newton(loss, start)


def test_start_outside_of_the_domain_is_refused() -> None:
    loss, start = draw_problem(4, 2, 16)
    with pytest.raises(ValueError, match="exponents of at most 40"):
        run_kernel_newton(loss, start * 100)
    with pytest.raises(ValueError, match=r"shape \[2, 16\] expected"):
        run_gradient_descent(loss, start.T)
    with pytest.raises(ValueError, match="rate: above 0"):
        run_gradient_descent(loss, start, rate=0.0)
