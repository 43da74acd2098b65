"""A wide two-layer net of shifted neurons: f(x) = sum over r of sign_r s(<w_r, x> + b_r), and how one is drawn.

s(z) is max(z - tau, 0) (`relu`), or z where z > tau and 0 elsewhere (`jump`). Source: 2208.05395, which has the second
in one place and whose sister papers have the first.

Shapes: m neurons, d inputs: weights [m, d], biases [m], signs [m].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from training.errors import ProblemRefused
from training.exact.late import torch
from training.solvers.adversarial import kernels

Floats = NDArray[np.floating[Any]]  # Any: float32 or float64, as the net has it
Ids = NDArray[np.int32]
Shift = Literal["relu", "jump"]
Precision = Literal["float32", "float64"]

MAX_NEURONS, MAX_INPUTS = 1 << 20, 1024
MAX_ENTRIES = 1 << 27  # of weights: 1 GiB in float64
SHIFT_SHARE = 0.4  # tau^2 of log m: a score of deviation 1 is above it in about m^(4/5) of m neurons
SIGN_POWER = 0.2  # signs are +-m^-0.2
CHUNK_NEURONS = 8192  # whose scores at a block of points stay in the cache
BLOCK_POINTS = 64


@dataclass(frozen=True, slots=True)
class ShiftedNet:
    """Weights, which training changes in place; all arrays of one precision."""

    weights: Floats
    biases: Floats
    signs: Floats
    tau: float
    shift: Shift = "relu"

    @property
    def width(self) -> int:
        return len(self.weights)

    @property
    def below(self) -> float:
        """What is taken away from the score of an active neuron."""
        return self.tau if self.shift == "relu" else 0.0

    def copy(self) -> ShiftedNet:
        return ShiftedNet(self.weights.copy(), self.biases, self.signs, self.tau, self.shift)

    def open_kernel(self) -> kernels.Net:
        """What kernels read; the weights are these, no copy."""
        kind = self.weights.dtype.type
        return kernels.Net(self.weights, self.biases, self.signs, kind(self.tau), kind(self.below))

    def evaluate(self, points: Floats) -> Floats:
        """f [n] at points [n, d], by all neurons."""
        values = np.empty(len(points), self.weights.dtype)
        weights, biases, signs = (
            torch.from_numpy(array) for array in (self.weights, self.biases, self.signs)
        )
        for first in range(0, len(points), BLOCK_POINTS):
            block = torch.from_numpy(points[first : first + BLOCK_POINTS])
            scores = torch.addmm(biases, block, weights.T)
            active = scores > self.tau
            values[first : first + BLOCK_POINTS] = scores.sub_(self.below).mul_(active).mv(signs).numpy()
        return values


def draw_net(
    width: int,
    inputs: int,
    rng: np.random.Generator,
    *,
    shift: Shift = "relu",
    tau: float | None = None,
    precision: Precision = "float32",
    biased: bool = False,
) -> ShiftedNet:
    """Normal weights, signs +-width^-0.2 drawn, tau = sqrt(0.4 log width) unless given; biases 0, or normal ones.

    A bias of 0 is the paper's net with the bias folded into a constant input. Raises ProblemRefused.
    """
    check_sizes(width, inputs)
    if precision not in get_args(Precision):
        raise ProblemRefused("precision", f"'float32' or 'float64' expected, {precision!r} came")
    weights = rng.standard_normal((width, inputs), precision)
    signs = rng.choice([-1.0, 1.0], width) * width**-SIGN_POWER
    biases = rng.standard_normal(width) if biased else np.zeros(width)
    tau = math.sqrt(SHIFT_SHARE * math.log(width)) if tau is None else tau
    return check_net(ShiftedNet(weights, biases.astype(precision), signs.astype(precision), tau, shift))


def check_sizes(width: int, inputs: int) -> None:
    """Raises ProblemRefused for a net that is too small or too large."""
    if not 2 <= width <= MAX_NEURONS:
        raise ProblemRefused("width", f"2 .. {MAX_NEURONS} neurons expected, {width} came")
    if not 1 <= inputs <= MAX_INPUTS:
        raise ProblemRefused("inputs", f"1 .. {MAX_INPUTS} numbers in a sample expected, {inputs} came")
    if width * inputs > MAX_ENTRIES:
        raise ProblemRefused(
            "width", f"at most {MAX_ENTRIES} weights expected, {width} neurons of {inputs} came"
        )


def check_net(net: ShiftedNet) -> ShiftedNet:
    """The net, if its arrays fit one another and are finite. Raises ProblemRefused."""
    weights = net.weights
    if weights.ndim != 2:
        raise ProblemRefused("weights", f"shape m x d expected, {show_shape(weights.shape)} came")
    check_sizes(*weights.shape)
    for name in ("weights", "biases", "signs"):
        array: Floats = getattr(net, name)
        if name != "weights" and array.shape != weights.shape[:1]:
            raise ProblemRefused(name, f"shape {len(weights)} expected, {show_shape(array.shape)} came")
        if array.dtype != weights.dtype or array.dtype not in (np.float32, np.float64):
            raise ProblemRefused(name, f"float32 or float64 in all arrays expected, {array.dtype} came")
        if not array.flags.c_contiguous:
            raise ProblemRefused(name, "an array that is contiguous by rows expected")
        if not np.isfinite(array).all():
            raise ProblemRefused(name, "finite numbers expected, NaN or infinity came")
    if not math.isfinite(net.tau) or net.tau < 0:
        raise ProblemRefused("tau", f"a finite number from 0 expected, {net.tau} came")
    if net.shift not in ("relu", "jump"):
        raise ProblemRefused("shift", f"'relu' or 'jump' expected, {net.shift!r} came")
    return net


def show_shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
