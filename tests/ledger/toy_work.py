"""A work verifier for tests: four integers are trained towards zero by steps that hash functions choose.

It has the shape of the real one: pure functions of their arguments and of blobs, losses that mostly fall, merges with
a line search. Objective `toy`, parameters `[mode, declared work, judging samples]`: mode STUCK never moves in a merge.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ledger.blobs import BlobStore
from ledger.hashing import tagged_hash, word
from ledger.jobspec import JobSpec
from ledger.work import (
    JobFacts,
    RevealedUpdate,
    Settled,
    SettleTask,
    TicketRun,
    TicketTask,
    WorkRefused,
)

WORK = 1 << 24  # the standard unit: on regtest every valid ticket wins
COUNT = 4
VECTOR = struct.Struct("<4q")
STEADY, STUCK = 0, 1
TRAIN_COUNT = 4096
HEARTBEAT_SHARD = 16
SCALES = (("4", 32), ("2", 16), ("1", 8), ("1/2", 4), ("1/4", 2), ("1/8", 1), ("0", 0))


class ToyWork:
    """The fake verifier; `runs` counts ticket runs."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self.runs = 0

    @property
    def heartbeat_work(self) -> int:
        return WORK

    def inspect(self, spec: JobSpec) -> JobFacts:
        if spec.objective != "toy" or len(spec.params) != 3:
            raise WorkRefused(f"objective: toy with 3 parameters expected, got {spec.objective}")
        if len(self._blobs.get(spec.data_cid)) != spec.data_size:
            raise WorkRefused("data size: not the blob's")
        _, work, judge_count = spec.params
        return JobFacts(work, WORK, initial_weights(spec.init_seed), TRAIN_COUNT, judge_count)

    def run(self, task: TicketTask) -> TicketRun:
        self.runs += 1
        if task.spec is not None:
            self._blobs.get(task.spec.data_cid)
        weights = VECTOR.unpack(task.weights if task.spec else initial_weights(task.parent))
        shard = task.spec.shard if task.spec else HEARTBEAT_SHARD
        noise = tagged_hash("gc/toy", task.seed + task.weights)
        delta = [choose_step(w, noise[i]) for i, w in enumerate(weights)]
        moved = [w + d for w, d in zip(weights, delta, strict=True)]
        raw = VECTOR.pack(*delta)
        digest = tagged_hash("gc/delta", task.seed + raw)
        return TicketRun(digest, shard * sum_distance(weights), shard * sum_distance(moved), raw)

    def settle(self, task: SettleTask) -> Settled:
        self._blobs.get(task.spec.data_cid)
        weights: Vector = list(VECTOR.unpack(task.weights))
        first = last = None
        if task.deltas:
            deltas = [(list(VECTOR.unpack(raw)), 1) for raw in task.deltas]
            first = last = _search(task, weights, mean_of(deltas), task.sample_seeds[0])
        moved = first.weights if first else weights
        updates = [self._read_payload(update) for update in task.updates]
        valid = [(update, u.weight) for update, u in zip(updates, task.updates, strict=True) if update]
        known = self._search_known(task, weights, moved) if valid else None
        if known:
            last = known
            moved = known.weights
        credits: list[int] = []
        base = 0
        if valid:
            last = _search(task, moved, mean_of(valid), task.sample_seeds[1])
            base, credits = _credit(task, moved, valid, last)
            moved = last.weights
        if last is None:
            return Settled(task.weights, "", 0, 0, 0, 0, 0, credits=(None,) * len(updates))
        judge_count = task.spec.params[2]
        split = judge_count if judge_count <= 4 * task.spec.sample else 0
        queue = iter(credits)
        return Settled(
            weights=VECTOR.pack(*moved),
            scale=first.name if first else "",
            loss_before=(first or known or last).before,
            loss_after=last.after,
            sample_count=task.spec.sample,
            split_loss=split * sum_distance(moved),
            split_count=split,
            known_scale=known.name if known else "",
            update_scale=last.name if valid else "",
            credits=tuple(next(queue) if update else None for update in updates),
            credit_base=base,
        )

    def _search_known(self, task: SettleTask, weights: Vector, start: Vector) -> Search | None:
        if not task.earlier:
            return None
        steps = [w - e for w, e in zip(weights, VECTOR.unpack(task.earlier[-1]), strict=True)]
        return _search(task, start, steps, task.sample_seeds[0])

    def _read_payload(self, update: RevealedUpdate) -> Vector | None:
        raw = self._blobs.get(update.payload)
        return list(VECTOR.unpack(raw)) if len(raw) == update.size == VECTOR.size else None


Vector = list[int]


@dataclass(frozen=True)
class Search:
    """What a line search ended with."""

    weights: Vector
    name: str
    eighths: int
    before: int
    after: int


def mean_of(deltas: Sequence[tuple[Vector, int]]) -> Vector:
    total = sum(weight for _, weight in deltas)
    columns = zip(*([x * weight for x in delta] for delta, weight in deltas), strict=True)
    return [sum(column) // total for column in columns]


def _search(task: SettleTask, weights: Vector, mean: Vector, seed: bytes) -> Search:
    offset = word(seed) % task.spec.sample  # so that losses depend on the sample
    candidates = []
    for order, (name, eighths) in enumerate(SCALES):
        moved = _move(weights, mean, eighths)
        candidates.append((task.spec.sample * sum_distance(moved) + offset, -order, name, eighths, moved))
    stay = candidates[-1]
    loss, _, name, eighths, moved = stay if task.spec.params[0] == STUCK else min(candidates)
    return Search(moved, name, eighths, stay[0], loss)


def _credit(
    task: SettleTask, weights: Vector, updates: Sequence[tuple[Vector, int]], found: Search
) -> tuple[int, list[int]]:
    total = sum(weight for _, weight in updates)
    sums = [0] * COUNT
    losses = [task.spec.sample * sum_distance(weights)]
    for delta, weight in updates:
        sums = [s + x * weight for s, x in zip(sums, delta, strict=True)]
        moved = _move(weights, [s // total for s in sums], found.eighths)
        losses.append(task.spec.sample * sum_distance(moved))
    return losses[0], [before - after for before, after in pairwise(losses)]


def _move(weights: Vector, mean: Vector, eighths: int) -> Vector:
    return [w + (d * eighths >> 3) for w, d in zip(weights, mean, strict=True)]


def initial_weights(seed: bytes) -> bytes:
    words = struct.unpack(">4I", tagged_hash("gc/toy-weights", seed)[:16])
    return VECTOR.pack(*(word_ - 2**31 for word_ in words))


def choose_step(weight: int, noise: int) -> int:
    """Towards zero by up to 2^20, in one case of eight away from it."""
    step = min(abs(weight), (noise & 15) << 16)
    towards = -step if weight > 0 else step
    return -towards if noise >> 5 == 7 else towards


def sum_distance(weights: Sequence[int]) -> int:
    return sum(abs(w) for w in weights)
