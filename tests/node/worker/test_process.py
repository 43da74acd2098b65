"""Supervision of the training process, with a stand-in that dies, hangs and garbles when told to."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node.worker import process as supervision
from node.worker.process import WorkerGone, WorkerProcess
from node.worker.wire import MAX_FRAME_BYTES, Frame, FrameReader

FAKE = (sys.executable, "-m", "tests.node.worker.fake_worker")
WAIT_S = 20.0
LARGE = bytes(1 << 20)  # more than a pipe holds


@dataclass
class Supervised:
    """A supervised stand-in, and what it was heard to say."""

    folder: Path
    mode: str = "fake"
    events: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.process = WorkerProcess(
            self.folder / "genesis",
            self.folder,
            self.mode,
            on_event=lambda kind, _: self._note(self.events, kind),
            on_failure=lambda why: self._note(self.failures, why),
            log_path=self.folder / "log",
            command=FAKE,
        )
        self.process.start()

    def _note(self, texts: list[str], text: str) -> None:
        with self.changed:
            texts.append(text)
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, WAIT_S)

    def seen(self, kind: str) -> int:
        path = self.folder / "seen"
        return path.read_text().split().count(kind) if path.exists() else 0


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path)
    supervised.wait_for(lambda: bool(supervised.events))
    yield supervised
    supervised.process.stop()


def test_killed_process_is_started_again_and_its_request_repeated_once(worker: Supervised) -> None:
    assert worker.process.call("die-once", ["x"], WAIT_S) == ["ok", "die-once", "x"]
    assert worker.process.restarts == 1
    assert worker.seen("die-once") == 2
    assert worker.events == ["hello", "hello"]


def test_request_that_kills_twice_fails_and_the_process_lives_on(worker: Supervised) -> None:
    with pytest.raises(WorkerGone, match="died"):
        worker.process.call("die", [], WAIT_S)
    assert worker.seen("die") == 2
    assert worker.process.call("echo", [], WAIT_S) == ["ok", "echo"]
    assert not worker.failures


def test_three_deaths_end_with_the_failure_callback(worker: Supervised) -> None:
    for _ in range(2):
        with pytest.raises(WorkerGone):
            worker.process.call("die", [], WAIT_S)
    worker.wait_for(lambda: bool(worker.failures))
    assert "3 times" in worker.failures[0]
    assert not worker.process.alive


def test_calls_after_the_failure_do_not_wait(tmp_path: Path) -> None:
    worker = Supervised(tmp_path, "broken")
    worker.wait_for(lambda: bool(worker.failures))
    begin_s = time.monotonic()
    with pytest.raises(WorkerGone, match="3 times"):
        worker.process.call("echo", [], WAIT_S)
    assert time.monotonic() - begin_s < 1
    worker.process.stop()


def test_open_call_fails_at_once_when_calls_end(worker: Supervised) -> None:
    with ThreadPoolExecutor() as pool:
        call = pool.submit(worker.process.call, "hang", [], WAIT_S)
        until(lambda: worker.seen("hang") == 1)
        worker.process.end_calls("the node is stopping")
        with pytest.raises(WorkerGone, match="stopping"):
            call.result(1)
    with pytest.raises(WorkerGone, match="stopping"):
        worker.process.call("echo", [], WAIT_S)


def test_telling_a_busy_process_never_waits_and_keeps_only_the_newest(worker: Supervised) -> None:
    with ThreadPoolExecutor() as pool:
        pid = worker.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        begin_s = time.monotonic()
        for _ in range(50):
            worker.process.tell("mine", [LARGE])
        assert time.monotonic() - begin_s < 1
        call = pool.submit(worker.process.call, "echo", [], WAIT_S)
        os.kill(pid, signal.SIGCONT)
        assert call.result(WAIT_S) == ["ok", "echo"]
    until(lambda: worker.seen("mine") >= 1)
    assert worker.seen("mine") <= 2  # one was being written


def test_long_log_gives_way_to_a_new_one_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "MAX_LOG_BYTES", 10)
    log_path = tmp_path / "worker.log"
    log_path.write_bytes(b"x" * 11)
    supervision._bound_log(log_path)
    assert not log_path.exists()
    assert (tmp_path / "worker.log.1").read_bytes() == b"x" * 11


def test_stop_ends_a_process_that_does_not_read(worker: Supervised) -> None:
    pid = worker.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    worker.process.tell("mine", [LARGE])
    begin_s = time.monotonic()
    worker.process.stop()
    assert time.monotonic() - begin_s < supervision.STOP_S + 2
    assert not worker.process.alive
    assert worker.process.restarts == 0


def test_stopped_process_is_not_started_again(worker: Supervised) -> None:
    worker.process.stop()
    worker.process.start()
    assert not worker.process.alive


def test_silent_process_is_replaced_and_answers_the_next_call(
    worker: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "HUNG_S", 0.1)
    with pytest.raises(WorkerGone, match="no answer"):
        worker.process.call("hang", [], 0.5)
    assert worker.process.call("echo", [], WAIT_S) == ["ok", "echo"]
    until(lambda: worker.process.restarts == 1)


def test_busy_process_is_left_alone_when_a_call_times_out(worker: Supervised) -> None:
    with pytest.raises(WorkerGone, match="no answer"):
        worker.process.call("hang", [], 0.2)
    assert worker.process.alive
    assert worker.process.restarts == 0


def test_garbled_frame_ends_the_process_and_the_request_is_repeated(worker: Supervised) -> None:
    assert worker.process.call("garble", [], WAIT_S) == ["ok", "garble"]
    assert worker.process.restarts == 1


def test_calls_from_many_threads_get_their_own_answers_across_a_death(worker: Supervised) -> None:
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(worker.process.call, "echo", [n], WAIT_S) for n in range(64)]
        calls.append(pool.submit(worker.process.call, "die-once", [64], WAIT_S))
        calls += [pool.submit(worker.process.call, "echo", [n], WAIT_S) for n in range(65, 128)]
        answers = [call.result(WAIT_S) for call in calls]
    assert [answer[2] for answer in answers] == list(range(128))


def test_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, (MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ValueError, match="at most"):
        FrameReader(reading).read()
    os.close(writing)
    os.close(reading)


def test_frame_in_pieces_is_put_together() -> None:
    reading, writing = os.pipe()
    reader = FrameReader(reading)
    frame: Frame = [1, "kind", b"x"]
    body = b"\x93\x01\xa4kind\xc4\x01x"
    for piece in (b"\0\0", b"\0", bytes([len(body)]) + body[:4], body[4:] + b"\0\0"):
        os.write(writing, piece)
        assert reader.fill()
    assert reader.take() == frame
    assert reader.take() is None
    os.close(writing)
    assert reader.read() is None
    os.close(reading)
