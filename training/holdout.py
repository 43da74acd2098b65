"""How good a job's weights are on samples that no node ever saw: those the job file holds out of the blob."""

from dataclasses import dataclass, replace
from typing import Literal

from training.engine import Engine
from training.exact.grids import DATA
from training.hashing import compute_cid
from training.jobs import PreparedJob, encode_arrays, make_task
from training.section import JobFileError

LOSS_UNIT = 2.0**-40


@dataclass(frozen=True, slots=True)
class HoldoutScore:
    """`right` counts samples whose class was predicted, None where the targets are values."""

    samples: int
    mean_loss: float
    right: int | None

    @property
    def accuracy(self) -> float | None:
        return None if self.right is None else self.right / self.samples


def score_holdout(
    prepared: PreparedJob, weights: bytes, path: Literal["fused", "portable"] = "fused"
) -> HoldoutScore:
    """Score a weights blob on the held-out samples."""
    inputs, targets = prepared.holdout_inputs, prepared.holdout_targets
    samples = len(inputs.units)
    if samples == 0:
        raise JobFileError(
            f"{prepared.file.path}: [split] holdout: 0; set how many samples to keep for this score"
        )
    blob = encode_arrays((inputs, targets), (inputs, targets), prepared.keys)
    task = replace(make_task(prepared.spec), data_cid=compute_cid(blob), data_size=len(blob))
    engine = Engine(lambda cid: blob, path=path)
    loss, _ = engine.evaluate(task, weights, "judge")
    right = None
    if prepared.file.get_param("targets"):
        right, _ = engine.accuracy(
            task, weights, inputs.units << (DATA.f - inputs.fraction_bits), targets.units
        )
    return HoldoutScore(samples, loss * LOSS_UNIT / samples, right)
