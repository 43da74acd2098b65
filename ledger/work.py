"""What the ledger asks of the training engine, as plain bytes and integers.

The ledger checks work through a `WorkVerifier` that the node passes in; it never imports torch. Each method is a pure
function of its arguments and of content-addressed blobs. Source: docs/protocol.md sections 7, 9 and 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ledger.jobspec import JobSpec


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the objective says about a spec: declared work of a run, initial weights, sizes of the splits.

    `judging` is the work of one loss evaluation on a settlement's sample. Where there are no tickets, jobs are
    market-only.
    """

    work: int
    judging: int
    weights: bytes
    train_count: int
    judge_count: int
    has_tickets: bool = True


@dataclass(frozen=True, slots=True)
class TicketTask:
    """One ticket run. `spec` is None for the heartbeat, whose data come from `parent`."""

    seed: bytes
    parent: bytes
    spec: JobSpec | None
    weights: bytes


@dataclass(frozen=True, slots=True)
class TicketRun:
    """Outcome of a run: digest of trace and delta, exact loss sums on the shard, delta as little-endian int64."""

    digest: bytes
    before: int
    after: int
    delta: bytes


@dataclass(frozen=True, slots=True)
class RevealedUpdate:
    """An update to judge: where its payload lies, the size it must have, and its weight in shares."""

    payload: bytes  # CID
    size: int
    weight: int


@dataclass(frozen=True, slots=True)
class SettleTask:
    """Merge tickets' `deltas`, then `updates` (in their order), onto `weights` (docs/protocol.md, section 10).

    `earlier` are the weights before each of the last settlements that moved them, the newest first, `last_updates`
    those that were revealed for the round settled last; nobody is paid for what is known from them. `sample_seeds` are
    those of samples 1 (what is known), 2 (updates) and 3 (credits).
    """

    spec: JobSpec
    weights: bytes
    earlier: tuple[bytes, ...]
    deltas: tuple[bytes, ...]
    updates: tuple[RevealedUpdate, ...]
    last_updates: tuple[RevealedUpdate, ...]
    sample_seeds: tuple[bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Settled:
    """Outcome of a settlement.

    Losses are sums over `sample_count` samples: `loss_before` of the weights in the first line search, `loss_after` of
    the winner of the last; all three are 0 where none was made. The scales are text ("1/2"), empty where there was
    nothing to scale; `split_loss` over `split_count` samples is the whole judging split where it is small enough, else
    (0, 0). `credits` has an entry for each update, None for a void one; `credit_base` is the loss before them.
    """

    weights: bytes
    scale: str
    loss_before: int
    loss_after: int
    sample_count: int
    split_loss: int
    split_count: int
    known_scale: str = ""
    update_scale: str = ""
    credits: tuple[int | None, ...] = ()
    credit_base: int = 0


class WorkRefused(Exception):
    """The objective refuses a job: its parameters, data or rates are outside its domain. The message says why."""


class WorkVerifier(Protocol):
    """Recomputes work. Raises `ledger.errors.MissingBlobs` when data are not held, `WorkRefused` for a bad job."""

    @property
    def heartbeat_work(self) -> int:
        """Declared work of a heartbeat run."""

    def inspect(self, spec: JobSpec) -> JobFacts: ...

    def run(self, task: TicketTask) -> TicketRun: ...

    def settle(self, task: SettleTask) -> Settled: ...
