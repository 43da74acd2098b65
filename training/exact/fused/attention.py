"""Kernels of attention_regression (section 9.3): a whole ticket, losses, and outputs.

Shapes: A inputs [samples * tokens, d], X [d, d], Y [d, c]. Rows are padded to a multiple of LANES with zeros, which
no product notices. The shard is taken a block of samples at a time, so that a block's buffers stay in the cache.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections import namedtuple

import numpy as np

from training.exact.fused.compiler import kernel
from training.exact.fused.elements import (
    DATA_LIMIT_F,
    MASTER_LIMIT,
    MASTER_LIMIT_F,
    TO_WEIGHT,
    WEIGHT_LIMIT_F,
    add_row,
    copy_rows,
    differentiate_softmax,
    dither_weights,
    fill_noise,
    fold,
    load_row,
    move_weights,
    rescale,
    round_weights,
    softmax,
    step_weights,
    sum_squares,
    transpose,
)
from training.exact.fused.tile import multiply, pad

BLOCK_ROWS = 64  # rows of a block: one buffer of 64 x 256 float64 is 128 KiB, the usual 64 x 64 is 32 KiB
P18, P20, P22, P26 = (float(2**p - 1) for p in (18, 20, 22, 26))

# positional, indexed: flags. d, c, l: as declared; dp, cp, lp: padded. block: samples.
Shape = namedtuple("Shape", "tokens width positional indexed d c dp cp lp block")
# inputs [N, L * w] i16; rows [N, L * c] i16 or labels [N] i16, the other one entry long
Data = namedtuple("Data", "inputs rows labels")
Weights = namedtuple("Weights", "x y yt")
Buffers = namedtuple("Buffers", "noise a at q p s c v g u")


@kernel
def make_shape(tokens, width, outputs, positional, indexed):
    d = tokens * width if positional else width
    block = max(1, BLOCK_ROWS // tokens)
    return Shape(tokens, width, positional, indexed, d, outputs, pad(d), pad(outputs), pad(tokens), block)


@kernel
def make_buffers(sh):
    rows = sh.block * sh.tokens
    return Buffers(
        np.empty(rows * sh.d + 32),
        np.zeros(rows * sh.dp),
        np.zeros(sh.block * sh.d * sh.lp),
        np.empty(rows * sh.dp),
        np.zeros(rows * sh.lp),
        np.zeros(rows * sh.lp),
        np.empty(rows * sh.dp),
        np.empty(rows * sh.cp),
        np.empty(rows * sh.dp),
        np.empty(rows * sh.dp),
    )


@kernel
def make_weights(sh):
    return Weights(np.zeros(sh.d * sh.dp), np.zeros(sh.d * sh.cp), np.zeros(sh.c * sh.dp))


@kernel
def load_weights(sh, w, master):
    round_weights(master, 0, w.x, sh.d, sh.d, sh.dp, TO_WEIGHT, WEIGHT_LIMIT_F)
    round_weights(master, sh.d * sh.d, w.y, sh.d, sh.c, sh.cp, TO_WEIGHT, WEIGHT_LIMIT_F)
    transpose(w.y, 0, sh.cp, w.yt, 0, sh.dp, sh.d, sh.c)


@kernel
def load_inputs(sh, b, data, indices, first, n, noisy, noise_stream):
    """Fill a block's inputs, expanded and with noise, as rows and, sample by sample, as columns."""
    size = sh.tokens * sh.d
    if noisy:
        noise = fill_noise(b.noise, noise_stream, first * size, n * size)
        copy_rows(b.noise, noise, sh.d, b.a, 0, sh.dp, n * sh.tokens, sh.d)
    elif sh.positional:
        b.a[:] = 0.0
    for s in range(n):
        values = data.inputs[indices[first + s]]
        for i in range(sh.tokens):
            place = (s * sh.tokens + i) * sh.dp
            if sh.positional:
                place += i * sh.width
            token = values[i * sh.width : (i + 1) * sh.width]
            if noisy:
                add_row(token, b.a[place:], DATA_LIMIT_F)
            else:
                load_row(token, b.a[place:])
        transpose(b.a, s * sh.tokens * sh.dp, sh.dp, b.at, s * sh.d * sh.lp, sh.lp, sh.tokens, sh.d)


@kernel
def compute_queries(sh, b, w, n, noisy):
    """Q = A X; without noise a positional row has only `width` entries that are not zero."""
    if noisy or not sh.positional:
        multiply(b.q, 0, sh.dp, b.a, 0, sh.dp, 1, w.x, 0, sh.dp, n * sh.tokens, sh.dp, sh.d, False)
        return
    step = sh.tokens * sh.dp
    for i in range(sh.tokens):
        at = i * sh.width
        multiply(
            b.q,
            i * sh.dp,
            step,
            b.a,
            i * sh.dp + at,
            step,
            1,
            w.x,
            at * sh.dp,
            sh.dp,
            n,
            sh.dp,
            sh.width,
            False,
        )


@kernel
def forward(sh, b, w, n, noisy, counts):
    """Outputs V of a block on step 2^-20; returns the trace of products 1 to 4, whose entries are counted from
    counts[0..3] (only with noise: a loss is not traced)."""
    rows, step = n * sh.tokens, sh.tokens * sh.dp
    total = np.uint64(0)
    compute_queries(sh, b, w, n, noisy)
    if noisy:
        total += fold(b.q, 0, rows, sh.d, sh.dp, counts[0])
    rescale(b.q, 0, rows * sh.dp, 2.0**-14, P20)
    for s in range(n):
        p0, a0, at0 = s * sh.tokens * sh.lp, s * step, s * sh.d * sh.lp
        multiply(b.p, p0, sh.lp, b.q, a0, sh.dp, 1, b.at, at0, sh.lp, sh.tokens, sh.lp, sh.d, False)
    if noisy:
        total += fold(b.p, 0, rows, sh.tokens, sh.lp, counts[1])
    softmax(b.p, rows, sh.tokens, sh.lp, 2.0**-26)
    for s in range(n):
        p0, a0 = s * sh.tokens * sh.lp, s * step
        multiply(b.c, a0, sh.dp, b.p, p0, sh.lp, 1, b.a, a0, sh.dp, sh.tokens, sh.dp, sh.tokens, False)
    if noisy:
        total += fold(b.c, 0, rows, sh.d, sh.dp, counts[2])
    rescale(b.c, 0, rows * sh.dp, 2.0**-18, P18)
    multiply(b.v, 0, sh.cp, b.c, 0, sh.dp, 1, w.y, 0, sh.cp, rows, sh.cp, sh.d, False)
    if noisy:
        total += fold(b.v, 0, rows, sh.c, sh.cp, counts[3])
    rescale(b.v, 0, rows * sh.cp, 2.0**-10, P26)
    return total


@kernel
def subtract_targets(sh, b, data, indices, first, n):
    """R = sat(V - 2^8 B), in place of V."""
    for s in range(n):
        sample = indices[first + s]
        for i in range(sh.tokens):
            place = (s * sh.tokens + i) * sh.cp
            if sh.indexed:
                b.v[place + data.labels[sample]] -= 256.0 * 4096.0
            else:
                for o in range(sh.c):
                    b.v[place + o] -= 256.0 * np.float64(data.rows[sample, i * sh.c + o])
    rescale(b.v, 0, n * sh.tokens * sh.cp, 1.0, P26)


@kernel
def backward(sh, b, w, n, gx, gy, counts):
    """Add a block's gradients to gx and gy; returns the trace of products 5 to 7."""
    rows, step = n * sh.tokens, sh.tokens * sh.dp
    rescale(b.v, 0, rows * sh.cp, 2.0**-5, P20)
    multiply(b.g, 0, sh.dp, b.v, 0, sh.cp, 1, w.yt, 0, sh.dp, rows, sh.dp, sh.c, False)
    total = fold(b.g, 0, rows, sh.d, sh.dp, counts[4])
    rescale(b.g, 0, rows * sh.dp, 2.0**-16, P20)
    for s in range(n):
        p0, a0, at0 = s * sh.tokens * sh.lp, s * step, s * sh.d * sh.lp
        multiply(b.s, p0, sh.lp, b.g, a0, sh.dp, 1, b.at, at0, sh.lp, sh.tokens, sh.lp, sh.d, False)
    total += fold(b.s, 0, rows, sh.tokens, sh.lp, counts[5])
    rescale(b.s, 0, rows * sh.lp, 2.0**-12, P22)
    differentiate_softmax(b.s, b.p, rows, sh.tokens, sh.lp, 2.0**-36, P22)
    for s in range(n):
        p0, a0 = s * sh.tokens * sh.lp, s * step
        multiply(b.u, a0, sh.dp, b.s, p0, sh.lp, 1, b.a, a0, sh.dp, sh.tokens, sh.dp, sh.tokens, False)
    total += fold(b.u, 0, rows, sh.d, sh.dp, counts[6])
    rescale(b.u, 0, rows * sh.dp, 2.0**-12, P22)
    multiply(gx, 0, sh.dp, b.a, 0, 1, sh.dp, b.u, 0, sh.dp, sh.d, sh.dp, rows, True)
    multiply(gy, 0, sh.cp, b.c, 0, 1, sh.dp, b.v, 0, sh.cp, sh.d, sh.cp, rows, True)
    return total


@kernel
def compute_loss(sh, b, w, data, indices):
    """The sum of the losses of some samples; at most 2^12 samples fit the sum."""
    total = np.int64(0)
    counts = np.zeros(9, np.int64)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, w, n, False, counts)
        subtract_targets(sh, b, data, indices, first, n)
        for s in range(n):
            total += sum_squares(b.v, sh.tokens, sh.c, sh.cp, s * sh.tokens * sh.cp)
    return total


@kernel
def count_step(sh, samples):
    """Entries of the nine products of one step over `samples` samples."""
    rows = samples * sh.tokens
    d, c, tokens = rows * sh.d, rows * sh.c, rows * sh.tokens
    return np.array([d, tokens, d, c, d, tokens, d, sh.d * sh.d, sh.d * sh.c])


@kernel
def take_step(sh, b, w, data, indices, master, rates, counted, noise_stream):
    """One exact local step on the whole shard, in place; returns its trace."""
    load_weights(sh, w, master)
    gx, gy = np.zeros(sh.d * sh.dp), np.zeros(sh.d * sh.cp)
    sizes = count_step(sh, indices.size)
    total = np.uint64(0)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        counts = counted + np.cumsum(sizes) - sizes + count_step(sh, first)
        load_inputs(sh, b, data, indices, first, n, True, noise_stream)
        total += forward(sh, b, w, n, True, counts)
        subtract_targets(sh, b, data, indices, first, n)
        total += backward(sh, b, w, n, gx, gy, counts)
    before_gradients = counted + sizes[:7].sum()
    total += fold(gx, 0, sh.d, sh.d, sh.dp, before_gradients)
    total += fold(gy, 0, sh.d, sh.c, sh.cp, before_gradients + sizes[7])
    step_weights(master, 0, gx, sh.d, sh.d, sh.dp, rates[0, 0], rates[0, 1], MASTER_LIMIT_F)
    step_weights(master, sh.d * sh.d, gy, sh.d, sh.c, sh.cp, rates[1, 0], rates[1, 1], MASTER_LIMIT_F)
    return total


@kernel
def run_ticket(params, inputs, rows, labels, indices, weights, rates, dither_stream, noise_streams):
    """A whole ticket: returns (trace, loss before, loss after, delta).

    params [L, w, c, positional, indexed] i64; rates [2, 2] f64 of (mantissa, power of two); streams u64.
    """
    sh = make_shape(params[0], params[1], params[2], params[3] != 0, params[4] != 0)
    data = Data(inputs, rows, labels)
    b, w = make_buffers(sh), make_weights(sh)
    load_weights(sh, w, weights)
    before = compute_loss(sh, b, w, data, indices)
    start = dither_weights(weights, dither_stream, MASTER_LIMIT)
    master = start.copy()
    trace = np.uint64(0)
    entries = count_step(sh, indices.size).sum()
    for t in range(noise_streams.size):
        trace += take_step(sh, b, w, data, indices, master, rates, t * entries, noise_streams[t])
    delta = master - start
    load_weights(sh, w, move_weights(weights, delta, MASTER_LIMIT))
    return trace, before, compute_loss(sh, b, w, data, indices), delta


@kernel
def sum_losses(params, inputs, rows, labels, indices, weights):
    """The sum of exact losses of at most 2^12 samples."""
    sh = make_shape(params[0], params[1], params[2], params[3] != 0, params[4] != 0)
    b, w = make_buffers(sh), make_weights(sh)
    load_weights(sh, w, weights)
    return compute_loss(sh, b, w, Data(inputs, rows, labels), indices)


@kernel
def compute_outputs(params, inputs, rows, labels, indices, weights):
    """V of some samples as int64 [n, L * c] on step 2^-20."""
    sh = make_shape(params[0], params[1], params[2], params[3] != 0, params[4] != 0)
    b, w = make_buffers(sh), make_weights(sh)
    load_weights(sh, w, weights)
    data, counts = Data(inputs, rows, labels), np.zeros(9, np.int64)
    out = np.empty((indices.size, sh.tokens * sh.c), np.int64)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, w, n, False, counts)
        for r in range(n * sh.tokens):
            for o in range(sh.c):
                out[first + r // sh.tokens, r % sh.tokens * sh.c + o] = np.int64(b.v[r * sh.cp + o])
    return out
