"""The ledger's `WorkVerifier` over a training engine in the same process.

The one place where jobs of the ledger become tasks of the engine. Synchronous; knows neither event loop nor network.
Source: docs/protocol.md, sections 4, 7 and 10.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from ledger.errors import LedgerError
from ledger.jobspec import JobSpec
from ledger.work import JobFacts, Settled, SettleTask, TicketRun, TicketTask, WorkRefused
from training.engine import Engine, Task
from training.errors import BlobRefused, TaskRefused
from training.merge import Update

CACHED_RUNS = 64
CACHED_RUN_BYTES = 64 << 20  # weights and deltas of the cached runs together
CACHED_FACTS = 16  # of at most 8 MiB of initial weights each
TASK_FIELDS = tuple(Task.__dataclass_fields__)  # a spec has fields of the same names
SETTLED_FIELDS = tuple(Settled.__dataclass_fields__)  # the engine's result has fields of the same names


def task_of(spec: JobSpec) -> Task:
    """Return the training part of a spec."""
    return Task(**{name: getattr(spec, name) for name in TASK_FIELDS})


class EngineVerifier:
    """Recomputes work with an engine; the last runs and inspections are remembered.

    What the objective refuses at inspection is raised as WorkRefused, a blob that is not held as the engine's loader
    raises it (MissingBlobs). A job that passed and is refused later is this machine's fault: LedgerError, no verdict.
    Other errors of the engine are faults of this machine and pass through.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._facts: OrderedDict[JobSpec, JobFacts] = OrderedDict()
        self._runs: OrderedDict[bytes, tuple[TicketTask, TicketRun]] = OrderedDict()
        self._run_bytes = 0

    @property
    def heartbeat_work(self) -> int:
        """Declared work of a heartbeat run."""
        return self.engine.heartbeat_work()

    def inspect(self, spec: JobSpec) -> JobFacts:
        """Check a spec against its objective and data."""
        facts = self._facts.get(spec)
        if facts is None:
            with _refusals(WorkRefused):
                found = self.engine.inspect(task_of(spec))
            counts = (found.train_count, found.judge_count)
            facts = JobFacts(found.work, found.judging, found.weights, *counts, found.has_tickets)
            self._facts[spec] = facts
            while len(self._facts) > CACHED_FACTS:
                self._facts.popitem(last=False)
        return facts

    def run(self, task: TicketTask) -> TicketRun:
        """Do a ticket run, or return it if it was just done."""
        known = self._runs.get(task.seed)
        if known is not None and known[0] == task:
            self._runs.move_to_end(task.seed)
            return known[1]
        with _refusals(LedgerError):
            run = self._train(task)
        self._remember(task, run)
        return run

    def settle(self, task: SettleTask) -> Settled:
        """Merge a round's deltas and updates."""
        updates, last = (
            [Update(u.payload, u.size, u.weight) for u in some] for some in (task.updates, task.last_updates)
        )
        with _refusals(LedgerError):
            done = self.engine.settle(
                task_of(task.spec), task.weights, task.deltas, task.sample_seeds, task.earlier, updates, last
            )
        return Settled(**{name: getattr(done, name) for name in SETTLED_FIELDS})

    def _train(self, task: TicketTask) -> TicketRun:
        if task.spec is None:
            done = self.engine.heartbeat(task.parent, task.seed)
        else:
            done = self.engine.run(task_of(task.spec), task.weights, task.seed)
        return TicketRun(done.digest, done.before, done.after, done.delta)

    def _remember(self, task: TicketTask, run: TicketRun) -> None:
        self._forget(task.seed)
        self._runs[task.seed] = (task, run)
        self._run_bytes += _size_of(task, run)
        while len(self._runs) > CACHED_RUNS or self._run_bytes > CACHED_RUN_BYTES:
            self._forget(next(iter(self._runs)))

    def _forget(self, seed: bytes) -> None:
        known = self._runs.pop(seed, None)
        if known is not None:
            self._run_bytes -= _size_of(*known)


@contextmanager
def _refusals(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (TaskRefused, BlobRefused) as error:
        raise kind(str(error)) from error


def _size_of(task: TicketTask, run: TicketRun) -> int:
    return len(task.weights) + len(run.delta)
