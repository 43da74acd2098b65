"""Two real trainers as a group: updates they make together, and what a lost one costs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio

from node.testnet.process import read_start
from node.trainer.client import TrainerFailed, TrainingRefused
from node.trainer.ranks import MEETING, find_loopback, make_environments, read_place
from node.trainer.requests import Trained
from node.work import task_of
from tests.node.trainer.real import RealTrainer
from tests.node.trainer.test_private import TERMS, make_request
from tests.node.worker.test_process import until
from training.payload import decode_payload
from training.private.cost import count_cost, find_noise

ENDLESS = 10**9
BUSY_TICKS = 20  # of a processor, in hundredths of a second


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTrainer]:
    started = RealTrainer(tmp_path_factory.mktemp("trainers"), trainers=2)
    yield started
    pids = started.client.pids
    assert len(pids) == 2
    started.client.stop()
    assert not started.client.alive
    assert [read_start(pid) for pid in pids] == [None, None]


@asynccontextmanager
async def training(trainers: RealTrainer, outcomes: list[Exception]) -> AsyncIterator[None]:
    """An endless training, while both ranks are busy with it; how it ended comes into the list."""

    async def train() -> None:
        try:
            await trainers.client.train(trainers.make_request(steps=ENDLESS, seconds=600.0))
        except (TrainerFailed, TrainingRefused) as error:
            outcomes.append(error)

    await trainers.client.train(trainers.make_request())  # they are up
    before = [read_ticks(pid) for pid in trainers.client.pids]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(train)
            await trio.to_thread.run_sync(until, lambda: are_busy(trainers.client.pids, before))
            yield


def are_busy(pids: list[int], before: list[int]) -> bool:
    return all(read_ticks(pid) > ticks + BUSY_TICKS for pid, ticks in zip(pids, before, strict=True))


def read_ticks(pid: int) -> int:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def test_private_update_of_two_is_accounted_once(trainers: RealTrainer, tmp_path: Path) -> None:
    trained = await trainers.client.train(make_request(trainers, tmp_path))
    assert trained.privacy[6] == count_cost(find_noise(TERMS))
    assert trained.loss_after < trained.loss_before
    assert (await trainers.client.train(trainers.make_request())).privacy == ()  # the group goes on


async def test_update_of_two_lowers_the_exact_loss(trainers: RealTrainer) -> None:
    trained = await trainers.client.train(trainers.make_request())
    assert trained.loss_after < trained.loss_before
    start = np.frombuffer(trainers.weights, "<i8")
    moved = start + decode_payload(trained.payload, len(start))
    engine, task = trainers.verifier.engine, task_of(trainers.spec)
    after, before = (engine.evaluate(task, w.astype("<i8").tobytes(), "judge")[0] for w in (moved, start))
    assert after < before


async def test_newer_training_takes_the_place_of_the_one_that_two_are_at(trainers: RealTrainer) -> None:
    outcomes: list[Exception] = []
    pids = None
    async with training(trainers, outcomes):
        pids = trainers.client.pids
        assert isinstance(await trainers.client.train(trainers.make_request()), Trained)
    assert len(outcomes) == 1
    assert "newer request" in str(outcomes[0])
    assert trainers.client.pids == pids  # nobody was ended for it


async def test_training_of_two_that_is_cancelled_is_called_off(trainers: RealTrainer) -> None:
    with trio.CancelScope() as scope:
        async with training(trainers, []):
            pids = trainers.client.pids
            scope.cancel()
    assert isinstance(await trainers.client.train(trainers.make_request()), Trained)
    assert trainers.client.pids == pids


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_killed_rank_costs_one_update_and_the_group_is_started_again(
    trainers: RealTrainer, rank: int
) -> None:
    outcomes: list[Exception] = []
    restarts = trainers.client.restarts
    async with training(trainers, outcomes):
        pids = trainers.client.pids
        os.kill(pids[rank], signal.SIGKILL)
    assert [type(error) for error in outcomes] == [TrainerFailed]
    assert isinstance(await trainers.client.train(trainers.make_request()), Trained)
    assert trainers.client.restarts == restarts + 1
    assert [read_start(pid) for pid in pids] == [None, None]
    assert not set(pids) & set(trainers.client.pids)


async def test_device_that_no_trainer_has_is_told_and_the_trainers_stay_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    trainers = RealTrainer(tmp_path, trainers=2, device="cuda")
    try:
        for _ in range(2):
            with pytest.raises(TrainingRefused, match=r"device: cuda needs a GPU .* each of 2 trainers"):
                await trainers.client.train(trainers.make_request())
        assert trainers.client.restarts == 0
        pids = trainers.client.pids
        os.kill(pids[1], signal.SIGKILL)  # with nothing to do: it is missed all the same
        await trio.to_thread.run_sync(until, lambda: trainers.client.restarts == 1)
        assert not set(pids) & set(trainers.client.pids)
    finally:
        trainers.client.stop()


async def test_torchrun_starts_a_group_that_ends_with_its_node(tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    trainers = RealTrainer(tmp_path, device="cpu", launcher=torchrun)
    try:
        assert isinstance(await trainers.client.train(trainers.make_request()), Trained)
        assert trainers.client.pid is not None
        ranks = list_children(trainers.client.pid)
        assert len(ranks) == 2
    finally:
        trainers.client.stop()
    await trio.to_thread.run_sync(until, lambda: all(read_start(pid) is None for pid in ranks))


def list_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_one_trainer_gets_no_variables(tmp_path: Path) -> None:
    assert make_environments(1, tmp_path) == [{}]
    assert read_place({}) is None


def test_trainers_of_one_node_meet_in_a_new_file_over_loopback(tmp_path: Path) -> None:
    (tmp_path / "trainers-old.meeting").touch()
    first, second = make_environments(2, tmp_path), make_environments(2, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert first[0][MEETING] == first[1][MEETING] != second[0][MEETING]
    assert {variables["GLOO_SOCKET_IFNAME"] for variables in first} == {find_loopback()}
    places = [read_place(variables) for variables in first]
    assert [(p.rank, p.size, p.local_rank, p.local_size) for p in places if p] == [(0, 2, 0, 2), (1, 2, 1, 2)]
