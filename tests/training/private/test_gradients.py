"""Noised sums: every sample is clipped, replacing one moves the sum by two clips at most, noise is as wide as said."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.training.problems import PROBLEMS
from training.per_sample import differentiate_each
from training.private import gradients
from training.private.cost import PrivacyTerms, compute_cost_delta, count_cost, find_noise
from training.private.gradients import GRID_F, PrivateSamples, clip_to_grid, draw_noise
from training.private.noise import SecretNoise
from training.splits import NO_LABELS, NO_ROWS, Split

UNIT = 1 << GRID_F


def find_lengths(units: np.ndarray) -> list[int]:
    """Squared lengths of rows, exactly."""
    return [sum(int(n) ** 2 for n in row) for row in units]


@given(
    arrays(np.float64, (4, 3), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.floats(1e-7, 1e12),
)
def test_no_row_is_longer_than_the_clip_whatever_it_was(rows: np.ndarray, clip: float) -> None:
    units = clip_to_grid(torch.from_numpy(rows), clip)
    assert max(find_lengths(units)) <= UNIT**2


def test_short_rows_stay_and_long_ones_keep_their_direction() -> None:
    units = clip_to_grid(torch.tensor([[0.3, -0.4], [30.0, -40.0], [float("nan"), 1.0]]), 1.0)
    assert units[0] * 2.0**-GRID_F == pytest.approx([0.3, -0.4], abs=1e-7)
    assert units[1] * 2.0**-GRID_F == pytest.approx([0.6, -0.8], abs=1e-7)
    assert not units[2].any()


class NoNoise(SecretNoise):
    def draw_normal(self, count: int) -> np.ndarray:
        return np.zeros(count)


def replace_first(split: Split, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    inputs, rows, labels = split.inputs.copy(), split.rows, split.labels
    inputs[0] = rng.integers(-(2**15) + 1, 2**15, inputs.shape[1])
    if split.rows is NO_ROWS:
        labels = labels.copy()
        labels[0] = labels[0] == 0
    else:
        rows = rows.copy()
        rows[0] = rng.integers(-(2**15) + 1, 2**15, rows.shape[1])
    return Split(inputs, rows, labels, split.keys)


@pytest.mark.parametrize("name", ["attention positional classes", "softmax keys rows", "exponential"])
def test_a_replaced_sample_moves_the_sum_by_two_clips_at_most(name: str) -> None:
    problem = PROBLEMS[name]()
    objective, data = problem.make_engine("portable").get_dataset(problem.task)
    weights = torch.from_numpy(np.frombuffer(problem.weights, "<i8") * 2.0**-24)
    directions = torch.linalg.qr(torch.randn(len(weights), 4, dtype=torch.float64)).Q
    rows = NO_ROWS if objective.layout.rows is None else data.train.rows
    labels = data.train.labels if objective.layout.rows is None else NO_LABELS
    train = Split(data.train.inputs, rows, labels, data.train.keys)

    def add_up(split: Split, clip: float) -> torch.Tensor:
        return PrivateSamples(objective, split, NoNoise(bytes(32))).sum_gradients(
            weights, directions, clip, 1
        )

    for seed, clip in enumerate((1e-4, 1e-2, 1.0)):
        moved = add_up(train, clip) - add_up(replace_first(train, seed), clip)
        assert 0 < float(moved.norm()) <= 2 * clip


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_gradients_of_samples_are_those_of_each_alone(name: str) -> None:
    from training.native import NativeProblem

    problem = PROBLEMS[name]()
    objective, data = problem.make_engine("portable").get_dataset(problem.task)
    weights = torch.from_numpy(np.frombuffer(problem.weights, "<i8") * 2.0**-24)
    native = NativeProblem(objective, data.train, torch.float64)
    alone = torch.stack(
        [native.open_batch(np.array([i])).differentiate(weights) for i in range(data.train.count)]
    )
    found = torch.cat(list(differentiate_each(objective, data.train, weights)))
    assert torch.allclose(found, alone, rtol=1e-9, atol=1e-12 * float(alone.abs().max()))


def test_noise_is_as_wide_as_said_and_another_each_time() -> None:
    secret = SecretNoise(bytes(32))
    drawn = draw_noise(20_000, 3 << 24, secret)
    assert drawn.std() * 2.0**-GRID_F == pytest.approx(3.0, rel=0.02)
    assert abs(drawn.mean()) * 2.0**-GRID_F < 0.1
    assert not np.array_equal(drawn, draw_noise(20_000, 3 << 24, secret))


def test_blocks_change_nothing_and_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = PROBLEMS["softmax classes"]()
    objective, data = problem.make_engine("portable").get_dataset(problem.task)
    weights = torch.from_numpy(np.frombuffer(problem.weights, "<i8") * 2.0**-24)
    directions = torch.eye(len(weights), dtype=torch.float64)[:, :5]
    checks: list[int] = []

    def add_up() -> torch.Tensor:
        noise = SecretNoise(bytes(32))
        own = PrivateSamples(objective, data.train, noise, lambda: checks.append(1))
        return own.sum_gradients(weights, directions, 0.1, 1 << 24)

    whole = add_up()
    monkeypatch.setattr("training.per_sample.BLOCK_ENTRIES", 5 * len(weights))
    assert torch.equal(add_up(), whole)
    assert len(checks) == 1 + 5
    assert gradients.SLACK < 1


def test_a_game_shows_no_more_than_what_is_accounted_and_catches_half_the_noise() -> None:
    """Two neighbours, told apart by the best test there is: delta(epsilon) seen over thresholds, and its error."""
    epsilon, trials = 1.0, 20_000
    noise = find_noise(PrivacyTerms(1000, 5 * 10**13, updates=2))
    promised = compute_cost_delta(count_cost(noise, 2), epsilon)

    def play(deviation: int) -> float:
        secret, scores = SecretNoise(bytes([7]) * 32), []
        for sign in (3.0, -3.0):  # three clips long before clipping
            units = clip_to_grid(torch.tensor([[sign, 0.0], [0.0, 0.5]]), 1.0).sum(0)[0]
            drawn = draw_noise(2 * trials, deviation, secret).reshape(trials, 2)
            scores.append((units + drawn).sum(1))
        places = np.quantile(np.concatenate(scores), np.linspace(0.3, 0.99, 100))
        own, other = scores
        return max(float((own > t).mean() - np.exp(epsilon) * (other > t).mean()) for t in places)

    assert promised == pytest.approx(0.05, rel=1e-3)
    assert play(noise) == pytest.approx(promised, abs=0.02)
    assert play(noise // 2) > 3 * promised
