"""The exact ticket of a softmax_regression with keys, for keys whose columns are zero but for the first few.

A shortcut, not an approximation: it gives the digest and losses of the engine's own kernel bit for bit. Keys get no
noise, so what they multiply is known to be zero before a run begins: S needs only the first columns of Q, U and the
gradient have no others, and the trace of all those zeros is one number for the whole job.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import numpy as np

from training.exact.fused.compiler import kernel
from training.exact.fused.elements import (
    U_GAMMA,
    differentiate_softmax,
    dither_weights,
    fold,
    mix,
    rescale,
    softmax,
    step_weights,
    sum_squares,
)
from training.exact.fused.softmax import (
    BLOCK_ROWS,
    MASTER_LIMIT,
    MASTER_LIMIT_F,
    P18,
    P20,
    P22,
    Data,
    Weights,
    count_step,
    load_inputs,
    load_weights,
    make_buffers,
    make_shape,
    subtract_targets,
)
from training.exact.fused.tile import LANES, multiply


@kernel
def fold_zeros(rows, width, kept, count):
    """The trace of a product's entries that are known to be zero: of each row all but the first `kept`."""
    total = np.uint64(0)
    for r in range(rows):
        for j in range(kept, width):
            total += mix((np.uint64(count + r * width + j) + np.uint64(1)) * U_GAMMA)
    return total


@kernel
def fold_kept(x, rows, stride, width, kept, count):
    """The trace of the first `kept` entries of each row."""
    total = np.uint64(0)
    for r in range(rows):
        for j in range(kept):
            value = np.uint64(np.int64(x[r * stride + j]))
            total += mix(value + (np.uint64(count + r * width + j) + np.uint64(1)) * U_GAMMA)
    return total


@kernel
def trace_zeros(params, kept, samples, steps):
    """The trace of all entries that are zero in every run of the job."""
    sh = make_shape(params[0], params[1], params[2], params[3] != 0)
    sizes, total = count_step(sh, samples), np.uint64(0)
    for t in range(steps):
        begin = t * sizes.sum()
        total += fold_zeros(samples, sh.w, kept, begin + sizes[:2].sum())
        total += fold_zeros(sh.d, sh.w, kept, begin + sizes[:3].sum())
    return total


@kernel
def narrow(x, rows, stride, kept, out):
    """The first columns of a matrix, padded to LANES."""
    for r in range(rows):
        for j in range(kept):
            out[r * LANES + j] = x[r * stride + j]


@kernel
def score(sh, b, q, keys_t, kept, n):
    """P from the first columns of Q."""
    rescale(q, 0, n * LANES, 2.0**-14, P20)
    multiply(b.p, 0, sh.cp, q, 0, LANES, 1, keys_t, 0, sh.cp, n, sh.cp, kept, False)


@kernel
def sum_narrow(sh, b, q, x, keys_t, kept, data, indices):
    """The sum of the losses; x are the first columns of the weights."""
    total = np.int64(0)
    for first in range(0, indices.size, BLOCK_ROWS):
        n = min(BLOCK_ROWS, indices.size - first)
        load_inputs(sh, b, data, indices, first, n, False, np.uint64(0))
        multiply(q, 0, LANES, b.a, 0, sh.dp, 1, x, 0, LANES, n, LANES, sh.d, False)
        score(sh, b, q, keys_t, kept, n)
        softmax(b.p, n, sh.c, sh.cp, 2.0**-26)
        subtract_targets(sh, b, data, indices, first, n)
        for s in range(n):
            total += sum_squares(b.g, 1, sh.c, sh.cp, s * sh.cp)
    return total


@kernel
def step_narrow(sh, b, w, q, x, keys, keys_t, kept, data, indices, master, rates, counted, stream):
    """One step; returns the trace of what is not known to be zero."""
    load_weights(sh, w, master)
    gx, u, sizes, total = (
        np.zeros(sh.d * LANES),
        np.zeros(BLOCK_ROWS * LANES),
        count_step(sh, indices.size),
        np.uint64(0),
    )
    for first in range(0, indices.size, BLOCK_ROWS):
        n = min(BLOCK_ROWS, indices.size - first)
        counts = counted + np.cumsum(sizes) - sizes + count_step(sh, first)
        load_inputs(sh, b, data, indices, first, n, True, stream)
        multiply(b.q, 0, sh.wp, b.a, 0, sh.dp, 1, w.x, 0, sh.wp, n, sh.wp, sh.d, False)
        total += fold(b.q, 0, n, sh.w, sh.wp, counts[0])
        narrow(b.q, n, sh.wp, kept, q)
        score(sh, b, q, keys_t, kept, n)
        total += fold(b.p, 0, n, sh.c, sh.cp, counts[1])
        softmax(b.p, n, sh.c, sh.cp, 2.0**-26)
        subtract_targets(sh, b, data, indices, first, n)
        rescale(b.g, 0, n * sh.cp, 2.0**-3, P18)
        differentiate_softmax(b.g, b.p, n, sh.c, sh.cp, 2.0**-38, P20)
        multiply(u, 0, LANES, b.g, 0, sh.cp, 1, keys, 0, LANES, n, LANES, sh.c, False)
        total += fold_kept(u, n, LANES, sh.w, kept, counts[2])
        rescale(u, 0, n * LANES, 2.0**-12, P22)
        multiply(gx, 0, LANES, b.a, 0, 1, sh.dp, u, 0, LANES, sh.d, LANES, n, True)
    total += fold_kept(gx, sh.d, LANES, sh.w, kept, counted + sizes[:3].sum())
    for k in range(sh.d):
        row = master[k * sh.w : k * sh.w + kept]
        step_weights(
            row, 0, gx[k * LANES : (k + 1) * LANES], 1, kept, LANES, rates[0, 0], rates[0, 1], MASTER_LIMIT_F
        )
    return total


@kernel
def run_narrow(
    params, kept, zeros, inputs, rows, labels, keys, indices, weights, rates, dither_stream, noise_streams
):
    """As training.exact.fused.softmax.run_ticket: (trace, loss before, loss after, delta). `zeros` is trace_zeros's."""
    sh = make_shape(params[0], params[1], params[2], params[3] != 0)
    data, b = Data(inputs, rows, labels), make_buffers(sh)
    w = Weights(np.zeros(sh.d * sh.wp), np.zeros(0), np.zeros(0))
    q, x = np.zeros(BLOCK_ROWS * LANES), np.zeros(sh.d * LANES)
    few, few_t = np.zeros(sh.c * LANES), np.zeros(kept * sh.cp)
    for i in range(sh.c):
        for j in range(kept):
            few[i * LANES + j] = few_t[j * sh.cp + i] = np.float64(keys[i, j])
    load_weights(sh, w, weights)
    narrow(w.x, sh.d, sh.wp, kept, x)
    before = sum_narrow(sh, b, q, x, few_t, kept, data, indices)
    start = dither_weights(weights, dither_stream, MASTER_LIMIT)
    master, trace, entries = start.copy(), zeros, count_step(sh, indices.size).sum()
    for t in range(noise_streams.size):
        trace += step_narrow(
            sh, b, w, q, x, few, few_t, kept, data, indices, master, rates, t * entries, noise_streams[t]
        )
    delta = master - start
    for i in range(delta.size):
        master[i] = min(max(weights[i] + delta[i], -MASTER_LIMIT), MASTER_LIMIT)
    load_weights(sh, w, master)
    narrow(w.x, sh.d, sh.wp, kept, x)
    return trace, before, sum_narrow(sh, b, q, x, few_t, kept, data, indices), delta
