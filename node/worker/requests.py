"""Answers of the training process, by kind of request. Arguments and answers are lists of plain values."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.jobspec import JobSpec, decode_spec, encode_spec, trial_seed
from ledger.params import ChainParams
from ledger.tranches import make_tranches
from ledger.work import TicketTask, WorkRefused
from node.work import EngineVerifier, task_of
from node.worker.settling import decode_settle_task, encode_settled
from node.worker.wire import Frame

if TYPE_CHECKING:  # training is imported with the first request that needs it
    from training.jobs import PreparedJob, Start

LOSS_BYTES = 16


class Requests:
    """The training process' side of every request but mining."""

    def __init__(self, params: ChainParams, verifier: EngineVerifier) -> None:
        self._params = params
        self._verifier = verifier
        self._answers: dict[str, Callable[..., Frame]] = {
            "inspect": self._inspect,
            "run": self._run,
            "settle": self._settle,
            "prepare": self._prepare,
            "accuracy": self._accuracy,
            "checkpoint": self._checkpoint,
            "slices": self._slices,
            "evaluate": self._evaluate,
        }

    def answer(self, kind: str, arguments: Frame) -> Frame:
        return self._answers[kind](*arguments)

    def _spec(self, data: bytes) -> JobSpec:
        return decode_spec(data, self._params)

    def _inspect(self, spec: bytes) -> Frame:
        facts = self._verifier.inspect(self._spec(spec))
        counts = [facts.train_count, facts.judge_count]
        return [facts.work, facts.judging, facts.weights, *counts, facts.has_tickets]

    def _run(self, seed: bytes, parent: bytes, spec: bytes, weights: bytes) -> Frame:
        task = TicketTask(seed, parent, self._spec(spec) if spec else None, weights)
        run = self._verifier.run(task)
        return [run.digest, _loss(run.before), _loss(run.after), run.delta]

    def _settle(self, *arguments: Any) -> Frame:  # Any: read by decode_settle_task
        return encode_settled(self._verifier.settle(decode_settle_task(list(arguments), self._params)))

    def _prepare(
        self, toml: str, data_name: str, data: bytes, sidecar_limit: int, secret: bytes, parent: list[bytes]
    ) -> Frame:
        """Prepare a job file and try its rule; the data blob need not be in the store yet.

        `secret` salts the tranches of an evaluation split. `parent` is id, spec and weights of the job that this one
        continues, or nothing.
        """
        from training.engine import Engine
        from training.pitfalls import list_pitfalls

        prepared = self._load_job(toml, data_name, data, sidecar_limit, parent)
        tranches = make_tranches(prepared.tranches, secret)
        spec = JobSpec(*(getattr(prepared.spec, name) for name in JobSpec.__dataclass_fields__))
        spec = replace(spec, evaluation=tranches[0].root if tranches else b"")
        spec_bytes = encode_spec(spec)
        verifier = EngineVerifier(Engine(lambda cid: prepared.blob))
        facts = verifier.inspect(spec)
        run = verifier.run(TicketTask(trial_seed(spec_bytes), bytes(32), spec, prepared.facts.weights))
        worst = max((loss.max_rounding_error for loss in prepared.report.values()), default=0.0)
        clipped = sum(loss.clipped for loss in prepared.report.values())
        trial = [run.digest, _loss(run.before), _loss(run.after), run.delta]
        sizes = [facts.train_count, facts.judge_count, sum(map(len, prepared.parts.tranches))]
        return [
            spec_bytes,
            prepared.blob,
            *trial,
            float(worst),
            clipped,
            prepared.escrow,
            *sizes,
            facts.work,
            [tranche.encode() for tranche in tranches],
            list_pitfalls(prepared.file, prepared.blob),
        ]

    def _load_job(
        self, toml: str, data_name: str, data: bytes, sidecar_limit: int, parent: list[bytes]
    ) -> PreparedJob:
        from training.errors import TrainingError
        from training.jobs import load_job_file, prepare
        from training.tuning import tune_rates

        start = self._read_start(*parent) if parent else None
        with tempfile.TemporaryDirectory(prefix="gradientcoin-job-") as folder:
            path, data_path = Path(folder, "job.toml"), Path(folder, Path(data_name).name or "data")
            path.write_text(toml)
            data_path.write_bytes(data)
            try:
                job = load_job_file(path)  # its data lie where the sender keeps them; here they lie beside it
                job = replace(job, data=replace(job.data, file=data_path))
                prepared = prepare(job, sidecar_limit, start)
                tune_rates(prepared)
                return prepared
            except TrainingError as error:
                words = str(error).replace(f"{folder}/", "").removeprefix(f"{path.name}: ")
                raise WorkRefused(words) from error  # its reader knows the file under another name

    def _read_start(self, job_id: bytes, spec: bytes, weights: bytes) -> Start:
        from training.jobs import Start

        model = self._spec(spec)
        return Start(job_id, model.objective, model.params, weights)

    def _accuracy(self, spec: bytes, weights: bytes, inputs_npz: bytes) -> Frame:
        """Score an npz of "inputs" (integers of 2^-12, as the job's blob would hold them) and "labels"."""
        import numpy as np

        try:
            arrays = np.load(io.BytesIO(inputs_npz), allow_pickle=False)
            inputs, labels = arrays["inputs"], arrays["labels"]
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise WorkRefused(f"expected an npz with integer arrays inputs and labels: {error}") from error
        if inputs.dtype.kind not in "iu" or labels.dtype.kind not in "iu" or len(inputs) != len(labels):
            raise WorkRefused("expected as many integer labels as integer inputs")
        right, count = self._verifier.engine.accuracy(task_of(self._spec(spec)), weights, inputs, labels)
        return [right / max(count, 1), count]

    def _checkpoint(self, spec: bytes, weights: bytes, metadata: dict[str, str]) -> Frame:
        from training.checkpoint import write_checkpoint

        return [write_checkpoint(task_of(self._spec(spec)), weights, metadata)]

    def _slices(self, spec: bytes, weights: bytes) -> Frame:
        found = self._verifier.engine.measure_slices(task_of(self._spec(spec)), weights)
        return [[part.label, _loss(part.total), part.count] for part in found]

    def _evaluate(self, spec: bytes, weights: bytes, tranche: bytes) -> Frame:
        """Score weights on the judging split and on the blob of a tranche."""
        from training.errors import BlobRefused

        engine, task = self._verifier.engine, task_of(self._spec(spec))
        try:
            scores = [engine.score_judging(task, weights), engine.score_tranche(task, weights, tranche)]
        except BlobRefused as error:
            raise WorkRefused(f"its samples are none of this job: {error}") from error
        return [[_loss(score.total), score.count, score.right] for score in scores]


def _loss(value: int) -> bytes:
    return value.to_bytes(LOSS_BYTES, "big")
