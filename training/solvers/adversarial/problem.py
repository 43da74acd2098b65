"""What is trained against which adversary: samples, their targets, and the ball around each that it may move in.

Shapes: inputs [n, d], targets [n].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.errors import ProblemRefused
from training.exact.late import torch
from training.solvers.adversarial import kernels
from training.solvers.adversarial.net import MAX_INPUTS, Floats, show_shape

Norm = Literal["euclidean", "largest"]
Loss = Literal["logistic", "squared"]

MAX_SAMPLES, MAX_STEPS = 8192, 1000
STRIDE_SHARE = 0.25  # of the radius
UNIT_TOLERANCE = 0.01
LARGEST = 1e6  # of an input or target: sums of squares stay far from float32's end
BLOCK = 256  # samples whose distances to all others are looked at together


@dataclass(frozen=True, slots=True)
class Adversary:
    """Moves a sample by up to `radius`, in so many steps of length `stride` (a quarter of the radius): along the
    gradient in the Euclidean norm, along its signs in that of the largest entry. It starts at the sample."""

    radius: float
    norm: Norm = "euclidean"
    steps: int = 10
    stride: float | None = None

    def open_kernel(self, loss: Loss) -> kernels.Plan:
        stride = STRIDE_SHARE * self.radius if self.stride is None else self.stride
        return kernels.Plan(self.is_euclidean, self.radius, stride, self.steps, loss == "logistic")

    @property
    def is_euclidean(self) -> bool:
        return self.norm == "euclidean"


@dataclass(frozen=True, slots=True)
class Samples:
    """Checked inputs [n, d] and targets [n], of the net's precision, and what is doubtful of them, in words."""

    inputs: Floats
    targets: Floats
    longest: float  # norm of an input
    doubts: tuple[str, ...]


def check_adversary(adversary: Adversary) -> None:
    """Raises ProblemRefused."""
    if not 0 <= adversary.radius <= LARGEST:
        raise ProblemRefused("radius", f"a number from 0 to {LARGEST:g} expected, {adversary.radius} came")
    if adversary.norm not in ("euclidean", "largest"):
        raise ProblemRefused("norm", f"'euclidean' or 'largest' expected, {adversary.norm!r} came")
    if not 1 <= adversary.steps <= MAX_STEPS:
        raise ProblemRefused("steps", f"1 .. {MAX_STEPS} of the adversary expected, {adversary.steps} came")
    if adversary.stride is not None and not 0 < adversary.stride <= LARGEST:
        raise ProblemRefused("stride", f"a number above 0, to {LARGEST:g}, expected, {adversary.stride} came")


def open_samples(
    inputs: ArrayLike,
    targets: ArrayLike,
    loss: Loss,
    adversary: Adversary,
    precision: np.dtype[np.generic],
    overlap: bool,
) -> Samples:
    """The samples, if they make a problem. Raises ProblemRefused, without `overlap` also where balls of samples with
    different targets meet: no net is right at a point of both."""
    x, y = _read_numbers("inputs", inputs), _read_numbers("targets", targets)
    if x.ndim != 2 or not 1 <= len(x) <= MAX_SAMPLES or not 1 <= x.shape[1] <= MAX_INPUTS:
        raise ProblemRefused(
            "inputs",
            f"shape n x d expected, n up to {MAX_SAMPLES} and d up to {MAX_INPUTS}, {show_shape(x.shape)} came",
        )
    if y.shape != (len(x),):
        raise ProblemRefused("targets", f"shape {len(x)} expected, {show_shape(y.shape)} came")
    if loss not in ("logistic", "squared"):
        raise ProblemRefused("loss", f"'logistic' or 'squared' expected, {loss!r} came")
    if loss == "logistic" and not (abs(y) == 1).all():
        raise ProblemRefused(
            "targets", "-1 or 1 in all expected for the logistic loss, other numbers came; take 'squared'"
        )
    check_adversary(adversary)
    doubts = [*_doubt_lengths(x), *_doubt_radius(x, y, adversary, overlap)]
    longest = float(np.linalg.norm(x, axis=1).max())
    return Samples(x.astype(precision), y.astype(precision), longest, tuple(doubts))


def measure_separation(inputs: NDArray[np.float64], targets: NDArray[np.float64], norm: Norm) -> float:
    """The least distance of two samples with different targets; infinity where there are none."""
    x, y, least = torch.from_numpy(inputs), torch.from_numpy(targets), math.inf
    power = 2.0 if norm == "euclidean" else math.inf
    for first in range(0, len(x), BLOCK):
        rows = slice(first, first + BLOCK)
        # Not by products: these lose half the digits of what is near.
        far = torch.cdist(x[rows], x, power, compute_mode="donot_use_mm_for_euclid_dist")
        far.masked_fill_(y[rows, None] == y, math.inf)
        least = min(least, float(far.min()))
    return least


def _doubt_radius(
    x: NDArray[np.float64], y: NDArray[np.float64], adversary: Adversary, overlap: bool
) -> list[str]:
    half = measure_separation(x, y, adversary.norm) / 2
    if adversary.radius < half:
        return []
    said = (
        f"samples with different targets are as near as {2 * half:.6g}, so a radius below {half:.6g} expected,"
        f" {adversary.radius:g} came: within their balls no net tells them apart"
    )
    if not overlap:
        raise ProblemRefused("radius", f"{said}; `overlap` trains all the same")
    return [said]


def _doubt_lengths(x: NDArray[np.float64]) -> list[str]:
    lengths = np.linalg.norm(x, axis=1)
    off = int((abs(lengths - 1) > UNIT_TOLERANCE).sum())
    if not off:
        return []
    return [
        f"{off} of {len(x)} inputs have lengths other than 1 ({lengths.min():.3g} to {lengths.max():.3g}): the default"
        " shift is made for scores of deviation 1, and more or fewer neurons than m^(4/5) will be active"
    ]


def _read_numbers(field: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ProblemRefused(field, f"real numbers expected, {array.dtype} came")
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ProblemRefused(field, "finite numbers expected, NaN or infinity came")
    if numbers.size and abs(numbers).max() > LARGEST:
        raise ProblemRefused(field, f"numbers within {LARGEST:g} expected, {abs(numbers).max():.3g} came")
    return numbers
