"""Settlement's arithmetic against fractions, and the rules of its line search."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.exact.integers import clip_to_median
from training.settlement import SCALES, merge_deltas, move_weights, search_line

LIMIT = 2**27 - 1
deltas = st.lists(st.lists(st.integers(-(2**28), 2**28), min_size=3, max_size=3), min_size=1, max_size=7)


def arrays(rows: list[list[int]]) -> list[np.ndarray]:
    return [np.array(row, np.int64) for row in rows]


@given(deltas)
def test_merge_is_clip_then_mean_in_integers(rows: list[list[int]]) -> None:
    norms = [sum(x * x for x in row) for row in rows]
    median = sorted(norms)[(len(rows) - 1) // 2]
    clipped = []
    for row, norm in zip(rows, norms, strict=True):
        factor = (
            min(2**20, 2**20 * math.isqrt(median) // math.isqrt(norm)) if norm and len(rows) > 1 else 2**20
        )
        clipped.append([round(Fraction(x * factor, 2**20)) for x in row])
    expected = [round(Fraction(sum(column), len(rows))) for column in zip(*clipped, strict=True)]
    assert merge_deltas(arrays(rows)).tolist() == expected


def test_single_delta_is_not_clipped() -> None:
    assert clip_to_median(arrays([[5, -7, 2**28]]))[0].tolist() == [5, -7, 2**28]


def test_outlier_is_clipped_to_the_lower_median() -> None:
    clipped = clip_to_median(arrays([[3, 4, 0], [6, 8, 0], [2**20, 0, 0], [300, 400, 0]]))
    assert clipped[2].tolist() == [10, 0, 0]
    assert clipped[1].tolist() == [6, 8, 0]


def test_zero_deltas_stay_zero() -> None:
    assert merge_deltas(arrays([[0, 0, 0], [0, 0, 0]])).tolist() == [0, 0, 0]


@given(
    st.lists(st.integers(-LIMIT, LIMIT), min_size=4, max_size=4),
    st.lists(st.integers(-(2**28), 2**28), min_size=4, max_size=4),
)
def test_candidates_round_half_to_even_and_saturate(weights: list[int], mean: list[int]) -> None:
    for scale in SCALES:
        moved = move_weights(np.array(weights), np.array(mean), scale)
        expected = [w + round(Fraction(m * scale, 8)) for w, m in zip(weights, mean, strict=True)]
        assert moved.tolist() == [max(-LIMIT, min(LIMIT, n)) for n in expected]


@pytest.mark.parametrize(
    ("losses", "winner"),
    [
        ((9, 9, 9, 9, 9, 9, 9), 6),  # nothing is strictly below the weights themselves
        ((1, 2, 3, 4, 5, 6, 7), 0),
        ((5, 3, 3, 3, 8, 8, 9), 3),  # ties go to the smaller scale
        ((5, 6, 7, 8, 9, 4, 4), 6),
        ((5, 6, 7, 8, 9, 3, 4), 5),
    ],
)
def test_line_search_takes_the_lowest_loss_and_the_smaller_scale(
    losses: tuple[int, ...], winner: int
) -> None:
    start, mean = np.array([100, 200]), np.array([8, -8])
    found = search_line(start, mean, lambda w: losses[SCALES.index(int(w[0]) - 100)])
    assert found.index == winner
    assert found.losses == losses
    assert found.weights.tolist() == [100 + SCALES[winner], 200 - SCALES[winner]]
