"""The real trainer: updates that lower the exact loss, newer requests first, and no longer than its node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from ledger.errors import MissingBlobs
from ledger.hashing import cid_of
from ledger.jobspec import encode_spec
from node.testnet.process import read_start
from node.trainer.client import TrainingRefused
from node.trainer.requests import Trained, TrainRequest
from node.work import task_of
from tests.node.trainer.real import SIZE_LIMIT, RealTrainer
from tests.node.worker.test_process import until
from training.payload import decode_payload

ENDLESS = 10**9


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTrainer]:
    started = RealTrainer(tmp_path_factory.mktemp("trainer"))
    yield started
    started.client.stop()
    assert not started.client.alive


def measure(trainer: RealTrainer, weights: bytes) -> int:
    return trainer.verifier.engine.evaluate(task_of(trainer.spec), weights, "judge")[0]


async def test_payload_lowers_the_exact_loss_on_samples_it_was_not_trained_on(trainer: RealTrainer) -> None:
    trained = await trainer.client.train(trainer.make_request())
    assert trained.loss_after < trained.loss_before
    assert trained.steps > 0
    assert len(trained.payload) <= SIZE_LIMIT
    start = np.frombuffer(trainer.weights, "<i8")
    delta = decode_payload(trained.payload, len(start))
    assert trained.norm == pytest.approx(float(np.linalg.norm(delta)) * 2.0**-24)
    assert measure(trainer, (start + delta).astype("<i8").tobytes()) < measure(trainer, trainer.weights)


async def test_payload_keeps_to_its_limit(trainer: RealTrainer) -> None:
    trained = await trainer.client.train(trainer.make_request(size_limit=60))
    assert len(trained.payload) <= 60
    with pytest.raises(TrainingRefused, match="fits"):
        await trainer.client.train(trainer.make_request(size_limit=8))


async def test_solver_and_precision_are_those_that_are_asked_for(trainer: RealTrainer) -> None:
    trained = [
        await trainer.client.train(trainer.make_request(solver="adam", precision=precision, steps=3))
        for precision in ("float32", "float64")
    ]
    assert [each.solver for each in trained] == ["adam", "adam"]
    assert trained[0].loss_after == pytest.approx(trained[1].loss_after, rel=1e-3)
    assert trained[0].loss_after != trained[1].loss_after


async def test_training_ends_with_its_time(trainer: RealTrainer) -> None:
    trained = await trainer.client.train(trainer.make_request(steps=ENDLESS, seconds=0.3))
    assert 0 < trained.steps < ENDLESS


async def test_what_cannot_be_trained_is_refused_with_a_reason(trainer: RealTrainer) -> None:
    unheard = replace(trainer.spec, objective="unheard-of")
    wrong: list[tuple[TrainRequest, str]] = [
        (trainer.make_request(weights=b"short"), "weights"),
        (trainer.make_request(solver="magic"), "solver"),
        (trainer.make_request(precision="float8"), "precision: float32 or float64 expected, got float8"),
        (trainer.make_request(spec=encode_spec(unheard)), "objective"),
    ]
    for request, why in wrong:
        with pytest.raises(TrainingRefused, match=why):
            await trainer.client.train(request)


def write_samples(trainer: RealTrainer, path: Path) -> None:
    """Copies of some of the job's samples, with other targets."""
    _, data = trainer.verifier.engine.get_dataset(task_of(trainer.spec))
    np.savez(path, inputs=data.train.inputs[:100], targets=-data.train.rows[:100])


async def test_own_samples_are_trained_on(trainer: RealTrainer, tmp_path: Path) -> None:
    write_samples(trainer, tmp_path / "own.npz")
    without, again, with_own = [
        await trainer.client.train(trainer.make_request(samples_path=path))
        for path in ("", "", str(tmp_path / "own.npz"))
    ]
    assert without.payload == again.payload
    assert with_own.payload != without.payload
    assert with_own.loss_after > 2 * without.loss_after  # the same inputs have other targets, too
    assert with_own.note == without.note == ""


async def test_own_samples_that_are_of_no_use_are_told_and_left_out(
    trainer: RealTrainer, tmp_path: Path
) -> None:
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.savez(tmp_path / "other.npz", inputs=np.zeros((2, 3), np.int64), targets=np.zeros((2, 3), np.int64))
    without = await trainer.client.train(trainer.make_request())
    wrong = [
        ("none.npz", "cannot be read: No such file"),
        ("junk.npz", "npz"),
        ("other.npz", "for each sample"),
    ]
    for name, why in wrong:
        trained = await trainer.client.train(trainer.make_request(samples_path=str(tmp_path / name)))
        assert trained.payload == without.payload
        assert trained.note.startswith(f"own samples not used: {tmp_path / name}: ")
        assert why in trained.note


async def test_missing_data_come_back_as_what_they_are(trainer: RealTrainer) -> None:
    spec = replace(trainer.spec, data_cid=cid_of(b"not there"))
    with pytest.raises(MissingBlobs):
        await trainer.client.train(trainer.make_request(spec=encode_spec(spec)))


async def test_newer_training_takes_the_place_of_the_one_that_goes_on(trainer: RealTrainer) -> None:
    refused: list[str] = []

    async def train_endlessly() -> None:
        try:
            await trainer.client.train(trainer.make_request(steps=ENDLESS, seconds=600.0))
        except TrainingRefused as error:
            refused.append(str(error))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(train_endlessly)
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(await trainer.client.train(trainer.make_request()), Trained)
    assert refused == ["a newer request took its place"]


async def test_cancelled_training_does_not_hold_up_the_next(trainer: RealTrainer) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trainer.client.train, trainer.make_request(steps=ENDLESS, seconds=600.0))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert isinstance(await trainer.client.train(trainer.make_request()), Trained)


async def test_killed_trainer_is_started_again_and_its_request_answered(trainer: RealTrainer) -> None:
    await trainer.client.train(trainer.make_request())
    restarts, pid = trainer.client.restarts, trainer.client.pid
    assert pid is not None
    answers: list[Trained] = []

    async def train() -> None:
        answers.append(await trainer.client.train(trainer.make_request()))

    os.kill(pid, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(train)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(pid, signal.SIGKILL)
    assert len(answers) == 1
    assert trainer.client.restarts == restarts + 1


async def test_trainer_gives_way_to_mining(trainer: RealTrainer) -> None:
    await trainer.client.train(trainer.make_request())
    assert trainer.client.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, trainer.client.pid) >= 10


@pytest.mark.parametrize("trainers", [1, 2])
def test_trainers_end_with_a_killed_parent_while_they_train(tmp_path: Path, trainers: int) -> None:
    command = [sys.executable, "-m", "tests.node.trainer.parent", str(tmp_path), str(trainers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        try:
            assert parent.stdout is not None
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(pids) == trainers
            assert all(read_start(pid) is not None for pid in pids)
        finally:
            parent.kill()
    until(lambda: all(read_start(pid) is None for pid in pids))
