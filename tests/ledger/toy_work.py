"""A work verifier for tests: four integers are trained towards zero by steps that hash functions choose.

It has the shape of the real one: pure functions of their arguments and of blobs, losses that mostly fall, merges with
a line search. Objective `toy`, parameters `[mode, declared work, judging samples]`: mode STUCK never moves in a merge.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ledger.blobs import BlobStore
from ledger.hashing import tagged_hash, word
from ledger.jobspec import JobSpec
from ledger.work import JobFacts, Settled, SettleTask, TicketRun, TicketTask, WorkRefused

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
        return JobFacts(work, initial_weights(spec.init_seed), TRAIN_COUNT, judge_count)

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
        weights = VECTOR.unpack(task.weights)
        deltas = [VECTOR.unpack(raw) for raw in task.deltas]
        mean = [sum(column) // len(deltas) for column in zip(*deltas, strict=True)]
        mode, _, judge_count = task.spec.params
        offset = word(task.sample_seed) % task.spec.sample  # so that losses depend on the sample
        candidates = []
        for order, (name, eighths) in enumerate(SCALES):
            moved = [w + (d * eighths >> 3) for w, d in zip(weights, mean, strict=True)]
            loss = task.spec.sample * sum_distance(moved) + offset
            candidates.append((loss, -order, name, moved))
        stay = candidates[-1]
        loss, _, name, moved = stay if mode == STUCK else min(candidates)
        split = judge_count if judge_count <= 4 * task.spec.sample else 0
        split_loss = split * sum_distance(moved)
        return Settled(VECTOR.pack(*moved), name, stay[0], loss, task.spec.sample, split_loss, split)


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
