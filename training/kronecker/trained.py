"""The spectral error of pairs as they were drawn, and as a job of objective kronecker_spectral weighs them.

The pairs are in the job's data file beside the factors (`first`, `second`, `weights`, as the command writes them); the
checkpoint has `w` [m, 1], what is added to the 1 that each pair counts (protocol 9.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from training.errors import ProblemRefused
from training.kronecker.factors import Factor, Floats, Ids
from training.kronecker.spectral import measure_pairs

MAX_CHECKPOINT_BYTES = 1 << 24
LARGEST = 1e100  # its square is a number
NAMES = ("first", "second", "weights")


@dataclass(frozen=True, slots=True)
class Judged:
    """Spectral errors, and what training made of the counts 1 + w."""

    pairs: int
    sampled: float
    trained: float
    left_out: int  # that count nothing
    largest: float  # times what was drawn


def judge(
    first: Factor, second: Factor, arrays: Mapping[str, NDArray[np.generic]], checkpoint: Path
) -> Judged:
    """Raises ProblemRefused."""
    missing = [name for name in NAMES if name not in arrays]
    if missing:
        raise ProblemRefused(
            "file", f"arrays {', '.join(NAMES)} expected beside A1 and A2, {missing[0]} is missing"
        )
    if arrays["weights"].dtype.kind not in "fiu":
        raise ProblemRefused("weights", f"real numbers expected, {arrays['weights'].dtype} came")
    weights = arrays["weights"].astype(np.float64)
    if weights.ndim != 1 or not weights.size or not (abs(weights) <= LARGEST).all():
        raise ProblemRefused(
            "weights", f"numbers [m] within {LARGEST:g} expected, {list(weights.shape)} came"
        )
    i, j = (
        _read_ids(arrays[name], name, len(weights), factor)
        for name, factor in zip(NAMES[:2], (first, second), strict=True)
    )
    counts = np.maximum(1 + read_weights(checkpoint, len(weights)), 0.0)
    return Judged(
        pairs=len(weights),
        sampled=measure_pairs(first, second, i, j, weights**2),
        trained=measure_pairs(first, second, i, j, weights**2 * counts),
        left_out=int((counts == 0).sum()),
        largest=float(counts.max()),
    )


def _read_ids(array: NDArray[np.generic], name: str, count: int, factor: Factor) -> Ids:
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise ProblemRefused(name, f"{count} whole numbers expected, {array.dtype} {list(array.shape)} came")
    ids = array.astype(np.int64)
    if ids.size and not 0 <= ids.min() <= ids.max() < factor.count:
        raise ProblemRefused(name, f"rows 0 to {factor.count - 1} expected, {ids.min()} to {ids.max()} came")
    return ids


def read_weights(path: Path, count: int) -> Floats:
    """`w` [count] of a checkpoint. Raises ProblemRefused."""
    try:
        if path.stat().st_size > MAX_CHECKPOINT_BYTES:
            raise ProblemRefused("checkpoint", f"at most {MAX_CHECKPOINT_BYTES} bytes expected")
        tensors = load(path.read_bytes())
    except OSError as error:
        raise ProblemRefused("checkpoint", f"cannot be read: {error.strerror or error}") from None
    except (SafetensorError, KeyError) as error:  # KeyError: a dtype that numpy has not
        raise ProblemRefused("checkpoint", f"a safetensors file expected: {error}") from None
    w = tensors.get("w")
    if w is None or w.shape != (count, 1) or w.dtype != np.float64 or not np.isfinite(w).all():
        came = {name: list(tensor.shape) for name, tensor in tensors.items()}
        raise ProblemRefused("checkpoint", f"w [{count}, 1] of finite float64 expected, {came} came")
    weights: Floats = w[:, 0]
    return weights
