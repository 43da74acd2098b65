"""The two ways to compute the same integers: portable torch operations, and compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from training.exact.counter import make_dither, make_noise
from training.exact.grids import DATA, MASTER, make_product_weights, saturate
from training.exact.late import torch
from training.exact.trace import Trace
from training.objectives.base import (
    MAX_FUSED_SAMPLES,
    Batch,
    Integers,
    Objective,
    Outcome,
    Ticket,
    load_product_weights,
    make_float,
    scale_rates,
    split_weights,
)
from training.splits import Shorts, Split

PORTABLE_SAMPLES = 64  # at a time, when losses are summed


class ExactPath(Protocol):
    """Runs tickets and sums losses; weights are flat int64 master units."""

    def run(self, objective: Objective, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        """One ticket."""

    def sum_losses(self, objective: Objective, split: Split, weights: Integers, indices: Integers) -> int:
        """The sum of exact losses of some samples."""

    def compute_scores(
        self, objective: Objective, inputs: Shorts, keys: Shorts, weights: Integers
    ) -> Integers:
        """Exact outputs per class of compact inputs, summed over tokens: [N, c]."""


class FusedPath:
    """Compiled kernels, one per run."""

    def run(self, objective: Objective, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        return objective.run_fused(split, weights, ticket)

    def sum_losses(self, objective: Objective, split: Split, weights: Integers, indices: Integers) -> int:
        chunks = _chunk(indices, MAX_FUSED_SAMPLES)
        return sum(objective.sum_losses_fused(split, weights, chunk) for chunk in chunks)

    def compute_scores(
        self, objective: Objective, inputs: Shorts, keys: Shorts, weights: Integers
    ) -> Integers:
        return objective.compute_scores_fused(inputs, keys, weights)


class PortablePath:
    """torch operations of the allow-list: for machines without a compiler, and to test the kernels against."""

    def run(self, objective: Objective, split: Split, weights: Integers, ticket: Ticket) -> Outcome:
        batch = objective.make_batch(split, ticket.indices)
        start = torch.from_numpy(weights)
        dithered = saturate(start + torch.from_numpy(make_dither(ticket.dither_stream, len(start))), MASTER.p)
        trace = Trace()
        end = dithered.to(torch.float64)
        rates = scale_rates(objective, ticket.rates)
        for stream in ticket.noise_streams:
            noisy = _add_noise(batch, stream)
            tensors = split_weights(objective, end)
            gradients = objective.compute_gradients([make_product_weights(n) for n in tensors], noisy, trace)
            steps = [
                torch.round((gradient * float(mantissa)) * float(scale)).flatten()
                for gradient, (mantissa, scale) in zip(gradients, rates, strict=True)
            ]
            end = saturate(end - torch.cat(steps), MASTER.p)
        delta = end.to(torch.int64) - dithered.to(torch.int64)
        after = saturate(start + delta, MASTER.p)
        return Outcome(
            trace.total,
            self.sum_losses(objective, split, weights, ticket.indices),
            self.sum_losses(objective, split, after.to(torch.int64).numpy(), ticket.indices),
            delta.numpy(),
        )

    def sum_losses(self, objective: Objective, split: Split, weights: Integers, indices: Integers) -> int:
        products = load_product_weights(objective, weights)
        total = 0
        for chunk in _chunk(indices, PORTABLE_SAMPLES):
            total += int(objective.compute_losses(products, objective.make_batch(split, chunk)).sum().item())
        return total

    def compute_scores(
        self, objective: Objective, inputs: Shorts, keys: Shorts, weights: Integers
    ) -> Integers:
        products, keys_ce = load_product_weights(objective, weights), make_float(keys)
        chunks = [make_float(inputs[chunk]) for chunk in _chunk(np.arange(len(inputs)), PORTABLE_SAMPLES)]
        scores = [objective.compute_scores(products, chunk, keys_ce).numpy() for chunk in chunks]
        return np.concatenate(scores).astype(np.int64)


def _add_noise(batch: Batch, stream: int) -> Batch:
    """Fresh noise of one step: on the inputs, then on the keys. Both are in data units."""
    count = batch.inputs.numel()
    noise = torch.from_numpy(make_noise(stream, count + batch.keys.numel())).to(torch.float64)
    inputs = saturate(batch.inputs + noise[:count].view(batch.inputs.shape), DATA.p)
    keys = saturate(batch.keys + noise[count:].view(batch.keys.shape), DATA.p)
    return Batch(inputs, batch.targets, keys, batch.ids)


def _chunk(indices: Integers, size: int) -> Iterator[Integers]:
    for first in range(0, len(indices), size):
        yield indices[first : first + size]
