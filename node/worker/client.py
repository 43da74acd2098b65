"""The node's view of its training process: typed calls, and the ledger's `WorkVerifier` on top of them.

Results are cached by what they are a function of, so that a header judged on arrival is not run again when its block
connects, and a block of our own not at all.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import trio

from ledger.blocks import WorkHeader
from ledger.errors import LedgerError, MissingBlobs
from ledger.hashing import tagged_hash
from ledger.jobspec import JobSpec, encode_spec
from ledger.work import JobFacts, Settled, SettleTask, TicketRun, TicketTask, WorkRefused
from node.threads import use_one_thread
from node.worker.mining import encode_mining
from node.worker.process import WorkerGone, WorkerProcess
from node.worker.settling import decode_settled, encode_settle_task
from node.worker.wire import Frame, pack_frame

CALL_TIMEOUT_S = 60.0
PREPARE_TIMEOUT_S = 120.0
HELLO_TIMEOUT_S = 300.0  # a cold kernel cache is compiled first
CACHED_RUNS = 2048
CACHED_FACTS = 256
CACHED_SETTLEMENTS = 64
CACHED_BYTES = 64 << 20  # weights and deltas of each cache together

K = TypeVar("K")
V = TypeVar("V")


class JobFileRefused(Exception):
    """A job file or its data cannot become a job; the message says what was wrong and what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class WorkerFailed(LedgerError):
    """The training process could not do what was asked: neither a verdict nor anybody's fault but ours."""


@dataclass(frozen=True, slots=True)
class PreparedReply:
    """A job file turned into a spec, its data blob and the trial that a submission shows."""

    spec: JobSpec
    spec_bytes: bytes
    blob: bytes
    trial: TicketRun
    max_error: float
    clipped: int
    escrow_units: int
    train: int
    judge: int
    work: int  # declared, of one ticket
    notes: list[str]
    evaluation: int = 0  # samples of the secret split
    tranches: tuple[bytes, ...] = ()  # of these samples: a file each


@dataclass(frozen=True, slots=True)
class Score:
    """Exact losses over samples: their sum in 2^-40, how many samples, how many of them classified right (None where
    the targets are no classes)."""

    total: int
    count: int
    right: int | None


@dataclass(frozen=True, slots=True)
class ParentJob:
    """A job that has ended, for one that continues it: its spec's bytes and its final weights."""

    job_id: bytes
    spec: bytes
    weights: bytes


class Cache(Generic[K, V]):
    """The last results: at most `count` of them, and of at most `size_bytes` together."""

    def __init__(self, count: int, size_bytes: int, size_of: Callable[[V], int]) -> None:
        self._count, self._size_bytes, self._size_of = count, size_bytes, size_of
        self._items: OrderedDict[K, V] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._drop(key)
            self._items[key] = value
            self._held_bytes += self._size_of(value)
            while len(self._items) > self._count or self._held_bytes > self._size_bytes:
                self._drop(next(iter(self._items)))

    def _drop(self, key: K) -> None:
        old = self._items.pop(key, None)
        if old is not None:
            self._held_bytes -= self._size_of(old)


class WorkerClient:
    """Calls into the training process. Blocking methods are for the chain's thread, async ones for the rest."""

    def __init__(
        self,
        genesis: Path,
        blobs: Path,
        path: str,
        log_path: Path,
        *,
        decode_spec: Callable[[bytes], JobSpec],
        on_event: Callable[[str, Frame], None],
        on_failure: Callable[[str], None],
    ) -> None:
        use_one_thread()
        self.path = path
        self._on_event, self._on_failure = on_event, on_failure
        self._decode_spec = decode_spec
        self._heartbeat_work = 0
        self._hello = threading.Event()
        self._failure = ""
        self._runs = Cache[bytes, TicketRun](CACHED_RUNS, CACHED_BYTES, lambda run: len(run.delta))
        self._facts = Cache[bytes, JobFacts](CACHED_FACTS, CACHED_BYTES, lambda facts: len(facts.weights))
        self._settled = Cache[bytes, Settled](
            CACHED_SETTLEMENTS, CACHED_BYTES, lambda settled: len(settled.weights)
        )
        self._process = WorkerProcess(
            genesis, blobs, path, on_event=self._note_event, on_failure=self._note_failure, log_path=log_path
        )

    @property
    def alive(self) -> bool:
        return self._process.alive

    @property
    def restarts(self) -> int:
        return self._process.restarts

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it has checked its arithmetic; WorkerFailed if it does not come up."""
        self._process.start()
        self._hello.wait(HELLO_TIMEOUT_S)
        if not self._heartbeat_work:
            raise WorkerFailed(self._failure or "the training process did not start; see logs/worker.log")

    async def hold_open(self) -> None:
        """Until cancelled; then fail every open call, so that nobody who must end waits for training."""
        try:
            await trio.sleep_forever()
        finally:
            self._process.end_calls("the node is stopping")

    def stop(self) -> None:
        self._process.stop()
        self._hello.set()

    def _note_failure(self, why: str) -> None:
        self._failure = why
        self._hello.set()
        self._on_failure(why)

    def _note_event(self, kind: str, arguments: Frame) -> None:
        if kind == "hello":
            self._heartbeat_work = int(arguments[0])
            self._hello.set()
        self._on_event(kind, arguments)

    # the ledger's WorkVerifier

    @property
    def heartbeat_work(self) -> int:
        return self._heartbeat_work

    def inspect(self, spec: JobSpec) -> JobFacts:
        key = encode_spec(spec)
        facts = self._facts.get(key)
        if facts is None:
            facts = JobFacts(*self._call("inspect", [key]))
            self._facts.put(key, facts)
        return facts

    def run(self, task: TicketTask) -> TicketRun:
        spec = encode_spec(task.spec) if task.spec else b""
        key = tagged_hash("cache/run", task.seed + task.parent + tagged_hash("cache", spec + task.weights))
        run = self._runs.get(key)
        if run is None:
            run = read_run(self._call("run", [task.seed, task.parent, spec, task.weights]))
            self._runs.put(key, run)
        return run

    def remember(self, task: TicketTask, run: TicketRun) -> None:
        """Keep the result of a run that was mined here."""
        spec = encode_spec(task.spec) if task.spec else b""
        key = tagged_hash("cache/run", task.seed + task.parent + tagged_hash("cache", spec + task.weights))
        self._runs.put(key, run)

    def settle(self, task: SettleTask) -> Settled:
        arguments = encode_settle_task(task)
        key = tagged_hash("cache/settle", pack_frame(arguments))
        settled = self._settled.get(key)
        if settled is None:
            settled = decode_settled(self._call("settle", arguments))
            self._settled.put(key, settled)
        return settled

    # jobs and results

    async def prepare_job(
        self,
        toml: str,
        data_name: str,
        data: bytes,
        sidecar_limit: int,
        secret: bytes,
        parent: ParentJob | None = None,
    ) -> PreparedReply:
        """Turn a job file into a submission, which continues `parent`; JobFileRefused says what is wrong with it.

        `secret`, 32 random bytes that nobody keeps, salts the tranches of its evaluation split.
        """
        start = [parent.job_id, parent.spec, parent.weights] if parent else []
        try:
            answer = await self._call_async(
                "prepare", [toml, data_name, data, sidecar_limit, secret, start], PREPARE_TIMEOUT_S
            )
        except WorkRefused as error:
            raise JobFileRefused(str(error)) from error
        spec_bytes, blob, digest, before, after, delta, max_error, clipped, escrow, *facts, notes = answer
        train, judge, evaluation, work, tranches = facts
        return PreparedReply(
            spec=self._decode_spec(spec_bytes),
            spec_bytes=spec_bytes,
            blob=blob,
            trial=read_run([digest, before, after, delta]),
            max_error=max_error,
            clipped=clipped,
            escrow_units=escrow,
            train=train,
            judge=judge,
            work=work,
            notes=notes,
            evaluation=evaluation,
            tranches=tuple(tranches),
        )

    async def accuracy(self, spec: JobSpec, weights: bytes, inputs_npz: bytes) -> tuple[float, int]:
        """Return (share of right classes, samples) on the arrays "inputs" and "labels" of an npz."""
        accuracy, count = await self._call_async("accuracy", [encode_spec(spec), weights, inputs_npz])
        return float(accuracy), int(count)

    async def checkpoint(self, spec: JobSpec, weights: bytes, metadata: dict[str, str]) -> bytes:
        """Return weights as the bytes of a safetensors file."""
        (data,) = await self._call_async("checkpoint", [encode_spec(spec), weights, metadata])
        return bytes(data)

    async def slices(self, spec: JobSpec, weights: bytes) -> list[tuple[int, int, int]]:
        """Return (class, sum of its losses in 2^-40, samples) for every class of the judging split."""
        rows = await self._call_async("slices", [encode_spec(spec), weights])
        return [(label, int.from_bytes(total, "big"), count) for label, total, count in rows]

    async def evaluate(self, spec: JobSpec, weights: bytes, tranche: bytes) -> tuple[Score, Score]:
        """Return how weights do on the judging split, and on a tranche's blob; WorkRefused for another job's."""
        rows = await self._call_async("evaluate", [encode_spec(spec), weights, tranche])
        judging, secret = (Score(int.from_bytes(total, "big"), *rest) for total, *rest in rows)
        return judging, secret

    # mining

    def mine(
        self, number: int, work: WorkHeader, threshold: int, spec: bytes, weights: bytes, nonce: int
    ) -> None:
        """Replace what is mined; events name it by `number`."""
        self._process.tell("mine", encode_mining(number, work, threshold, spec, weights, nonce))

    def rest(self) -> None:
        """Stop mining."""
        self._process.tell("rest", [])

    # calls

    async def _call_async(self, kind: str, arguments: Frame, timeout_s: float = CALL_TIMEOUT_S) -> Frame:
        blocking = partial(self._call, kind, arguments, timeout_s)
        # mypy loses this keyword behind trio's decorator
        return await trio.to_thread.run_sync(blocking, abandon_on_cancel=True)  # type: ignore[call-arg]

    def _call(self, kind: str, arguments: Frame, timeout_s: float = CALL_TIMEOUT_S) -> Frame:
        try:
            status, *rest = self._process.call(kind, arguments, timeout_s)
        except WorkerGone as error:
            raise WorkerFailed(str(error)) from error
        if status == "refused":
            raise WorkRefused(rest[0])
        if status == "missing":
            raise MissingBlobs(rest[0])
        if status == "failed":
            raise WorkerFailed(f"{kind}: {rest[0]}")
        return rest


def read_run(values: Frame) -> TicketRun:
    digest, before, after, delta = values
    return TicketRun(digest, int.from_bytes(before, "big"), int.from_bytes(after, "big"), delta)
