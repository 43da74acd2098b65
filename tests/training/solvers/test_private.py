"""Private steps: what samples add beyond noise is followed, noise alone is not, and nothing but sums is asked."""

import numpy as np
import pytest
import torch

from tests.training.problems import make_problem
from training.native import NativeProblem
from training.objectives.base import Objective
from training.private.cost import NOISE_F
from training.private.gradients import PrivateSamples
from training.private.noise import SecretNoise
from training.solvers.private import (
    RISE,
    SCALES,
    Frame,
    PrivateStep,
    find_directions,
    shrink,
    solve_damped,
    take_private_steps,
)
from training.splits import Split

Parts = tuple[Objective, Split, Split, torch.Tensor]
LITTLE = 1 << (NOISE_F - 12)


@pytest.fixture(scope="module")
def parts() -> Parts:
    """An objective, few public samples, many of one's own, weights."""
    problem = make_problem("softmax_regression", (9, 5, 3, 0), shard=11, rates=((3, 7),), train=300)
    objective, data = problem.make_engine("portable").get_dataset(problem.task)
    train = data.train
    public, own = (
        Split(train.inputs[part], train.rows[part], train.labels, train.keys)
        for part in (slice(40), slice(40, None))
    )
    return objective, public, own, torch.from_numpy(np.frombuffer(problem.weights, "<i8") * 2.0**-24)


def make_step(parts: Parts, noise: int, seed: int = 0) -> PrivateStep:
    objective, public, own, _ = parts
    samples = PrivateSamples(objective, own, SecretNoise(bytes([seed]) * 32))
    return PrivateStep(objective, public, samples, noise, np.random.default_rng(0))


def measure(parts: Parts, weights: torch.Tensor) -> float:
    objective, _, own, _ = parts
    problem = NativeProblem(objective, own, torch.float64)
    return problem.measure_loss(weights, np.arange(own.count))


def test_private_samples_have_a_lower_loss_than_after_steps_that_drown_them(parts: Parts) -> None:
    clips: list[int] = []
    start = parts[3]
    told = take_private_steps(make_step(parts, LITTLE), start, 3, lambda frame: clips.append(frame.clip))
    drowned = take_private_steps(make_step(parts, 1 << (NOISE_F + 17)), start, 3, lambda frame: None)
    assert measure(parts, told) < measure(parts, drowned)
    assert len(clips) == 1  # said once, for all of them
    assert clips[0] > 0


def test_noise_that_drowns_the_samples_leaves_the_public_step(parts: Parts) -> None:
    start = parts[3]
    moved = [
        take_private_steps(make_step(parts, 1 << (NOISE_F + 14), seed), start, 1, lambda frame: None) - start
        for seed in range(8)
    ]
    spread = torch.stack(moved).std(0).norm() / torch.stack(moved).mean(0).norm()
    assert (
        float(spread) < 0.1
    )  # as it is, noise of deviation 2^14 clips for 260 samples is 60 clips in every entry


def test_private_part_that_costs_the_public_samples_much_is_cut(parts: Parts) -> None:
    start, step = parts[3], make_step(parts, LITTLE)
    for length in (1e-3, 0.03, 1.0):
        uphill = torch.full_like(start, length)
        scale = step._choose_scale(start, uphill)
        assert scale in (*SCALES, 0.0)
        before, after = (step._problem.measure_loss(start + by * uphill, step._curved) for by in (0.0, scale))
        assert after <= (1 + RISE) * before
    assert step._choose_scale(start, torch.full_like(start, float("nan"))) == 0.0


def test_nothing_private_is_read_before_the_clip_is_announced(parts: Parts) -> None:
    class Refused(Exception):
        pass

    def refuse(frame: Frame) -> None:
        raise Refused

    step = make_step(parts, LITTLE)
    step._own._samples = None  # type: ignore[assignment]  # whoever reads it fails
    with pytest.raises(Refused):
        take_private_steps(step, parts[3], 1, refuse)


def test_directions_are_orthonormal_and_hold_the_largest_gradients() -> None:
    rng = torch.Generator().manual_seed(1)
    gradients = torch.randn(20, 6, dtype=torch.float64, generator=rng) * torch.tensor([9.0, 5, 1, 1, 1, 1])
    found = find_directions(gradients)
    assert torch.allclose(found.T @ found, torch.eye(6, dtype=torch.float64), atol=1e-12)
    assert abs(float(found[0, 0])) > 0.9
    assert find_directions(torch.zeros(3, 4, dtype=torch.float64)).shape == (4, 1)


def test_shrinking_keeps_what_stands_out_and_drops_noise() -> None:
    rng = torch.Generator().manual_seed(1)
    noise = torch.randn(64, dtype=torch.float64, generator=rng)
    assert float(shrink(noise, 1.0, 1e3).norm()) < 0.5 * float(noise.norm())
    loud = noise + 100
    assert torch.allclose(shrink(loud, 1.0, 1e3), loud, rtol=1e-3)
    assert (
        float(shrink(1e6 * loud, 1e6, 1.0).norm()) < 1e-3
    )  # what is so wide is no mean of clipped gradients
    assert not shrink(torch.zeros(64), 1.0, 1.0).any()


def test_flat_losses_are_not_followed() -> None:
    assert not solve_damped(torch.zeros(3, 3), torch.ones(3)).any()
