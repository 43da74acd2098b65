"""Post-processing is exact, equal on every run, and near the softmax in float64; errors are told truly."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from training.errors import PrivacyRefused
from training.private.attention import claim_error, estimate_error, make_attention
from training.private.gram import Terms, clip_records, make_gram
from training.private.noise import SecretNoise
from training.private.release import Mechanism, make_plan, release, round_release

SEED = bytes(range(32))
SMALL = Terms(0.004, 0.01, 1.0, 1e-5)


def draw_release(n: int, scale: float) -> np.ndarray:
    drawn = np.random.default_rng(3).standard_normal((n, n)) * scale
    return round_release(drawn + drawn.T)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_attention_is_the_softmax_on_its_grid(scale: float) -> None:
    z = draw_release(12, scale)
    attention = make_attention(z)
    assert np.array_equal(attention * 2**20, np.round(attention * 2**20))
    reference = torch.softmax(torch.from_numpy(z), 1).numpy()
    assert np.abs(attention - reference).max() <= 2.0**-20
    assert np.abs(attention.sum(1) - 1).max() <= 12 * 2.0**-21


def test_attention_is_equal_on_repeated_runs_with_any_threads() -> None:
    z = draw_release(40, 0.5)
    first = make_attention(z).tobytes()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert make_attention(z.copy(order="F")).tobytes() == first
    finally:
        torch.set_num_threads(threads)


def test_differences_of_scores_are_exact_at_the_ends_of_the_grid() -> None:
    largest, step = 2.0**28 - 2.0**-24, 2.0**-24
    z = np.array([[largest, largest - step], [largest - step, -largest]])
    attention = make_attention(z)
    lower = 1 / (1 + Fraction(1) + Fraction(step))  # exp(-step) to first order
    assert attention[0, 1] == pytest.approx(float(lower), abs=2.0**-20)
    assert attention[1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "z", [np.array([[2.0**-25]]), np.zeros((2, 3)), np.full((2, 2), np.nan), np.full((1, 1), 2.0**28)]
)
def test_what_is_no_release_is_refused(z: np.ndarray) -> None:
    with pytest.raises(PrivacyRefused, match="Z: "):
        make_attention(z)


@pytest.mark.parametrize("mechanism", ["sampling", "gaussian"])
def test_estimated_error_is_that_of_many_releases(mechanism: Mechanism) -> None:
    records, plan, noise = (
        np.random.default_rng(2).standard_normal((6, 300)),
        make_plan(SMALL, mechanism),
        SecretNoise(SEED),
    )
    gram = make_gram(clip_records(records, SMALL.alpha))
    true = make_attention(round_release(gram))
    squares = [
        float(np.square(make_attention(release(plan, records, noise)) - true).mean()) for _ in range(300)
    ]
    estimate = estimate_error(release(plan, records, noise), plan)
    assert np.sqrt(np.mean(squares)) == pytest.approx(estimate, rel=0.1)


@pytest.mark.parametrize("mechanism", ["sampling", "gaussian"])
def test_claim_holds(mechanism: Mechanism) -> None:
    records, plan, noise = (
        np.random.default_rng(2).standard_normal((6, 300)),
        make_plan(SMALL, mechanism),
        SecretNoise(SEED),
    )
    true = make_attention(round_release(make_gram(clip_records(records, SMALL.alpha))))
    errors = [np.abs(make_attention(release(plan, records, noise)) - true).max() for _ in range(200)]
    claimed, words = claim_error(plan, 6, 300)
    assert claimed is not None
    assert max(errors) <= claimed + 2.0**-19
    assert "probability 0.99" in words


def test_claim_is_dropped_where_entries_may_be_large_and_a_release_is_made_all_the_same() -> None:
    plan = make_plan(Terms(0.1, 1.0, 1.0, 1e-5), "gaussian")
    claimed, words = claim_error(plan, 4, 10)
    assert claimed is None
    assert "r = d alpha^2 = 0.1 is not below 0.1" in words
    assert release(plan, np.ones((4, 10)), SecretNoise()).shape == (4, 4)


def test_claim_is_dropped_where_the_noise_excludes_nothing() -> None:
    plan = make_plan(Terms(0.3, 0.7, 1.0, 1e-5), "gaussian")
    assert claim_error(plan, 2, 1) == (None, "none: the noise is so large that nothing is excluded")
