"""Factors, scores, and pairs: the error is what was asked for, and what is counted is counted whole."""

import numpy as np
import pytest

from tests.training.kronecker.designs import draw_factor
from training.errors import ProblemRefused
from training.kronecker import spectral
from training.kronecker.factors import compute_leverage, open_factor
from training.kronecker.halving import Queries, compute_scores, count_levels, halve
from training.kronecker.sparsify import count_pairs, draw_rows, sparsify
from training.kronecker.spectral import compute_features, measure_error, measure_pairs

TINY = np.array([[1.0, 0], [0, 2], [1, 1]])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones(3), r"A: numbers \[n, d\] expected, float64 \[3\] came"),
        (np.array([["a"]]), r"numbers \[n, d\] expected"),
        (np.ones((2, 3)), "at least as many rows as its 3 columns expected, 2 came"),
        (np.ones((90, 65)), "1 to 64 columns expected, 65 came"),
        (np.array([[1.0], [np.nan]]), "finite numbers expected, row 1 has others"),
        (np.ones((5, 2)), "independent columns expected"),
        (np.zeros((5, 2)), "independent columns expected"),
        (TINY * [1, 1e-13], "a condition of at most 1e\\+12"),
    ],
)
def test_wrong_factors_are_refused(array: np.ndarray, said: str) -> None:
    with pytest.raises(ProblemRefused, match=said):
        open_factor(array, "A")


def test_leverage_of_a_product_is_the_product() -> None:
    first, second = draw_factor(9, 2), draw_factor(7, 3)
    whole = np.kron(first.rows, second.rows)
    q = np.linalg.qr(whole).Q
    product = np.outer(compute_leverage(first), compute_leverage(second)).ravel()
    assert np.allclose(product, (q * q).sum(1), atol=1e-12)
    assert compute_leverage(first).sum() == pytest.approx(2)


def test_error_by_factors_is_that_of_the_whole_product(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = draw_factor(9, 2), draw_factor(7, 3)
    rng = np.random.default_rng(1)
    i, j, w = rng.integers(0, 9, 40), rng.integers(0, 7, 40), rng.random(40)
    whole = np.kron(first.rows, second.rows)
    sketch = np.sqrt(w)[:, None] * whole[7 * i + j]
    root = np.linalg.inv(np.linalg.cholesky(whole.T @ whole))
    expected = np.abs(np.linalg.eigvalsh(root @ sketch.T @ sketch @ root.T) - 1).max()
    assert measure_error(compute_features(first, second, i, j), w) == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(spectral, "BLOCK", 7)
    assert measure_pairs(first, second, i, j, w) == pytest.approx(expected, abs=1e-9)


def test_scores_by_all_rows_are_leverage() -> None:
    factor = draw_factor(50, 3)
    assert np.allclose(compute_scores(factor.rows, factor.rows), compute_leverage(factor))


def test_row_outside_of_the_span_has_the_highest_score() -> None:
    basis = np.array([[3.0, 0, 0], [0, 3, 0]])
    scores = compute_scores(np.array([[1.0, 0, 0], [0, 0, 1e-3], [1, 1, 1e-6], [9, 0, 0]]), basis)
    assert np.allclose(scores, [1 / 9, 1, 1, 1])
    assert compute_scores(basis, np.zeros((0, 3))).tolist() == [1, 1]


@pytest.mark.parametrize("heavy", [0, 3])
def test_halving_keeps_few_rows_that_say_what_half_says(heavy: int) -> None:
    factor = draw_factor(8000, 3, heavy=heavy)
    queries = Queries()
    basis = halve(factor.rows, queries, np.random.default_rng(1))
    assert len(basis) < 200
    root = np.linalg.inv(factor.triangle)
    values = np.linalg.eigvalsh(root.T @ basis.T @ basis @ root)
    assert 0.1 < values[0] < values[-1] < 1.6
    assert list(queries.stages) == ["rows read", "halving, finding", "halving, certifying"]


def test_too_few_rows_are_all_read() -> None:
    factor = draw_factor(20, 3)
    assert count_levels(20, 3) == 0
    draws = draw_rows(factor, 100, np.random.default_rng(1))
    assert not draws.is_halved
    assert draws.queries.stages == {"rows read": 20}


@pytest.mark.parametrize("heavy", [0, 3])
def test_error_is_within_what_was_asked_for(heavy: int) -> None:
    first, second = draw_factor(5000, 3, 1, heavy), draw_factor(3000, 4, 2, heavy)
    errors = []
    for seed in range(20):
        found = sparsify(first, second, 0.3, np.random.default_rng(seed))
        assert len(found.weights) == len(found.first) == len(found.second)
        features = compute_features(first, second, found.first, found.second)
        errors.append(measure_error(features, found.weights**2))
    assert sum(error <= 0.3 for error in errors) >= 19


def test_pairs_are_unbiased() -> None:
    first, second = draw_factor(2000, 2), draw_factor(2000, 2, 2)
    total, runs = np.zeros((4, 4)), 60
    for seed in range(runs):
        found = sparsify(first, second, 0.5, np.random.default_rng(seed))
        features = compute_features(first, second, found.first, found.second)
        total += features.T @ (found.weights[:, None] ** 2 * features) / runs
    assert np.abs(np.linalg.eigvalsh(total) - 1).max() < 0.06


def test_same_seed_gives_the_same_pairs_and_queries() -> None:
    first, second = draw_factor(3000, 3), draw_factor(3000, 3, 2)
    one, two = (sparsify(first, second, 0.5, np.random.default_rng(4)) for _ in range(2))
    assert (one.first == two.first).all()
    assert (one.weights == two.weights).all()
    assert one.queries == two.queries == sum(sum(each.queries.stages.values()) for each in one.draws)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, float("nan"), -0.1])
def test_senseless_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(ProblemRefused, match=r"epsilon: 0.01 to 0.9 expected"):
        count_pairs(draw_factor(20, 2), draw_factor(20, 2), epsilon)


def test_too_many_pairs_are_refused() -> None:
    with pytest.raises(ProblemRefused, match="epsilon: at most 4,194,304 pairs expected"):
        count_pairs(draw_factor(100, 20), draw_factor(100, 20), 0.01)
