"""Kernels of cycle_rank (section 9.9): a whole ticket, losses, and outputs.

Matrices are small, so samples fill the vectors: entry e of sample s of a block stands at e * BLOCK + s.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections import namedtuple

import numpy as np

from training.exact.fused.compiler import kernel
from training.exact.fused.elements import (
    ANCHOR_BITS,
    INTEGER_ANCHOR,
    LOSS_CAP,
    MASTER_LIMIT,
    MASTER_LIMIT_F,
    TO_WEIGHT,
    U1,
    U_GAMMA,
    WEIGHT_LIMIT_F,
    dither_weights,
    fill_noise,
    get_bits,
    mix,
    move_weights,
    rescale,
    round_weights,
    step_weights,
    to_integer,
)

BLOCK = 64
MODES = 3
ONE = 2.0**16
MATRIX_LIMIT, VALUE_LIMIT, GRADIENT_LIMIT = 2.0**20 - 1, 2.0**26 - 1, 2.0**20 - 1

# k rank, e entries of a matrix; parameters of U, V, W begin at 0, v0, w0
Shape = namedtuple("Shape", "k e v0 w0 size")
Data = namedtuple("Data", "ids rows")
# m matrices U, V, W; p, q, t their products; d the samples' gradients; f values, then residuals; g gradients at these
Buffers = namedtuple("Buffers", "noise m p q t d f g")


@kernel
def make_shape(params):
    """params [n1, n2, n3, k] i64."""
    n1, n2, n3, k = params[0], params[1], params[2], params[3]
    e = k * k
    return Shape(k, e, n1 * e, (n1 + n2) * e, (n1 + n2 + n3) * e)


@kernel
def find_tensor(sh, mode):
    """Where the parameters of U, V or W begin."""
    return 0 if mode == 0 else sh.v0 if mode == 1 else sh.w0


@kernel
def make_buffers(sh):
    part = sh.e * BLOCK
    return Buffers(
        np.empty(MODES * part + 32),
        np.zeros(MODES * part),
        np.zeros(part),
        np.zeros(part),
        np.zeros(part),
        np.zeros(MODES * part),
        np.zeros(BLOCK),
        np.zeros(BLOCK),
    )


@kernel
def load_weights(sh, x, master):
    """Rows as products read them, without the identity."""
    round_weights(master, 0, x, 1, sh.size, sh.size, TO_WEIGHT, WEIGHT_LIMIT_F)


@kernel
def load_matrices(sh, b, x, ids, indices, first, n, noisy, noise_stream):
    """U_a, V_b and W_c of a block's samples; what stands behind the block's last sample is of no account."""
    start = 0
    if noisy:
        start = fill_noise(b.noise, noise_stream, first * MODES * sh.e, n * MODES * sh.e)
    for s in range(n):
        sample = indices[first + s]
        for mode in range(MODES):
            row = find_tensor(sh, mode) + np.int64(ids[sample, mode]) * sh.e
            for e in range(sh.e):
                value = x[row + e]
                if noisy:
                    value += b.noise[start + (s * MODES + mode) * sh.e + e]
                if mode > 0 and e % (sh.k + 1) == 0:
                    value += ONE
                b.m[(mode * sh.e + e) * BLOCK + s] = min(max(value, -WEIGHT_LIMIT_F), WEIGHT_LIMIT_F)


@kernel
def take_lane(x, e):
    """Entry e of every sample of a block. A slice: loops over it become vectors."""
    return x[e * BLOCK : (e + 1) * BLOCK]


@kernel
def multiply_matrices(sh, b, out, left, right):
    """out = left right for every sample, of matrices number `left` and `right` in b.m."""
    for i in range(sh.k):
        for l in range(sh.k):  # noqa: E741  # the paper's letter
            sums = take_lane(out, i * sh.k + l)
            sums[:] = 0.0
            for j in range(sh.k):
                a = take_lane(b.m, left * sh.e + i * sh.k + j)
                c = take_lane(b.m, right * sh.e + j * sh.k + l)
                for s in range(BLOCK):
                    sums[s] += a[s] * c[s]


@kernel
def fold_block(x, entries, n, count):
    """The trace of a block's part of a product [shard, entries]; `count` entries are before it."""
    total, apart = np.uint64(0), np.uint64(entries) * U_GAMMA
    for e in range(entries):
        base = (np.uint64(count + e) + U1) * U_GAMMA - ANCHOR_BITS
        values = take_lane(x, e)
        for s in range(n):
            total += mix(get_bits(values[s] + INTEGER_ANCHOR) + base + np.uint64(s) * apart)
    return total


@kernel
def forward(sh, b, n, traced, count, count_f):
    """P and F of a block; returns the trace of both."""
    total = np.uint64(0)
    multiply_matrices(sh, b, b.p, 0, 1)
    if traced:
        total += fold_block(b.p, sh.e, n, count)
    rescale(b.p, 0, sh.e * BLOCK, 2.0**-18, MATRIX_LIMIT)
    f = take_lane(b.f, 0)
    f[:] = 0.0
    for i in range(sh.k):
        for l in range(sh.k):  # noqa: E741
            p, w = take_lane(b.p, i * sh.k + l), take_lane(b.m, 2 * sh.e + l * sh.k + i)
            for s in range(BLOCK):
                f[s] += p[s] * w[s]
    if traced:
        total += fold_block(b.f, 1, n, count_f)
    rescale(b.f, 0, BLOCK, 2.0**-10, VALUE_LIMIT)
    return total


@kernel
def subtract_targets(b, data, indices, first, n):
    """F becomes R."""
    for s in range(n):
        value = b.f[s] - 256.0 * np.float64(data.rows[indices[first + s], 0])
        b.f[s] = min(max(value, -VALUE_LIMIT), VALUE_LIMIT)


@kernel
def differentiate(sh, b, n, count_q, count_t, count_d):
    """The samples' gradients from R; returns the trace of Q, T and D."""
    multiply_matrices(sh, b, b.q, 1, 2)
    multiply_matrices(sh, b, b.t, 2, 0)
    total = fold_block(b.q, sh.e, n, count_q) + fold_block(b.t, sh.e, n, count_t)
    rescale(b.q, 0, sh.e * BLOCK, 2.0**-18, MATRIX_LIMIT)
    rescale(b.t, 0, sh.e * BLOCK, 2.0**-18, MATRIX_LIMIT)
    for s in range(BLOCK):
        b.g[s] = min(max(np.rint(b.f[s] * 2.0**-5), -GRADIENT_LIMIT), GRADIENT_LIMIT)
    for mode in range(MODES):
        source = b.q if mode == 0 else b.t if mode == 1 else b.p
        for i in range(sh.k):
            for j in range(sh.k):
                to, values = take_lane(b.d, mode * sh.e + i * sh.k + j), take_lane(source, j * sh.k + i)
                for s in range(BLOCK):
                    to[s] = b.g[s] * values[s]
    return total + fold_block(b.d, MODES * sh.e, n, count_d)


@kernel
def add_gradients(sh, b, gradient, ids, indices, first, n):
    for s in range(n):
        sample = indices[first + s]
        for mode in range(MODES):
            row = find_tensor(sh, mode) + np.int64(ids[sample, mode]) * sh.e
            for e in range(sh.e):
                gradient[row + e] += b.d[(mode * sh.e + e) * BLOCK + s]


@kernel
def compute_loss(sh, b, x, data, indices):
    """The sum of the losses of some samples; at most 2^12 samples fit the sum."""
    total = np.int64(0)
    for first in range(0, indices.size, BLOCK):
        n = min(BLOCK, indices.size - first)
        load_matrices(sh, b, x, data.ids, indices, first, n, False, np.uint64(0))
        forward(sh, b, n, False, 0, 0)
        subtract_targets(b, data, indices, first, n)
        for s in range(n):
            r = to_integer(b.f[s])
            total += min(r * r, LOSS_CAP)
    return total


@kernel
def take_step(sh, b, x, data, indices, master, rates, counted, noise_stream):
    """One exact local step on the whole shard, in place; returns its trace."""
    load_weights(sh, x, master)
    gradient, total, shard = np.zeros(sh.size), np.uint64(0), indices.size
    count_f = counted + shard * sh.e
    count_q, count_t, count_d = (
        count_f + shard,
        count_f + shard * (1 + sh.e),
        count_f + shard * (1 + 2 * sh.e),
    )
    for first in range(0, shard, BLOCK):
        n = min(BLOCK, shard - first)
        done = first * sh.e
        load_matrices(sh, b, x, data.ids, indices, first, n, True, noise_stream)
        total += forward(sh, b, n, True, counted + done, count_f + first)
        subtract_targets(b, data, indices, first, n)
        total += differentiate(sh, b, n, count_q + done, count_t + done, count_d + MODES * done)
        add_gradients(sh, b, gradient, data.ids, indices, first, n)
    for mode in range(MODES):
        start = find_tensor(sh, mode)
        size = (find_tensor(sh, mode + 1) if mode < MODES - 1 else sh.size) - start
        mantissa, scale = rates[mode, 0], rates[mode, 1]
        step_weights(master, start, gradient[start:], 1, size, size, mantissa, scale, MASTER_LIMIT_F)
    return total


@kernel
def run_ticket(params, ids, rows, indices, weights, rates, dither_stream, noise_streams):
    """A whole ticket: returns (trace, loss before, loss after, delta).

    params as of make_shape; rates [3, 2] f64 of (mantissa, power of two); streams u64.
    """
    sh = make_shape(params)
    data, b, x = Data(ids, rows), make_buffers(sh), np.zeros(sh.size)
    load_weights(sh, x, weights)
    before = compute_loss(sh, b, x, data, indices)
    start = dither_weights(weights, dither_stream, MASTER_LIMIT)
    master = start.copy()
    trace = np.uint64(0)
    entries = indices.size * (6 * sh.e + 1)
    for t in range(noise_streams.size):
        trace += take_step(sh, b, x, data, indices, master, rates, t * entries, noise_streams[t])
    delta = master - start
    load_weights(sh, x, move_weights(weights, delta, MASTER_LIMIT))
    return trace, before, compute_loss(sh, b, x, data, indices), delta


@kernel
def sum_losses(params, ids, rows, indices, weights):
    """The sum of exact losses of at most 2^12 samples."""
    sh = make_shape(params)
    x = np.zeros(sh.size)
    load_weights(sh, x, weights)
    return compute_loss(sh, make_buffers(sh), x, Data(ids, rows), indices)


@kernel
def compute_outputs(params, ids, weights):
    """F of cells as int64 [n, 1] on step 2^-20."""
    sh = make_shape(params)
    b, x, indices = make_buffers(sh), np.zeros(sh.size), np.arange(ids.shape[0])
    load_weights(sh, x, weights)
    out = np.empty((ids.shape[0], 1), np.int64)
    for first in range(0, indices.size, BLOCK):
        n = min(BLOCK, indices.size - first)
        load_matrices(sh, b, x, ids, indices, first, n, False, np.uint64(0))
        forward(sh, b, n, False, 0, 0)
        for s in range(n):
            out[first + s, 0] = to_integer(b.f[s])
    return out
