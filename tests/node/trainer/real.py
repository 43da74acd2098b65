"""A real trainer on a regtest chain, with a small job."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ledger.blobs import BlobStore
from ledger.genesis import regtest_genesis
from ledger.jobspec import JobSpec, encode_spec
from node.trainer.client import TrainerClient
from node.trainer.requests import TrainRequest

JOB_FILE = Path(__file__).parents[3] / "examples" / "teacher.toml"
GENESIS = regtest_genesis("trainer")
SIZE_LIMIT = 10_000


@dataclass
class RealTrainer:
    """The client of a trainer, its folder, and a job whose data it holds."""

    folder: Path
    trainers: int = 1
    device: str = "auto"
    launcher: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from node.work import EngineVerifier
        from training.engine import Engine
        from training.jobs import load_job_file, prepare

        (self.folder / "genesis.bin").write_bytes(GENESIS.encode())
        blobs = BlobStore(self.folder / "blobs")
        self.client = TrainerClient(
            self.folder / "genesis.bin",
            self.folder / "blobs",
            self.folder / "trainer.log",
            trainers=self.trainers,
            device=self.device,
            launcher=self.launcher,
        )
        prepared = prepare(load_job_file(JOB_FILE), GENESIS.params.sidecar_limit)
        blobs.put(prepared.blob)
        self.spec = JobSpec(**asdict(prepared.spec))
        self.verifier = EngineVerifier(Engine(blobs.get, "portable"))
        self.weights = self.verifier.inspect(self.spec).weights

    def make_request(self, **changes: Any) -> TrainRequest:  # Any: fields of the request
        request = TrainRequest(encode_spec(self.spec), self.weights, b"", b"seed", 60.0, SIZE_LIMIT)
        return replace(request, **changes)
