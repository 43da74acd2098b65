"""A supervised training process: started again when it dies, its open requests repeated once.

Calls block and may come from any thread; one thread reads answers. Three deaths within a minute are the node's end:
something is wrong with this machine or its installation, and mining on would hide it.
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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from node.worker.wire import Frame, FrameReader, write_frame

log = logging.getLogger(__name__)

CRASHES = 3
CRASH_WINDOW_S = 60.0
STOP_S = 3.0
MAX_TRIES = 2


class WorkerGone(Exception):
    """The training process died on this request, or cannot be kept alive."""


@dataclass(slots=True)
class _Waiting:
    frame: Frame
    tries: int = 1
    done: threading.Event = field(default_factory=threading.Event)
    answer: Frame | None = None


class WorkerProcess:
    """Sends requests to the training process and hands its events on."""

    def __init__(
        self,
        genesis: Path,
        blobs: Path,
        path: str,
        *,
        on_event: Callable[[str, Frame], None],
        on_failure: Callable[[str], None],
        log_path: Path,
    ) -> None:
        self._argv = [sys.executable, "-m", "node.worker.main", str(genesis), str(blobs), path]
        self._on_event, self._on_failure = on_event, on_failure
        self._log_path = log_path
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._deaths: deque[float] = deque(maxlen=CRASHES)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self.restarts = 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self._log_path.open("ab") as output:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output
            )
        threading.Thread(target=self._read, args=(self._process,), name="worker-reader", daemon=True).start()

    def stop(self) -> None:
        """End the process: politely, then for good."""
        self._stopping = True
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with self._write_lock:
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._fail_all("the node is stopping")

    def call(self, kind: str, arguments: Frame, timeout_s: float) -> Frame:
        """Return the answer [status, ...]; WorkerGone if the process dies on it twice or does not answer."""
        number = next(self._numbers)
        waiting = _Waiting([number, kind, *arguments])
        with self._lock:
            self._waiting[number] = waiting
        try:
            self._send(waiting.frame)
            if not waiting.done.wait(timeout_s):
                raise WorkerGone(f"no answer to {kind} within {timeout_s:.0f} s")
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if waiting.answer is None:
            raise WorkerGone(f"the training process died on {kind}")
        return waiting.answer

    def tell(self, kind: str, arguments: Frame) -> None:
        """Send what has no answer; lost if the process is just dying."""
        self._send([0, kind, *arguments])

    def _send(self, frame: Frame) -> None:
        process = self._process
        try:
            with self._write_lock:
                if process is not None and process.stdin is not None and not process.stdin.closed:
                    write_frame(process.stdin.fileno(), frame)
        except OSError:
            log.debug("the training process is gone; its reader will start it again")

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        reader = FrameReader(process.stdout.fileno())
        try:
            while (frame := reader.read()) is not None:
                self._dispatch(frame)
        except (OSError, ValueError) as error:
            log.error("training process: %s", error)
            process.kill()
        status = process.wait()
        if not self._stopping:
            self._note_death(status)

    def _dispatch(self, frame: Frame) -> None:
        number, kind, *rest = frame
        if number == 0:
            self._on_event(kind, rest)
            return
        with self._lock:
            waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.answer = [kind, *rest]
            waiting.done.set()

    def _note_death(self, status: int) -> None:
        log.error("the training process ended with status %s (see %s)", status, self._log_path)
        now_s = time.monotonic()
        self._deaths.append(now_s)
        if len(self._deaths) == CRASHES and now_s - self._deaths[0] < CRASH_WINDOW_S:
            self._fail_all("the training process keeps dying")
            self._on_failure(f"the training process died {CRASHES} times within {CRASH_WINDOW_S:.0f} s")
            return
        self.restarts += 1
        self.start()
        self._repeat()

    def _repeat(self) -> None:
        with self._lock:
            waiting = list(self._waiting.values())
        for request in waiting:
            if request.tries >= MAX_TRIES:
                request.done.set()
                continue
            request.tries += 1
            self._send(request.frame)

    def _fail_all(self, why: str) -> None:
        log.debug("open requests fail: %s", why)
        with self._lock:
            waiting = list(self._waiting.values())
        for request in waiting:
            request.done.set()


def write_lowest_environment() -> None:
    """One thread for a training process: its runs are small, and a machine may hold several nodes."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
