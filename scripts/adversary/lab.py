"""The job that the attack zoo is played on, its exact engine, and training in floating point as a miner may do it.

The job is examples/digits.toml with a price and a budget. Everything judged is judged by the engine; what a miner
computes to get there is nobody's business, so here it is torch in single precision: a few steps of Adam, or what the
node's trainer does by default.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ledger.genesis import local_genesis
from ledger.jobspec import JobSpec
from ledger.params import COIN, ChainParams
from node.work import EngineVerifier, task_of
from training.engine import Engine
from training.exact.grids import DATA
from training.jobs import PreparedJob, load_job_file, prepare
from training.local import LocalSettings, LocalUpdate, LocalWork, train_update
from training.objectives.base import Batch, split_weights
from training.objectives.registry import get_objective
from training.splits import NO_KEYS, NO_ROWS, Split, parse_dataset

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 50 * COIN  # a round's: one coinbase
PRICE = 4 * BUDGET  # so that the budget is the limit where a round lowers the loss by more than a quarter
MASTER_ONE = float(1 << 24)
LOSS_UNIT = 2.0**-40

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Practice:
    """How a miner trains: Adam on minibatches of `batch` samples."""

    steps: int = 20
    batch: int = 64
    rate: float = 5e-3


Miners = Literal["adam", "newton"]  # how honest ones train: a Practice, or the node's own default
MINERS: tuple[Miners, ...] = ("adam", "newton")


@dataclass(frozen=True)
class Images:
    """Labelled images: data units int16 [N, 64] and classes int16 [N]."""

    inputs: NDArray[np.int16]
    labels: NDArray[np.int16]

    def take(self, rows: NDArray[np.int64]) -> Images:
        return Images(self.inputs[rows], self.labels[rows])

    def join(self, other: Images) -> Images:
        return Images(
            np.concatenate([self.inputs, other.inputs]), np.concatenate([self.labels, other.labels])
        )


class Lab:
    """A job with everything that miners, markets and measurements need of it."""

    def __init__(self, miners: Miners, train: int = 0) -> None:
        """With `train` the job has so many training samples, and what is left of its file is held out."""
        torch.set_num_threads(1)
        self.miners = miners
        self.params: ChainParams = local_genesis("adversary").params
        file = load_job_file(ROOT / "examples" / "digits.toml")
        if train:
            rest = file.split.holdout + file.split.train - train
            file = replace(file, split=replace(file.split, train=train, holdout=rest))
        self.prepared: PreparedJob = prepare(file, self.params.sidecar_limit)
        blob = self.prepared.blob
        self.spec = replace(JobSpec(**asdict(self.prepared.spec)), price=PRICE, budget=BUDGET)
        self.task = task_of(self.spec)
        self.blobs = {self.spec.data_cid: blob}
        self.engine = Engine(self.blobs.__getitem__)
        self.verifier = EngineVerifier(self.engine)
        self.facts = self.engine.inspect(self.task)
        self.objective = get_objective(self.spec.objective, self.spec.params)
        data = parse_dataset(blob, self.objective.layout)
        self.train_images = Images(data.train.inputs, data.train.labels)
        self.judge_images = Images(data.judge.inputs, data.judge.labels)
        self.public_images = self.train_images.join(self.judge_images)
        self.held_out = self._load_held_out()
        self.train(
            read_integers(self.facts.weights), self.train_images, np.random.default_rng(0)
        )  # loads what is lazy

    def _load_held_out(self) -> Images:
        inputs, labels = self.prepared.holdout_inputs, self.prepared.holdout_targets
        units = inputs.units.reshape(len(inputs.units), -1) << (DATA.f - inputs.fraction_bits)
        return Images(units.astype(np.int16), labels.units.astype(np.int16))

    def train(
        self, start: Integers, images: Images, rng: np.random.Generator, how: Practice | None = None
    ) -> Integers:
        """What training from `start` adds to it, in master units; by default as the lab's honest miners do."""
        if how is None and self.miners == "newton":
            return self._train_as_nodes(start, images, rng)
        return self._train_by_adam(start, images, rng, how or Practice())

    def _train_as_nodes(self, start: Integers, images: Images, rng: np.random.Generator) -> Integers:
        work = LocalWork(self.objective, split_of(images), start.astype("<i8").tobytes())
        made = train_update(work, LocalSettings(), rng.bytes(32), lambda: False)
        return made.delta if isinstance(made, LocalUpdate) else np.zeros_like(start)

    def _train_by_adam(
        self, start: Integers, images: Images, rng: np.random.Generator, how: Practice
    ) -> Integers:
        samples = self._expand(images)
        begin = torch.from_numpy(start / MASTER_ONE)
        weights = begin.float().requires_grad_(True)
        optimizer = torch.optim.Adam([weights], lr=how.rate)
        for _ in range(how.steps):
            rows = torch.from_numpy(rng.integers(0, len(samples.inputs), how.batch))
            batch = Batch(samples.inputs[rows], samples.targets[rows], samples.keys)
            loss = self.objective.native_loss(split_weights(self.objective, weights), batch) / how.batch
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        moved = weights.detach().double() - begin
        delta: Integers = np.rint(moved.numpy() * MASTER_ONE).astype(np.int64)
        return delta

    def _expand(self, images: Images) -> Batch:
        """Images as the objective's loss reads them, in units of one, float32."""
        batch = self.objective.make_batch(split_of(images), np.arange(len(images.labels), dtype=np.int64))
        scale = 2.0**-DATA.f
        return Batch((batch.inputs * scale).float(), (batch.targets * scale).float(), batch.keys)

    def run_ticket(self, weights: bytes, seed: bytes) -> Integers:
        """The delta of the exact ticket run of a seed."""
        return read_integers(self.engine.run(self.task, weights, seed).delta)

    def measure_loss(self, weights: bytes) -> float:
        """Mean exact loss over the whole judging split."""
        total, count = self.engine.evaluate(self.task, weights, "judge")
        return total * LOSS_UNIT / count

    def measure_accuracy(self, weights: bytes, images: Images) -> float:
        """The share of images that are classified as labelled."""
        right, count = self.engine.accuracy(self.task, weights, images.inputs, images.labels)
        return right / count


def read_integers(raw: bytes) -> Integers:
    return np.frombuffer(raw, "<i8").astype(np.int64)


def split_of(images: Images) -> Split:
    return Split(images.inputs, NO_ROWS, images.labels, NO_KEYS)


@cache
def get_lab(miners: Miners = "adam") -> Lab:
    """The lab of this process."""
    return Lab(miners)
