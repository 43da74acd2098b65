"""Gradients of single samples, by automatic differentiation of the objective's native loss for many samples at a time.

Source: vectorised maps of gradients (torch.func). Importing these takes torch about two seconds, once a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.native import NativeProblem
from training.objectives.base import Batch, Integers, Objective, count_parameters, split_weights
from training.splits import Split

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_ENTRIES = 1 << 22  # of gradients at a time: 32 MiB, and as much again for what leads to them


def differentiate_each(
    objective: Objective, split: Split, weights: Tensor, indices: Integers | None = None
) -> Iterator[Tensor]:
    """The gradients [b, parameters] of samples' losses, in order, a block of samples at a time; in float64."""
    problem = NativeProblem(objective, split, torch.float64)
    numbers = np.arange(split.count, dtype=np.int64) if indices is None else indices
    size = max(1, BLOCK_ENTRIES // count_parameters(objective))
    for first in range(0, len(numbers), size):
        yield _differentiate(objective, problem.open_batch(numbers[first : first + size]).samples, weights)


def _differentiate(objective: Objective, batch: Batch, weights: Tensor) -> Tensor:
    parts = [batch.inputs, batch.targets] + ([] if batch.ids is None else [batch.ids])
    loss = partial(_compute_loss, objective, batch.keys)
    each: Callable[..., Tensor] = torch.func.vmap(torch.func.grad(loss), in_dims=(None, *(0 for _ in parts)))
    return each(weights, *parts)


def _compute_loss(objective: Objective, keys: Tensor, weights: Tensor, *sample: Tensor) -> Tensor:
    inputs, targets, *ids = (part.unsqueeze(0) for part in sample)
    return objective.native_loss(split_weights(objective, weights), Batch(inputs, targets, keys, *ids))
