"""Alternating least squares for the factors of low cycle rank, by normal equations; and plain, on a whole tensor.

Each factor is the solution of a linear problem while the other two stand, so no step raises the loss. The loss is not
convex, and there are swamps of slow descent: so several starts, of which the best goes on. Source: 2304.06594; the
solver in place of its polynomial systems, which are exponential in k, is ours.

Shapes: E = k^2; see factors.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from training.exact.late import torch
from training.solvers.cycle.factors import MODES, Factors, draw_factors, make_zeros
from training.solvers.cycle.tensors import CycleTensor, check_rank

if TYPE_CHECKING:
    from torch import Tensor

RIDGE = 1e-12  # of the mean diagonal: a direction that the design does not see has no solution of its own


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to look: `starts`, each at most `first_sweeps`; the best then at most `sweeps`. A run ends, too, where a
    sweep takes less than a share `first_gain` (`gain`) of the loss away, or leaves `floor` of the tensor's squares."""

    starts: int = 4
    first_sweeps: int = 30
    sweeps: int = 300
    first_gain: float = 1e-3
    gain: float = 1e-5
    floor: float = 1e-15


DEFAULT = Plan()


@dataclass(frozen=True, slots=True)
class Sweep:
    """Where it is after so many sweeps: the loss |A - R|^2, by Gram matrices, so about floor * |A|^2 at its best.
    `rate` is what the sweep took away of it, as a share of what the one before did; 1 where that is not known."""

    number: int
    factors: Factors
    loss: float
    rate: float = 1.0


def solve_factor(tensor: CycleTensor, factors: Factors, mode: int) -> tuple[Tensor, float]:
    """The factor [n, k, k] that is best while the other two stand, and the loss with it."""
    products = tensor.contract(mode, factors).flatten(1)
    gram = factors.compute_gram(mode)
    factor = _solve(gram, products)
    loss = tensor.squared_norm - float((factor * (2 * products - factor @ gram)).sum())
    return factor.reshape(factors[mode].shape), max(0.0, loss)


def _solve(gram: Tensor, products: Tensor) -> Tensor:
    mean = float(gram.diagonal().mean())
    if mean == 0:
        return torch.zeros_like(products)
    gram = gram.clone()
    gram.diagonal().add_(RIDGE * mean)
    factor: Tensor = torch.linalg.solve(gram, products, left=False)
    return factor


def run_sweeps(tensor: CycleTensor, start: Factors) -> Iterator[Sweep]:
    """Yield the state after each sweep over U, V and W, without an end."""
    factors, number = start, 0
    while True:
        loss = 0.0
        for mode in range(MODES):
            factor, loss = solve_factor(tensor, factors, mode)
            factors = factors.replace(mode, factor)
        factors, number = factors.balance(), number + 1
        yield Sweep(number, factors, loss)


def run_until(sweeps: Iterable[Sweep], most: int, gain: float, least: float) -> Sweep:
    """Where to stop: at sweep `most`, at one that lowers the loss to `least`, or by less than a share `gain`."""
    before, gained, rate = np.inf, np.inf, 1.0
    for sweep in sweeps:
        gains = before - sweep.loss
        rate = gains / gained if 0 <= gains < np.inf and 0 < gained < np.inf else rate
        if sweep.number >= most or sweep.loss <= least or sweep.loss > (1 - gain) * before:
            return replace(sweep, rate=rate)
        before, gained = sweep.loss, gains
    raise ValueError("sweeps: at least one expected, none came")


def run_starts(tensor: CycleTensor, rank: int, rng: np.random.Generator, plan: Plan = DEFAULT) -> Factors:
    """The best of several drawn starts, followed to its end: of a small core, or, without a sketch, of a whole tensor.

    Raises ProblemRefused for a rank that the tensor has not.
    """
    return find_best(tensor, rank, rng, plan).factors


def find_best(tensor: CycleTensor, rank: int, rng: np.random.Generator, plan: Plan = DEFAULT) -> Sweep:
    """The last sweep of `run_starts`, with the rate at which sweeps closed in."""
    check_rank(tensor.sizes, rank)
    squared = tensor.squared_norm
    if squared == 0:
        return Sweep(0, make_zeros(tensor.sizes, rank), 0.0)
    best, least = None, plan.floor * squared
    for _ in range(plan.starts):
        start = draw_factors(tensor.sizes, rank, rng)
        found = run_until(run_sweeps(tensor, start), plan.first_sweeps, plan.first_gain, least)
        best = found if best is None or found.loss < best.loss else best
    if best is None:
        raise ValueError("plan: at least one start expected, it has none")
    last = run_until(run_sweeps(tensor, best.factors), plan.sweeps, plan.gain, least)
    return last if last.number > 2 else replace(last, rate=best.rate)  # two sweeps have no rate
