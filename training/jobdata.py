"""A job's data: loaded in the shapes of its objective, drawn into parts, and put on the grid, each mistake by name."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.data import Values, describe_names, describe_row, load_arrays
from training.exact.counter import draw_sample, open_stream
from training.exact.grids import DATA
from training.hashing import compute_tagged_hash
from training.jobfile import JobFile
from training.quantise import (
    Integers,
    Loss,
    Normalisation,
    Standard,
    clip_units,
    compute_offset,
    measure_standard,
    round_values,
)
from training.section import JobFileError

Flags = NDArray[np.bool_]

MOST_CLIPPED = 10  # one value in so many may be outside the grid; more is a scaling mistake
LARGEST_SENSIBLE = 1e30  # beyond, a `multiply` is no remedy
CELL = ("first", "second", "third")  # parameters of cycle_rank: what the ids of a cell are below
CLASS_NORMALISATION = Normalisation(1.0, DATA.f, centre=False)


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Integers of units 2^-fraction_bits as the blob stores them."""

    units: Integers
    fraction_bits: int

    def add_constant(self) -> "StoredArray":
        """With one more feature that is 1 in every sample; for samples of one dimension."""
        ones = np.full((len(self.units), 1), 1 << self.fraction_bits, dtype=np.int64)
        return StoredArray(np.hstack([self.units, ones]), self.fraction_bits)

    def take(self, rows: list[int]) -> "StoredArray":
        """The samples with these numbers, in this order."""
        return StoredArray(self.units[np.array(rows, dtype=np.int64)], self.fraction_bits)


@dataclass(frozen=True, slots=True)
class Parts:
    """Numbers of the samples of each part, counted from 0 in the order of the data file."""

    train: list[int]
    judge: list[int]
    holdout: list[int]
    tranches: list[list[int]]  # of the evaluation split


def load_samples(job_file: JobFile) -> dict[str, Values]:
    """The arrays in the shapes of the objective, all with as many samples."""
    data = job_file.data
    wanted = {"inputs": data.inputs.names, "targets": data.targets.names}
    if job_file.get_param("key_width"):
        if data.keys is None:
            raise fail(
                job_file, "data.keys", "missing; key_width is not 0, so keys [outputs, key_width] are needed"
            )
        wanted["keys"] = data.keys.names
    elif data.keys is not None:
        raise fail(job_file, "data.keys", "this objective uses no keys; remove it or set key_width")
    _check_inputs(job_file)
    arrays = load_arrays(data.file, wanted)
    shapes = _expect_shapes(job_file)
    arrays = {role: _reshape(job_file, role, array, shapes[role]) for role, array in arrays.items()}
    if job_file.objective == "cycle_rank":
        _check_ids(job_file, arrays["inputs"])
    samples, targets = arrays["inputs"].shape[0], arrays["targets"].shape[0]
    if samples != targets:
        raise fail(
            job_file,
            "data",
            f"{data.file}: {samples} inputs but {targets} targets; expected one target per input",
        )
    return arrays


def _check_inputs(job_file: JobFile) -> None:
    """Refuse inputs that give the answer away, and a constant that has no place."""
    inputs, targets = job_file.data.inputs, job_file.data.targets
    given_away = [name for name in targets.names if name in inputs.names]
    repeats = inputs.names == targets.names and not job_file.get_param("targets")  # a job that learns to copy
    if given_away and not repeats:
        raise fail(
            job_file,
            "data.inputs",
            f"column {given_away[0]!r} is among the targets, too: the answer would be read off;"
            " take it out of the inputs and lower the count in [objective]",
        )
    if not inputs.constant:
        return
    if job_file.objective != "softmax_regression":
        raise fail(job_file, "data.inputs", "constant: only softmax_regression has one; remove it")
    if job_file.get_param("features") < 2:
        raise fail(
            job_file, "objective.features", "got 1; expected 2 or more, since the constant is one of them"
        )


def _check_ids(job_file: JobFile, inputs: Values) -> None:
    for column, name in enumerate(CELL):
        ids, size = inputs[:, column], job_file.get_param(name)
        wrong = np.flatnonzero((ids != np.rint(ids)) | (ids < 0) | (ids >= size))
        if wrong.size:
            raise fail(
                job_file,
                "data.inputs",
                f"{job_file.data.file}: sample {wrong[0]}: id {ids[wrong[0]]:g} in place {column + 1} of the cell;"
                f" whole numbers 0 to {size - 1} expected, since [objective] {name} is {size}",
            )


def _expect_shapes(job_file: JobFile) -> dict[str, tuple[int, ...]]:
    """The shape of one sample, by role; keys are not per sample and have their rows as samples."""
    get = job_file.get_param
    inputs: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    if job_file.objective == "softmax_regression":
        inputs, targets = (get("features") - job_file.data.inputs.constant,), (get("outputs"),)
    if job_file.objective == "attention_regression":
        inputs, targets = (get("tokens"), get("width")), (get("tokens"), get("outputs"))
    if job_file.objective == "sequence_regression":
        inputs, targets = (get("tokens"), get("width")), (get("tokens"),)
    if job_file.objective in ("exponential_regression", "adversarial_relu"):
        inputs, targets = (get("features"),), (1,)
    if job_file.objective == "kronecker_spectral":
        inputs, targets = (get("pairs"),), (1,)
    if job_file.objective == "graph_network":
        inputs, targets = (get("tokens"), get("width")), (get("outputs"),)
    if job_file.objective == "cycle_rank":
        inputs, targets = (len(CELL),), (1,)
    return {
        "inputs": inputs,
        "targets": () if get("targets") else targets,
        "keys": (get("key_width"),),
    }


def _reshape(job_file: JobFile, role: str, array: Values, sample: tuple[int, ...]) -> Values:
    """Give every sample its shape. The values of one sample may come flat, in row-major order."""
    flat = (int(np.prod(sample, dtype=np.int64)),)
    given = array.shape[1:]
    if given == () and flat == (1,):
        given = flat
    if given not in (sample, flat):
        flat_hint = f" or [samples, {flat[0]}]" if len(sample) > 1 else ""
        raise fail(
            job_file,
            f"data.{role}",
            f"{job_file.data.file}: {_describe(job_file, role)} has shape {list(array.shape)};"
            f" expected [{', '.join(map(str, ('samples', *sample)))}]{flat_hint} for [objective] as given"
            f"{_suggest_shape(job_file, role, given, flat)}",
        )
    if role == "keys" and array.shape[0] != job_file.get_param("outputs"):
        raise fail(job_file, "data.keys", f"{array.shape[0]} rows; expected one for each of the outputs")
    return array.reshape((array.shape[0], *sample))


def _suggest_shape(job_file: JobFile, role: str, given: tuple[int, ...], flat: tuple[int, ...]) -> str:
    if role == "targets" and job_file.get_param("targets"):
        return (
            '; number the classes 0, 1, ..., or, if these are the outputs themselves, set targets = "values"'
        )
    if job_file.objective == "softmax_regression" and role == "inputs" and len(given) == 1:
        counted = given[0] + job_file.data.inputs.constant
        note = ", the constant being one of them" if job_file.data.inputs.constant else ""
        return f"; set features = {counted} there{note}, give {flat[0]} features, or transpose the array"
    return "; change [objective], or reshape or transpose the array"


def draw_parts(job_file: JobFile, samples: int) -> Parts:
    """Sample numbers of all parts. Held-out ones are drawn first, then those of the evaluation split: the counts of
    what is drawn later do not change them."""
    split = job_file.split
    total = split.train + split.judge + split.holdout + split.evaluation
    if total > samples:
        names = "train + judge + holdout" + (" + evaluation" if split.evaluation else "")
        raise fail(
            job_file,
            "split",
            f"{names} is {total}, but {job_file.data.file} has {samples} samples; lower the counts",
        )
    if job_file.rule.shard > split.train:
        raise fail(
            job_file, "rule.shard", f"{job_file.rule.shard} is more than the {split.train} training samples"
        )
    drawn = draw_sample(open_stream(derive_seed(job_file, "split"), "split"), samples, total)
    held, rest = drawn[: split.holdout], drawn[split.holdout :]
    secret, kept = rest[: split.evaluation], rest[split.evaluation :]
    return Parts(
        train=kept[: split.train],
        judge=kept[split.train :],
        holdout=held,
        tranches=deal(secret, split.tranches),
    )


def deal(rows: list[int], tranches: int) -> list[list[int]]:
    """The rows in so many runs; where they cannot be of one size, the first are larger by one."""
    size, larger = divmod(len(rows), tranches) if tranches else (0, 0)
    starts = [i * size + min(i, larger) for i in range(tranches + 1)]
    return [rows[start:end] for start, end in pairwise(starts)]


def measure_inputs(job_file: JobFile, inputs: Values, train: list[int]) -> Standard | None:
    """What the inputs are standardised by, None where the file does not ask for it."""
    how = job_file.data.inputs.normalisation
    if not how.deviate:
        return None
    given = inputs[np.array(train, dtype=np.int64)]
    standard = measure_standard(given, how)
    wrong = np.flatnonzero(~((standard.deviation > 0) & np.isfinite(standard.deviation)))
    if wrong.size == 0:
        return standard
    column = given.reshape(len(train), -1)[:, wrong[0]]
    problem = "0" if standard.deviation.flat[wrong[0]] == 0 else "too large for a float"
    feature = _describe_feature(job_file, "inputs", int(wrong[0]))
    raise fail(
        job_file,
        "data.inputs",
        f"{job_file.data.file}: {feature}: its values over the {len(train)} training samples go from"
        f" {column.min():g} to {column.max():g}, so the deviation to divide by is {problem};"
        " leave it out of the inputs and lower the count in [objective]"
        " (for a constant term, write constant = true)",
    )


def store_array(
    job_file: JobFile,
    role: str,
    array: Values,
    train: list[int],
    report: dict[str, Loss],
    standard: Standard | None = None,
) -> tuple[StoredArray, Integers]:
    """Standardise or centre, round and clip one array; the offset is zero where nothing is subtracted at last."""
    how = job_file.data.get_source(role).normalisation
    rounded = round_values(array, how, standard)
    offset = np.zeros(array.shape[1:], dtype=np.int64)
    if how.centre and standard is None:
        offset = compute_offset(rounded.units[train])
    stored, outside = clip_units(rounded.units - offset, how.fraction_bits)
    outside |= rounded.beyond
    clipped = int(outside.sum())
    report[role] = Loss(rounded.error, clipped, stored.size)
    if clipped * MOST_CLIPPED > stored.size:
        most = int(outside.reshape(len(outside), -1).sum(axis=0).argmax())
        raise fail(
            job_file,
            f"data.{role}",
            f"{job_file.data.file}: {clipped} of {stored.size} values of {_describe(job_file, role)} are outside"
            f" -8 .. 8 after scaling, most of them in {_describe_feature(job_file, role, most)};"
            f" {_suggest_scale(array, how)}",
        )
    if len(job_file.data.get_source(role).names) > 1:
        _check_columns(job_file, role, array, stored, outside, train)
    return StoredArray(stored, how.fraction_bits), offset


def _check_columns(
    job_file: JobFile, role: str, array: Values, stored: Integers, outside: Flags, train: list[int]
) -> None:
    """Refuse a named column that clipping or rounding has spoilt: among many others it would not be noticed."""
    source = job_file.data.get_source(role)
    given = array.reshape(len(array), -1)
    kept, beyond = stored.reshape(given.shape), outside.reshape(given.shape)
    for place, name in enumerate(source.names):
        place_in_file = f"{job_file.data.file}: column {name!r}"
        clipped = int(beyond[:, place].sum())
        if clipped * MOST_CLIPPED > len(beyond):
            raise fail(
                job_file,
                f"data.{role}",
                f"{place_in_file}: {clipped} of {len(beyond)} values are outside -8 .. 8 after scaling;"
                f" {_suggest_scale(given[:, place], source.normalisation)}",
            )
        before, after = given[train, place], kept[train, place]
        if before.min() < before.max() and after.min() == after.max():
            raise fail(
                job_file,
                f"data.{role}",
                f"{place_in_file}: its training values from {before.min():g} to {before.max():g} all become one"
                f" number in steps of 2^-{source.normalisation.fraction_bits}; use a larger multiply or more"
                ' fraction_bits, or, for inputs, divide = "deviation"',
            )
        if role == "inputs" and not after.any():
            raise fail(
                job_file,
                "data.inputs",
                f"{place_in_file}: its training values are all {before[0]:g} and become 0: nothing can be learned"
                " from it; leave it out and lower the count in [objective] (for a constant term, write"
                " constant = true)",
            )


def _suggest_scale(array: Values, how: Normalisation) -> str:
    if how.deviate and not how.centre:
        return 'they lie far from 0 compared with their deviation: add subtract = "mean"'
    if how.deviate:
        return "the other samples differ from the training samples: look for outliers, or for other units"
    largest = float(np.abs(array.astype(np.float64)).max())
    if largest > LARGEST_SENSIBLE:
        return f"the largest is {largest:g} before it: look for a mistake in the data"
    return (
        f"the largest is {largest:g} before it: try multiply = {4 / largest:.1g}, or, for inputs,"
        ' subtract = "mean" and divide = "deviation"'
    )


def store_targets(job_file: JobFile, array: Values, train: list[int], report: dict[str, Loss]) -> StoredArray:
    if not job_file.get_param("targets"):
        return store_array(job_file, "targets", array, train, report)[0]
    if job_file.data.targets.normalisation != CLASS_NORMALISATION:
        raise fail(
            job_file, "data.targets", "classes are numbers of outputs and take no multiply or fraction_bits"
        )
    outputs = job_file.get_param("outputs")
    wrong = np.flatnonzero((array < 0) | (array >= outputs) | (np.rint(array) != array))
    if wrong.size:
        row = int(wrong[0])
        raise fail(
            job_file,
            "data.targets",
            f"{job_file.data.file}: {_describe(job_file, 'targets')}, {describe_row(job_file.data.file, row)}:"
            f" class {array[row]:g};"
            f" expected a whole number from 0 to {outputs - 1}, since [objective] outputs = {outputs}:"
            " number the classes 0, 1, ..., or raise outputs",
        )
    report["targets"] = Loss(0.0, 0, array.size)
    return StoredArray(array.astype(np.int64), 0)


def derive_seed(job_file: JobFile, purpose: str) -> bytes:
    return compute_tagged_hash("gc/job-file", job_file.seed.to_bytes(8, "big"), purpose.encode("ascii"))


def _describe(job_file: JobFile, role: str) -> str:
    return describe_names(job_file.data.get_source(role).names)


def _describe_feature(job_file: JobFile, role: str, place: int) -> str:
    """How messages call one feature of an array."""
    names = job_file.data.get_source(role).names
    return f"column {names[place]!r}" if len(names) > 1 else f"feature {place} of {names[0]!r}"


def fail(job_file: JobFile, key: str, problem: str) -> JobFileError:
    section, _, name = key.partition(".")
    return JobFileError(f"{job_file.path}: [{section}]{f' {name}' if name else ''}: {problem}")
