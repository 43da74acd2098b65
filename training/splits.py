"""A task's data as its objective reads it: integers on the data grid, checked once when the blob is parsed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.blob import BlobTensor, decode_blob
from training.errors import BlobRefused
from training.exact.grids import DATA

Shorts = NDArray[np.int16]
NAMES = ("train.inputs", "train.targets", "judge.inputs", "judge.targets")
TRANCHE_NAMES = ("evaluation.inputs", "evaluation.targets")
KEYS = "keys"
NO_ROWS: Shorts = np.zeros((1, 1), np.int16)
NO_LABELS: Shorts = np.zeros(1, np.int16)
NO_KEYS: Shorts = np.zeros((0, 0), np.int16)


@dataclass(frozen=True, slots=True)
class Layout:
    """What an objective wants in a blob. Shapes are without the sample dimension; `rows` or `classes` is given."""

    inputs: tuple[int, ...]
    rows: tuple[int, ...] | None
    classes: int
    label_dtypes: tuple[str, ...]
    keys: tuple[int, int] | None = None
    ids: tuple[int, ...] = ()  # inputs are ids below these, one for each column


@dataclass(frozen=True, slots=True)
class Split:
    """Samples in data units (2^-12), flat per sample. Targets are rows, or class labels; the other has one entry."""

    inputs: Shorts  # [N, *]
    rows: Shorts  # [N, *] or [1, 1]
    labels: Shorts  # [N] or [1]
    keys: Shorts  # [c, e] or [0, 0]

    @property
    def count(self) -> int:
        return len(self.inputs)

    @property
    def size_bytes(self) -> int:
        return self.inputs.nbytes + self.rows.nbytes + self.labels.nbytes + self.keys.nbytes


@dataclass(frozen=True, slots=True)
class Dataset:
    train: Split
    judge: Split

    @property
    def size_bytes(self) -> int:
        return self.train.size_bytes + self.judge.size_bytes


def parse_dataset(blob: bytes, layout: Layout) -> Dataset:
    """Decode a blob and check it against what an objective wants; raises BlobRefused."""
    tensors = decode_blob(blob)
    _check_names(tensors, NAMES + ((KEYS,) if layout.keys else ()))
    keys = _read_units(tensors[4], layout.keys) if layout.keys else NO_KEYS
    return Dataset(_make_split(tensors[0:2], keys, layout), _make_split(tensors[2:4], keys, layout))


def parse_tranche(blob: bytes, layout: Layout, keys: Shorts) -> Split:
    """Decode a tranche of an evaluation split, with the keys of its job's data; raises BlobRefused."""
    tensors = decode_blob(blob)
    _check_names(tensors, TRANCHE_NAMES)
    return _make_split(tensors, keys, layout)


def _check_names(tensors: Sequence[BlobTensor], expected: tuple[str, ...]) -> None:
    names = tuple(tensor.name for tensor in tensors)
    if names != expected:
        raise BlobRefused(
            "names", f"tensors {', '.join(expected)} in this order expected, got {', '.join(names)}"
        )


def _make_split(tensors: Sequence[BlobTensor], keys: Shorts, layout: Layout) -> Split:
    inputs, targets = tensors
    count = len(inputs.values)
    if len(targets.values) != count:
        raise BlobRefused(
            targets.name, f"as many samples as {inputs.name} ({count}) expected, got {len(targets.values)}"
        )
    units = _read_units(inputs, (count, *layout.inputs)).reshape(count, -1)
    problem = find_wrong_id(units, layout)
    if problem:
        raise BlobRefused(f"{inputs.name}.values", problem)
    if layout.rows is not None:
        rows = _read_units(targets, (count, *layout.rows)).reshape(count, -1)
        return Split(units, rows, NO_LABELS, keys)
    return Split(units, NO_ROWS, _read_labels(targets, count, layout), keys)


def _read_units(tensor: BlobTensor, shape: tuple[int, ...]) -> Shorts:
    _check_shape(tensor, shape)
    units = tensor.values.astype(np.int64) << (DATA.f - tensor.scale)
    worst = int(np.abs(units).max())
    if worst > DATA.limit:
        raise BlobRefused(
            f"{tensor.name}.values",
            f"numbers between -8 and 8 expected (below {DATA.limit + 1} units of 2^-12), got {worst / 2**DATA.f:g};"
            " scale the data down",
        )
    return units.astype(np.int16)


def find_wrong_id(units: NDArray[Any], layout: Layout) -> str:  # Any: any integer dtype
    """What is wrong with inputs [N, *] that should be ids; nothing if all are, or if they need not be."""
    for column, count in enumerate(layout.ids):
        low, high = int(units[:, column].min()), int(units[:, column].max())
        if low < 0 or high >= count:
            return f"ids 0 to {count - 1} expected in column {column}, got {low} to {high}"
    return ""


def _read_labels(tensor: BlobTensor, count: int, layout: Layout) -> Shorts:
    _check_shape(tensor, (count,))
    dtype = _name_dtype(tensor.values)
    if dtype not in layout.label_dtypes or tensor.scale != 0:
        wanted = " or ".join(layout.label_dtypes)
        raise BlobRefused(
            f"{tensor.name}.dtype", f"{wanted} with scale 0 expected, got {dtype} with {tensor.scale}"
        )
    low, high = int(tensor.values.min()), int(tensor.values.max())
    if low < 0 or high >= layout.classes:
        raise BlobRefused(
            f"{tensor.name}.values", f"classes 0 to {layout.classes - 1} expected, got {low} to {high}"
        )
    return tensor.values.astype(np.int16)


def _check_shape(tensor: BlobTensor, shape: tuple[int, ...]) -> None:
    if tensor.values.shape != shape:
        raise BlobRefused(f"{tensor.name}.dims", f"{shape} expected, got {tensor.values.shape}")


def _name_dtype(values: NDArray[Any]) -> str:  # Any: one of the blob's dtypes
    return f"{values.dtype.kind}{values.dtype.itemsize * 8}"
