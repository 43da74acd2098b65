"""The node's side of its trainer, with a stand-in that dies and is silent when told to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from node.trainer import client as client_module
from node.trainer.client import TrainerClient, TrainerFailed
from node.trainer.requests import TrainersStatus, TrainRequest, decode_request, encode_request
from tests.node.worker.test_process import until

FAKE = (sys.executable, "-m", "tests.node.trainer.fake_trainer")
REQUEST = TrainRequest(b"spec", b"weights", b"", b"seed", 10.0, 1000, solver="echo", tickets=(b"a", b"b"))


@dataclass
class Fake:
    """A client of the stand-in, and what that has seen."""

    folder: Path
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.client = TrainerClient(
            self.folder / "genesis",
            self.folder,
            self.folder / "trainer.log",
            command=FAKE,
            clock=lambda: self.now_s,
        )

    def seen(self) -> list[str]:
        path = self.folder / "seen"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    made = Fake(tmp_path)
    yield made
    made.client.stop()
    assert not made.client.alive


def ask(how: str, seconds: float = 10.0) -> TrainRequest:
    return replace(REQUEST, solver=how, seconds=seconds)


def test_request_is_the_same_on_both_ends() -> None:
    assert decode_request(encode_request(REQUEST)) == REQUEST
    with pytest.raises(ValueError, match="values expected"):
        decode_request(encode_request(REQUEST)[1:])


async def test_process_starts_at_the_first_training(fake: Fake) -> None:
    assert fake.client.describe() == TrainersStatus(1, "auto", "not started", 0)
    trained = await fake.client.train(ask("echo"))
    assert (trained.payload, trained.solver, trained.steps) == (b"payload", "echo", 3)
    pid = fake.client.pid
    await fake.client.train(ask("echo"))
    assert pid is not None
    assert fake.client.pid == pid
    assert fake.client.describe() == TrainersStatus(1, "auto", "running", 0)


async def test_killed_trainer_is_started_again_and_its_request_repeated_once(fake: Fake) -> None:
    assert (await fake.client.train(ask("die-once"))).solver == "die-once"
    assert fake.client.restarts == 1


async def test_training_that_kills_twice_fails_and_the_next_is_done(fake: Fake) -> None:
    with pytest.raises(TrainerFailed, match="died"):
        await fake.client.train(ask("die"))
    assert (await fake.client.train(ask("echo"))).solver == "echo"


async def test_trainer_that_keeps_dying_is_paused_and_tried_again(fake: Fake) -> None:
    for _ in range(2):
        with pytest.raises(TrainerFailed):
            await fake.client.train(ask("die"))
    await trio.to_thread.run_sync(until, lambda: bool(fake.client._failure))
    with pytest.raises(TrainerFailed, match="paused"):
        await fake.client.train(ask("echo"))
    assert not fake.client.alive
    assert fake.client.describe().state == "paused"
    fake.now_s += client_module.PAUSE_S
    assert (await fake.client.train(ask("echo"))).solver == "echo"


async def test_silent_trainer_is_not_waited_for_and_its_training_called_off(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "GRACE_S", 0.1)
    with pytest.raises(TrainerFailed, match="no answer"):
        await fake.client.train(ask("silent", seconds=0.1))
    await trio.to_thread.run_sync(until, lambda: "stop-1" in fake.seen())


async def test_cancelled_training_is_called_off(fake: Fake) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fake.client.train, ask("silent"))
        await trio.to_thread.run_sync(until, lambda: "train-1" in fake.seen())
        nursery.cancel_scope.cancel()
    await trio.to_thread.run_sync(until, lambda: "stop-1" in fake.seen())
    assert (await fake.client.train(ask("echo"))).solver == "echo"


async def test_stopped_client_starts_nothing(fake: Fake) -> None:
    await fake.client.train(ask("echo"))
    fake.client.stop()
    with pytest.raises(TrainerFailed, match="stopping"):
        await fake.client.train(ask("echo"))
    assert not fake.client.alive


async def test_trainer_that_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    client = TrainerClient(tmp_path, tmp_path, tmp_path / "log", command=[str(tmp_path / "no such program")])
    with pytest.raises(TrainerFailed, match="cannot be started"):
        await client.train(ask("echo"))
    client.stop()
