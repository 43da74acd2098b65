"""From a job file and its data to what a submission needs: the data blob, the fields of the spec, and a held-out set.

The same file, data and seed give the same bytes on every machine. Nothing here knows the ledger: `SpecDraft` has the
fields of section 4 of docs/protocol.md as plain values, in its order.
"""

from dataclasses import dataclass, replace

import numpy as np

from training.blob import DTYPES, BlobTensor, encode_blob
from training.continuation import Start, check_start
from training.engine import Engine, Task, TaskFacts
from training.errors import TaskRefused
from training.hashing import compute_cid
from training.jobdata import (
    Parts,
    StoredArray,
    derive_seed,
    draw_parts,
    fail,
    load_samples,
    measure_inputs,
    store_array,
    store_targets,
)
from training.jobfile import JobFile, Rule, load_job_file
from training.pitfalls import check_pitfalls
from training.quantise import Integers, Loss, Standard
from training.rates import LARGEST, SMALLEST, convert_rate
from training.section import JobFileError
from training.splits import KEYS, NAMES, TRANCHE_NAMES

__all__ = [
    "JobFile",
    "JobFileError",
    "PreparedJob",
    "SpecDraft",
    "Start",
    "StoredArray",
    "load_job_file",
    "prepare",
]

MAX_TRANCHE_BYTES = 8 << 20  # the largest that its file may hold (section 11 of docs/protocol.md)
FIELD_KEYS = {"shard": "rule.shard", "steps": "rule.steps", "sample": "market.judging_sample", "data": "data"}


@dataclass(frozen=True, slots=True)
class SpecDraft:
    """The fields of a job's spec (section 4), in their order, without the version."""

    title: str
    objective: str
    params: tuple[int, ...]
    data_cid: bytes
    data_size: int
    init_seed: bytes
    steps: int
    shard: int
    rates: tuple[tuple[int, int], ...]  # (mantissa, shift) on the sum of gradients
    sample: int
    price: int
    budget: int
    burn: int
    target: int
    lifetime: int
    market_only: int
    evaluation: bytes  # empty: the root is over salts, and these are whoever's who submits
    parent: bytes  # id and weights of the job that this one continues, or nothing
    parent_weights: bytes


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """Everything about a job that does not depend on a chain's state."""

    file: JobFile
    spec: SpecDraft
    facts: TaskFacts  # declared work of a ticket, initial weights, sizes
    blob: bytes
    escrow: int  # units
    holdout_inputs: StoredArray  # never in the blob
    holdout_targets: StoredArray
    tranches: tuple[bytes, ...]  # of the evaluation split, never in the blob either
    keys: StoredArray | None
    parts: Parts
    input_offset: Integers  # what was subtracted from every rounded input, in stored units
    input_standard: Standard | None  # what every input was standardised by before it was rounded
    report: dict[str, Loss]  # what rounding and clipping cost, by role


def prepare(job_file: JobFile, sidecar_limit: int, start: Start | None = None) -> PreparedJob:
    """Load, split and quantise a job's data. `sidecar_limit` is the most bytes a blob may have on the chain.

    `start` is the job that this one continues, whatever digits of its id the file names.
    """
    check_start(job_file, start)
    check_pitfalls(job_file)
    arrays = load_samples(job_file)
    parts = draw_parts(job_file, arrays["inputs"].shape[0])
    report: dict[str, Loss] = {}
    standard = measure_inputs(job_file, arrays["inputs"], parts.train)
    inputs, offset = store_array(job_file, "inputs", arrays["inputs"], parts.train, report, standard)
    if job_file.data.inputs.constant:
        inputs = inputs.add_constant()
    targets = store_targets(job_file, arrays["targets"], parts.train, report)
    keys = store_array(job_file, "keys", arrays["keys"], parts.train, report)[0] if "keys" in arrays else None
    stored = [(inputs.take(rows), targets.take(rows)) for rows in (parts.train, parts.judge)]
    blob = encode_arrays(stored[0], stored[1], keys)
    _check_size(job_file, blob, sidecar_limit, len(parts.train) + len(parts.judge))
    spec = _draft_spec(job_file, blob, start)
    facts = _inspect(job_file, spec, blob)
    return PreparedJob(
        file=job_file,
        spec=spec,
        facts=replace(facts, weights=start.weights) if start else facts,
        blob=blob,
        escrow=job_file.market.escrow,
        holdout_inputs=inputs.take(parts.holdout),
        holdout_targets=targets.take(parts.holdout),
        tranches=_encode_tranches(job_file, inputs, targets, parts.tranches),
        keys=keys,
        parts=parts,
        input_offset=offset,
        input_standard=standard,
        report=report,
    )


def make_task(spec: SpecDraft) -> Task:
    """The part of a spec that the engine reads."""
    return Task(
        objective=spec.objective,
        params=spec.params,
        data_cid=spec.data_cid,
        data_size=spec.data_size,
        init_seed=spec.init_seed,
        steps=spec.steps,
        shard=spec.shard,
        rates=spec.rates,
        sample=spec.sample,
    )


def encode_arrays(
    train: tuple[StoredArray, StoredArray], judge: tuple[StoredArray, StoredArray], keys: StoredArray | None
) -> bytes:
    """The data blob of (inputs, targets) for training and for judging."""
    arrays = (*train, *judge) if keys is None else (*train, *judge, keys)
    names = (*NAMES, KEYS)
    return encode_blob([_shrink(name, array) for name, array in zip(names, arrays, strict=False)])


def _encode_tranches(
    job_file: JobFile, inputs: StoredArray, targets: StoredArray, tranches: list[list[int]]
) -> tuple[bytes, ...]:
    blobs = tuple(encode_tranche(inputs.take(rows), targets.take(rows)) for rows in tranches)
    largest = max(map(len, blobs), default=0)
    if largest > MAX_TRANCHE_BYTES:
        raise fail(
            job_file,
            "split.tranches",
            f"the largest tranche has {largest} bytes, at most {MAX_TRANCHE_BYTES} expected; use"
            f" {1 + len(blobs) * largest // MAX_TRANCHE_BYTES} tranches or more, or fewer samples",
        )
    return blobs


def encode_tranche(inputs: StoredArray, targets: StoredArray) -> bytes:
    """The blob of a tranche of an evaluation split: one set of samples, without keys."""
    arrays = zip(TRANCHE_NAMES, (inputs, targets), strict=True)
    return encode_blob([_shrink(name, array) for name, array in arrays])


def _shrink(name: str, array: StoredArray) -> BlobTensor:
    """The array under its name in the smallest dtype that holds it."""
    low, high = int(array.units.min()), int(array.units.max())
    dtype = next(d for d in DTYPES.values() if np.iinfo(d).min <= low and high <= np.iinfo(d).max)
    return BlobTensor(name, array.fraction_bits, array.units.astype(dtype))


def _check_size(job_file: JobFile, blob: bytes, limit: int, samples: int) -> None:
    if len(blob) > limit:
        raise fail(
            job_file,
            "split",
            f"the data blob has {len(blob)} bytes, the chain carries at most {limit}; use at most about"
            f" {samples * limit // len(blob)} training and judging samples together, or fewer fraction_bits",
        )


def _draft_spec(job_file: JobFile, blob: bytes, start: Start | None) -> SpecDraft:
    rule, market = job_file.rule, job_file.market
    return SpecDraft(
        title=job_file.title,
        objective=job_file.objective,
        params=job_file.spec_params,
        data_cid=compute_cid(blob),
        data_size=len(blob),
        init_seed=derive_seed(job_file, "weights"),
        steps=rule.steps,
        shard=rule.shard,
        rates=_convert_rates(job_file, rule),
        sample=market.judging_sample,
        price=market.price,
        budget=market.round_budget,
        burn=market.burn,
        target=market.target_loss,
        lifetime=market.lifetime_blocks,
        market_only=int(market.market_only),
        evaluation=b"",
        parent=start.job_id if start else b"",
        parent_weights=start.weights_cid if start else b"",
    )


def _inspect(job_file: JobFile, spec: SpecDraft, blob: bytes) -> TaskFacts:
    """Let the engine check what its objective asks for beyond the ranges of single keys."""
    try:
        return Engine(lambda cid: blob, path="portable").inspect(make_task(spec))
    except TaskRefused as error:
        field = error.field.split()[-1]
        problem = str(error).removeprefix(f"{error.field}: ")  # the key says it
        raise fail(job_file, FIELD_KEYS.get(field, f"objective.{field}"), problem) from error


def _convert_rates(job_file: JobFile, rule: Rule) -> tuple[tuple[int, int], ...]:
    """Rates on the mean gradient become rates on the sum over the shard."""
    try:
        return tuple(convert_rate(rate / rule.shard) for rate in rule.learning_rates)
    except ValueError as error:
        raise fail(
            job_file,
            "rule.learning_rate",
            f"on the sum over a shard of {rule.shard} samples: {error}, so {float(SMALLEST * rule.shard):.2g}"
            f" to {LARGEST * rule.shard} here",
        ) from error
