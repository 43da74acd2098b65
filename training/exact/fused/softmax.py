"""Kernels of softmax_regression and exponential_regression (sections 9.5, 9.6, 9.8): a whole ticket, and losses.

Shapes: inputs A [N, d], weights X [d, w] with w = e features of the keys, or c outputs without keys. Rows are padded
to a multiple of LANES with zeros.
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
    add_row,
    copy_rows,
    dither_weights,
    fill_noise,
    fold,
    load_samples,
    move_weights,
    rescale,
    round_weights,
    step_weights,
    transpose,
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
from training.exact.fused.tile import multiply, pad

BLOCK_ROWS = 64
P20, P22 = (float(2**p - 1) for p in (20, 22))

# w: columns of the weights; dp, cp, wp: padded
Shape = namedtuple("Shape", "d c w keyed indexed dp cp wp function weight")
Data = namedtuple("Data", "inputs rows labels keys")
Weights = namedtuple("Weights", "x keys keys_t")
# p: values of the function, v its derivatives, s: scores, g: residuals R and gradients, t: residuals T
Buffers = namedtuple("Buffers", "noise a q p g u v s t")


@kernel
def make_shape(params):
    """params [d, c, e, indexed, function, weight] i64."""
    inputs, outputs, key_features, indexed = params[0], params[1], params[2], params[3] != 0
    w = key_features if key_features else outputs
    padded = pad(inputs), pad(outputs), pad(w)
    return Shape(inputs, outputs, w, key_features > 0, indexed, *padded, params[4], params[5])


@kernel
def make_buffers(sh):
    more = 0 if sh.function == SOFTMAX and sh.weight == 0 else BLOCK_ROWS * sh.cp
    return Buffers(
        np.empty(BLOCK_ROWS * sh.d + 32),
        np.zeros(BLOCK_ROWS * sh.dp),
        np.zeros(BLOCK_ROWS * sh.wp),
        np.zeros(BLOCK_ROWS * sh.cp),
        np.zeros(BLOCK_ROWS * sh.cp),
        np.zeros(BLOCK_ROWS * sh.wp),
        np.zeros(more),
        np.zeros(more),
        np.zeros(more),
    )


@kernel
def make_weights(sh):
    """Room for the weights, and for the keys as rows [c, e] and as columns."""
    if sh.keyed:
        return Weights(np.zeros(sh.d * sh.wp), np.zeros(sh.c * sh.wp), np.zeros(sh.w * sh.cp))
    return Weights(np.zeros(sh.d * sh.wp), np.zeros(0), np.zeros(0))


@kernel
def load_keys(sh, w, keys, noisy, noise_stream, first):
    """Fill the keys, with the noise of a step that starts at entry `first` of its stream."""
    if not sh.keyed:
        return
    noise = np.zeros(sh.w + 32)
    for i in range(sh.c):
        start = fill_noise(noise, noise_stream, first + i * sh.w, sh.w) if noisy else 0
        copy_rows(noise, start, 0, w.keys, i * sh.wp, 0, 1, sh.w)
        add_row(keys[i], w.keys[i * sh.wp :], DATA_LIMIT_F)
    transpose(w.keys, 0, sh.wp, w.keys_t, 0, sh.cp, sh.c, sh.w)


@kernel
def load_weights(sh, w, master):
    round_weights(master, 0, w.x, sh.d, sh.w, sh.wp, TO_WEIGHT, WEIGHT_LIMIT_F)


@kernel
def load_inputs(sh, b, data, indices, first, n, noisy, noise_stream):
    load_samples(b.a, sh.dp, data.inputs, indices, first, n, 1, sh.d, b.noise, noisy, noise_stream)


@kernel
def forward(sh, b, w, n, traced, counts):
    """Values of a block's scores on step 2^-20; returns the trace of the products before them."""
    total = np.uint64(0)
    if sh.keyed:
        multiply(b.q, 0, sh.wp, b.a, 0, sh.dp, 1, w.x, 0, sh.wp, n, sh.wp, sh.d, False)
        if traced:
            total += fold(b.q, 0, n, sh.w, sh.wp, counts[0])
        rescale(b.q, 0, n * sh.wp, 2.0**-14, P20)
        multiply(b.p, 0, sh.cp, b.q, 0, sh.wp, 1, w.keys_t, 0, sh.cp, n, sh.cp, sh.w, False)
        if traced:
            total += fold(b.p, 0, n, sh.c, sh.cp, counts[1])
        apply_scores(b.p, b.v, b.s, n, sh.c, sh.cp, 2.0**-26, sh.function, sh.weight)
    else:
        multiply(b.p, 0, sh.cp, b.a, 0, sh.dp, 1, w.x, 0, sh.wp, n, sh.cp, sh.d, False)
        if traced:
            total += fold(b.p, 0, n, sh.c, sh.cp, counts[0])
        apply_scores(b.p, b.v, b.s, n, sh.c, sh.cp, 2.0**-28, sh.function, sh.weight)
    return total


@kernel
def subtract_targets(sh, b, data, indices, first, n):
    """Residuals of a block's samples."""
    for s in range(n):
        subtract(
            b.g, b.t, b.p, b.s, sh.c, sh.cp, s, sh.function, sh.weight, data.rows, data.labels, indices[first + s],
            sh.indexed,
        )  # fmt: skip


@kernel
def differentiate_scores(sh, b, data, indices, first, n):
    """Gradients at a block's scores on step 2^-18, in place of the residuals."""
    if sh.function == SOFTMAX:
        differentiate_probabilities(b.g, b.p, n, sh.c, sh.cp, sh.weight)
    else:
        for s in range(n):
            differentiate(
                b.g, b.t, b.p, b.v, sh.c, sh.cp, s, sh.function, sh.weight, data.rows, data.labels,
                indices[first + s], sh.indexed,
            )  # fmt: skip
    finish(b.g, b.t, n, sh.c, sh.cp, sh.function, sh.weight)


@kernel
def backward(sh, b, w, n, gx, counts):
    """Add a block's gradient to gx, from that at the scores; returns the trace of U."""
    total = np.uint64(0)
    if not sh.keyed:
        multiply(gx, 0, sh.wp, b.a, 0, 1, sh.dp, b.g, 0, sh.cp, sh.d, sh.wp, n, True)
        return total
    multiply(b.u, 0, sh.wp, b.g, 0, sh.cp, 1, w.keys, 0, sh.wp, n, sh.wp, sh.c, False)
    total += fold(b.u, 0, n, sh.w, sh.wp, counts[2])
    rescale(b.u, 0, n * sh.wp, 2.0**-12, P22)
    multiply(gx, 0, sh.wp, b.a, 0, 1, sh.dp, b.u, 0, sh.wp, sh.d, sh.wp, n, True)
    return total


@kernel
def compute_loss(sh, b, w, data, indices):
    """The sum of the losses of some samples; at most 2^12 samples fit the sum."""
    total = np.int64(0)
    counts = np.zeros(4, np.int64)
    for first in range(0, indices.size, BLOCK_ROWS):
        n = min(BLOCK_ROWS, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, w, n, False, counts)
        subtract_targets(sh, b, data, indices, first, n)
        for s in range(n):
            total += square(b.g, b.t, sh.c, sh.cp, s, sh.function, sh.weight, LOSS_CAP)
    return total


@kernel
def count_step(sh, samples):
    """Entries of the products of one step over `samples` samples; without keys there are two."""
    if sh.keyed:
        return np.array([samples * sh.w, samples * sh.c, samples * sh.w, sh.d * sh.w])
    return np.array([samples * sh.c, 0, 0, sh.d * sh.c])


@kernel
def take_step(sh, b, w, data, indices, master, rates, counted, noise_stream):
    """One exact local step on the whole shard, in place; returns its trace."""
    load_weights(sh, w, master)
    load_keys(sh, w, data.keys, True, noise_stream, indices.size * sh.d)
    gx = np.zeros(sh.d * sh.wp)
    sizes = count_step(sh, indices.size)
    total = np.uint64(0)
    for first in range(0, indices.size, BLOCK_ROWS):
        n = min(BLOCK_ROWS, indices.size - first)
        counts = counted + np.cumsum(sizes) - sizes + count_step(sh, first)
        load_inputs(sh, b, data, indices, first, n, True, noise_stream)
        total += forward(sh, b, w, n, True, counts)
        subtract_targets(sh, b, data, indices, first, n)
        differentiate_scores(sh, b, data, indices, first, n)
        total += backward(sh, b, w, n, gx, counts)
    total += fold(gx, 0, sh.d, sh.w, sh.wp, counted + sizes[:3].sum())
    step_weights(master, 0, gx, sh.d, sh.w, sh.wp, rates[0, 0], rates[0, 1], MASTER_LIMIT_F)
    return total


@kernel
def run_ticket(params, inputs, rows, labels, keys, indices, weights, rates, dither_stream, noise_streams):
    """A whole ticket: returns (trace, loss before, loss after, delta).

    params as of make_shape; rates [1, 2] f64 of (mantissa, power of two); streams u64.
    """
    sh = make_shape(params)
    data = Data(inputs, rows, labels, keys)
    b, w = make_buffers(sh), make_weights(sh)
    load_weights(sh, w, weights)
    load_keys(sh, w, keys, False, np.uint64(0), 0)
    before = compute_loss(sh, b, w, data, indices)
    start = dither_weights(weights, dither_stream, MASTER_LIMIT)
    master = start.copy()
    trace = np.uint64(0)
    entries = count_step(sh, indices.size).sum()
    for t in range(noise_streams.size):
        trace += take_step(sh, b, w, data, indices, master, rates, t * entries, noise_streams[t])
    delta = master - start
    load_weights(sh, w, move_weights(weights, delta, MASTER_LIMIT))
    load_keys(sh, w, keys, False, np.uint64(0), 0)
    return trace, before, compute_loss(sh, b, w, data, indices), delta


@kernel
def sum_losses(params, inputs, rows, labels, keys, indices, weights):
    """The sum of exact losses of at most 2^12 samples."""
    sh = make_shape(params)
    b, w = make_buffers(sh), make_weights(sh)
    load_weights(sh, w, weights)
    load_keys(sh, w, keys, False, np.uint64(0), 0)
    return compute_loss(sh, b, w, Data(inputs, rows, labels, keys), indices)


@kernel
def compute_outputs(params, inputs, rows, labels, keys, indices, weights):
    """P of some samples as int64 [n, c] on step 2^-20."""
    sh = make_shape(params)
    b, w = make_buffers(sh), make_weights(sh)
    load_weights(sh, w, weights)
    load_keys(sh, w, keys, False, np.uint64(0), 0)
    data, counts = Data(inputs, rows, labels, keys), np.zeros(4, np.int64)
    out = np.empty((indices.size, sh.c), np.int64)
    for first in range(0, indices.size, BLOCK_ROWS):
        n = min(BLOCK_ROWS, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, w, n, False, counts)
        for s in range(n):
            for o in range(sh.c):
                out[first + s, o] = np.int64(b.p[s * sh.cp + o])
    return out
