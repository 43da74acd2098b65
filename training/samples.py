"""A miner's own samples: an npz of "inputs" and "targets" in the layout of a job, beside the job's training split."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import BadInput
from training.exact.grids import DATA
from training.splits import NO_LABELS, NO_ROWS, Layout, Shorts, Split, find_wrong_id


def read_samples(npz: bytes, layout: Layout, keys: Shorts) -> Split:
    """Read arrays of integers: inputs [N, ...] and row targets in units of 2^-12, class targets [N] as indices.

    Raises BadInput. `keys` are the job's, they are no part of a sample.
    """
    inputs, targets = _load(npz)
    units = _read_units("inputs", inputs, layout.inputs)
    if find_wrong_id(units, layout):  # what came is nobody's business
        places = ", ".join(f"0 to {count - 1}" for count in layout.ids)
        raise BadInput(f"own samples: inputs: ids expected, {places} in their columns; others came")
    if len(targets) != len(inputs):
        raise BadInput(f"targets: as many as inputs ({len(inputs)}) expected, got {len(targets)}")
    if layout.rows is not None:
        return Split(units, _read_units("targets", targets, layout.rows), NO_LABELS, keys)
    if targets.ndim != 1 or targets.min() < 0 or targets.max() >= layout.classes:
        raise BadInput(f"targets: classes 0 to {layout.classes - 1} in one dimension expected")
    return Split(units, NO_ROWS, targets.astype(np.int16), keys)


def join_splits(first: Split, second: Split) -> Split:
    """The samples of both; targets must be of one kind."""
    indexed = first.rows is NO_ROWS
    return Split(
        np.concatenate([first.inputs, second.inputs]),
        NO_ROWS if indexed else np.concatenate([first.rows, second.rows]),
        np.concatenate([first.labels, second.labels]) if indexed else NO_LABELS,
        first.keys,
    )


def _load(
    npz: bytes,
) -> tuple[NDArray[Any], NDArray[Any]]:  # Any: whatever the file holds, checked by the caller
    try:
        arrays = np.load(io.BytesIO(npz), allow_pickle=False)
        inputs, targets = arrays["inputs"], arrays["targets"]
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"own samples: an npz with arrays inputs and targets expected: {error}") from error
    for name, array in (("inputs", inputs), ("targets", targets)):
        if array.dtype.kind not in "iu" or array.ndim == 0 or array.size == 0:
            raise BadInput(
                f"own samples: {name}: integers expected, at least one, got {array.size} {array.dtype}"
            )
    return inputs, targets


def _read_units(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> Shorts:
    flat = array.reshape(len(array), -1)
    if array.shape[1:] != shape and flat.shape[1:] != (int(np.prod(shape)),):
        raise BadInput(f"own samples: {name}: {shape} for each sample expected, got {array.shape[1:]}")
    if array.min() < -DATA.limit or array.max() > DATA.limit:
        raise BadInput(f"own samples: {name}: integers within +-{DATA.limit} (units of 2^-12) expected")
    return flat.astype(np.int16)
