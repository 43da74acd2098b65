"""Kernels of adversarial_relu (section 9.10): a whole ticket, losses, and outputs.

Shapes: inputs x [N, d], weights W [d, m]; rows are padded to whole LANES with zeros.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections import namedtuple

import numpy as np

from training.exact.fused.compiler import kernel
from training.exact.fused.elements import (
    DATA_LIMIT_F,
    LOSS_CAP,
    MASTER_LIMIT,
    MASTER_LIMIT_F,
    TO_WEIGHT,
    WEIGHT_LIMIT_F,
    add_fixed,
    dither_weights,
    fold,
    load_samples,
    move_weights,
    round_weights,
    step_weights,
    to_integer,
    transpose,
)
from training.exact.fused.scores import sum_signed
from training.exact.fused.tile import multiply, pad

BLOCK_ROWS = 64
SCORE_LIMIT, RESIDUAL_LIMIT, GRADIENT_LIMIT = 2.0**24 - 1, 2.0**26 - 1, 2.0**20 - 1

# dp, mp: padded; stride in data units, shift on step 2^-20
Shape = namedtuple("Shape", "d m steps stride shift dp mp")
Data = namedtuple("Data", "inputs rows")
Weights = namedtuple("Weights", "x x_t")  # [d, m] and [m, d]
# x the adversary's points, u values of the neurons, then M, then gradients; h, and residuals r
Buffers = namedtuple("Buffers", "noise x u h r")


@kernel
def make_shape(params):
    """params [d, m, steps, stride, shift] i64."""
    stride, shift = np.float64(params[3]), np.float64(params[4]) * 4096.0
    return Shape(params[0], params[1], params[2], stride, shift, pad(params[0]), pad(params[1]))


@kernel
def make_buffers(sh):
    return Buffers(
        np.empty(BLOCK_ROWS * sh.d + 32),
        np.zeros(BLOCK_ROWS * sh.dp),
        np.zeros(BLOCK_ROWS * sh.mp),
        np.zeros(BLOCK_ROWS * sh.dp),
        np.zeros(BLOCK_ROWS),
    )


@kernel
def make_weights(sh):
    return Weights(np.zeros(sh.d * sh.mp), np.zeros(sh.m * sh.dp))


@kernel
def load_weights(sh, w, start, master):
    """A job's weights on the fixed ones, as rows and as columns."""
    round_weights(master, 0, w.x, sh.d, sh.m, sh.mp, TO_WEIGHT, WEIGHT_LIMIT_F)
    add_fixed(w.x, start, sh.d, sh.m, sh.mp)
    transpose(w.x, 0, sh.mp, w.x_t, 0, sh.dp, sh.d, sh.m)


@kernel
def load_inputs(sh, b, data, indices, first, n, noisy, noise_stream):
    load_samples(b.x, sh.dp, data.inputs, indices, first, n, 1, sh.d, b.noise, noisy, noise_stream)


@kernel
def activate(sh, b, w, n, traced, count):
    """u of a block's points; returns the trace of S."""
    total = np.uint64(0)
    multiply(b.u, 0, sh.mp, b.x, 0, sh.dp, 1, w.x, 0, sh.mp, n, sh.mp, sh.d, False)
    if traced:
        total += fold(b.u, 0, n, sh.m, sh.mp, count)
    u = b.u[: n * sh.mp]
    for i in range(u.size):
        s = min(max(np.rint(u[i] * 2.0**-8), -SCORE_LIMIT), SCORE_LIMIT)
        u[i] = max(s - sh.shift, 0.0)
    return total


@kernel
def look(sh, b, w, data, indices, first, n, traced, count):
    """R and M at a block's points; returns the trace of S."""
    total = activate(sh, b, w, n, traced, count)
    for s in range(n):
        u = b.u[s * sh.mp : s * sh.mp + sh.m]
        value = np.float64(sum_signed(u)) - 256.0 * np.float64(data.rows[indices[first + s], 0])
        b.r[s] = min(max(value, -RESIDUAL_LIMIT), RESIDUAL_LIMIT)
        for r in range(0, sh.m, 2):
            u[r] = 1.0 if u[r] > 0.0 else 0.0
            u[r + 1] = -1.0 if u[r + 1] > 0.0 else 0.0
    return total


@kernel
def move_points(sh, b, w, n, traced, count):
    """One step of the adversary; returns the trace of H."""
    total = np.uint64(0)
    multiply(b.h, 0, sh.dp, b.u, 0, sh.mp, 1, w.x_t, 0, sh.dp, n, sh.dp, sh.m, False)
    if traced:
        total += fold(b.h, 0, n, sh.d, sh.dp, count)
    for s in range(n):
        along = sh.stride * np.sign(b.r[s])
        row = slice(s * sh.dp, s * sh.dp + sh.d)
        x, h = b.x[row], b.h[row]
        for i in range(sh.d):
            step = along if h[i] > 0.0 else (-along if h[i] < 0.0 else 0.0)
            x[i] = min(max(x[i] + step, -DATA_LIMIT_F), DATA_LIMIT_F)
    return total


@kernel
def attack(sh, b, w, data, indices, first, n, traced, counted, shard):
    """The adversary's points of a block, M and R there; returns the trace of all products on the way. `counted` entries
    are before the step's, of `shard` samples."""
    at_m, at_d = counted + first * sh.m, counted + first * sh.d
    total = look(sh, b, w, data, indices, first, n, traced, at_m)
    for p in range(sh.steps):
        before = p * shard * (sh.m + sh.d) + shard * sh.m
        total += move_points(sh, b, w, n, traced, at_d + before)
        total += look(sh, b, w, data, indices, first, n, traced, at_m + before + shard * sh.d)
    return total


@kernel
def compute_loss(sh, b, w, data, indices):
    """The sum of the losses of some samples; at most 2^12 samples fit the sum."""
    total = np.int64(0)
    for first in range(0, indices.size, BLOCK_ROWS):
        n = min(BLOCK_ROWS, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        attack(sh, b, w, data, indices, first, n, False, 0, 0)
        for s in range(n):
            r = to_integer(b.r[s])
            total += min(r * r, LOSS_CAP)
    return total


@kernel
def count_step(sh, shard):
    """Entries of the products of one step before the gradient."""
    return shard * ((sh.steps + 1) * sh.m + sh.steps * sh.d)


@kernel
def take_step(sh, b, w, start, data, indices, master, rates, counted, noise_stream):
    """One exact local step on the whole shard, in place; returns its trace."""
    load_weights(sh, w, start, master)
    gradient, total = np.zeros(sh.d * sh.mp), np.uint64(0)
    for first in range(0, indices.size, BLOCK_ROWS):
        n = min(BLOCK_ROWS, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, True, noise_stream)
        total += attack(sh, b, w, data, indices, first, n, True, counted, indices.size)
        for s in range(n):
            g = min(max(np.rint(b.r[s] * 2.0**-5), -GRADIENT_LIMIT), GRADIENT_LIMIT)
            q = b.u[s * sh.mp : s * sh.mp + sh.m]
            for r in range(sh.m):
                q[r] *= g
        multiply(gradient, 0, sh.mp, b.x, 0, 1, sh.dp, b.u, 0, sh.mp, sh.d, sh.mp, n, True)
    total += fold(gradient, 0, sh.d, sh.m, sh.mp, counted + count_step(sh, indices.size))
    step_weights(master, 0, gradient, sh.d, sh.m, sh.mp, rates[0, 0], rates[0, 1], MASTER_LIMIT_F)
    return total


@kernel
def run_ticket(params, start, inputs, rows, indices, weights, rates, dither_stream, noise_streams):
    """A whole ticket: returns (trace, loss before, loss after, delta).

    params as of make_shape; start [d, m] the fixed weights; rates [1, 2] f64 of (mantissa, power of two); streams u64.
    """
    sh = make_shape(params)
    data, b, w = Data(inputs, rows), make_buffers(sh), make_weights(sh)
    load_weights(sh, w, start, weights)
    before = compute_loss(sh, b, w, data, indices)
    begin = dither_weights(weights, dither_stream, MASTER_LIMIT)
    master = begin.copy()
    trace = np.uint64(0)
    entries = count_step(sh, indices.size) + sh.d * sh.m
    for t in range(noise_streams.size):
        trace += take_step(sh, b, w, start, data, indices, master, rates, t * entries, noise_streams[t])
    delta = master - begin
    load_weights(sh, w, start, move_weights(weights, delta, MASTER_LIMIT))
    return trace, before, compute_loss(sh, b, w, data, indices), delta


@kernel
def sum_losses(params, start, inputs, rows, indices, weights):
    """The sum of exact losses of at most 2^12 samples."""
    sh = make_shape(params)
    b, w = make_buffers(sh), make_weights(sh)
    load_weights(sh, w, start, weights)
    return compute_loss(sh, b, w, Data(inputs, rows), indices)


@kernel
def compute_outputs(params, start, inputs, weights):
    """F of samples as they are, without an adversary: int64 [n, 1] on step 2^-20."""
    sh = make_shape(params)
    b, w, indices = make_buffers(sh), make_weights(sh), np.arange(inputs.shape[0])
    load_weights(sh, w, start, weights)
    data = Data(inputs, np.zeros((1, 1), np.int16))
    out = np.empty((indices.size, 1), np.int64)
    for first in range(0, indices.size, BLOCK_ROWS):
        n = min(BLOCK_ROWS, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        activate(sh, b, w, n, False, 0)
        for s in range(n):
            out[first + s, 0] = sum_signed(b.u[s * sh.mp : s * sh.mp + sh.m])
    return out
