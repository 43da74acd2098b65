"""The node's view of its trainer: one async call, that can be cancelled and never waits without end.

The process is started at the first training. Its end is not the node's: a trainer that keeps dying (out of memory, say)
is left alone for a while, and the node mines on without updates of its own.

Several trainers are a group (training/group.py): the process that is spoken with, rank 0, and its companions. One of
them lost is all of them lost, and the training they were at; they are started again together. A `launcher` (torchrun
with its options) starts a group in place of the node, on several machines, say; the process it makes rank 0 inherits
the pipe.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from ledger.errors import LedgerError, MissingBlobs
from node.threads import use_one_thread
from node.trainer.ranks import make_environments
from node.trainer.requests import Trained, TrainersStatus, TrainRequest, encode_request
from node.worker.process import MAX_TRIES, WorkerGone, WorkerProcess
from node.worker.wire import Frame

log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-P", "-m", "node.trainer.main")
LAUNCHED = ("--no-python", *PROGRAM)  # by torchrun, which would leave out the -P
GRACE_S = (
    30.0  # beyond a training's own seconds: importing torch on a busy machine, loading data, a long step
)
PAUSE_S = 300.0  # after three deaths within a minute


class TrainingRefused(Exception):
    """There is no update, and nothing is wrong with the trainer; the message says why."""


class SamplesRefused(TrainingRefused):
    """There is no update because of what the miner's own samples are, or of what their privacy allows."""


class TrainerFailed(LedgerError):
    """The trainer could not do what was asked: it died, is paused, does not answer, or hit a fault of ours."""


class TrainerClient:
    """Computes updates in a process of their own; of several trainings at a time only the newest is done."""

    def __init__(
        self,
        genesis: Path,
        blobs: Path,
        log_path: Path,
        *,
        trainers: int = 1,
        device: str = "auto",
        launcher: Sequence[str] = (),
        command: Sequence[str] = PROGRAM,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        use_one_thread()
        self._trainers, self._device = trainers, device
        self._clock = clock
        self._genesis, self._blobs, self._log_path = genesis, blobs, log_path
        self._in_group = trainers > 1 or bool(launcher)
        command = [*launcher, *LAUNCHED] if launcher else command
        self._command = [*command, *(("--device", device) if device != "auto" else ())]
        self._tokens = itertools.count(1)
        self._lock = threading.Lock()  # of everything below
        self._process: WorkerProcess | None = None
        self._failure = ""
        self._paused_until_s: float | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """The process, if it was started."""
        return None if self._process is None else self._process.pid

    @property
    def pids(self) -> list[int]:
        """All processes of the group, by rank."""
        process = self._process
        return [] if process is None or process.pid is None else [process.pid, *process.companion_pids]

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def restarts(self) -> int:
        """Of the process since it was first started, or since the last pause."""
        return 0 if self._process is None else self._process.restarts

    def describe(self) -> TrainersStatus:
        if self._failure:
            state = "paused"
        elif self._process is None:
            state = "not started"
        else:
            state = "running" if self.alive else "ended"
        return TrainersStatus(self._trainers, self._device, state, self.restarts)

    async def warm_up(self) -> None:
        """Start the process, if it does not run: its first seconds go into importing torch. Never fails."""
        with suppress(TrainerFailed):
            await trio.to_thread.run_sync(self._get_process, self._clock())

    async def train(self, request: TrainRequest) -> Trained:
        """Compute an update. TrainingRefused if there is none, MissingBlobs without the data, TrainerFailed.

        A call that is cancelled, or not answered in time, calls its training off.
        """
        process, token = self._get_process(self._clock()), next(self._tokens)
        arguments = [token, *encode_request(request)]
        timeout_s = request.seconds + GRACE_S
        call = partial(process.call, "train", arguments, timeout_s)
        answered = False
        try:
            # mypy loses this keyword behind trio's decorator
            answer = await trio.to_thread.run_sync(call, abandon_on_cancel=True)  # type: ignore[call-arg]
            answered = True
        except WorkerGone as error:
            raise TrainerFailed(str(error)) from error
        finally:
            if not answered:
                process.tell("stop", [token])
        return _read_answer(answer)

    def stop(self) -> None:
        """End the process for good; blocks for a second at the most."""
        with self._lock:
            self._stopped, process = True, self._process
        if process is not None:
            process.stop()

    def _get_process(self, now_s: float) -> WorkerProcess:
        """The process, started at its first use and again after a pause."""
        with self._lock:
            if self._stopped:
                raise TrainerFailed("the node is stopping")
            if self._failure:
                self._pause(now_s)
            if self._process is None:
                self._process = self._start()
            return self._process

    def _pause(self, now_s: float) -> None:
        if self._paused_until_s is None:
            self._paused_until_s = now_s + PAUSE_S
        if now_s < self._paused_until_s:
            raise TrainerFailed(f"training is paused for {PAUSE_S:.0f} s: {self._failure}")
        self._process, self._failure, self._paused_until_s = None, "", None

    def _start(self) -> WorkerProcess:
        process = WorkerProcess(
            self._genesis,
            self._blobs,
            "portable",  # data are read, nothing is judged: no kernels to compile
            on_event=lambda kind, arguments: None,
            on_failure=self._note_failure,
            log_path=self._log_path,
            command=self._command,
            name="group of trainers" if self._in_group else "trainer",
            make_environments=partial(make_environments, self._trainers, self._log_path.parent),
            # what a lost group was at is lost, too: begun again it would come too late
            max_tries=1 if self._in_group else MAX_TRIES,
        )
        try:
            process.start()
        except OSError as error:
            raise TrainerFailed(f"the trainer cannot be started: {error}") from error
        return process

    def _note_failure(self, why: str) -> None:
        log.warning("%s; the node goes on without updates of its own for %.0f s", why, PAUSE_S)
        self._failure = why


def _read_answer(answer: Frame) -> Trained:
    status, *rest = answer
    if status == "refused":
        raise TrainingRefused(rest[0])
    if status == "unusable":
        raise SamplesRefused(rest[0])
    if status == "missing":
        raise MissingBlobs(rest[0])
    if status != "ok":
        raise TrainerFailed(str(rest[0]))
    trained = Trained(*rest)
    return replace(trained, privacy=tuple(trained.privacy))
