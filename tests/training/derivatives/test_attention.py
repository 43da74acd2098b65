"""Attention in X and Y: derivatives by products, the best Y, identities with softmax regression, what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.derivatives.agreement import (
    check_derivatives,
    check_differences,
    draw,
    draw_distributions,
    measure_error,
)
from training.derivatives.attention import AttentionLoss
from training.derivatives.softmax import SoftmaxMatrix
from training.errors import ProblemRefused


def make_problem(
    rows: int = 6, columns: int = 5, sizes: tuple[int, ...] = (3, 2, 4, 2), weight: float = 0.1, seed: int = 1
) -> AttentionLoss:
    wide, deep, inner, outer = sizes
    data = (draw(seed, rows, wide), draw(seed + 1, columns, deep), draw(seed + 2, columns, inner))
    return AttentionLoss(*data, draw(seed + 3, rows, outer), weight)


def draw_point(problem: AttentionLoss, seed: int, scale: float = 0.5) -> Tensor:
    return scale * draw(seed, problem.size)


def write_residuals(problem: AttentionLoss, x: Tensor) -> Tensor:
    """Those of the paper, and those whose squares are the regulariser's."""
    split = problem.nonlinear_size
    x_DE, y_KO = x[:split].view(problem.x_shape), x[split:].view(problem.y_shape)
    scores = problem.a1 @ x_DE @ problem.a2.T
    left = torch.softmax(scores, 1) @ problem.a3 @ y_KO - problem.targets
    root = problem.weight**0.5
    return torch.cat([left.flatten(), root * scores.flatten(), root * y_KO.flatten()])


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    sizes=st.tuples(*[st.integers(1, 3)] * 4),
    weight=st.sampled_from([0.0, 1e-4, 0.5]),
    seed=st.integers(0, 10**6),
)
def test_derivatives_agree_with_autograd(
    rows: int, columns: int, sizes: tuple[int, ...], weight: float, seed: int
) -> None:
    problem = make_problem(rows, columns, sizes, weight, seed)
    x, v = draw_point(problem, seed + 5), draw_point(problem, seed + 6)
    check_derivatives(problem, lambda x: write_residuals(problem, x), x, v)


def test_derivatives_agree_with_differences() -> None:
    problem = make_problem()
    check_differences(problem, draw_point(problem, 7), draw_point(problem, 8))


def test_best_y_leaves_no_gradient_in_y() -> None:
    for weight in (0.0, 0.3):
        problem = make_problem(weight=weight)
        x = draw(9, problem.nonlinear_size)
        point = torch.cat([x, problem.solve_linear(x)])
        assert float(problem.differentiate(point)[problem.nonlinear_size :].norm()) < 1e-12


def test_best_y_is_the_shortest_where_several_are() -> None:
    problem = AttentionLoss(draw(1, 6, 2), draw(2, 5, 2), draw(3, 5, 1).expand(5, 3).clone(), draw(4, 6, 1))
    y = problem.solve_linear(draw(5, 4))
    assert float((y - y.mean()).abs().max()) < 1e-12
    point = torch.cat([draw(5, 4), y])
    v = torch.ones(3, dtype=torch.float64)
    solved = problem.solve_linear_hessian(point, v)
    assert measure_error(problem.make_hessian(point)[4:, 4:] @ solved, v) < 1e-8


def test_values_and_y_of_ones_are_softmax_regression() -> None:
    """A3 = I and Y = I: the gradient in X, and the Hessian, are those of row 3."""
    a1, a2, targets = draw(1, 5, 3), draw(2, 4, 2), draw_distributions(3, 5, 4)
    one = torch.eye(4, dtype=torch.float64)
    attention, softmax = AttentionLoss(a1, a2, one, targets), SoftmaxMatrix(a1, a2, targets)
    x = draw(4, 6)
    point = torch.cat([x, one.flatten()])
    assert attention.measure(point) == pytest.approx(softmax.measure(x), rel=1e-13)
    assert measure_error(attention.differentiate(point)[:6], softmax.differentiate(x)) < 1e-12
    assert measure_error(attention.make_hessian(point)[:6, :6], softmax.make_hessian(x)) < 1e-12


def test_starts_are_small_in_x_and_best_in_y() -> None:
    problem = make_problem()
    starts = problem.draw_starts(4, np.random.default_rng(1))
    again = problem.draw_starts(4, np.random.default_rng(1))
    assert all(torch.equal(a, b) for a, b in zip(starts, again, strict=True))
    for start in starts:
        x = start[: problem.nonlinear_size]
        assert float(x.abs().max()) < 0.06
        assert torch.equal(start[problem.nonlinear_size :], problem.solve_linear(x))


def test_large_scores_are_inside_and_huge_ones_are_not() -> None:
    problem = make_problem(weight=0.0)
    x = draw_point(problem, 7)
    split = problem.nonlinear_size
    x[:split] *= 1e5
    assert np.isfinite(problem.measure(x))
    assert bool(torch.isfinite(problem.make_hessian(x)).all())
    x[:split] *= 1e6
    assert problem.measure(x) == float("inf")
    assert problem.measure(x * float("nan")) == float("inf")
    with pytest.raises(ValueError, match="within the loss's domain"):
        problem.differentiate(x)
    with pytest.raises(ValueError, match="scores of at most"):
        problem.solve_linear(x[:split])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"keys": draw(1, 4, 2)}, "values: shape 4xn"),
        ({"targets": draw(1, 5, 2)}, "targets: shape 6xn"),
        ({"queries": draw(1, 6)}, "queries: shape nxn"),
        ({"values": draw(1, 5, 2).float()}, "values: float64"),
        ({"targets": draw(1, 6, 2) / 0}, "targets: finite"),
    ],
)
def test_bad_data_is_refused_by_its_name(changed: dict[str, Tensor], reason: str) -> None:
    data = {
        "queries": draw(1, 6, 3),
        "keys": draw(2, 5, 2),
        "values": draw(3, 5, 2),
        "targets": draw(4, 6, 2),
    }
    data |= changed
    with pytest.raises(ProblemRefused, match=reason):
        AttentionLoss(*data.values())
