"""A supervised child process, mining or training: started again when it dies, its open requests repeated once.

Calls block and may come from any thread. One thread a process reads its answers, another writes to it, so that no
caller ever waits for a pipe that a busy process does not read. Three deaths within a minute are the node's end:
something is wrong with this machine or its installation, and mining on would hide it. (A trainer's only end training.)
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from node.worker.companions import Companions
from node.worker.wire import Frame, FrameReader, write_frame

log = logging.getLogger(__name__)

# -P: a folder `node` in the current directory must not hide the package.
PROGRAM = (sys.executable, "-P", "-m", "node.worker.main")
CRASHES = 3
CRASH_WINDOW_S = 60.0
STOP_S = 1.0  # it has nothing to lose, so it is not waited for long
HUNG_S = 180.0  # without a word while requests wait: longer than the longest request may take
MAX_TRIES = 2
MAX_LOG_BYTES = 16 << 20


class WorkerGone(Exception):
    """The training process died on this request, or cannot be kept alive."""


@dataclass(slots=True)
class _Waiting:
    frame: Frame
    since_s: float
    tries: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    answer: Frame | None = None
    why_none: str = "the process died on it"


class _Outbox:
    """Frames to be written to one process. Of those that nobody waits for, only the newest is kept."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: deque[Frame] = deque()
        self._newest: Frame | None = None
        self._closed = False

    def put(self, frame: Frame) -> None:
        with self._changed:
            self._requests.append(frame)
            self._changed.notify()

    def put_newest(self, frame: Frame) -> None:
        with self._changed:
            self._newest = frame
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> Frame | None:
        """Wait for the next frame; None once closed."""
        with self._changed:
            while not (self._closed or self._requests or self._newest):
                self._changed.wait()
            if self._closed:
                return None
            if self._requests:
                return self._requests.popleft()
            frame, self._newest = self._newest, None
            return frame


class WorkerProcess:
    """Sends requests to the training process and hands its events on.

    `make_environments` says before every start with which variables beside the node's: a mapping for the process, and
    one more for each companion of it.
    """

    def __init__(
        self,
        genesis: Path,
        blobs: Path,
        path: str,
        *,
        on_event: Callable[[str, Frame], None],
        on_failure: Callable[[str], None],
        log_path: Path,
        command: Sequence[str] = PROGRAM,
        name: str = "training process",
        make_environments: Callable[[], Sequence[Mapping[str, str]]] = lambda: [{}],
        max_tries: int = MAX_TRIES,
    ) -> None:
        self._argv = [*command, str(genesis), str(blobs), path]
        self._name = name
        self._on_event, self._on_failure = on_event, on_failure
        self._log_path = log_path
        self._make_environments, self._max_tries = make_environments, max_tries
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # of everything below
        self._waiting: dict[int, _Waiting] = {}
        self._deaths: deque[float] = deque(maxlen=CRASHES)
        self._process: subprocess.Popen[bytes] | None = None
        self._companions = Companions(name, lambda: None)
        self._outbox = _Outbox()
        self._heard_s = 0.0
        self._ended = ""  # why there are no more calls
        self.restarts = 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def companion_pids(self) -> list[int]:
        return self._companions.pids

    def start(self) -> None:
        with self._lock:
            if not self._ended:
                self._launch()

    def _launch(self) -> None:
        """Start a process, and give it the requests that its predecessor did not answer."""
        process, companions = self._spawn()
        outbox = _Outbox()
        self._process, self._companions, self._outbox = process, companions, outbox
        self._heard_s = time.monotonic()
        for waiting in self._waiting.values():
            self._post(waiting)
        reading = partial(self._read, process, outbox, companions)
        for name, target in (("worker-reader", reading), ("worker-writer", partial(_write, process, outbox))):
            threading.Thread(target=target, name=name, daemon=True).start()

    def _spawn(self) -> tuple[subprocess.Popen[bytes], Companions]:
        """Start a process and its companions: all of them or none."""
        _bound_log(self._log_path)
        own, *others = self._make_environments()
        with self._log_path.open("ab") as output:
            process = subprocess.Popen(
                self._argv,
                env=os.environ | own,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
            )
            companions = Companions(self._name, process.kill)
            try:
                for other in others:
                    companions.start(self._argv, other, output)
            except OSError:
                companions.end()
                process.kill()
                process.wait()
                raise
        return process, companions

    def _post(self, waiting: _Waiting) -> None:
        if waiting.tries < self._max_tries:
            waiting.tries += 1
            self._outbox.put(waiting.frame)
        else:
            waiting.done.set()

    def end_calls(self, why: str) -> None:
        """Fail all open and later calls."""
        with self._lock:
            self._ended = self._ended or why
            for waiting in self._waiting.values():
                waiting.why_none = self._ended
                waiting.done.set()

    def stop(self) -> None:
        """End the process: politely, then for good."""
        self.end_calls("the node is stopping")
        process = self._process
        if process is None:
            return
        self._outbox.close()
        self._companions.expect_end()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._companions.end()

    def call(self, kind: str, arguments: Frame, timeout_s: float) -> Frame:
        """Return the answer [status, ...]; WorkerGone if the process dies on it twice or does not answer."""
        number = next(self._numbers)
        waiting = _Waiting([number, kind, *arguments], time.monotonic())
        with self._lock:
            if self._ended:
                raise WorkerGone(self._ended)
            self._waiting[number] = waiting
            self._post(waiting)
        try:
            if not waiting.done.wait(timeout_s):
                self._kill_if_hung()
                raise WorkerGone(f"no answer to {kind} within {timeout_s:.0f} s")
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if waiting.answer is None:
            raise WorkerGone(f"{kind}: {waiting.why_none}")
        return waiting.answer

    def tell(self, kind: str, arguments: Frame) -> None:
        """Send what has no answer and replaces what was told before; lost if the process is just dying."""
        self._outbox.put_newest([0, kind, *arguments])

    def _kill_if_hung(self) -> None:
        with self._lock:
            now_s = time.monotonic()
            oldest_s = min((waiting.since_s for waiting in self._waiting.values()), default=now_s)
            if now_s - max(oldest_s, self._heard_s) > HUNG_S and self._process is not None:
                log.error("the %s has been silent for over %.0f s and is ended", self._name, HUNG_S)
                self._process.kill()

    def _read(self, process: subprocess.Popen[bytes], outbox: _Outbox, companions: Companions) -> None:
        assert process.stdout is not None
        reader = FrameReader(process.stdout.fileno())
        try:
            while (frame := reader.read()) is not None:
                self._dispatch(frame)
        except (OSError, ValueError, TypeError) as error:
            log.error("%s: %s", self._name, error)
            process.kill()
        outbox.close()
        try:
            status = process.wait(STOP_S)
        except subprocess.TimeoutExpired:  # it closed its output, but lives
            process.kill()
            status = process.wait()
        process.stdout.close()
        companions.end()
        self._note_death(status)

    def _dispatch(self, frame: Frame) -> None:
        number, kind, *rest = frame
        self._heard_s = time.monotonic()
        if number == 0:
            self._on_event(kind, rest)
            return
        with self._lock:
            waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.answer = [kind, *rest]
            waiting.done.set()

    def _note_death(self, status: int) -> None:
        with self._lock:
            if self._ended:
                return
            log.error("the %s ended with status %s (see %s)", self._name, status, self._log_path)
            why = self._restart()
        if why:
            self.end_calls(why)
            self._on_failure(why)

    def _restart(self) -> str:
        """Start the process again; return why not, if it is not."""
        now_s = time.monotonic()
        self._deaths.append(now_s)
        if len(self._deaths) == CRASHES and now_s - self._deaths[0] < CRASH_WINDOW_S:
            return (
                f"the {self._name} died {CRASHES} times within {CRASH_WINDOW_S:.0f} s; see {self._log_path}"
            )
        try:
            self._launch()
        except OSError as error:
            return f"the {self._name} cannot be started again: {error}"
        self.restarts += 1
        return ""


def _bound_log(path: Path) -> None:
    """Keep one old log beside a new one, so that a process that complains and dies does not fill the disk."""
    if path.is_file() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))


def _write(process: subprocess.Popen[bytes], outbox: _Outbox) -> None:
    """Write a process' frames; alone to use its standard input, whose end is the process' end."""
    assert process.stdin is not None
    with suppress(OSError):  # it is gone: its reader sees to that
        while (frame := outbox.take()) is not None:
            write_frame(process.stdin.fileno(), frame)
    with suppress(OSError):
        process.stdin.close()
