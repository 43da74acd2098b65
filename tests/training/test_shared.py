"""Two ranks compute what one does: the same losses, derivatives and updates, up to the rounding of sums."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tests.training.problems import Problem, make_problem
from training.errors import BadInput
from training.group import DeviceMissing, Group, Place, choose_device, join_group
from training.local import LocalSettings, LocalUpdate, LocalWork, SolverName, load_work, train_update
from training.shared import Leader, make_native

SEED = b"seed"
KINDS = {
    "attention classes": ("attention_regression", (4, 6, 10, 1, 1), ((1, 10), (1, 10))),
    "softmax keys": ("softmax_regression", (9, 5, 3, 0), ((3, 7),)),
}
SETTINGS: dict[SolverName, LocalSettings] = {
    "adam": LocalSettings("adam", steps=20, batch=33),
    "sgd": LocalSettings("sgd", steps=20, batch=33),
    "newton": LocalSettings("newton", steps=11),
}


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """This process as rank 0 of two."""
    meeting = str(tmp_path_factory.mktemp("group") / "meeting")
    with pytest.MonkeyPatch.context() as patch, subprocess.Popen(
        [sys.executable, "-m", "tests.training.follower", meeting]
    ) as follower:  # fmt: skip
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        try:
            yield join_group(Place(0, 2, 0, 2, meeting), "auto")
        except BaseException:
            follower.kill()
            raise


@pytest.fixture(scope="module")
def leader(group: Group) -> Iterator[Leader]:
    leads = Leader(group)
    yield leads
    leads.leave()


@pytest.fixture(scope="module", params=list(KINDS))
def problem(request: pytest.FixtureRequest) -> Problem:
    name, params, rates = KINDS[request.param]
    return make_problem(name, params, shard=12, rates=rates, train=101)


@pytest.fixture(scope="module")
def work(problem: Problem) -> LocalWork:
    return load_work(problem.make_engine("portable"), problem.task, problem.weights)


def never() -> bool:
    return False


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_two_ranks_make_the_update_that_one_makes(
    leader: Leader, problem: Problem, work: LocalWork, settings: LocalSettings
) -> None:
    alone = train_update(work, settings, SEED, never)
    with leader.share(problem.task, work.train) as shared:
        together = train_update(work, settings, SEED, never, shared)
    assert isinstance(alone, LocalUpdate)
    assert isinstance(together, LocalUpdate)
    assert together.loss_before == pytest.approx(alone.loss_before, rel=1e-6)
    assert together.loss_after == pytest.approx(alone.loss_after, rel=1e-3)
    assert np.linalg.norm(together.delta - alone.delta) < 0.01 * np.linalg.norm(alone.delta)


def test_two_ranks_train_in_the_precision_they_are_told(
    leader: Leader, problem: Problem, work: LocalWork
) -> None:
    alone = make_native(problem.task, work.train, "cpu", "float64")
    indices = np.arange(7, dtype=np.int64)
    weights = alone.read_weights(np.frombuffer(problem.weights, "<i8").astype(np.int64))
    with leader.share(problem.task, work.train, "float64") as shared:
        gradient = shared.open_batch(indices).differentiate(weights)
        model = shared.open_batch(indices).linearise(weights)
    assert gradient.dtype == weights.dtype
    exact = alone.open_batch(indices).differentiate(weights)
    assert float((gradient - exact).norm() / exact.norm()) < 1e-12
    assert float((model.gradient - exact / 2).norm() / exact.norm()) < 1e-12


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_answers_add_up_to_the_whole_batch_also_where_a_rank_has_no_samples(
    leader: Leader, problem: Problem, work: LocalWork, samples: int
) -> None:
    indices = np.arange(samples, dtype=np.int64) * 3
    alone = make_native(problem.task, work.train, "cpu")
    weights = alone.read_weights(np.frombuffer(problem.weights, "<i8").astype(np.int64))
    with leader.share(problem.task, work.train) as shared:
        assert shared.measure_loss(weights, indices) == pytest.approx(alone.measure_loss(weights, indices))
        answers = []
        for batch in (alone.open_batch(indices), shared.open_batch(indices)):
            gradient = batch.differentiate(weights)
            model = batch.linearise(weights)
            along = [batch.measure(weights), model.loss, model.measure_bend(gradient)]
            answers.append([*along, *gradient, *model.gradient, *model.multiply(gradient)])
    scale = max(abs(float(value)) for value in answers[0])
    assert np.allclose(answers[1], answers[0], rtol=1e-4, atol=1e-6 * scale)


def test_training_that_is_stopped_leaves_the_ranks_ready_for_the_next(
    leader: Leader, problem: Problem, work: LocalWork
) -> None:
    for steps in (1, 3):
        asked = iter(range(1, 10))
        settings = LocalSettings("newton", steps=50)
        with leader.share(problem.task, work.train) as shared:
            outcome = train_update(work, settings, SEED, lambda: next(asked) == steps, shared)  # noqa: B023
        assert outcome.steps == steps


def test_error_of_a_training_leaves_the_ranks_ready_for_the_next(
    leader: Leader, problem: Problem, work: LocalWork
) -> None:
    def fail() -> None:
        with leader.share(problem.task, work.train) as shared:
            shared.measure_loss(shared.read_weights(np.frombuffer(problem.weights, "<i8")), np.arange(3))
            raise BadInput("between two questions")

    with pytest.raises(BadInput):
        fail()
    leader.wait()
    with leader.share(problem.task, work.train) as shared:
        assert isinstance(train_update(work, LocalSettings(), SEED, never, shared), LocalUpdate)


def test_parts_of_a_batch_are_as_even_as_they_can_be() -> None:
    parts = [Group(rank, 3, "cpu", None, None).take_part(np.arange(8)) for rank in range(3)]
    assert [len(part) for part in parts] == [3, 3, 2]
    assert np.array_equal(np.concatenate(parts), np.arange(8))


def test_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(DeviceMissing, match="auto or cpu expected"):
        choose_device("cuda")
