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
OUTPUTS = 10
DRAWN = """
title = "Drawn, {tokens} tokens of {width}"
seed = 1
[objective]
name = "attention_regression"
tokens = {tokens}
width = {width}
outputs = {outputs}
placement = "positional"
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


def draw_job(folder: Path, tokens: int, width: int, samples: int, seed: int) -> TrainerJob:
    """A job of (tokens * width)^2 parameters and a few more, with drawn inputs and classes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-8, 9, (samples + 64, tokens, width)) / 16
    np.savez(folder / "drawn.npz", inputs=inputs, labels=rng.integers(0, OUTPUTS, len(inputs)))
    text = DRAWN.format(tokens=tokens, width=width, outputs=OUTPUTS, samples=samples)
    (folder / "drawn.toml").write_text(text)
    return make_job(folder, folder / "drawn.toml")
