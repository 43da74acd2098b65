"""The order of a private update: public things first, then the cost on the disk, then the noised sums."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.problems import Problem, make_problem
from training.errors import BadInput, PrivacyRefused
from training.local import LocalSettings, LocalUpdate, LocalWork, train_update
from training.private.cost import PrivacyTerms, count_cost, find_noise
from training.private.gradients import PrivateSamples
from training.private.noise import SecretNoise
from training.private.update import MOST_S, PrivateUpdate
from training.private.update_budget import read_account
from training.splits import Split

TERMS = PrivacyTerms(64_000, 10**12, updates=2, steps=2)
PUBLIC = 40


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem("softmax_regression", (9, 5, 3, 0), shard=11, rates=((3, 7),), train=300)


def make(
    problem: Problem,
    folder: Path,
    terms: PrivacyTerms = TERMS,
    time_left: Callable[[], float] = lambda: 60.0,
    npz: bytes | None = None,
) -> tuple[PrivateUpdate, LocalWork]:
    objective, data = problem.make_engine("portable").get_dataset(problem.task)
    train = data.train
    public = Split(train.inputs[:PUBLIC], train.rows[:PUBLIC], train.labels, train.keys)
    file = io.BytesIO()
    np.savez(file, inputs=train.inputs[PUBLIC:], targets=train.rows[PUBLIC:])
    update = PrivateUpdate(
        objective,
        public,
        file.getvalue() if npz is None else npz,
        terms,
        folder,
        np.random.default_rng(0),
        time_left,
        noise=SecretNoise(bytes(32)),
    )
    return update, LocalWork(objective, public, problem.weights)


def start(problem: Problem) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(problem.weights, "<i8") * 2.0**-24).float()


def list_budgets(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def test_update_says_what_it_cost_and_keeps_precision(problem: Problem, tmp_path: Path) -> None:
    update, work = make(problem, tmp_path)
    made = train_update(work, LocalSettings(), b"seed", lambda: False, None, update.refine)
    assert isinstance(made, LocalUpdate)
    told, noise = update.accounting, find_noise(TERMS)
    assert told is not None
    assert (told.epsilon, told.delta, told.noise, told.steps) == (64_000, 10**12, noise, 2)
    assert told.spent == count_cost(noise, 2)
    assert (tmp_path / f"{told.data_id.hex()}.json").exists()
    assert make(problem, tmp_path)[0].refine(start(problem)).dtype is torch.float32


def test_cost_is_on_the_disk_before_anything_is_drawn(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def die(self: PrivateSamples, *arguments: object) -> torch.Tensor:
        (path,) = list_budgets(tmp_path)
        seen.append(read_account(path).spent)
        raise SystemExit

    monkeypatch.setattr(PrivateSamples, "sum_gradients", die)
    with pytest.raises(SystemExit):
        make(problem, tmp_path)[0].refine(start(problem))
    assert seen == [count_cost(find_noise(TERMS), 2)]
    assert read_account(list_budgets(tmp_path)[0]).updates == 1  # and stays there


def test_nothing_is_read_when_the_budget_or_the_time_does_not_allow_it(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(TERMS.updates):
        make(problem, tmp_path)[0].refine(start(problem))
    before = read_account(list_budgets(tmp_path)[0])

    def fail(self: PrivateSamples, *arguments: object) -> torch.Tensor:
        raise AssertionError("private samples were read")

    monkeypatch.setattr(PrivateSamples, "sum_gradients", fail)
    clock = iter(
        [1000.0, 999.0 - MOST_S, 999.0 - MOST_S]
    )  # a frame of 40 samples took longer than all sums may
    slow = make(problem, tmp_path / "slow", time_left=lambda: next(clock))[0]
    for update, why in (
        (make(problem, tmp_path)[0], "does not allow another update"),
        (slow, "nothing was spent"),
    ):
        with pytest.raises(PrivacyRefused, match=why):
            update.refine(start(problem))
        assert update.accounting is None
    assert read_account(list_budgets(tmp_path)[0]) == before
    assert not list_budgets(tmp_path / "slow")


def test_what_cannot_be_is_refused_by_name(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="npz"):
        make(problem, tmp_path, npz=b"junk")
    with pytest.raises(PrivacyRefused, match="diverged"):
        make(problem, tmp_path)[0].refine(start(problem) * float("nan"))
    (tmp_path / "file").write_text("")
    with pytest.raises(PrivacyRefused, match="cannot be written"):
        make(problem, tmp_path / "file")[0].refine(start(problem))


def test_delta_that_lets_one_sample_go_is_warned_of(problem: Problem, tmp_path: Path) -> None:
    assert make(problem, tmp_path)[0].warning == ""
    large = replace(TERMS, delta=10**15 // 260 + 1)
    assert "delta 0.00384615 is 1/260 or more" in make(problem, tmp_path, large)[0].warning
