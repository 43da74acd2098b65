"""Updates trained natively: they lower the loss, stop when told to, and fail as outcomes."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from tests.training.problems import Problem, make_problem
from training.errors import BadInput
from training.exact.integers import DELTA_LIMIT
from training.local import LocalSettings, LocalUpdate, LocalWork, NoUpdate, load_work, train_update
from training.solvers.sampled import RETRIES
from training.splits import NO_ROWS

SEED = b"seed"


@pytest.fixture(
    scope="module", params=["attention rows", "attention classes", "softmax keys", "softmax classes"]
)
def problem(request: pytest.FixtureRequest) -> Problem:
    kinds = {
        "attention rows": ("attention_regression", (3, 5, 7, 0, 0), ((3, 10), (3, 10))),
        "attention classes": ("attention_regression", (4, 6, 10, 1, 1), ((1, 10), (1, 10))),
        "softmax keys": ("softmax_regression", (9, 5, 3, 0), ((3, 7),)),
        "softmax classes": ("softmax_regression", (20, 10, 0, 1), ((1, 4),)),
    }
    name, params, rates = kinds[request.param]
    return make_problem(name, params, shard=12, rates=rates, train=200)


@pytest.fixture(scope="module")
def work(problem: Problem) -> LocalWork:
    return load_work(problem.make_engine("portable"), problem.task, problem.weights)


def never() -> bool:
    return False


def move(problem: Problem, delta: np.ndarray) -> bytes:
    moved: bytes = (np.frombuffer(problem.weights, "<i8") + delta).astype("<i8").tobytes()
    return moved


@pytest.mark.parametrize("solver", ["adam", "sgd", "newton", "auto"])
def test_update_lowers_the_exact_loss(problem: Problem, work: LocalWork, solver: str) -> None:
    update = train_update(work, LocalSettings(solver), SEED, never)  # type: ignore[arg-type]  # names from a list
    assert isinstance(update, LocalUpdate)
    assert update.loss_after < update.loss_before
    engine = problem.make_engine("portable")
    before, count = engine.evaluate(problem.task, problem.weights, "train")
    after, _ = engine.evaluate(problem.task, move(problem, update.delta), "train")
    assert after < before
    assert update.loss_before == pytest.approx(before / count * 2.0**-40, rel=1e-3)
    assert update.loss_after == pytest.approx(after / count * 2.0**-40, rel=1e-2)


@pytest.mark.parametrize("solver", ["adam", "sgd", "newton"])
def test_stop_is_honoured_after_the_step_it_comes_in(work: LocalWork, solver: str) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    outcome = train_update(work, LocalSettings(solver, steps=50), SEED, stop)  # type: ignore[arg-type]
    assert outcome.steps == asked == 3


@pytest.mark.parametrize("solver", ["adam", "sgd", "newton"])
def test_steps_are_bounded(work: LocalWork, solver: str) -> None:
    outcome = train_update(work, LocalSettings(solver, steps=7), SEED, never)  # type: ignore[arg-type]
    least, most = (6, 7 * (1 + RETRIES)) if solver == "newton" else (7, 7)
    assert least <= outcome.steps <= most


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 1e30, -1e-2])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_rate_that_diverges_is_an_outcome_with_a_reason(work: LocalWork, solver: str, rate: float) -> None:
    outcome = train_update(work, LocalSettings(solver, steps=20, rate=rate), SEED, never)  # type: ignore[arg-type]
    assert isinstance(outcome, NoUpdate)
    assert "did not fall" in outcome.reason


@pytest.mark.parametrize("damping", [float("nan"), float("inf"), 0.0, -5.0])
def test_newton_survives_any_damping(work: LocalWork, damping: float) -> None:
    outcome = train_update(work, LocalSettings("newton", rate=damping), SEED, never)
    if isinstance(outcome, LocalUpdate):
        assert outcome.loss_after < outcome.loss_before


def test_newton_that_starts_with_too_little_damping_tries_again_with_more() -> None:
    """Weights at their limits: full steps of the quadratic model overshoot."""
    saturated = make_problem(
        "attention_regression", (5, 8, 9, 0, 0), shard=24, rates=((1, 12), (1, 10)), weights="saturated"
    )
    work = load_work(saturated.make_engine("portable"), saturated.task, saturated.weights)
    outcome = train_update(work, LocalSettings("newton", rate=1e-6), SEED, never)
    assert isinstance(outcome, LocalUpdate)
    assert outcome.loss_after < outcome.loss_before


def test_no_steps_are_no_update(work: LocalWork) -> None:
    assert isinstance(train_update(work, LocalSettings(steps=0), SEED, never), NoUpdate)


def test_seed_decides_the_update(work: LocalWork) -> None:
    settings = LocalSettings("adam", steps=5, batch=16)
    first, again, other = (train_update(work, settings, seed, never) for seed in (b"a", b"a", b"b"))
    assert isinstance(first, LocalUpdate)
    assert isinstance(again, LocalUpdate)
    assert isinstance(other, LocalUpdate)
    assert np.array_equal(first.delta, again.delta)
    assert not np.array_equal(first.delta, other.delta)


def test_delta_fits_a_payload_at_weights_on_their_limit() -> None:
    saturated = make_problem(
        "attention_regression", (5, 8, 9, 0, 0), shard=24, rates=((1, 12), (1, 10)), weights="saturated"
    )
    work = load_work(saturated.make_engine("portable"), saturated.task, saturated.weights)
    outcome = train_update(work, LocalSettings("adam", rate=5.0), SEED, never)
    if isinstance(outcome, LocalUpdate):
        assert np.abs(outcome.delta).max() <= DELTA_LIMIT


def test_own_tickets_alone_give_their_mean(problem: Problem, work: LocalWork) -> None:
    engine = problem.make_engine("portable")
    deltas = [engine.run(problem.task, problem.weights, bytes([i]) * 32).delta for i in range(3)]
    outcome = train_update(
        replace(work, tickets=deltas), LocalSettings("adam", steps=1, tickets_share=1.0), SEED, never
    )
    mean = np.mean([np.frombuffer(delta, "<i8") for delta in deltas], axis=0)
    assert isinstance(outcome, LocalUpdate)
    assert np.abs(outcome.delta - mean).max() <= 1 + 2**-20 * np.abs(mean).max()


def test_lookahead_starts_from_where_the_last_step_leads(problem: Problem, work: LocalWork) -> None:
    """The delta is what training adds there, not the step itself."""
    zeros = bytes(len(problem.weights))
    plain = train_update(work, LocalSettings("newton", lookahead=1.0), SEED, never)
    ahead = train_update(replace(work, previous=zeros), LocalSettings("newton", lookahead=1.0), SEED, never)
    assert isinstance(plain, LocalUpdate)
    assert isinstance(ahead, LocalUpdate)
    assert ahead.loss_before != plain.loss_before


@pytest.mark.parametrize("field", ["weights", "previous", "tickets"])
@pytest.mark.parametrize("raw", [b"", bytes(16), b"\xff" * 7 + b"\x7f"])
def test_weights_of_another_size_are_refused(work: LocalWork, field: str, raw: bytes) -> None:
    if field == "previous" and not raw:
        return  # there are none
    value = (raw,) if field == "tickets" else raw
    with pytest.raises(BadInput, match="bytes expected"):
        train_update(replace(work, **{field: value}), LocalSettings(lookahead=1.0), SEED, never)  # type: ignore[arg-type]


# --- own samples ------------------------------------------------------------------------------------------------------


def pack(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub has a keyword of its own
    return file.getvalue()


def test_own_samples_join_the_split(problem: Problem, work: LocalWork) -> None:
    engine = problem.make_engine("portable")
    objective, data = engine.get_dataset(problem.task)
    layout, train = objective.layout, data.train
    inputs = train.inputs[:5].reshape(5, *layout.inputs)
    targets = train.labels[:5] if layout.rows is None else train.rows[:5].reshape(5, *layout.rows)
    joined = load_work(
        engine, problem.task, problem.weights, own_samples=pack(inputs=inputs, targets=targets)
    ).train
    assert joined.count == train.count + 5
    assert np.array_equal(joined.inputs[-5:], train.inputs[:5])
    if train.rows is NO_ROWS:
        assert np.array_equal(joined.labels[-5:], train.labels[:5])
    else:
        assert np.array_equal(joined.rows[-5:], train.rows[:5])
    outcome = train_update(replace(work, train=joined), LocalSettings(), SEED, never)
    assert isinstance(outcome, LocalUpdate)


@pytest.mark.parametrize(
    "npz",
    [
        b"PK nonsense",
        pack(inputs=np.zeros((2, 3), np.int64)),
        pack(inputs=np.zeros((2, 3), np.int64), targets=np.zeros(2, np.int64)),
        pack(inputs=np.zeros((2, 4, 6)), targets=np.zeros(2, np.int64)),
        pack(inputs=np.zeros((2, 4, 6), np.int64), targets=np.zeros(3, np.int64)),
        pack(inputs=np.zeros((2, 4, 6), np.int64), targets=np.full(2, 10)),
        pack(inputs=np.full((2, 4, 6), 2**15), targets=np.zeros(2, np.int64)),
        pack(inputs=np.zeros((0, 4, 6), np.int64), targets=np.zeros(0, np.int64)),
        pack(inputs=np.array(3), targets=np.array(3)),
    ],
)
def test_samples_that_do_not_fit_the_job_are_refused(npz: bytes) -> None:
    problem = make_problem("attention_regression", (4, 6, 10, 1, 1), shard=12, rates=((1, 10), (1, 10)))
    with pytest.raises(BadInput, match=r"own samples|targets"):
        load_work(problem.make_engine("portable"), problem.task, problem.weights, own_samples=npz)
