"""Which training counts: the newest one that was not called off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from node.trainer.inbox import REPLACED, STOPPED, Inbox
from node.worker.wire import Frame, FrameReader, write_frame


@dataclass
class Asked:
    """An inbox, the pipe to it, and what it refused."""

    refused: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.inbox = Inbox(FrameReader(self.reading), self.reading, lambda *what: self.refused.append(what))

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            write_frame(self.writing, frame)

    def hang_up(self) -> None:
        os.close(self.writing)


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    os.close(made.reading)


def train(token: int) -> Frame:
    return [100 + token, "train", token]


def test_newest_of_waiting_trainings_is_taken_and_the_others_are_refused(asked: Asked) -> None:
    asked.send(train(1), train(2), train(3))
    assert asked.inbox.wait() == train(3)
    assert asked.refused == [(101, REPLACED), (102, REPLACED)]


def test_training_goes_on_while_nothing_is_asked(asked: Asked) -> None:
    asked.send(train(1))
    assert asked.inbox.wait() == train(1)
    assert asked.inbox.find_reason_to_stop(1) == ""


def test_newer_training_ends_the_one_that_goes_on_and_comes_next(asked: Asked) -> None:
    asked.send(train(1))
    asked.inbox.wait()
    asked.send(train(2))
    assert asked.inbox.find_reason_to_stop(1) == REPLACED
    assert asked.inbox.wait() == train(2)
    assert asked.refused == []


def test_stop_ends_the_training_it_names(asked: Asked) -> None:
    asked.send(train(1))
    asked.inbox.wait()
    asked.send([0, "stop", 1])
    assert asked.inbox.find_reason_to_stop(1) == STOPPED


def test_stop_that_comes_late_does_not_end_a_newer_training(asked: Asked) -> None:
    asked.send(train(2), [0, "stop", 1])
    assert asked.inbox.wait() == train(2)
    assert asked.inbox.find_reason_to_stop(2) == ""


def test_stop_refuses_a_training_that_waits(asked: Asked) -> None:
    asked.send(train(1), [0, "stop", 1], train(2))
    assert asked.inbox.wait() == train(2)
    assert asked.refused == [(101, STOPPED)]


def test_training_that_comes_after_its_stop_is_refused(asked: Asked) -> None:
    asked.send([0, "stop", 1], train(1), train(2))
    assert asked.inbox.wait() == train(2)
    assert asked.refused == [(101, STOPPED)]


def test_older_training_that_is_repeated_late_does_not_replace_a_newer_one(asked: Asked) -> None:
    asked.send(train(2), train(1))
    assert asked.inbox.wait() == train(2)
    assert asked.refused == [(101, REPLACED)]


def test_end_of_input_ends_training_and_waiting(asked: Asked) -> None:
    asked.send(train(1))
    asked.inbox.wait()
    asked.hang_up()
    assert asked.inbox.find_reason_to_stop(1) == STOPPED
    assert asked.inbox.wait() is None
