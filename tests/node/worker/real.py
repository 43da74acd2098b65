"""A real training process on a regtest chain, with a small job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.blobs import BlobStore
from ledger.blocks import HEARTBEAT, VERSION, WorkHeader
from ledger.genesis import local_accounts, regtest_genesis
from ledger.jobspec import JobSpec, decode_spec, encode_spec
from ledger.params import MAX_TARGET
from node.worker.client import WorkerClient
from node.worker.wire import Frame

if TYPE_CHECKING:  # not loaded before they are needed: a node loads no torch either
    from node.work import EngineVerifier

JOB_FILE = Path(__file__).parents[3] / "examples" / "teacher.toml"
GENESIS = regtest_genesis("worker")
WAIT_S = 60.0


@dataclass
class RealWorker:
    """The client of a training process, its folder, and its events."""

    folder: Path
    events: list[tuple[str, Frame]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        (self.folder / "genesis.bin").write_bytes(GENESIS.encode())
        self.blobs = BlobStore(self.folder / "blobs")
        self.client = WorkerClient(
            self.folder / "genesis.bin",
            self.folder / "blobs",
            "fused",
            self.folder / "worker.log",
            decode_spec=lambda data: decode_spec(data, GENESIS.params),
            on_event=self._note_event,
            on_failure=self.failures.append,
        )

    def _note_event(self, kind: str, arguments: Frame) -> None:
        with self.changed:
            self.events.append((kind, arguments))
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[str, Frame], bool]) -> Frame:
        """Return the arguments of the first event that meets the condition."""

        def find() -> list[Frame]:
            return [arguments for kind, arguments in self.events if condition(kind, arguments)]

        with self.changed:
            assert self.changed.wait_for(find, WAIT_S)
            return find()[0]

    def put_job(self) -> JobSpec:
        """Store the example's data and return its spec."""
        from training.jobs import load_job_file, prepare

        prepared = prepare(load_job_file(JOB_FILE), GENESIS.params.sidecar_limit)
        self.blobs.put(prepared.blob)
        return JobSpec(**asdict(prepared.spec))

    def make_engine(self) -> EngineVerifier:
        """Return the same arithmetic in this process, by the other path."""
        from node.work import EngineVerifier
        from training.engine import Engine

        return EngineVerifier(Engine(self.blobs.get, "portable"))

    def make_heartbeat(self, height: int) -> WorkHeader:
        return make_work(height, HEARTBEAT)

    def mine(
        self, work: WorkHeader, threshold: int, spec: JobSpec | None = None, weights: bytes = b""
    ) -> None:
        """Mine under the height as the template's number."""
        data = encode_spec(spec) if spec else b""
        self.client.mine(work.height, work, threshold, data, weights, 0)


def make_work(height: int, job_id: bytes) -> WorkHeader:
    return WorkHeader(
        version=VERSION,
        height=height,
        parent=GENESIS.chain_id,
        time_ms=1000 * height,
        miner=local_accounts("worker")[0].public,
        target=MAX_TARGET,
        job_id=job_id,
        tx_root=bytes(32),
        tx_count=0,
        state_root=bytes(32),
        nonce=0,
    )
