"""Softmax regression's derivatives, its forms among each other, its domain."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.derivatives.agreement import (
    PRECISION,
    Map,
    check_derivatives,
    check_differences,
    draw,
    draw_distributions,
    measure_error,
    tame,
)
from training.derivatives.hyperbolic import Hyperbolic
from training.derivatives.rescaled import LIMIT
from training.derivatives.softmax import RescaledSoftmaxMatrix, SoftmaxMatrix, SoftmaxVector
from training.errors import ProblemRefused

SIZES = st.integers(1, 4)
LENGTHS = st.integers(2, 7)
SEEDS = st.integers(0, 2**30)
WEIGHTS = st.sampled_from([0.0, 1e-3, 0.7])
MATRICES = [SoftmaxMatrix, RescaledSoftmaxMatrix]
Matrix = type[SoftmaxMatrix] | type[RescaledSoftmaxMatrix]


def draw_problem(n1: int, n2: int, d1: int, d2: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A1, A2, B, X."""
    return (
        draw(seed, n1, d1),
        draw(seed + 1, n2, d2),
        draw_distributions(seed + 2, n1, n2),
        0.5 * draw(seed + 3, d1 * d2),
    )


def make_residuals(kind: Matrix, a1: Tensor, a2: Tensor, targets: Tensor, weight: float) -> Map:
    def measure_residuals(x: Tensor) -> Tensor:
        scores = a1 @ x.view(a1.shape[1], a2.shape[1]) @ a2.T
        values = torch.exp(scores)
        sums = values.sum(1, keepdim=True)
        left = values / sums - targets if kind is SoftmaxMatrix else values - sums * targets
        return torch.cat([left.flatten(), math.sqrt(weight) * scores.flatten()])

    return measure_residuals


@pytest.mark.parametrize("kind", MATRICES)
@settings(max_examples=15)
@given(n1=st.integers(1, 6), n2=LENGTHS, d1=SIZES, d2=SIZES, weight=WEIGHTS, seed=SEEDS)
def test_matrix_derivatives_equal_autograd(
    kind: Matrix, n1: int, n2: int, d1: int, d2: int, weight: float, seed: int
) -> None:
    a1, a2, targets, x = draw_problem(n1, n2, d1, d2, seed)
    problem = kind(a1, a2, targets, weight)
    residuals, v = make_residuals(kind, a1, a2, targets, weight), draw(seed + 4, d1 * d2)
    check_derivatives(problem, residuals, tame(problem, x), v)


@settings(max_examples=15)
@given(n=LENGTHS, d=SIZES, weighted=st.booleans(), seed=SEEDS)
def test_vector_derivatives_equal_autograd(n: int, d: int, weighted: bool, seed: int) -> None:
    a, targets, weights = draw(seed, n, d), draw_distributions(seed + 1, n), draw(seed + 2, n)
    problem = SoftmaxVector(a, targets, weights if weighted else None)

    def residuals(x: Tensor) -> Tensor:
        left = torch.softmax(a @ x, 0) - targets
        return torch.cat([left, weights * (a @ x)]) if weighted else left

    x, v = tame(problem, draw(seed + 3, d)), draw(seed + 4, d)
    check_derivatives(problem, residuals, x, v)


@pytest.mark.parametrize("kind", MATRICES)
def test_matrix_derivatives_agree_with_finite_differences(kind: Matrix) -> None:
    a1, a2, targets, x = draw_problem(5, 6, 3, 2, 1)
    check_differences(kind(a1, a2, targets, 0.1), x, draw(9, 6))


@settings(max_examples=10)
@given(n=LENGTHS, d=SIZES, seed=SEEDS)
def test_one_row_of_ones_is_the_vector_form(n: int, d: int, seed: int) -> None:
    """Row 3 with A1 = (1) and X a row is row 5; rescaled it is row 9's exp."""
    a, targets, x = draw(seed, n, d), draw_distributions(seed + 1, n), draw(seed + 2, d)
    weights = torch.full((n,), 0.3, dtype=torch.float64)
    one, square = torch.ones((1, 1), dtype=torch.float64), 0.3**2
    pairs = (
        (SoftmaxMatrix(one, a, targets[None], square), SoftmaxVector(a, targets, weights)),
        (RescaledSoftmaxMatrix(one, a, targets[None], square), Hyperbolic("exp", a, targets, weights)),
    )
    for matrix, vector in pairs:
        assert abs(matrix.measure(x) - vector.measure(x)) <= PRECISION * vector.measure(x)
        assert measure_error(matrix.differentiate(x), vector.differentiate(x)) <= PRECISION
        assert measure_error(matrix.make_hessian(x), vector.make_hessian(x)) <= PRECISION


def test_matrix_is_the_vector_form_over_kronecker_rows() -> None:
    a1, a2, targets, x = draw_problem(4, 5, 2, 3, 7)
    rows = [SoftmaxVector(torch.kron(a1[j : j + 1], a2), targets[j]) for j in range(4)]
    hessian = torch.stack([row.make_hessian(x) for row in rows]).sum(0)
    assert measure_error(SoftmaxMatrix(a1, a2, targets).make_hessian(x), hessian) <= PRECISION


def test_two_points_in_turns_keep_their_derivatives() -> None:
    a1, a2, targets, x = draw_problem(4, 5, 2, 3, 7)
    problem, fresh = SoftmaxMatrix(a1, a2, targets, 0.1), SoftmaxMatrix(a1, a2, targets, 0.1)
    before = problem.differentiate(x)
    for scale in (2.0, 3.0, 4.0):
        problem.measure(scale * x)
    assert torch.equal(problem.differentiate(x), before)
    moved = x.clone()
    problem.measure(moved)
    moved *= 2  # written to in place: a caller may
    assert problem.measure(moved) == fresh.measure(2 * x)


def test_rescaled_scores_beyond_the_limit_are_outside_of_the_domain() -> None:
    a1, a2, targets, x = draw_problem(4, 5, 2, 3, 7)
    problem = RescaledSoftmaxMatrix(a1, a2, targets)
    scale = LIMIT / float(problem.compute_scores(x).abs().max())
    assert math.isfinite(problem.measure(0.999 * scale * x))
    assert problem.measure(1.001 * scale * x) == math.inf
    with pytest.raises(ValueError, match="within the loss's domain"):
        problem.differentiate(1.001 * scale * x)


def test_softmax_takes_scores_of_any_size() -> None:
    a1, a2, targets, x = draw_problem(4, 5, 2, 3, 7)
    problem = SoftmaxMatrix(a1, a2, targets)
    assert math.isfinite(problem.measure(1e6 * x))
    assert problem.measure(1e10 * x) == math.inf
    assert problem.measure(math.nan * x) == math.inf


@pytest.mark.parametrize("kind", MATRICES)
def test_bad_data_is_refused_by_field(kind: Matrix) -> None:
    a1, a2, targets, _ = draw_problem(4, 5, 2, 3, 7)
    cases = (
        ("inputs", (a1 * math.nan, a2, targets, 0.0)),
        ("inputs", (a1[:0], a2, targets, 0.0)),
        ("keys", (a1, a2.float(), targets, 0.0)),
        ("targets", (a1, a2, targets.T, 0.0)),
        ("weight", (a1, a2, targets, -1.0)),
    )
    for field, arguments in cases:
        with pytest.raises(ProblemRefused) as refused:
            kind(*arguments)
        assert refused.value.field == field


def test_targets_that_no_softmax_reaches_are_doubted_not_refused() -> None:
    a1, a2, targets, _ = draw_problem(4, 5, 2, 3, 7)
    assert SoftmaxMatrix(a1, a2, targets).doubts == ()
    off = targets.clone()
    off[0] *= 2
    off[1, 0] -= 2
    negative, unequal = SoftmaxMatrix(a1, a2, off).doubts
    assert negative.startswith("1 rows")
    assert unequal.startswith("2 rows")
