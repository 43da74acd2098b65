"""Tensors of low cycle rank: planted ones are found again, derivatives and residuals are those of all cells."""

from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.derivatives.agreement import PRECISION, measure_error
from training.errors import ProblemRefused
from training.objectives.base import Batch
from training.objectives.cycle_rank import CycleRank
from training.solvers.cycle.als import Plan, run_starts, run_sweeps, solve_factor
from training.solvers.cycle.decompose import decompose, lift, run_cycle
from training.solvers.cycle.dense import DenseTensor
from training.solvers.cycle.factors import Factors, Ids, draw_factors, make_weights
from training.solvers.cycle.residual import (
    ACCURACY,
    differentiate,
    differentiate_cells,
    measure_residual,
    sample_residual,
)
from training.solvers.cycle.sparse import SparseTensor
from training.solvers.cycle.tensors import CycleTensor, open_dense

SIZES = (11, 9, 13)
Sizes = tuple[int, int, int]


def plant(seed: int, sizes: Sizes = SIZES, rank: int = 2) -> Factors:
    return draw_factors(sizes, rank, np.random.default_rng(seed))


def add_noise(values: Tensor, share: float, seed: int) -> Tensor:
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(values.shape))
    noisy: Tensor = values + noise * (share * values.norm() / noise.norm())
    return noisy


def list_all(sizes: Sizes) -> Ids:
    return np.argwhere(np.ones(sizes))


def make_sparse(values: Tensor) -> SparseTensor:
    """The same tensor by cells, even where it is full."""
    cells = np.argwhere(values.numpy() != 0)
    first, second, third = values.shape
    return SparseTensor((first, second, third), cells, values.numpy()[tuple(cells.T)])


def test_value_is_the_trace_of_the_three_matrices() -> None:
    factors = plant(1)
    values = factors.compute_dense()
    for a, b, c in ((0, 0, 0), (10, 8, 12), (3, 7, 1)):
        wanted = torch.trace(factors.u[a] @ factors.v[b] @ factors.w[c])
        assert float(values[a, b, c]) == pytest.approx(float(wanted), rel=1e-13)
    np.testing.assert_allclose(factors.compute_values(list_all(SIZES)), values.flatten().numpy(), atol=1e-13)


def test_papers_numbering_is_ours() -> None:
    factors, k = plant(2), 2
    flat = [torch.zeros(size, k * k, dtype=torch.float64) for size in SIZES]
    for i in range(k):
        for j in range(k):
            for mode in range(3):
                flat[mode][:, i + k * j] = factors[mode][:, i, j]
    total = torch.zeros(SIZES, dtype=torch.float64)
    for i in range(k):
        for j in range(k):
            for m in range(k):
                columns = flat[0][:, i + k * j], flat[1][:, j + k * m], flat[2][:, m + k * i]
                total += torch.einsum("a,b,c->abc", *columns)
    assert measure_error(factors.compute_dense(), total) < PRECISION


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(4, 14)] * 3), st.integers(1, 2), st.integers(0, 1000))
def test_planted_tensor_is_found_again(sizes: Sizes, rank: int, seed: int) -> None:
    values = plant(seed, sizes, rank).compute_dense()
    plan = Plan(starts=8, sweeps=2000, gain=1e-9)
    steps = list(run_cycle(DenseTensor(values), rank, np.random.default_rng(seed), plan))
    assert steps[-1].factors is not None
    assert measure_error(steps[-1].factors.compute_dense(), values) < 1e-4


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_planted_tensor_under_noise_is_found_to_the_noise(rank: int) -> None:
    values = plant(3, (40, 50, 45), rank).compute_dense()
    noisy = add_noise(values, 0.05, 4)
    floor = measure_error(values, noisy)
    for tensor in (DenseTensor(noisy), make_sparse(noisy)):
        assert measure_error(decompose(tensor, rank, 1).compute_dense(), noisy) <= 1.02 * floor


def test_sketched_rows_find_the_planted_tensor() -> None:
    """300 is longer than what a mode is sketched to for the core: then all steps of the sketch are there."""
    planted = plant(5, (300, 300, 300), 2)
    rng, keep = np.random.default_rng(6), np.zeros(300)
    keep[rng.permutation(300)[:30]] = 1
    factors = Factors(*(factor * torch.from_numpy(keep)[:, None, None] for factor in planted))
    values = factors.compute_dense()
    tensor = make_sparse(values)
    steps = list(run_cycle(tensor, 2, np.random.default_rng(1)))
    assert [step.name for step in steps][:3] == ["rotate", "alternate", "polish"]
    assert steps[-1].factors is not None
    assert measure_error(steps[-1].factors.compute_dense(), values) < 1e-6


def test_polish_takes_the_sketchs_error_away() -> None:
    noisy = add_noise(plant(7, (60, 60, 60), 2).compute_dense(), 0.1, 8)
    tensor = DenseTensor(noisy)
    steps = list(run_cycle(tensor, 2, np.random.default_rng(1)))
    errors = [measure_residual(tensor, step.factors).relative for step in steps if step.factors]
    assert errors[0] > 1.05 * errors[-1]
    *_, further = (sweep.loss for sweep in islice(run_sweeps(tensor, steps[-1].factors), 3))
    assert errors[-1] ** 2 * tensor.squared_norm < 1.001 * further


def test_slow_core_is_polished_twice_and_a_fast_one_once() -> None:
    fast = plant(7, (60, 60, 60), 2)
    slow = Factors(*(abs(factor) for factor in fast))
    counts = []
    for factors in (fast, slow):
        tensor = DenseTensor(add_noise(factors.compute_dense(), 0.1, 8))
        counts.append([step.name for step in run_cycle(tensor, 2, np.random.default_rng(1))].count("polish"))
    assert counts == [1, 2]


def test_lifted_factors_are_contracted_as_any_others() -> None:
    values, rng = add_noise(plant(15, (30, 28, 26)).compute_dense(), 0.1, 16), np.random.default_rng(1)
    rotated, plain = DenseTensor(values), DenseTensor(values)
    bases, _ = rotated.rotate(16, 64, rng)
    lifted = lift(bases, draw_factors((16, 16, 16), 2, rng))
    for factors in (lifted, plant(17, (30, 28, 26))):
        for mode in range(3):
            wanted = plain.contract(mode, factors)
            assert measure_error(rotated.contract(mode, factors), wanted) < PRECISION


def test_same_seed_gives_the_same_factors_and_another_does_not() -> None:
    tensor = make_sparse(add_noise(plant(9).compute_dense(), 0.1, 10))
    first, again, other = (decompose(tensor, 2, seed) for seed in (1, 1, 2))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first.u, other.u)


def test_no_sweep_raises_the_loss() -> None:
    values = add_noise(plant(11).compute_dense(), 0.3, 12)
    tensor, losses = DenseTensor(values), []
    for sweep in run_sweeps(tensor, plant(13)):
        losses.append(sweep.loss)
        direct = float((values - sweep.factors.compute_dense()).square().sum())
        assert sweep.loss == pytest.approx(direct, rel=1e-9)
        if sweep.number == 20:
            break
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(losses))


def test_solved_factor_leaves_no_gradient() -> None:
    tensor, factors = DenseTensor(add_noise(plant(14).compute_dense(), 0.3, 15)), plant(16)
    for mode in range(3):
        before = differentiate(tensor, factors)[mode].norm()
        factors = factors.replace(mode, solve_factor(tensor, factors, mode)[0])
        assert float(differentiate(tensor, factors)[mode].norm() / before) < 1e-9


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_gradient_over_all_cells_is_autograds(kind: str) -> None:
    values, factors = add_noise(plant(17).compute_dense(), 0.5, 18), plant(19)
    tensor: CycleTensor = DenseTensor(values) if kind == "dense" else make_sparse(values)
    leaves = Factors(*(factor.clone().requires_grad_() for factor in factors))
    (leaves.compute_dense() - values).square().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for ours, leaf in zip(differentiate(tensor, factors), leaves, strict=True):
        assert leaf.grad is not None
        assert measure_error(ours, leaf.grad) < PRECISION


def test_gradient_over_given_cells_is_that_of_the_objectives_loss() -> None:
    factors, rng = plant(20), np.random.default_rng(21)
    cells = np.stack(
        [rng.integers(0, size, 200) for size in SIZES], 1
    )  # some of them twice, as samples may be
    values = rng.standard_normal(200)
    weights = [weight.clone().requires_grad_() for weight in make_weights(factors)]
    batch = Batch(torch.zeros(0), torch.from_numpy(values)[:, None], torch.zeros(0), torch.from_numpy(cells))
    loss = CycleRank(SIZES, 2).native_loss(weights, batch)
    assert float(loss.detach()) == pytest.approx(float(((factors.compute_values(cells) - values) ** 2).sum()))
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for ours, weight in zip(differentiate_cells(SIZES, cells, values, factors), weights, strict=True):
        assert weight.grad is not None
        assert measure_error(ours.flatten(1), weight.grad) < PRECISION


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(1, 3), st.integers(0, 1000))
def test_residual_by_gram_matrices_is_the_direct_one(sizes: Sizes, rank: int, seed: int) -> None:
    values, factors = plant(seed, sizes, 1).compute_dense(), plant(seed + 1, sizes, rank)
    direct = measure_error(factors.compute_dense(), values)
    for tensor in (DenseTensor(values), make_sparse(values)):
        assert measure_residual(tensor, factors).relative == pytest.approx(direct, rel=1e-9)
    assert factors.measure_squared() == pytest.approx(
        float(factors.compute_dense().square().sum()), rel=1e-10
    )


def test_residual_below_its_accuracy_says_so() -> None:
    factors = plant(22)
    residual = measure_residual(DenseTensor(factors.compute_dense()), factors)
    assert not residual.is_reliable
    assert residual.relative < ACCURACY
    far = Factors(1.01 * factors.u, factors.v, factors.w)
    assert measure_residual(DenseTensor(factors.compute_dense()), far).is_reliable


@pytest.mark.parametrize("away", [1e-1, 1e-9])
def test_sampled_residual_is_near_the_direct_one_however_small(away: float) -> None:
    factors, rng = plant(23, (30, 30, 30), 2), np.random.default_rng(24)
    keep = torch.from_numpy((rng.random((30, 30, 30)) < 0.2).astype(np.float64))
    values = factors.compute_dense() * keep
    other = Factors(*(factor * (1 + away * (mode == 0)) for mode, factor in enumerate(factors)))
    for tensor, target in ((make_sparse(values), values), (DenseTensor(factors.compute_dense()), None)):
        wanted = factors.compute_dense() if target is None else target
        direct = measure_error(other.compute_dense(), wanted)
        assert sample_residual(tensor, other, np.random.default_rng(1), 20_000) == pytest.approx(
            direct, rel=0.1
        )


def test_residual_of_zeros_is_zero_and_no_sample_tells_it() -> None:
    tensor = open_dense(np.zeros((4, 4, 4)))
    factors = decompose(tensor, 2, 1)
    assert all(not bool(factor.any()) for factor in factors)
    assert measure_residual(tensor, factors).relative == 0
    with pytest.raises(ValueError, match="tensor: one that is not 0"):
        sample_residual(tensor, factors, np.random.default_rng(1))


def test_gauge_changes_factors_and_nothing_else() -> None:
    factors, rng = plant(25), np.random.default_rng(26)
    p, q, r = (torch.from_numpy(rng.standard_normal((2, 2))) for _ in range(3))
    turned = Factors(
        torch.linalg.inv(r) @ factors.u @ p,
        torch.linalg.inv(p) @ factors.v @ q,
        torch.linalg.inv(q) @ factors.w @ r,
    )
    assert measure_error(turned.compute_dense(), factors.compute_dense()) < 1e-11
    assert turned.measure_squared() == pytest.approx(factors.measure_squared(), rel=1e-10)
    tensor = DenseTensor(add_noise(factors.compute_dense(), 0.1, 27))
    one, other = (measure_residual(tensor, each).relative for each in (factors, turned))
    assert one == pytest.approx(other, rel=1e-8)
    losses = [solve_factor(tensor, each, 0)[1] for each in (factors, turned)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_balanced_factors_are_of_one_norm_and_the_same_tensor() -> None:
    factors = plant(28)
    uneven = Factors(1e6 * factors.u, 1e-3 * factors.v, 1e-3 * factors.w)
    norms = [float(factor.norm()) for factor in uneven.balance()]
    assert norms == pytest.approx([norms[0]] * 3)
    assert measure_error(uneven.balance().compute_dense(), factors.compute_dense()) < PRECISION


def test_full_alternation_finds_what_the_sketch_finds() -> None:
    noisy = add_noise(plant(29, (30, 25, 35), 2).compute_dense(), 0.05, 30)
    tensor = DenseTensor(noisy)
    full = run_starts(tensor, 2, np.random.default_rng(1))
    sketched = decompose(tensor, 2, 1)
    assert measure_error(full.compute_dense(), noisy) == pytest.approx(
        measure_error(sketched.compute_dense(), noisy), rel=1e-3
    )


@pytest.mark.parametrize("rank", [0, 3, 9])
def test_ranks_that_the_smallest_side_does_not_hold_are_refused(rank: int) -> None:
    tensor = open_dense(np.ones((100, 8, 100)))
    for run in (
        lambda: decompose(tensor, rank, 1),
        lambda: run_starts(tensor, rank, np.random.default_rng(1)),
    ):
        with pytest.raises(ProblemRefused, match="rank: ") as refused:
            run()
        assert refused.value.field == "rank"
