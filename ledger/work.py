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
    """What the objective says about a spec: declared work of a run, initial weights, sizes of the splits."""

    work: int
    weights: bytes
    train_count: int
    judge_count: int


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
class SettleTask:
    """Merge `deltas` onto `weights` by a line search on the sample drawn from `sample_seed`."""

    spec: JobSpec
    weights: bytes
    deltas: tuple[bytes, ...]
    sample_seed: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """Outcome of a settlement.

    `loss_before` and `loss_after` are sums over `sample_count` samples at scale 0 and at the winning scale (text,
    "1/2"); `split_loss` over `split_count` samples is the whole judging split where it is small enough, else (0, 0).
    """

    weights: bytes
    scale: str
    loss_before: int
    loss_after: int
    sample_count: int
    split_loss: int
    split_count: int


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
