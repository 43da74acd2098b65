"""Every primitive against Python's integers, fractions and decimals, at the edges of the declared ranges."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.errors import BudgetExceeded
from training.exact import counter, functions, integers
from training.exact.grids import Grid, Product, rescale, saturate
from training.exact.trace import Trace

WORD = 2**64


def round_half_even(x: Fraction) -> int:
    return round(x)  # Python rounds fractions half to even


# --- products and grids -----------------------------------------------------------------------------------------------


def test_product_beyond_budget_is_refused_at_construction() -> None:
    Product("fits", Grid(12, 20), Grid(12, 20), 1, 1024, 1)
    with pytest.raises(BudgetExceeded, match="need 51 bits"):
        Product("does not", Grid(12, 20), Grid(12, 20), 1, 1025, 1)


@pytest.mark.parametrize(("p", "q", "terms"), [(18, 20, 4096), (22, 15, 4096), (20, 19, 256), (20, 15, 1024)])
def test_product_at_declared_ranges_is_exact(p: int, q: int, terms: int) -> None:
    rng = np.random.default_rng(7)
    left = rng.choice([2**p - 1, -(2**p) + 1, 2**p - 2], (17, terms)).astype(np.int64)
    right = rng.choice([2**q - 1, -(2**q) + 1, 2**q - 2], (terms, 19)).astype(np.int64)
    left[0], right[:, 0] = 2**p - 1, 2**q - 1
    left[1] = np.sign(right[:, 1]) * (2**p - 1)
    exact = left.astype(object) @ right.astype(object)
    got = (torch.from_numpy(left).double() @ torch.from_numpy(right).double()).to(torch.int64).numpy()
    assert (got.astype(object) == exact).all()
    assert exact[0, 0] == terms * (2**p - 1) * (2**q - 1)


@given(st.integers(-(2**50), 2**50), st.integers(0, 40))
def test_rescale_rounds_half_to_even_and_saturates(n: int, shift: int) -> None:
    got = rescale(torch.tensor([float(n)], dtype=torch.float64), 20 + shift, Grid(20, 26))
    expected = max(-(2**26) + 1, min(2**26 - 1, round_half_even(Fraction(n, 2**shift))))
    assert int(got.item()) == expected


def test_saturate_keeps_int64() -> None:
    got = saturate(torch.tensor([2**40 + 1, -(2**40), 2**27 - 1]), 27)
    assert got.dtype == torch.int64
    assert got.tolist() == [2**27 - 1, -(2**27) + 1, 2**27 - 1]


# --- exp and softmax --------------------------------------------------------------------------------------------------


def exp_by_fractions(x: float) -> float:
    """The specified operations with each float64 rounding done by Python's own float operators."""
    x = max(x, -40.0)
    k = round(x * (1 / 0.6931471805599453))
    r = (x - k * 0.693359375) - k * -2.12194440054690583e-4
    p = 1 / math.factorial(8)
    for i in range(7, -1, -1):
        p = p * r + 1 / math.factorial(i)
    return math.ldexp(p, k)


def exp_arguments() -> list[float]:
    edges = [0.0, -0.0, -40.0, -41.0, -1e300, -(2.0**-60), -math.log(2) / 2, -math.log(2)]
    drawn = counter.make_uniform(5, 4000, 40).tolist()
    return edges + [-abs(n) * 2.0**-34 for n in drawn]


def test_exp_is_the_specified_sequence_of_operations() -> None:
    x = exp_arguments()
    got = functions.exp(torch.tensor(x, dtype=torch.float64)).tolist()
    assert got == [exp_by_fractions(v) for v in x]


def test_exp_is_within_1e_9_of_the_true_value() -> None:
    with localcontext() as context:
        context.prec = 40
        for x, got in zip(
            exp_arguments(),
            functions.exp(torch.tensor(exp_arguments(), dtype=torch.float64)).tolist(),
            strict=True,
        ):
            true = Decimal(max(x, -40.0)).exp()
            assert abs(Decimal(got) - true) <= true * Decimal("1e-9")


@pytest.mark.parametrize("f", [26, 28])
def test_softmax_is_the_specified_sequence_of_operations(f: int) -> None:
    scores = [
        [0, 0, 0, 0],
        [2**49, -(2**49), 2**49 - 2**25, 1],
        [5, 2**26, 2**27 + 12345, -(2**30)],
        [-7, -7, -8, -9],
    ]
    got = functions.softmax(torch.tensor(scores, dtype=torch.float64), f).tolist()
    for row, values in zip(scores, got, strict=True):
        terms = [round(exp_by_fractions((s - max(row)) * 2.0**-f) * 2.0**30) for s in row]
        assert values == [round((e / sum(terms)) * 2.0**20) for e in terms]


# --- randomness -------------------------------------------------------------------------------------------------------


def test_mix_gives_the_published_words_of_splitmix64() -> None:
    words = [counter.get_word(1234567, i) for i in range(5)]
    published = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821
    ]  # fmt: skip
    assert words == published


@pytest.mark.parametrize("stream", [0, 1, WORD - 1, 2**63, 0x9E3779B97F4A7C15])
def test_tensor_words_are_the_scalar_words(stream: int) -> None:
    got = [word % WORD for word in counter.make_words(stream, 40).tolist()]
    assert got == [counter.get_word(stream, i) for i in range(40)]


def test_nibbles_come_least_significant_first() -> None:
    got = counter.make_nibbles(99, 37).tolist()
    assert got == [(counter.get_word(99, j // 16) >> 4 * (j % 16)) & 15 for j in range(37)]
    assert counter.make_noise(99, 37).tolist() == [n - 8 for n in got]
    assert counter.make_dither(99, 37).tolist() == [((n & 7) - 4) * 256 for n in got]


@given(st.integers(0, WORD - 1), st.integers(1, 60), st.data())
def test_sample_is_a_shuffle_cut_short(stream: int, population: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, population))
    pool = list(range(population))
    for i in range(count):
        j = i + (counter.get_word(stream, i) * (population - i)) // WORD
        pool[i], pool[j] = pool[j], pool[i]
    drawn = counter.draw_sample(stream, population, count)
    assert drawn == pool[:count]
    assert len(set(drawn)) == count


def test_uniform_takes_the_low_bits() -> None:
    got = counter.make_uniform(3, 20, 13, first=5).tolist()
    assert got == [counter.get_word(3, j) % 2**13 - 2**12 for j in range(5, 25)]


def test_trace_folds_every_entry_with_its_index() -> None:
    products = [[0, -1, 2**50, -(2**50)], [5, -5]]
    trace = Trace()
    for product in products:
        trace.add(torch.tensor(product, dtype=torch.float64))
    flat = [x for product in products for x in product]
    expected = sum(counter.mix((x + i * counter.GAMMA) % WORD) for i, x in enumerate(flat, 1)) % WORD
    assert trace.total == expected


# --- settlement integers ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=8), st.integers(0, 40))
def test_shift_half_even(values: list[int], bits: int) -> None:
    got = integers.shift_half_even(np.array(values, np.int64), bits)
    assert got.tolist() == [round_half_even(Fraction(v, 2**bits)) for v in values]


@given(st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=8), st.integers(1, 2**30))
def test_divide_half_even(values: list[int], divisor: int) -> None:
    got = integers.divide_half_even(np.array(values, np.int64), divisor)
    assert got.tolist() == [round_half_even(Fraction(v, divisor)) for v in values]


@given(st.lists(st.integers(-(2**28), 2**28), min_size=1, max_size=20))
def test_squared_norm_is_exact(values: list[int]) -> None:
    assert integers.compute_squared_norm(np.array(values, np.int64)) == sum(v * v for v in values)


def test_squared_norm_of_the_largest_delta_is_exact() -> None:
    delta = np.full(2**20, -(2**28), np.int64)
    assert integers.compute_squared_norm(delta) == 2**76


@given(st.integers(0, 2**80), st.integers(0, 2**80))
def test_clip_factor_is_at_most_one_and_exact(median: int, norm: int) -> None:
    factor = integers.compute_clip_factor(median, norm)
    if norm == 0:
        assert factor == 2**20
    else:
        assert factor == min(2**20, math.floor(Fraction(2**20 * math.isqrt(median), math.isqrt(norm))))
