"""What an objective is: shapes, data, exact losses, an exact gradient, and what they cost.

Adding one is one file that fills this protocol and one line in the registry. `exact` methods compute on grids with
allowed operations only; `native` ones are free to use anything, nothing they return is ever compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from training.errors import TaskRefused
from training.exact.grids import Product, make_product_weights
from training.exact.late import torch
from training.exact.trace import Trace
from training.splits import Layout, Shorts, Split

if TYPE_CHECKING:
    from torch import Tensor

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
LOSS_CAP = 1 << 50  # units of 2^-40
LOSS_F = 40
MAX_FUSED_SAMPLES = 1 << 12  # LOSS_CAP times this fits int64
MAX_SHARD = 4096
# What the kernels do beside products, in multiply-adds that take as long (scripts/bench/work.py)
TRACED_WORK = 16  # an entry: its trace, rescaling and rounding
NOISY_WORK = 24  # an entry: its noise, loading and saturation
PARAMETER_WORK = 32  # rounding, stepping, dither, memory
EXPONENTIAL_WORK = 64  # an entry of a softmax, its residual or derivative with it
ROW_WORK = 2048  # a row of scores: loops that start, a maximum and a sum


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples in data units as float64: inputs after expansion, targets that broadcast to the outputs, keys.

    Where inputs are ids, `ids` [N, *] has them (int64), and `inputs` zeros for the entries of weights that they read.
    """

    inputs: Tensor
    targets: Tensor
    keys: Tensor
    ids: Tensor | None = None


@dataclass(frozen=True, slots=True)
class PassSizes:
    """What one pass over samples handles beside products: entries that get noise, rows of scores, exponentials."""

    noisy: int
    rows: int
    exponentials: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """What one run is done with, drawn and prepared: sample numbers, learning rates, streams of randomness."""

    indices: Integers
    rates: tuple[tuple[int, int], ...]
    dither_stream: int
    noise_streams: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    trace: int
    before: int
    after: int
    delta: Integers


class Objective(Protocol):
    """An objective with its parameters. Weights are flat int64 master units, tensors in declared order."""

    name: ClassVar[str]

    @classmethod
    def parse(cls, params: Sequence[int]) -> Self:
        """Check a job's parameters; raises TaskRefused."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameter tensors."""

    @property
    def layout(self) -> Layout:
        """What the data blob must hold."""

    def list_products(self, shard: int) -> tuple[Product, ...]:
        """The traced products of one step in declared order; raises TaskRefused for a shard that is too large."""

    def count_forward(self, samples: int) -> int:
        """Multiply-adds of one loss evaluation."""

    def measure_pass(self, samples: int) -> PassSizes:
        """What a pass over samples handles beside its products."""

    @property
    def gradient_fs(self) -> tuple[int, ...]:
        """Step 2^-f of every gradient."""

    def make_batch(self, split: Split, indices: Integers) -> Batch:
        """Gather and expand samples."""

    def compute_losses(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """Exact loss of every sample, int64 in units of 2^-40. Weights on the product grid, float64."""

    def compute_gradients(self, weights: Sequence[Tensor], batch: Batch, trace: Trace) -> tuple[Tensor, ...]:
        """Exact gradients of the sum of losses; folds every product into the trace."""

    def compute_scores(self, weights: Sequence[Tensor], inputs: Tensor, keys: Tensor) -> Tensor:
        """Exact outputs per class of compact inputs [N, *], summed over tokens: float64 integers [N, c]."""

    def run_fused(self, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        """A whole ticket in one compiled kernel."""

    def sum_losses_fused(self, split: Split, weights: Integers, indices: Integers) -> int:
        """The sum of exact losses of at most MAX_FUSED_SAMPLES samples."""

    def compute_scores_fused(self, inputs: Shorts, keys: Shorts, weights: Integers) -> Integers:
        """What compute_scores gives, by the compiled kernels, as int64."""

    def native_loss(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """The sum of losses in floating point, differentiable, for training by any method. Weights and data in units
        of one, any float dtype."""

    def native_residuals(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """What native_loss sums the squares of."""


def count_parameters(objective: Objective) -> int:
    return sum(int(np.prod(shape)) for shape in objective.shapes)


def load_product_weights(objective: Objective, weights: Integers) -> list[Tensor]:
    """Weights as products read them, one tensor for each shape."""
    flat = torch.from_numpy(weights).to(torch.float64)
    return [make_product_weights(n) for n in split_weights(objective, flat)]


def split_weights(objective: Objective, flat: Tensor) -> list[Tensor]:
    """Views of flat weights in the objective's shapes."""
    sizes = [int(np.prod(shape)) for shape in objective.shapes]
    return [part.view(shape) for part, shape in zip(torch.split(flat, sizes), objective.shapes, strict=True)]


def compute_work(objective: Objective, steps: int, shard: int) -> int:
    """Declared work of a run (section 7): multiply-adds of its products, and what else takes time as such."""
    products = objective.list_products(shard)
    step = sum(product.multiply_adds + TRACED_WORK * product.entries for product in products)
    step += NOISY_WORK * objective.measure_pass(shard).noisy + _compute_pass_work(objective, shard)
    return steps * step + 2 * compute_loss_work(objective, shard)


def compute_loss_work(objective: Objective, samples: int) -> int:
    """Work of a loss evaluation (section 7)."""
    return objective.count_forward(samples) + _compute_pass_work(objective, samples)


def _compute_pass_work(objective: Objective, samples: int) -> int:
    sizes = objective.measure_pass(samples)
    work = EXPONENTIAL_WORK * sizes.exponentials + ROW_WORK * sizes.rows
    return PARAMETER_WORK * count_parameters(objective) + work


def scale_rates(objective: Objective, rates: Sequence[tuple[int, int]]) -> Floats:
    """[mantissa, power of two] per tensor, the power taking a gradient times the mantissa to master units."""
    pairs = zip(rates, objective.gradient_fs, strict=True)
    return np.array([[float(mantissa), 2.0 ** (24 - f - shift)] for (mantissa, shift), f in pairs])


def run_kernel(
    objective: Objective,
    kernel: Callable[..., Any],  # Any: kernels are typed by numba, at the call
    data: Sequence[Shorts | Integers],
    weights: Integers,
    ticket: Ticket,
) -> Outcome:
    """A whole ticket by a compiled kernel; `data` is what stands before the samples' numbers in its arguments."""
    trace, before, after, delta = kernel(
        *data, ticket.indices, weights, scale_rates(objective, ticket.rates), np.uint64(ticket.dither_stream),
        np.array(ticket.noise_streams, np.uint64),
    )  # fmt: skip
    return Outcome(int(trace), int(before), int(after), delta)


def check_range(field: str, value: int, lowest: int, highest: int) -> None:
    """Raise TaskRefused unless lowest <= value <= highest."""
    if not lowest <= value <= highest:
        raise TaskRefused(field, f"{lowest} to {highest} expected, got {value}")


def check_param_count(name: str, params: Sequence[int], meaning: str) -> None:
    """Raise TaskRefused unless there is one parameter for every word of `meaning`."""
    expected = len(meaning.split())
    if len(params) != expected:
        raise TaskRefused("params", f"{name} takes {expected} numbers ({meaning}), got {len(params)}")


def make_float(values: Shorts) -> Tensor:
    return torch.from_numpy(values.astype(np.float64))


def make_value_batch(split: Split, indices: Integers) -> Batch:
    """Samples as they are stored, with rows of values as targets."""
    return Batch(make_float(split.inputs[indices]), make_float(split.rows[indices]), make_float(split.keys))


def make_signs(count: int) -> Tensor:
    """[count]: 1, -1, 1, ..."""
    return 1.0 - 2.0 * (torch.arange(count) & 1)


def sum_signed(values: Tensor) -> Tensor:
    """The first less the second plus the third, and so on: [N, m] -> [N, 1]."""
    return (values * make_signs(values.shape[-1])).sum(-1, keepdim=True)


def make_one_hot(labels: Shorts, classes: int) -> Tensor:
    """One (4096 data units) in the column of each label: [n, classes]."""
    columns = torch.arange(classes, dtype=torch.int64)
    chosen = torch.from_numpy(labels.astype(np.int64))[:, None] == columns
    return chosen.to(torch.float64) * 4096.0


def sum_squares(residuals: Tensor) -> Tensor:
    """Capped exact losses [n] from integer residuals [n, ...] of at most 26 bits, at most 2^10 a sample."""
    n = residuals.to(torch.int64).flatten(1)
    return torch.clamp((n * n).sum(1), max=LOSS_CAP)
