"""Error feedback: nothing is lost but what decay takes; compression fits its limit."""

from __future__ import annotations

import numpy as np
import pytest

from training.exact.integers import DELTA_LIMIT
from training.feedback import MAX_RESIDUALS, Compression, Feedback, choose_compression
from training.payload import decode_payload, size_of_payload

JOB = b"job"


def make_delta(seed: int, count: int = 5000) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(size=count) * 2**18).astype(np.int64)


@pytest.mark.parametrize("compression", [Compression(4096, 8), Compression(4096, 2), Compression(100, 4)])
def test_payload_and_residual_are_what_was_wanted(compression: Compression) -> None:
    feedback, first, second = Feedback(decay=0.9), make_delta(1), make_delta(2)
    packed = feedback.pack(JOB, first, compression)
    assert np.array_equal(decode_payload(packed.payload, len(first)), packed.delta)
    residual = feedback.get_residual(JOB, len(first))
    assert np.array_equal(packed.delta + residual, first)
    packed = feedback.pack(JOB, second, compression)
    wanted = second + np.rint(0.9 * residual).astype(np.int64)
    assert np.array_equal(packed.delta + feedback.get_residual(JOB, len(first)), wanted)


def test_wanted_delta_stays_within_the_limit_of_a_delta() -> None:
    feedback = Feedback(decay=1.0)
    for _ in range(3):
        feedback.pack(JOB, np.full(5000, DELTA_LIMIT), Compression(1, 8))
    assert np.abs(feedback.get_residual(JOB, 5000)).max() <= 2 * DELTA_LIMIT


def test_jobs_do_not_share_residuals_and_only_the_last_are_kept() -> None:
    feedback = Feedback(decay=0.9)
    for number in range(MAX_RESIDUALS + 1):
        feedback.pack(bytes([number]), make_delta(number), Compression(1, 2))
    assert not feedback.get_residual(bytes([0]), 5000).any()
    assert feedback.get_residual(bytes([1]), 5000).any()


def test_residual_of_another_size_is_not_used() -> None:
    feedback = Feedback(decay=0.9)
    feedback.pack(JOB, make_delta(1), Compression(1, 2))
    assert not feedback.get_residual(JOB, 4).any()


def test_without_decay_nothing_is_kept() -> None:
    feedback = Feedback(decay=0.0)
    feedback.pack(JOB, make_delta(1), Compression(1, 2))
    assert not feedback.get_residual(JOB, 5000).any()


@pytest.mark.parametrize("count", [1, 640, 4096, 4736, 1 << 20])
@pytest.mark.parametrize("limit_bytes", [20, 3000, 20_000, 109_226])
def test_chosen_compression_fits_its_limit(count: int, limit_bytes: int) -> None:
    chosen = choose_compression(count, limit_bytes)
    if chosen is None:
        assert size_of_payload(count, 1, 4) > limit_bytes
    else:
        assert size_of_payload(count, chosen.kept, chosen.bits) <= limit_bytes


def test_small_models_are_sent_dense() -> None:
    assert choose_compression(4736, 109_226) == Compression(4096, 8)
