"""Settlement's arithmetic against fractions, and the rules of its line search."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.exact.integers import (
    DELTA_LIMIT,
    Integers,
    compute_clip_factors,
    compute_dot,
    compute_squared_norm,
    find_lower_median,
    make_direction,
    round_quotient,
    shrink,
    take_out,
    take_out_of_rows,
)
from training.settlement import (
    SCALES,
    Merge,
    merge_deltas,
    move_weights,
    search_line,
    take_out_all,
    take_out_of_each,
)

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


def clip(deltas: list[np.ndarray], weights: list[int] | None = None) -> list[np.ndarray]:
    norms = [compute_squared_norm(delta) for delta in deltas]
    factors = compute_clip_factors(norms, weights or [1] * len(deltas))
    return [shrink(delta, factor) for delta, factor in zip(deltas, factors, strict=True)]


def test_single_delta_is_not_clipped() -> None:
    assert clip(arrays([[5, -7, 2**28]]))[0].tolist() == [5, -7, 2**28]


def test_outlier_is_clipped_to_the_lower_median() -> None:
    clipped = clip(arrays([[3, 4, 0], [6, 8, 0], [2**20, 0, 0], [300, 400, 0]]))
    assert clipped[2].tolist() == [10, 0, 0]
    assert clipped[1].tolist() == [6, 8, 0]


def test_heavy_delta_sets_the_length_of_the_others() -> None:
    rows = [[3, 4, 0], [6, 8, 0], [300, 400, 0]]
    assert clip(arrays(rows), [1, 1, 2])[2].tolist() == [
        6,
        8,
        0,
    ]  # half of the weight is at most as long as that
    assert clip(arrays(rows), [1, 1, 3])[2].tolist() == [300, 400, 0]
    assert clip(arrays(rows), [2, 1, 1])[1].tolist() == [3, 4, 0]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 9)), min_size=1, max_size=9))
def test_weighted_median_is_the_median_of_values_repeated_by_weight(pairs: list[tuple[int, int]]) -> None:
    repeated = sorted(value for value, weight in pairs for _ in range(weight))
    values, weights = zip(*pairs, strict=True)
    assert find_lower_median(values, weights) == repeated[(len(repeated) - 1) // 2]


@given(deltas, st.data())
def test_weighted_means_are_prefixes_over_the_whole_weight(
    rows: list[list[int]], data: st.DataObject
) -> None:
    weight = st.integers(1, 2**30 // len(rows))
    weights = data.draw(st.lists(weight, min_size=len(rows), max_size=len(rows)))
    clipped = [delta.tolist() for delta in clip(arrays(rows), weights)]
    merge = Merge([delta.astype(np.int32) for delta in arrays(rows)], weights)
    means = [mean.tolist() for mean in merge.iterate_means()]
    for j, mean in enumerate(means, 1):
        sums = [sum(w * row[i] for w, row in zip(weights[:j], clipped[:j], strict=True)) for i in range(3)]
        assert mean == [round(Fraction(n, sum(weights))) for n in sums]
    assert merge.compute_mean().tolist() == means[-1]


@given(deltas, st.integers(1, 2**25))
def test_equal_weights_weigh_nothing(rows: list[list[int]], weight: int) -> None:
    merge = Merge(arrays(rows), [weight] * len(rows))
    assert merge.compute_mean().tolist() == merge_deltas(arrays(rows)).tolist()


# --- projection -------------------------------------------------------------------------------------------------------


def take_out_by_fractions(a: list[int], b: list[int]) -> list[int]:
    norm = sum(y * y for y in b)
    if norm == 0:
        return a
    alpha = round(Fraction(2**20 * sum(x * y for x, y in zip(a, b, strict=True)), norm))
    left = [x - round(Fraction(alpha * y, 2**20)) for x, y in zip(a, b, strict=True)]
    return [max(-(2**28), min(2**28, n)) for n in left]


pairs = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        *[st.lists(st.integers(-(2**28), 2**28) | st.integers(-3, 3), min_size=n, max_size=n)] * 2
    )
)


@given(pairs)
def test_projection_is_that_of_fractions(pair: tuple[list[int], list[int]]) -> None:
    a, b = pair
    assert take_out(np.array(a), make_direction(np.array(b))).tolist() == take_out_by_fractions(a, b)


LARGE = 2**16  # entries; large enough for all sums to leave int64
FULL = np.full(LARGE, DELTA_LIMIT, np.int64)
ONE = np.eye(1, LARGE, dtype=np.int64)[0]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (FULL, FULL),
        (FULL, -FULL),
        (-FULL, FULL - 1),
        (FULL, ONE),  # the largest alpha that one entry gives
        (FULL, np.ones(LARGE, np.int64)),
        (FULL, np.where(np.arange(LARGE) % 256 == 0, 1, 0)),
        (ONE, FULL),
        (FULL, ONE * DELTA_LIMIT),
        (FULL, np.where(np.arange(LARGE) == 0, DELTA_LIMIT, 1)),
        (FULL, np.where(np.arange(LARGE) % 2, -DELTA_LIMIT, DELTA_LIMIT)),
    ],
)
def test_projection_is_that_of_fractions_at_the_limits(a: Integers, b: Integers) -> None:
    assert take_out(a, make_direction(b)).tolist() == take_out_by_fractions(a.tolist(), b.tolist())


rows_of_five = st.lists(
    st.lists(st.integers(-(2**28), 2**28), min_size=5, max_size=5), min_size=1, max_size=4
)


@given(rows_of_five, st.integers(-(2**28), 2**28))
def test_projection_of_rows_is_that_of_each(rows: list[list[int]], entry: int) -> None:
    direction = make_direction(np.array([entry, 3, -1, 0, 2**20]))
    table = np.array(rows, np.int64)
    assert (take_out_of_rows(table, direction) == [take_out(row, direction) for row in table]).all()


@pytest.mark.parametrize("size", [4, 300, 2**13, 2**14 + 1])
def test_projection_of_updates_is_that_of_each_whatever_their_length(size: int) -> None:
    """Short ones are handled several at a time; a direction of large entries does not fit a sum in int64."""
    rng = np.random.default_rng(size)
    directions = [make_direction(rng.integers(-limit, limit, size)) for limit in (DELTA_LIMIT, 2**12)]
    assert [each.fits for each in directions] == [size < 300, True]
    updates = [rng.integers(-DELTA_LIMIT, DELTA_LIMIT, size).astype(np.int32) for _ in range(5)]
    left = list(take_out_of_each(updates, directions))
    expected = [take_out_all(update.astype(np.int64), directions) for update in updates]
    assert [each.tolist() for each in left] == [each.tolist() for each in expected]
    whole = updates[0].astype(np.int64).tolist()
    assert take_out(updates[0].astype(np.int64), directions[0]).tolist() == take_out_by_fractions(
        whole, directions[0].entries.tolist()
    )


def test_projection_of_the_largest_vectors_does_not_overflow() -> None:
    """2^26 entries would take minutes and gigabytes: the bound of the docstring in Python integers instead."""
    entries, largest = 2**26, 2**28
    longest = largest * math.isqrt(entries)
    assert 2**20 * longest + largest // 2 < 2**62
    # b with one large and many small entries, a along the small ones: alpha is large and meets the large entry
    b = np.concatenate([np.array([2**10]), np.ones(LARGE, np.int64)])
    a = np.full(LARGE + 1, DELTA_LIMIT, np.int64)
    assert take_out(a, make_direction(b)).tolist() == take_out_by_fractions(a.tolist(), b.tolist())


@pytest.mark.parametrize("sign", [1, -1])
def test_dot_product_of_the_largest_entries_is_exact(sign: int) -> None:
    entries = 2**20
    assert compute_dot(np.full(entries, DELTA_LIMIT), np.full(entries, sign * DELTA_LIMIT)) == sign * 2**76


@given(pairs)
def test_dot_product_is_that_of_python(pair: tuple[list[int], list[int]]) -> None:
    a, b = pair
    assert compute_dot(np.array(a), np.array(b)) == sum(x * y for x, y in zip(a, b, strict=True))


@given(st.integers(-(2**200), 2**200), st.integers(1, 2**120) | st.sampled_from([1, 2, 4, 10]))
def test_quotient_rounds_half_to_even(numerator: int, denominator: int) -> None:
    assert round_quotient(numerator, denominator) == round(Fraction(numerator, denominator))


@given(pairs)
def test_what_is_left_has_no_part_along_what_was_taken_out(pair: tuple[list[int], list[int]]) -> None:
    """But for rounding, half a unit an entry and half of alpha's unit, and what was clipped."""
    a, b = np.array(pair[0]), np.array(pair[1])
    left = take_out(a, make_direction(b))
    if (np.abs(left) < DELTA_LIMIT).all():
        rounding = sum(abs(y) for y in pair[1]) / 2 + compute_squared_norm(b) / 2**21
        assert abs(compute_dot(left, b)) <= rounding + 1


def test_taking_out_itself_leaves_nothing() -> None:
    assert not take_out(FULL, make_direction(FULL)).any()
    assert not take_out(-3 * ONE, make_direction(ONE)).any()


def test_taking_out_nothing_changes_nothing() -> None:
    assert (take_out(FULL, make_direction(0 * ONE)) == FULL).all()


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
