"""Kernels of kronecker_spectral (section 9.11): a whole ticket, losses, and outputs.

Shapes: inputs x [N, m], weights w [m]; rows are padded to whole LANES with zeros. Both products read x once, a row at a
time, so a block is as many rows as stay in the second-level cache.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections import namedtuple

import numpy as np

from training.exact.fused.compiler import kernel
from training.exact.fused.elements import (
    LOSS_CAP,
    MASTER_LIMIT,
    MASTER_LIMIT_F,
    TO_WEIGHT,
    WEIGHT_LIMIT_F,
    dither_weights,
    fold,
    load_samples,
    move_weights,
    round_weights,
    step_weights,
    to_integer,
)
from training.exact.fused.tile import add_rows, multiply_vector, pad

BLOCK_ENTRIES, LEAST_ROWS, MOST_ROWS = 1 << 13, 8, 64
OUTPUT_LIMIT, RESIDUAL_LIMIT, GRADIENT_LIMIT = 2.0**26 - 1, 2.0**26 - 1, 2.0**20 - 1
ONE = 2.0**16

# mp: padded; block: samples; step: what takes F to step 2^-20
Shape = namedtuple("Shape", "m mp block step")
Data = namedtuple("Data", "inputs rows")
# f outputs, then residuals, then gradients
Buffers = namedtuple("Buffers", "noise x f")


@kernel
def make_shape(params):
    """params [m, scale] i64."""
    mp = pad(params[0])
    block = min(max(BLOCK_ENTRIES // mp, LEAST_ROWS), MOST_ROWS)
    return Shape(params[0], mp, block, 2.0 ** (-8.0 - np.float64(params[1])))


@kernel
def make_buffers(sh):
    return Buffers(np.empty(sh.block * sh.m + 32), np.zeros(sh.block * sh.mp), np.zeros(sh.block))


@kernel
def load_weights(sh, v, master):
    """V: what each pair counts."""
    round_weights(master, 0, v, 1, sh.m, sh.mp, TO_WEIGHT, WEIGHT_LIMIT_F)
    for p in range(sh.m):
        v[p] = min(max(v[p] + ONE, 0.0), WEIGHT_LIMIT_F)


@kernel
def load_inputs(sh, b, data, indices, first, n, noisy, noise_stream):
    load_samples(b.x, sh.mp, data.inputs, indices, first, n, 1, sh.m, b.noise, noisy, noise_stream)


@kernel
def forward(sh, b, v, n, traced, count):
    """F of a block; returns the trace of the product."""
    total = np.uint64(0)
    multiply_vector(b.f, 0, b.x, 0, sh.mp, v, 0, n, sh.mp)
    if traced:
        total += fold(b.f, 0, 1, n, n, count)
    for s in range(n):
        b.f[s] = min(max(np.rint(b.f[s] * sh.step), -OUTPUT_LIMIT), OUTPUT_LIMIT)
    return total


@kernel
def subtract_targets(b, data, indices, first, n):
    for s in range(n):
        value = b.f[s] - 256.0 * np.float64(data.rows[indices[first + s], 0])
        b.f[s] = min(max(value, -RESIDUAL_LIMIT), RESIDUAL_LIMIT)


@kernel
def compute_loss(sh, b, v, data, indices):
    """The sum of the losses of some samples; at most 2^12 samples fit the sum."""
    total = np.int64(0)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, v, n, False, 0)
        subtract_targets(b, data, indices, first, n)
        for s in range(n):
            r = to_integer(b.f[s])
            total += min(r * r, LOSS_CAP)
    return total


@kernel
def take_step(sh, b, v, data, indices, master, rates, counted, noise_stream):
    """One exact local step on the whole shard, in place; returns its trace."""
    load_weights(sh, v, master)
    gradient, total = np.zeros(sh.mp), np.uint64(0)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, True, noise_stream)
        total += forward(sh, b, v, n, True, counted + first)
        subtract_targets(b, data, indices, first, n)
        for s in range(n):
            b.f[s] = min(max(np.rint(b.f[s] * 2.0**-5), -GRADIENT_LIMIT), GRADIENT_LIMIT)
        add_rows(gradient, b.x, sh.mp, b.f, n, sh.mp)
    total += fold(gradient, 0, 1, sh.m, sh.m, counted + indices.size)
    step_weights(master, 0, gradient, 1, sh.m, sh.mp, rates[0, 0], rates[0, 1], MASTER_LIMIT_F)
    return total


@kernel
def run_ticket(params, inputs, rows, indices, weights, rates, dither_stream, noise_streams):
    """A whole ticket: returns (trace, loss before, loss after, delta).

    params as of make_shape; rates [1, 2] f64 of (mantissa, power of two); streams u64.
    """
    sh = make_shape(params)
    data, b, v = Data(inputs, rows), make_buffers(sh), np.zeros(sh.mp)
    load_weights(sh, v, weights)
    before = compute_loss(sh, b, v, data, indices)
    start = dither_weights(weights, dither_stream, MASTER_LIMIT)
    master = start.copy()
    trace = np.uint64(0)
    entries = indices.size + sh.m
    for t in range(noise_streams.size):
        trace += take_step(sh, b, v, data, indices, master, rates, t * entries, noise_streams[t])
    delta = master - start
    load_weights(sh, v, move_weights(weights, delta, MASTER_LIMIT))
    return trace, before, compute_loss(sh, b, v, data, indices), delta


@kernel
def sum_losses(params, inputs, rows, indices, weights):
    """The sum of exact losses of at most 2^12 samples."""
    sh = make_shape(params)
    v = np.zeros(sh.mp)
    load_weights(sh, v, weights)
    return compute_loss(sh, make_buffers(sh), v, Data(inputs, rows), indices)


@kernel
def compute_outputs(params, inputs, weights):
    """F of samples: int64 [n, 1] on step 2^-20."""
    sh = make_shape(params)
    b, v, indices = make_buffers(sh), np.zeros(sh.mp), np.arange(inputs.shape[0])
    load_weights(sh, v, weights)
    data = Data(inputs, np.zeros((1, 1), np.int16))
    out = np.empty((indices.size, 1), np.int64)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, v, n, False, 0)
        for s in range(n):
            out[first + s, 0] = to_integer(b.f[s])
    return out
