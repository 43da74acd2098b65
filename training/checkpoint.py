"""Weights as a safetensors file: float64 tensors under the objective's names, readable by any tool.

Weights are integers of at most 27 bits in units of 2^-24, so float64 holds them without loss, and the file gives them
back to the bit.
"""

import json

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from training.engine import Task
from training.errors import BadInput, CheckpointRefused
from training.exact.grids import MASTER
from training.objective_params import OBJECTIVES
from training.objectives.base import Floats, Integers, Objective, count_parameters
from training.objectives.registry import get_objective

MAX_HEADER_BYTES = 1 << 20  # of a checkpoint: ours has less than 1 KiB


def write_checkpoint(task: Task, weights: bytes, metadata: dict[str, str]) -> bytes:
    """Return the bytes of a safetensors file with the objective's tensors in float64, named as in job files.

    The metadata become one JSON text under the key "gradientcoin": with several keys their order, and so the file's
    bytes, would differ from run to run.
    """
    objective = get_objective(task.objective, task.params)
    flat = np.frombuffer(weights, "<i8")
    if len(flat) != count_parameters(objective):
        raise BadInput(f"weights: {count_parameters(objective)} values expected, got {len(flat)}")
    tensors, start = {}, 0
    for name, shape in _name_shapes(objective).items():
        size = int(np.prod(shape))
        tensors[name] = np.ldexp(flat[start : start + size].astype(np.float64), -MASTER.f).reshape(shape)
        start += size
    return bytes(save(tensors, metadata={"gradientcoin": json.dumps(metadata, sort_keys=True)}))


def get_checkpoint_limit(task: Task) -> int:
    """Return the most bytes that a checkpoint of a task can have; raises TaskRefused."""
    return 8 * count_parameters(get_objective(task.objective, task.params)) + MAX_HEADER_BYTES


def read_checkpoint(task: Task, data: bytes) -> bytes:
    """Return the weights, int64 little-endian master units, of a file as `write_checkpoint` makes it.

    Raises CheckpointRefused for other tensors, and for values that are no weights to the last bit. Metadata are not
    looked at.
    """
    objective = get_objective(task.objective, task.params)
    shapes = _name_shapes(objective)
    tensors = _read_tensors(data, get_checkpoint_limit(task))
    if set(tensors) != set(shapes):
        got = ", ".join(sorted(tensors)) or "none"
        raise CheckpointRefused("tensors", f"{', '.join(shapes)} expected, got {got[:200]}")
    return b"".join(_read_weights(name, tensors[name], shape) for name, shape in shapes.items())


def _name_shapes(objective: Objective) -> dict[str, tuple[int, ...]]:
    return dict(zip(OBJECTIVES[objective.name].tensors, objective.shapes, strict=True))


Tensor = tuple[str, tuple[int, ...], bytes]  # dtype, shape, values


def _read_tensors(data: bytes, limit: int) -> dict[str, Tensor]:
    if len(data) > limit:
        raise CheckpointRefused("file", f"at most {limit} bytes expected of this job's checkpoint, got more")
    try:
        found = deserialize(data)  # type: ignore[no-untyped-call]  # safetensors declares no types
    except SafetensorError as error:
        raise CheckpointRefused("file", f"a safetensors file expected: {error}") from None
    return {name: (entry["dtype"], tuple(entry["shape"]), bytes(entry["data"])) for name, entry in found}


def _read_weights(name: str, tensor: Tensor, shape: tuple[int, ...]) -> bytes:
    dtype, got, raw = tensor
    if (dtype, got) != ("F64", shape):
        raise CheckpointRefused(name, f"F64 of shape {shape} expected, got {dtype} of {got}")
    values: Floats = np.frombuffer(raw, "<f8")
    units = np.ldexp(values, MASTER.f)
    exact = (np.abs(units) <= MASTER.limit) & (units == np.rint(units)) & ~((units == 0) & np.signbit(units))
    if not exact.all():
        place = int(np.flatnonzero(~exact)[0])
        where = ", ".join(str(i) for i in np.unravel_index(place, shape))
        raise CheckpointRefused(
            f"{name}[{where}]", f"a multiple of 2^-24 below 8 in size expected, got {values[place]!r}"
        )
    weights: Integers = units.astype("<i8")
    return weights.tobytes()
