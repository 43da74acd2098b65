"""Jobs that trainers are measured on, in a folder as a node has it: the digits, and drawn ones of any size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import trio

from ledger.blobs import BlobStore
from ledger.genesis import Genesis, local_genesis
from ledger.jobspec import JobSpec, encode_spec
from node.trainer.client import TrainerClient
from node.trainer.requests import Trained, TrainRequest
from training.jobs import load_job_file, prepare

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits.toml"
PAYLOAD_LIMIT = 1 << 20
SECONDS = 600.0  # that a training may take
DRAWN = """
title = "Drawn"
seed = 1
[objective]
{objective}
targets = "class"
[data]
file = "drawn.npz"
inputs = {{ array = "inputs", fraction_bits = 4 }}
targets = "labels"
[split]
train = {samples}
judge = 64
[rule]
steps = 2
shard = 32
learning_rate = 0.001
[market]
burn = 1
escrow = 1000
target_loss = 0.1
lifetime_blocks = 2000
judging_sample = 16
"""


@dataclass(frozen=True, slots=True)
class TrainerJob:
    """A job's spec and first weights, and the files a trainer reads."""

    folder: Path
    spec: bytes
    weights: bytes

    @property
    def parameters(self) -> int:
        return len(self.weights) // 8

    @contextmanager
    def open_client(self, trainers: int, device: str) -> Iterator[TrainerClient]:
        client = TrainerClient(
            self.folder / "genesis.bin",
            self.folder / "blobs",
            self.folder / "trainer.log",
            trainers=trainers,
            device=device,
        )
        try:
            yield client
        finally:
            client.stop()

    def train(self, client: TrainerClient, number: int = 0) -> tuple[Trained, float]:
        """An update with the default solver, drawn by a number, and the seconds of wall time it took."""
        seed = number.to_bytes(4, "big")
        request = TrainRequest(self.spec, self.weights, b"", seed, SECONDS, PAYLOAD_LIMIT)
        begin_s = time.perf_counter()
        trained = trio.run(client.train, request)
        return trained, time.perf_counter() - begin_s


def make_job(folder: Path, job_file: Path = DIGITS) -> TrainerJob:
    """Put a job file's job into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    genesis: Genesis = local_genesis("trainers")
    (folder / "genesis.bin").write_bytes(genesis.encode())
    prepared = prepare(load_job_file(job_file), 1 << 28)
    BlobStore(folder / "blobs").put(prepared.blob)
    spec = encode_spec(JobSpec(**asdict(prepared.spec)))
    return TrainerJob(folder, spec, prepared.facts.weights)


@dataclass(frozen=True, slots=True)
class Model:
    """An objective for a drawn job: lines of a job file, the shape of a sample, and how many classes."""

    lines: tuple[str, ...]
    shape: tuple[int, ...]
    outputs: int


def make_attention(tokens: int, width: int, outputs: int) -> Model:
    """Of (tokens * width) * (tokens * width + outputs) parameters."""
    kind = ('name = "attention_regression"', 'placement = "positional"')
    sizes = (f"tokens = {tokens}", f"width = {width}", f"outputs = {outputs}")
    return Model((*kind, *sizes), (tokens, width), outputs)


def make_softmax(features: int, outputs: int) -> Model:
    """Of features * outputs parameters."""
    lines = ('name = "softmax_regression"', f"features = {features}", f"outputs = {outputs}")
    return Model(lines, (features,), outputs)


def draw_job(folder: Path, model: Model, samples: int, seed: int) -> TrainerJob:
    """A job with drawn inputs and classes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-8, 9, (samples + 64, *model.shape)) / 16
    np.savez(folder / "drawn.npz", inputs=inputs, labels=rng.integers(0, model.outputs, len(inputs)))
    (folder / "drawn.toml").write_text(DRAWN.format(objective="\n".join(model.lines), samples=samples))
    return make_job(folder, folder / "drawn.toml")
