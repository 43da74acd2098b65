"""Kernels of graph_network (section 9.12): a whole ticket, losses, and outputs.

Shapes: A inputs [samples * L, d], U [d, m], V [m, c]. Rows are padded to whole LANES with zeros. The shard is taken a
block of samples at a time, so that a block's buffers stay in the cache.
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
    add_fixed,
    dither_weights,
    fold,
    load_samples,
    move_weights,
    rescale,
    round_weights,
    step_weights,
    transpose,
)
from training.exact.fused.scores import SOFTMAX, apply_scores, differentiate_probabilities, square, subtract
from training.exact.fused.tile import multiply, pad

BLOCK_ROWS = 64
P20, P22, P24 = (float(2**p - 1) for p in (20, 22, 24))

# l, d, m, c: as declared; dp, mp, cp: padded. block: samples.
Shape = namedtuple("Shape", "l d m c indexed dp mp cp block")
# inputs [N, L * d] i16; rows [N, c] i16 or labels [N] i16, the other one entry long
Data = namedtuple("Data", "inputs rows labels")
Weights = namedtuple("Weights", "u v v_t")
# s values of the neurons, then T; h their sums; p probabilities; g residuals, then q; none: what a softmax leaves out
Buffers = namedtuple("Buffers", "noise a s h p g d none")


@kernel
def make_shape(params):
    """params [L, d, m, c, indexed] i64."""
    tokens, d, m, c = params[0], params[1], params[2], params[3]
    return Shape(tokens, d, m, c, params[4] != 0, pad(d), pad(m), pad(c), max(1, BLOCK_ROWS // tokens))


@kernel
def make_buffers(sh):
    rows = sh.block * sh.l
    return Buffers(
        np.empty(rows * sh.d + 32),
        np.zeros(rows * sh.dp),
        np.zeros(rows * sh.mp),
        np.zeros(sh.block * sh.mp),
        np.zeros(sh.block * sh.cp),
        np.zeros(sh.block * sh.cp),
        np.zeros(sh.block * sh.mp),
        np.zeros(0),
    )


@kernel
def make_weights(sh):
    return Weights(np.zeros(sh.d * sh.mp), np.zeros(sh.m * sh.cp), np.zeros(sh.c * sh.mp))


@kernel
def load_weights(sh, w, start, master):
    """U on its fixed weights, V as rows and as columns."""
    round_weights(master, 0, w.u, sh.d, sh.m, sh.mp, TO_WEIGHT, WEIGHT_LIMIT_F)
    add_fixed(w.u, start, sh.d, sh.m, sh.mp)
    round_weights(master, sh.d * sh.m, w.v, sh.m, sh.c, sh.cp, TO_WEIGHT, WEIGHT_LIMIT_F)
    transpose(w.v, 0, sh.cp, w.v_t, 0, sh.mp, sh.m, sh.c)


@kernel
def load_inputs(sh, b, data, indices, first, n, noisy, noise_stream):
    """Fill a block's rows, with the noise of a step."""
    load_samples(b.a, sh.dp, data.inputs, indices, first, n, sh.l, sh.d, b.noise, noisy, noise_stream)


@kernel
def sum_rows(sh, b, n):
    """h of a block from the values of its rows."""
    b.h[: n * sh.mp] = 0.0
    for s in range(n):
        h = b.h[s * sh.mp : (s + 1) * sh.mp]
        for i in range(sh.l):
            values = b.s[(s * sh.l + i) * sh.mp : (s * sh.l + i + 1) * sh.mp]
            for r in range(sh.mp):
                h[r] += values[r]
    rescale(b.h, 0, n * sh.mp, 2.0**-6, P20)


@kernel
def forward(sh, b, w, n, traced, counts):
    """Probabilities of a block; returns the trace of S and Z, whose entries are counted from counts[0..1]."""
    total, rows = np.uint64(0), n * sh.l
    multiply(b.s, 0, sh.mp, b.a, 0, sh.dp, 1, w.u, 0, sh.mp, rows, sh.mp, sh.d, False)
    if traced:
        total += fold(b.s, 0, rows, sh.m, sh.mp, counts[0])
    values = b.s[: rows * sh.mp]
    for i in range(values.size):
        values[i] = min(max(np.rint(values[i] * 2.0**-8), 0.0), P24)
    sum_rows(sh, b, n)
    multiply(b.p, 0, sh.cp, b.h, 0, sh.mp, 1, w.v, 0, sh.cp, n, sh.cp, sh.m, False)
    if traced:
        total += fold(b.p, 0, n, sh.c, sh.cp, counts[1])
    apply_scores(b.p, b.none, b.none, n, sh.c, sh.cp, 2.0**-30, SOFTMAX, 0)
    return total


@kernel
def subtract_targets(sh, b, data, indices, first, n):
    """Residuals of a block's samples."""
    for s in range(n):
        subtract(
            b.g, b.none, b.p, b.none, sh.c, sh.cp, s, SOFTMAX, 0, data.rows, data.labels, indices[first + s], sh.indexed
        )  # fmt: skip


@kernel
def backward(sh, b, w, n, gu, gv, count):
    """Add a block's gradients to gu and gv, from its residuals; returns the trace of D, counted from `count`."""
    differentiate_probabilities(b.g, b.p, n, sh.c, sh.cp, 0)
    multiply(b.d, 0, sh.mp, b.g, 0, sh.cp, 1, w.v_t, 0, sh.mp, n, sh.mp, sh.c, False)
    total = fold(b.d, 0, n, sh.m, sh.mp, count)
    rescale(b.d, 0, n * sh.mp, 2.0**-16, P22)
    for s in range(n):
        d = b.d[s * sh.mp : (s + 1) * sh.mp]
        for i in range(sh.l):
            values = b.s[(s * sh.l + i) * sh.mp : (s * sh.l + i + 1) * sh.mp]
            for r in range(sh.mp):
                values[r] = d[r] if values[r] > 0.0 else 0.0
    multiply(gu, 0, sh.mp, b.a, 0, 1, sh.dp, b.s, 0, sh.mp, sh.d, sh.mp, n * sh.l, True)
    multiply(gv, 0, sh.cp, b.h, 0, 1, sh.mp, b.g, 0, sh.cp, sh.m, sh.cp, n, True)
    return total


@kernel
def compute_loss(sh, b, w, data, indices):
    """The sum of the losses of some samples; at most 2^12 samples fit the sum."""
    total, counts = np.int64(0), np.zeros(5, np.int64)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, w, n, False, counts)
        subtract_targets(sh, b, data, indices, first, n)
        for s in range(n):
            total += square(b.g, b.none, sh.c, sh.cp, s, SOFTMAX, 0, LOSS_CAP)
    return total


@kernel
def count_step(sh, samples):
    """Entries of the five products of one step over `samples` samples."""
    return np.array([samples * sh.l * sh.m, samples * sh.c, samples * sh.m, sh.d * sh.m, sh.m * sh.c])


@kernel
def take_step(sh, b, w, start, data, indices, master, rates, counted, noise_stream):
    """One exact local step on the whole shard, in place; returns its trace."""
    load_weights(sh, w, start, master)
    gu, gv = np.zeros(sh.d * sh.mp), np.zeros(sh.m * sh.cp)
    sizes, total = count_step(sh, indices.size), np.uint64(0)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        counts = counted + np.cumsum(sizes) - sizes + count_step(sh, first)
        load_inputs(sh, b, data, indices, first, n, True, noise_stream)
        total += forward(sh, b, w, n, True, counts)
        subtract_targets(sh, b, data, indices, first, n)
        total += backward(sh, b, w, n, gu, gv, counts[2])
    before_gradients = counted + sizes[:3].sum()
    total += fold(gu, 0, sh.d, sh.m, sh.mp, before_gradients)
    total += fold(gv, 0, sh.m, sh.c, sh.cp, before_gradients + sizes[3])
    step_weights(master, 0, gu, sh.d, sh.m, sh.mp, rates[0, 0], rates[0, 1], MASTER_LIMIT_F)
    step_weights(master, sh.d * sh.m, gv, sh.m, sh.c, sh.cp, rates[1, 0], rates[1, 1], MASTER_LIMIT_F)
    return total


@kernel
def run_ticket(params, start, inputs, rows, labels, indices, weights, rates, dither_stream, noise_streams):
    """A whole ticket: returns (trace, loss before, loss after, delta).

    params as of make_shape; start [d, m] the fixed weights; rates [2, 2] f64 of (mantissa, power of two); streams u64.
    """
    sh = make_shape(params)
    data, b, w = Data(inputs, rows, labels), make_buffers(sh), make_weights(sh)
    load_weights(sh, w, start, weights)
    before = compute_loss(sh, b, w, data, indices)
    begin = dither_weights(weights, dither_stream, MASTER_LIMIT)
    master = begin.copy()
    trace = np.uint64(0)
    entries = count_step(sh, indices.size).sum()
    for t in range(noise_streams.size):
        trace += take_step(sh, b, w, start, data, indices, master, rates, t * entries, noise_streams[t])
    delta = master - begin
    load_weights(sh, w, start, move_weights(weights, delta, MASTER_LIMIT))
    return trace, before, compute_loss(sh, b, w, data, indices), delta


@kernel
def sum_losses(params, start, inputs, rows, labels, indices, weights):
    """The sum of exact losses of at most 2^12 samples."""
    sh = make_shape(params)
    b, w = make_buffers(sh), make_weights(sh)
    load_weights(sh, w, start, weights)
    return compute_loss(sh, b, w, Data(inputs, rows, labels), indices)


@kernel
def compute_outputs(params, start, inputs, rows, labels, weights):
    """P of samples as int64 [n, c] on step 2^-20."""
    sh = make_shape(params)
    b, w, indices = make_buffers(sh), make_weights(sh), np.arange(inputs.shape[0])
    load_weights(sh, w, start, weights)
    data, counts = Data(inputs, rows, labels), np.zeros(5, np.int64)
    out = np.empty((indices.size, sh.c), np.int64)
    for first in range(0, indices.size, sh.block):
        n = min(sh.block, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        forward(sh, b, w, n, False, counts)
        for s in range(n):
            for o in range(sh.c):
                out[first + s, o] = np.int64(b.p[s * sh.cp + o])
    return out
