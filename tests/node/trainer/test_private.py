"""A trainer told to keep its samples private: accounted, never read otherwise, refused when the budget is spent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from node.trainer.client import SamplesRefused, TrainingRefused
from node.trainer.requests import Trained, TrainRequest
from node.work import task_of
from tests.node.trainer.real import RealTrainer
from tests.node.trainer.test_real import write_samples
from training.private.cost import PrivacyTerms, count_cost, count_total, find_noise
from training.private.update_budget import identify_samples, read_account
from training.samples import read_samples

TERMS = PrivacyTerms(8000, 10**10, updates=2)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTrainer]:
    started = RealTrainer(tmp_path_factory.mktemp("trainer"))
    yield started
    started.client.stop()


def make_request(trainer: RealTrainer, folder: Path, terms: PrivacyTerms = TERMS) -> TrainRequest:
    path = folder / "own.npz"
    if not path.exists():
        write_samples(trainer, path)
    return trainer.make_request(
        samples_path=str(path),
        privacy=(terms.epsilon, terms.delta, terms.updates, terms.steps),
        privacy_path=str(folder / "privacy"),
    )


def find_id(trainer: RealTrainer, folder: Path) -> bytes:
    objective, data = trainer.verifier.engine.get_dataset(task_of(trainer.spec))
    samples = read_samples((folder / "own.npz").read_bytes(), objective.layout, data.train.keys)
    return identify_samples(folder / "privacy", samples)


async def test_updates_are_accounted_until_the_budget_is_spent_and_then_refused(
    trainer: RealTrainer, tmp_path: Path
) -> None:
    request = make_request(trainer, tmp_path)
    trained = [await trainer.client.train(request) for _ in range(2)]
    data_id, noise = find_id(trainer, tmp_path), find_noise(TERMS)
    for number, each in enumerate(trained, 1):
        found, epsilon, delta, clip, deviation, steps, spent = each.privacy
        assert (found, epsilon, delta) == (data_id, TERMS.epsilon, TERMS.delta)
        assert (deviation, steps, spent) == (noise, 1, number * count_cost(noise))
        assert int(clip) > 0
        assert each.note == ""
    assert "epsilon 8 of 8 (delta 1e-05) is spent in 2 updates" in trained[1].budget
    with pytest.raises(
        SamplesRefused, match=r"own\.npz: privacy: the budget does not allow another update: eps"
    ):
        await trainer.client.train(request)
    account = read_account(tmp_path / "privacy" / f"{data_id.hex()}.json")
    assert account.updates == 2
    assert account.spent <= count_total(TERMS.epsilon, TERMS.delta)


async def test_budget_is_spent_on_also_where_the_trainer_was_killed_and_another_began(
    trainer: RealTrainer, tmp_path: Path
) -> None:
    await trainer.client.train(make_request(trainer, tmp_path))
    pid = trainer.client.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    trained = await trainer.client.train(make_request(trainer, tmp_path))
    assert trained.privacy[6] == 2 * count_cost(find_noise(TERMS))


@pytest.mark.parametrize(
    ("name", "why"), [("none.npz", "cannot be read: No such file"), ("junk.npz", "npz with arrays")]
)
async def test_samples_of_no_use_make_no_update(
    trainer: RealTrainer, tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "junk.npz").write_bytes(b"junk")
    request = replace(make_request(trainer, tmp_path), samples_path=str(tmp_path / name))
    with pytest.raises(SamplesRefused, match=why):
        await trainer.client.train(request)


async def test_what_cannot_be_trained_spends_nothing(trainer: RealTrainer, tmp_path: Path) -> None:
    request = make_request(trainer, tmp_path)
    wrong = [
        (replace(request, weights=b"short"), TrainingRefused, "weights"),
        (replace(request, size_limit=8), TrainingRefused, "fits"),
        (replace(request, seconds=1e-9), SamplesRefused, "nothing was spent"),
        (replace(request, privacy=(0, 1, 1, 1)), SamplesRefused, "epsilon"),
        (replace(request, privacy=(1, 1, 1 << 20, 64)), SamplesRefused, "fewer updates"),
    ]
    for each, kind, why in wrong:
        with pytest.raises(kind, match=why):
            await trainer.client.train(each)
    assert not list((tmp_path / "privacy").glob("*.json"))


async def test_large_delta_is_told(trainer: RealTrainer, tmp_path: Path) -> None:
    trained = await trainer.client.train(make_request(trainer, tmp_path, replace(TERMS, delta=10**13)))
    assert "delta 0.01 is 1/100 or more" in trained.note


async def test_noise_that_drowns_the_samples_leaves_one_public_update(
    trainer: RealTrainer, tmp_path: Path
) -> None:
    """Opposite targets, which without noise make another update entirely."""
    terms = PrivacyTerms(1, 1000, updates=1)
    _, data = trainer.verifier.engine.get_dataset(task_of(trainer.spec))
    losses = []
    for name, sign in (("one", 1), ("other", -1)):
        folder = tmp_path / name
        folder.mkdir()
        targets = sign * data.train.rows[:100]
        np.savez(folder / "own.npz", inputs=data.train.inputs[:100], targets=targets)
        losses.append((await trainer.client.train(make_request(trainer, folder, terms))).loss_after)
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


async def test_cancelled_training_spends_nothing_before_it_draws(
    trainer: RealTrainer, tmp_path: Path
) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            endless = replace(make_request(trainer, tmp_path), steps=10**9, seconds=600.0)
            nursery.start_soon(trainer.client.train, endless)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert isinstance(await trainer.client.train(trainer.make_request()), Trained)
    assert not list((tmp_path / "privacy").glob("*.json"))


async def test_samples_that_were_promised_privacy_are_not_used_without(
    trainer: RealTrainer, tmp_path: Path
) -> None:
    private = make_request(trainer, tmp_path)
    plain = replace(private, privacy=())
    assert (await trainer.client.train(plain)).note == ""  # nothing was promised yet
    await trainer.client.train(private)
    note = (await trainer.client.train(plain)).note
    assert "own samples not used" in note
    assert "these samples were promised privacy" in note
