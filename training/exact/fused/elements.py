"""Everything that is not a matrix product, over flat float64 buffers of grid integers: rows of `cols` entries that
stand `stride` apart. Each function mirrors one of the portable path; the tests hold them together."""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from training.exact.counter import GAMMA, MULTIPLIER_1, MULTIPLIER_2
from training.exact.functions import ATTENTION_F, COEFFICIENTS, EXP_F, LN2_HIGH, LN2_LOW, LOG2_E, LOWEST
from training.exact.fused.compiler import kernel
from training.exact.grids import DATA, MASTER, WEIGHT

U_GAMMA = np.uint64(GAMMA)
U_MULTIPLIER_1 = np.uint64(MULTIPLIER_1)
U_MULTIPLIER_2 = np.uint64(MULTIPLIER_2)
S4, S15, S27, S30, S31, S52 = (np.uint64(n) for n in (4, 15, 27, 30, 31, 52))
U1, U7, U15, U1023 = (np.uint64(n) for n in (1, 7, 15, 1023))
C0, C1, C2, C3, C4, C5, C6, C7, C8 = COEFFICIENTS
TERM_ONE = 2.0**EXP_F
ATTENTION_ONE = 2.0**ATTENTION_F
# An integer x with |x| <= 2^51 plus this has its two's complement in the low bits of the float: a conversion to
# int64 that every vector unit has.
INTEGER_ANCHOR = 1.5 * 2.0**52
ANCHOR_BITS = np.uint64(np.array(INTEGER_ANCHOR).view(np.uint64)[()])
LOSS_CAP = np.int64(1 << 50)
MASTER_LIMIT = MASTER.limit
MASTER_LIMIT_F, WEIGHT_LIMIT_F, DATA_LIMIT_F = (float(grid.limit) for grid in (MASTER, WEIGHT, DATA))
TO_WEIGHT = 2.0 ** (WEIGHT.f - MASTER.f)
TRANSPOSED_COLS = 8  # at a time: as many lines of y stay in the cache until they are full


# Any: numba hands typing and code generation contexts that have no published types.
def _get_bits(typing_context: Any, x: Any) -> Any:
    """The bits of a float64 as u64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.uint64(types.float64), generate


def _make_float(typing_context: Any, bits: Any) -> Any:
    """The float64 with these bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), generate


get_bits: Any = intrinsic(_get_bits)
make_float: Any = intrinsic(_make_float)


@kernel
def to_integer(x):
    """An integer of at most 51 bits as int64, by operations that every vector unit has."""
    return np.int64(get_bits(x + INTEGER_ANCHOR) - ANCHOR_BITS)


@kernel
def mix(z):
    z = (z ^ (z >> S30)) * U_MULTIPLIER_1
    z = (z ^ (z >> S27)) * U_MULTIPLIER_2
    return z ^ (z >> S31)


@kernel
def fold(x, start, rows, cols, stride, count):
    """The trace of one product whose first entry has index count + 1; |entries| <= 2^50."""
    total = np.uint64(0)
    if cols == stride:
        cols = rows * cols
        rows = 1
    for r in range(rows):
        base = (np.uint64(count) + np.uint64(r * cols) + U1) * U_GAMMA - ANCHOR_BITS
        first = start + r * stride
        for j in range(cols):
            total += mix(get_bits(x[first + j] + INTEGER_ANCHOR) + base + np.uint64(j) * U_GAMMA)
    return total


@kernel
def rescale(x, start, count, scale, limit):
    """Multiply by a power of two, round half to even, saturate; in place."""
    for i in range(start, start + count):
        x[i] = min(max(np.rint(x[i] * scale), -limit), limit)


@kernel
def exp(x):
    x = max(x, LOWEST)
    k = np.rint(x * LOG2_E)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = C8 * r + C7
    p = p * r + C6
    p = p * r + C5
    p = p * r + C4
    p = p * r + C3
    p = p * r + C2
    p = p * r + C1
    p = p * r + C0
    return p * make_float((get_bits(k + INTEGER_ANCHOR) - ANCHOR_BITS + U1023) << S52)


@kernel
def softmax(x, rows, cols, stride, step):
    """Softmax of every row in place; entries are integers in units of `step`. What lies between the rows is lost."""
    for r in range(rows):
        first = r * stride
        highest = x[first]
        for j in range(first + 1, first + cols):
            highest = max(highest, x[j])
        for j in range(first, first + cols):
            x[j] = (x[j] - highest) * step
    if 2 * cols > stride:  # one long loop, padding and all, is faster than many with a remainder each
        for j in range(rows * stride):
            x[j] = np.rint(exp(x[j]) * TERM_ONE)
    else:
        for r in range(rows):
            for j in range(r * stride, r * stride + cols):
                x[j] = np.rint(exp(x[j]) * TERM_ONE)
    for r in range(rows):
        first = r * stride
        total = 0.0
        for j in range(first, first + cols):
            total += x[j]
        for j in range(first, first + cols):
            x[j] = np.rint((x[j] / total) * ATTENTION_ONE)


@kernel
def differentiate_softmax(x, p, rows, cols, stride, scale, limit):
    """x <- sat(rint(((2^20 x - r) * p) * scale)), r the row's sum of x * p: from a gradient at the softmax's result
    to one at its argument."""
    for r in range(rows):
        first = r * stride
        total = 0.0
        for j in range(first, first + cols):
            total += x[j] * p[j]
        for j in range(first, first + cols):
            x[j] = min(max(np.rint(((x[j] * ATTENTION_ONE - total) * p[j]) * scale), -limit), limit)


@kernel
def sum_squares(x, rows, cols, stride, start):
    """The capped loss of one sample from its residuals."""
    total = np.int64(0)
    for r in range(rows):
        first = start + r * stride
        for j in range(first, first + cols):
            n = np.int64(x[j])
            total += n * n
    return min(total, LOSS_CAP)


@kernel
def transpose(x, x0, x_stride, y, y0, y_stride, rows, cols):
    """y[y0 + j * y_stride + i] = x[x0 + i * x_stride + j]."""
    for first in range(0, cols, TRANSPOSED_COLS):
        last = min(first + TRANSPOSED_COLS, cols)
        for i in range(rows):
            for j in range(first, last):
                y[y0 + j * y_stride + i] = x[x0 + i * x_stride + j]


@kernel
def copy_rows(x, x0, x_stride, y, y0, y_stride, rows, cols):
    for i in range(rows):
        source, target = x[x0 + i * x_stride :], y[y0 + i * y_stride :]  # slices: their loops become vectors
        for j in range(cols):
            target[j] = source[j]


@kernel
def load_row(values, out):
    """Stored integers as floats: `out` gets as many as there are values."""
    for k in range(values.size):
        out[k] = np.float64(values[k])


@kernel
def add_row(values, out, limit):
    """The same onto what is there, saturated."""
    for k in range(values.size):
        out[k] = min(max(out[k] + np.float64(values[k]), -limit), limit)


# --- randomness and weights -------------------------------------------------------------------------------------------


@kernel
def fill_noise(out, stream, first, count):
    """Noise entries first .. first + count - 1 of a stream; returns the place of the first in `out`."""
    word = first >> 4
    last = (first + count - 1) >> 4
    for w in range(word, last + 1):
        bits = mix(stream + (np.uint64(w) + U1) * U_GAMMA)
        place = (w - word) * 16
        for n in range(16):
            out[place + n] = np.float64(np.int64((bits >> (S4 * np.uint64(n))) & U15)) - 8.0
    return first - word * 16


@kernel
def load_samples(out, stride, inputs, indices, first, n, tokens, width, room, noisy, noise_stream):
    """Samples first .. first + n - 1 of a shard, each of `tokens` rows, into rows `stride` apart; `room` is for the
    noise of a step."""
    size = tokens * width
    if noisy:
        noise = fill_noise(room, noise_stream, first * size, n * size)
        copy_rows(room, noise, width, out, 0, stride, n * tokens, width)
    for s in range(n):
        values = inputs[indices[first + s]]
        for i in range(tokens):
            row, place = values[i * width : (i + 1) * width], out[(s * tokens + i) * stride :]
            if noisy:
                add_row(row, place, DATA_LIMIT_F)
            else:
                load_row(row, place)


@kernel
def add_fixed(weights, fixed, rows, cols, stride):
    """Fixed integers [rows, cols] onto weights in products, in place."""
    for i in range(rows):
        row, more = weights[i * stride : i * stride + cols], fixed[i]
        for j in range(cols):
            row[j] = min(max(row[j] + np.float64(more[j]), -WEIGHT_LIMIT_F), WEIGHT_LIMIT_F)


@kernel
def dither_weights(weights, stream, limit):
    """Master weights at the start of a ticket: sat(W + 2^8 * dither)."""
    out = np.empty(weights.size, np.int64)
    bits = np.uint64(0)
    for i in range(weights.size):
        if i & 15 == 0:
            bits = mix(stream + (np.uint64(i >> 4) + U1) * U_GAMMA)
        units = np.int64((bits >> (S4 * np.uint64(i & 15))) & U7) - 4
        out[i] = min(max(weights[i] + units * 256, -limit), limit)
    return out


@kernel
def move_weights(weights, delta, limit):
    """sat(W + delta): what a ticket's loss after is taken at."""
    out = np.empty(weights.size, np.int64)
    for i in range(weights.size):
        out[i] = min(max(weights[i] + delta[i], -limit), limit)
    return out


@kernel
def round_weights(master, start, out, rows, cols, stride, scale, limit):
    """The weights that products read, in rows `stride` apart."""
    for i in range(rows):
        for j in range(cols):
            n = np.float64(master[start + i * cols + j])
            out[i * stride + j] = min(max(np.rint(n * scale), -limit), limit)


@kernel
def step_weights(master, start, gradient, rows, cols, stride, mantissa, scale, limit):
    """n <- sat(n - rint((g * mantissa) * scale)) for one tensor of master weights."""
    for i in range(rows):
        for j in range(cols):
            n = np.float64(master[start + i * cols + j])
            step = np.rint((gradient[i * stride + j] * mantissa) * scale)
            master[start + i * cols + j] = np.int64(min(max(n - step, -limit), limit))
