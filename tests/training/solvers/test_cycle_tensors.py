"""What is made of arrays and cells: the same tensor whichever way it comes; what makes no sense is refused by name."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import ProblemRefused
from training.solvers.cycle.decompose import decompose
from training.solvers.cycle.dense import DenseTensor
from training.solvers.cycle.factors import draw_factors
from training.solvers.cycle.hashes import add_lanes, draw_hash, shorten
from training.solvers.cycle.residual import measure_residual
from training.solvers.cycle.sparse import SparseTensor
from training.solvers.cycle.tensors import CycleTensor, open_cells, open_dense

Sizes = tuple[int, int, int]


def draw_cells(sizes: Sizes, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, count) for size in sizes], 1), rng.standard_normal(count)


def fill(cells: np.ndarray, values: np.ndarray, sizes: Sizes) -> np.ndarray:
    array = np.zeros(sizes)
    np.add.at(array, tuple(cells.T), values)
    return array


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 60), st.integers(1, 2), st.integers(0, 1000))
def test_cells_are_the_array_that_they_fill(sizes: Sizes, count: int, rank: int, seed: int) -> None:
    cells, values = draw_cells(sizes, count, seed)
    array = fill(cells, values, sizes)
    ours: CycleTensor = open_cells(cells, values, sizes)
    theirs = open_dense(array)
    factors = draw_factors(sizes, rank, np.random.default_rng(seed))
    assert ours.sizes == theirs.sizes
    assert ours.squared_norm == pytest.approx(theirs.squared_norm, rel=1e-12, abs=1e-12)
    everywhere = np.argwhere(np.ones(sizes))
    np.testing.assert_allclose(ours.get_values(everywhere), array.ravel(), atol=1e-12)
    for mode in range(3):
        one, other = ours.contract(mode, factors), theirs.contract(mode, factors)
        assert torch.allclose(one, other, atol=1e-11)


def test_few_cells_stay_cells_and_many_become_an_array() -> None:
    cells, values = draw_cells((10, 10, 10), 20, 1)
    assert isinstance(open_cells(cells, values, (10, 10, 10)), SparseTensor)
    every = np.argwhere(np.ones((4, 4, 4)))
    assert isinstance(open_cells(every, np.ones(64)), DenseTensor)


def test_cells_given_twice_count_together_and_zeros_are_none() -> None:
    cells = np.array([[5, 0, 1], [0, 0, 0], [5, 0, 1], [2, 3, 4], [1, 1, 1], [1, 1, 1]])
    tensor = open_cells(cells, [1.0, 2.0, 3.0, 0.0, 4.0, -4.0], (30, 30, 30))
    assert isinstance(tensor, SparseTensor)
    assert tensor.columns.T.tolist() == [[0, 0, 0], [5, 0, 1]]
    assert tensor.values.tolist() == [2.0, 4.0]
    assert tensor.get_values(np.array([[5, 0, 1], [29, 29, 29], [1, 1, 1]])).tolist() == [4.0, 0.0, 0.0]


def test_order_of_the_cells_does_not_matter() -> None:
    cells, values = draw_cells((20, 20, 20), 300, 2)
    cells = np.unique(cells, axis=0)
    order = np.random.default_rng(3).permutation(len(cells))
    one = open_cells(cells, values[: len(cells)], (20, 20, 20))
    other = open_cells(cells[order], values[: len(cells)][order], (20, 20, 20))
    assert all(torch.equal(a, b) for a, b in zip(decompose(one, 2, 1), decompose(other, 2, 1), strict=True))


def test_without_a_shape_the_cells_tell_it() -> None:
    assert open_cells([[3, 0, 7], [1, 2, 0]], [1, 2]).sizes == (4, 3, 8)


def test_no_cells_are_a_tensor_of_zeros() -> None:
    tensor = open_cells(np.zeros((0, 3), np.int64), np.zeros(0), (4, 5, 6))
    factors = decompose(tensor, 2, 1)
    assert [tuple(factor.shape) for factor in factors] == [(4, 2, 2), (5, 2, 2), (6, 2, 2)]
    assert not any(bool(factor.any()) for factor in factors)
    assert measure_residual(tensor, factors).relative == 0


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("cells", {"cells": [[0, 1]]}),
        ("cells", {"cells": [[0.0, 1.0, 2.0]]}),
        ("cells", {"cells": [[0, -1, 2]]}),
        ("cells", {"cells": [[0, 9, 2]]}),
        ("cells", {"cells": [[0, 2**62, 2]]}),
        ("values", {"values": [1.0, 2.0]}),
        ("values", {"values": [np.nan]}),
        ("values", {"values": [np.inf]}),
        ("values", {"values": [1e200]}),
        ("values", {"values": [1e-200]}),
        ("values", {"values": ["one"]}),
        ("values", {"values": [1j]}),
        ("shape", {"shape": (4, 4)}),
        ("shape", {"shape": (4, 0, 4)}),
        ("shape", {"shape": (2**31, 2**31, 2)}),
        ("shape", {"cells": np.zeros((0, 3), np.int64), "values": [], "shape": None}),
    ],
)
def test_cells_without_sense_are_refused_by_name(field: str, wrong: dict[str, object]) -> None:
    given: dict[str, object] = {"cells": [[0, 1, 2]], "values": [1.0], "shape": (4, 4, 4)}
    with pytest.raises(ProblemRefused, match=f"^{field}: .* expected.* came$") as refused:
        open_cells(**(given | wrong))  # type: ignore[arg-type]
    assert refused.value.field == field


@pytest.mark.parametrize(
    "values", [np.ones(3), np.ones((2, 2)), np.ones((2, 0, 2)), np.full((2, 2, 2), np.nan), [["a"]], 1.0]
)
def test_arrays_without_sense_are_refused(values: object) -> None:
    with pytest.raises(ProblemRefused, match=r"^tensor: ") as refused:
        open_dense(values)  # type: ignore[arg-type]
    assert refused.value.field == "tensor"


def test_a_pairs_bucket_is_the_sum_and_its_sign_the_product() -> None:
    rng = np.random.default_rng(4)
    first, second = draw_hash(6, 5, rng), draw_hash(7, 5, rng)
    values = torch.from_numpy(rng.standard_normal((3, 6, 7)))
    wanted = torch.zeros((3, 5), dtype=torch.float64)
    for y in range(6):
        for z in range(7):
            lane = int(first.buckets[y] + second.buckets[z]) % 5
            wanted[:, lane] += first.signs[y] * second.signs[z] * values[:, y, z]
    wide = second.apply(values.permute(2, 1, 0))  # [5, 6, 3]
    assert torch.allclose(add_lanes(wide, first), wanted)


def test_short_modes_are_not_sketched() -> None:
    rows = torch.from_numpy(np.random.default_rng(5).standard_normal((8, 3)))
    assert torch.equal(shorten(8, 8, np.random.default_rng(6)).apply(rows), rows)
    assert shorten(9, 8, np.random.default_rng(6)).length == 8


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_bases_are_orthonormal_and_the_core_is_what_they_see(kind: str) -> None:
    array = np.random.default_rng(7).standard_normal((9, 10, 11))
    cells = np.argwhere(np.ones(array.shape))
    tensor: CycleTensor = DenseTensor(torch.from_numpy(array))
    if kind == "sparse":
        tensor = SparseTensor((9, 10, 11), cells, array.ravel())
    bases, core = tensor.rotate(4, 16, np.random.default_rng(8))
    for basis in bases:
        assert torch.allclose(basis.T @ basis, torch.eye(4, dtype=torch.float64), atol=1e-12)
    wanted = torch.einsum("abc,ax,by,cz->xyz", torch.from_numpy(array), *bases)
    assert torch.allclose(core, wanted, atol=1e-12)
