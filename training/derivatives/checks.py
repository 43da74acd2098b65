"""What data a loss of the papers takes: finite float64 tensors of matching shapes, and targets that can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.errors import ProblemRefused
from training.exact.late import torch

if TYPE_CHECKING:
    from torch import Tensor

SUM_TOLERANCE = 1e-6  # by which a distribution's sum may differ from 1


def check_data(field: str, value: Tensor, shape: tuple[int | None, ...]) -> Tensor:
    """The value, if it is finite float64 of this shape, None standing for any length from 1. Raises ProblemRefused."""
    wanted = "x".join("n" if length is None else str(length) for length in shape)
    fits = value.dim() == len(shape) and all(
        have == want if want is not None else have > 0 for have, want in zip(value.shape, shape, strict=True)
    )
    if not fits:
        raise ProblemRefused(field, f"shape {wanted} expected, {'x'.join(map(str, value.shape))} came")
    if value.dtype != torch.float64:
        raise ProblemRefused(field, f"float64 expected, {value.dtype} came")
    if not bool(torch.isfinite(value).all()):
        raise ProblemRefused(field, "finite numbers expected, NaN or infinity came")
    return value


def check_weight(field: str, value: float) -> float:
    """The value, if it is a finite number from 0. Raises ProblemRefused."""
    if not 0 <= value < float("inf"):
        raise ProblemRefused(field, f"a finite number from 0 expected, {value} came")
    return value


def list_doubts(targets_RC: Tensor) -> tuple[str, ...]:
    """What of the targets no softmax can reach, in words: the loss can be lowered all the same, but not to 0."""
    doubts = []
    negative = int((targets_RC < 0).any(1).sum())
    if negative:
        doubts.append(f"{negative} rows of the targets have negative entries; a softmax has none")
    off = int(((targets_RC.sum(1) - 1).abs() > SUM_TOLERANCE).sum())
    if off:
        doubts.append(f"{off} rows of the targets do not sum to 1; those of a softmax do")
    return tuple(doubts)
