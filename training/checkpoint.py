"""Weights as a safetensors file: float64 tensors under the objective's names, readable by any tool.

Master units are multiples of 2^-24 below 2^27, so float64 holds them without loss.
"""

import json

import numpy as np
from safetensors.numpy import save

from training.engine import Task
from training.errors import BadInput
from training.exact.grids import MASTER
from training.objectives.base import count_parameters
from training.objectives.registry import get_objective

TENSOR_NAMES = ("X", "Y")  # as the papers call them


def write_checkpoint(task: Task, weights: bytes, metadata: dict[str, str]) -> bytes:
    """Return the bytes of a safetensors file with tensors X (and Y) in float64.

    The metadata become one JSON text under the key "gradientcoin": with several keys their order, and so the file's
    bytes, would differ from run to run.
    """
    objective = get_objective(task.objective, task.params)
    flat = np.frombuffer(weights, "<i8")
    if len(flat) != count_parameters(objective):
        raise BadInput(f"weights: {count_parameters(objective)} values expected, got {len(flat)}")
    tensors, start = {}, 0
    for name, shape in zip(TENSOR_NAMES, objective.shapes, strict=False):
        size = int(np.prod(shape))
        tensors[name] = np.ldexp(flat[start : start + size].astype(np.float64), -MASTER.f).reshape(shape)
        start += size
    return bytes(save(tensors, metadata={"gradientcoin": json.dumps(metadata, sort_keys=True)}))
