"""What the trainer does all day: one training after the other, looking for newer requests after every step."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ledger.blobs import BlobStore
from ledger.errors import LedgerError, MissingBlobs
from ledger.genesis import Genesis
from ledger.hashing import tagged_hash
from ledger.jobspec import decode_spec
from ledger.params import ChainParams
from node.trainer.inbox import Inbox
from node.trainer.private import (
    PUBLIC_SHARE,
    SamplesRefused,
    check_not_promised,
    describe_private,
    open_private,
)
from node.trainer.requests import TrainRequest, decode_request
from node.work import task_of
from node.worker.wire import Frame, FrameReader, write_frame

if TYPE_CHECKING:
    from training.engine import Engine, Task
    from training.feedback import Compression
    from training.group import DeviceChoice, Place
    from training.local import LocalSettings, LocalUpdate, LocalWork
    from training.native import Precision
    from training.private.update import PrivateUpdate
    from training.shared import Trainers

log = logging.getLogger(__name__)

INPUT = 0
LOWER = 5  # priority than mining, for training itself
WEIGHT_BYTES = 8
LOST = 3  # exit status: the group is over
MAX_SAMPLES_BYTES = 64 << 20  # of a miner's own file


class Refused(Exception):
    """A training that brings no update; the message says why."""


def run_loop(
    genesis_path: Path, blobs_path: Path, path: str, output: int, place: Place | None, device: DeviceChoice
) -> None:
    """Serve until the input ends."""
    import torch

    from training.engine import Engine
    from training.group import GroupLost

    torch.set_num_threads(1)
    genesis = Genesis.decode(genesis_path.read_bytes())
    chosen: Literal["fused", "portable"] = "fused" if path == "fused" else "portable"
    engine = Engine(BlobStore(blobs_path).get, chosen)
    os.nice(LOWER)
    write_frame(output, [0, "hello"])
    inbox = Inbox(
        FrameReader(INPUT), INPUT, lambda number, why: write_frame(output, [number, "refused", why])
    )
    try:
        trainers = open_trainers(place, device)
        trainer = Trainer(genesis.params, engine, inbox, trainers)
        while (frame := inbox.wait(trainers.wait)) is not None:
            write_frame(output, trainer.answer(frame))
            trainers.wait()  # a word to all, also after trainings that failed before anybody was asked
        trainers.leave()
    except GroupLost as error:
        log.error("rank 0: %s", error)
        os._exit(LOST)  # at once: threads of a broken group may not end


def open_trainers(place: Place | None, device: DeviceChoice) -> Trainers:
    """Who computes: this process, or the group that it leads. Raises GroupLost."""
    from training.group import DeviceMissing, choose_device, join_group
    from training.shared import Alone, Leader, Nobody

    try:
        return Alone(choose_device(device)) if place is None else Leader(join_group(place, device))
    except DeviceMissing as error:
        return Nobody(error)


class Trainer:
    """Answers trainings. Keeps what their payloads lost, job by job."""

    def __init__(self, params: ChainParams, engine: Engine, inbox: Inbox, trainers: Trainers) -> None:
        from training.feedback import Feedback

        self._params, self._engine, self._inbox = params, engine, inbox
        self._trainers = trainers
        self._feedback = Feedback()

    def answer(self, frame: Frame) -> Frame:
        """The answer [number, status, ...] to [number, "train", token, ...]."""
        from training.errors import TrainingError
        from training.group import GroupLost

        number, _, token, *values = frame
        try:
            return [number, "ok", *self._train(token, decode_request(values))]
        except SamplesRefused as error:
            return [number, "unusable", str(error)]
        except (Refused, TrainingError) as error:
            return [number, "refused", str(error)]
        except MissingBlobs as error:
            return [number, "missing", list(error.cids)]
        except LedgerError as error:
            return [number, "failed", str(error)]
        except GroupLost:
            raise
        except Exception as error:  # border: one training must not end the process
            log.exception("a training failed")
            return [number, "failed", f"{type(error).__name__}: {error}"]

    def _train(self, token: int, request: TrainRequest) -> Frame:
        deadline_s = time.monotonic() + request.seconds
        if request.privacy and request.samples_path:
            return self._train_privately(token, request, deadline_s)
        work, note = self._load(request)
        update = self._find_update(token, request, work, deadline_s)
        return [*self._pack(request, update), note, *describe_private(None)]

    def _train_privately(self, token: int, request: TrainRequest, deadline_s: float) -> Frame:
        """Nothing but the PrivateUpdate is given the own samples."""
        from training.errors import BadInput, PrivacyRefused

        def check() -> None:
            if why := self._inbox.find_reason_to_stop(token):
                raise Refused(why)

        work = replace(self._load_with(request, b""), tickets=())
        choose_payload(request, len(request.weights) // WEIGHT_BYTES)  # before anything is spent on it
        public_s = deadline_s - (1 - PUBLIC_SHARE) * request.seconds
        try:
            npz = _read_samples(Path(request.samples_path))
            private = open_private(request, work, npz, deadline_s, check)
        except (BadInput, PrivacyRefused) as error:
            raise SamplesRefused(f"{request.samples_path}: {error}") from error
        try:
            update = self._find_update(token, request, work, public_s, private)
        except PrivacyRefused as error:
            raise SamplesRefused(f"{request.samples_path}: {error}") from error
        except Refused as error:
            spent = f"; {private.account.describe()}" if private.account else ""
            raise Refused(f"{error}{spent}") from error
        return [*self._pack(request, update), private.warning, *describe_private(private)]

    def _find_update(
        self,
        token: int,
        request: TrainRequest,
        work: LocalWork,
        deadline_s: float,
        private: PrivateUpdate | None = None,
    ) -> LocalUpdate:
        from training.local import NoUpdate, train_update

        settings = read_settings(request)

        def stop() -> bool:
            return bool(self._inbox.find_reason_to_stop(token)) or time.monotonic() >= deadline_s

        precision: Precision = request.precision  # type: ignore[assignment]  # `share` refuses what is none
        with self._trainers.share(self._read_task(request), work.train, precision) as problem:
            refine = private.refine if private else lambda weights: weights
            outcome = train_update(work, settings, request.seed, stop, problem, refine)
        why = self._inbox.find_reason_to_stop(token)
        if why:
            raise Refused(why)
        if isinstance(outcome, NoUpdate):
            raise Refused(f"{outcome.solver}, {outcome.steps} steps: {outcome.reason}")
        return outcome

    def _load(self, request: TrainRequest) -> tuple[LocalWork, str]:
        """What there is to train on, and why the miner's own samples are not in it, if they should be."""
        from training.errors import BadInput, PrivacyRefused

        if not request.samples_path:
            return self._load_with(request, b""), ""
        path, public = Path(request.samples_path), self._load_with(request, b"")
        try:
            npz = _read_samples(path)
            check_not_promised(request, public, npz)
            return self._load_with(request, npz), ""
        except (BadInput, PrivacyRefused) as error:
            return public, f"own samples not used: {path}: {error}"

    def _load_with(self, request: TrainRequest, own_samples: bytes) -> LocalWork:
        from training.local import load_work

        return load_work(
            self._engine,
            self._read_task(request),
            request.weights,
            previous=request.previous,
            tickets=request.tickets,
            own_samples=own_samples,
        )

    def _read_task(self, request: TrainRequest) -> Task:
        return task_of(decode_spec(request.spec, self._params))

    def _pack(self, request: TrainRequest, update: LocalUpdate) -> Frame:
        import numpy as np

        compression = choose_payload(request, len(update.delta))
        packed = self._feedback.pack(tagged_hash("trainer/job", request.spec), update.delta, compression)
        norm = float(np.linalg.norm(packed.delta.astype(np.float64))) * 2.0**-24
        return [packed.payload, norm, update.loss_before, update.loss_after, update.steps, update.solver]


def choose_payload(request: TrainRequest, parameters: int) -> Compression:
    """How an update is packed; Refused where nothing of it would fit."""
    from training.feedback import choose_compression

    compression = choose_compression(parameters, request.size_limit)
    if compression is None:
        raise Refused(f"no payload of {parameters} parameters fits {request.size_limit} bytes")
    return compression


def read_settings(request: TrainRequest) -> LocalSettings:
    """How to train; Refused for a solver that is not known."""
    from training.local import SOLVERS, LocalSettings

    if request.solver != "auto" and request.solver not in SOLVERS:
        raise Refused(f"solver: auto, {', '.join(SOLVERS)} expected, got {request.solver}")
    return LocalSettings(
        solver=request.solver,  # type: ignore[arg-type]  # just checked
        steps=request.steps or None,
        tickets_share=request.tickets_share,
        lookahead=request.lookahead,
    )


def _read_samples(path: Path) -> bytes:
    """Read a miner's own file; BadInput if that cannot be."""
    from training.errors import BadInput

    try:
        if path.stat().st_size > MAX_SAMPLES_BYTES:
            raise BadInput(f"a file of at most {MAX_SAMPLES_BYTES} bytes expected")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"it cannot be read: {error.strerror}") from error
