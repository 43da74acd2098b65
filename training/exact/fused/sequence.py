"""Kernels of sequence_regression (section 9.7): a whole ticket, losses, and outputs.

Shapes: inputs A [samples * tokens, d], weights x [d]; rows are padded to whole LANES with zeros. Both products read A
once, a row at a time, so a block is a few rows: they stay in the first-level cache.
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
)
from training.exact.fused.scores import (
    SOFTMAX,
    apply_scores,
    differentiate,
    differentiate_probabilities,
    finish,
    square,
    subtract,
)
from training.exact.fused.tile import add_rows, multiply_vector, pad

BLOCK_ROWS = 64

# dp, rp: padded d and rows of a block of `block` samples
Shape = namedtuple("Shape", "tokens d block dp rp function weight")
Data = namedtuple("Data", "inputs rows labels")
# p values, v derivatives, s scores, g residuals R and gradients, t residuals T
Buffers = namedtuple("Buffers", "noise a p v s g t")


@kernel
def make_shape(params):
    """params [tokens, d, function, weight] i64."""
    block = max(1, BLOCK_ROWS // params[0])
    return Shape(params[0], params[1], block, pad(params[1]), pad(block * params[0]), params[2], params[3])


@kernel
def make_buffers(sh):
    rows = sh.block * sh.tokens
    return Buffers(
        np.empty(rows * sh.d + 32),
        np.zeros(rows * sh.dp),
        np.zeros(sh.rp),
        np.zeros(sh.rp),
        np.zeros(sh.rp),
        np.zeros(sh.rp),
        np.zeros(sh.rp),
    )


@kernel
def load_weights(sh, x, master):
    round_weights(master, 0, x, 1, sh.d, sh.dp, TO_WEIGHT, WEIGHT_LIMIT_F)


@kernel
def load_inputs(sh, b, data, indices, first, n, noisy, noise_stream):
    load_samples(b.a, sh.dp, data.inputs, indices, first, n, sh.tokens, sh.d, b.noise, noisy, noise_stream)


@kernel
def forward(sh, b, x, n, traced, count):
    """Values of a block's scores on step 2^-20; returns the trace of the scores."""
    total = np.uint64(0)
    multiply_vector(b.p, 0, b.a, 0, sh.dp, x, 0, n * sh.tokens, sh.dp)
    if traced:
        total += fold(b.p, 0, 1, n * sh.tokens, n * sh.tokens, count)
    apply_scores(b.p, b.v, b.s, n, sh.tokens, sh.tokens, 2.0**-28, sh.function, sh.weight)
    return total


@kernel
def subtract_targets(sh, b, data, indices, first, n):
    for s in range(n):
        subtract(
            b.g, b.t, b.p, b.s, sh.tokens, sh.tokens, s, sh.function, sh.weight, data.rows, data.labels,
            indices[first + s], False,
        )  # fmt: skip


@kernel
def differentiate_scores(sh, b, data, indices, first, n):
    if sh.function == SOFTMAX:
        differentiate_probabilities(b.g, b.p, n, sh.tokens, sh.tokens, sh.weight)
    else:
        for s in range(n):
            differentiate(
                b.g, b.t, b.p, b.v, sh.tokens, sh.tokens, s, sh.function, sh.weight, data.rows, data.labels,
                indices[first + s], False,
            )  # fmt: skip
    finish(b.g, b.t, n, sh.tokens, sh.tokens, sh.function, sh.weight)


@kernel
def compute_loss(sh, b, x, data, indices):
    """The sum of the losses of some samples; at most 2^12 samples fit the sum."""
    total = np.int64(0)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, x, n, False, 0)
        subtract_targets(sh, b, data, indices, first, n)
        for s in range(n):
            total += square(b.g, b.t, sh.tokens, sh.tokens, s, sh.function, sh.weight, LOSS_CAP)
    return total


@kernel
def take_step(sh, b, x, data, indices, master, rates, counted, noise_stream):
    """One exact local step on the whole shard, in place; returns its trace."""
    load_weights(sh, x, master)
    gx, total = np.zeros(sh.dp), np.uint64(0)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, True, noise_stream)
        total += forward(sh, b, x, n, True, counted + first * sh.tokens)
        subtract_targets(sh, b, data, indices, first, n)
        differentiate_scores(sh, b, data, indices, first, n)
        add_rows(gx, b.a, sh.dp, b.g, n * sh.tokens, sh.dp)
    total += fold(gx, 0, 1, sh.d, sh.d, counted + indices.size * sh.tokens)
    step_weights(master, 0, gx, 1, sh.d, sh.dp, rates[0, 0], rates[0, 1], MASTER_LIMIT_F)
    return total


@kernel
def run_ticket(params, inputs, rows, labels, indices, weights, rates, dither_stream, noise_streams):
    """A whole ticket: returns (trace, loss before, loss after, delta).

    params as of make_shape; rates [1, 2] f64 of (mantissa, power of two); streams u64.
    """
    sh = make_shape(params)
    data, b, x = Data(inputs, rows, labels), make_buffers(sh), np.zeros(sh.dp)
    load_weights(sh, x, weights)
    before = compute_loss(sh, b, x, data, indices)
    start = dither_weights(weights, dither_stream, MASTER_LIMIT)
    master = start.copy()
    trace = np.uint64(0)
    entries = indices.size * sh.tokens + sh.d
    for t in range(noise_streams.size):
        trace += take_step(sh, b, x, data, indices, master, rates, t * entries, noise_streams[t])
    delta = master - start
    load_weights(sh, x, move_weights(weights, delta, MASTER_LIMIT))
    return trace, before, compute_loss(sh, b, x, data, indices), delta


@kernel
def sum_losses(params, inputs, rows, labels, indices, weights):
    """The sum of exact losses of at most 2^12 samples."""
    sh = make_shape(params)
    x = np.zeros(sh.dp)
    load_weights(sh, x, weights)
    return compute_loss(sh, make_buffers(sh), x, Data(inputs, rows, labels), indices)


@kernel
def compute_outputs(params, inputs, rows, labels, indices, weights):
    """Values of some samples' scores as int64 [n, tokens] on step 2^-20."""
    sh = make_shape(params)
    b, x = make_buffers(sh), np.zeros(sh.dp)
    load_weights(sh, x, weights)
    data = Data(inputs, rows, labels)
    out = np.empty((indices.size, sh.tokens), np.int64)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, x, n, False, 0)
        for s in range(n):
            for i in range(sh.tokens):
                out[first + s, i] = np.int64(b.p[s * sh.tokens + i])
    return out
