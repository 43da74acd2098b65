"""Functions of scores, their residuals and their gradient, as training.exact.scores has them, over flat buffers: rows
of `cols` entries that stand `stride` apart (section 9.6).

`function` is numbered as there; SIGNED is exponential_regression's (section 9.8), which sums a row's exponentials with
alternating signs to one residual.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import numpy as np

from training.exact.fused.compiler import kernel
from training.exact.fused.elements import differentiate_softmax, exp, rescale, softmax, to_integer
from training.exact.scores import (
    GRADIENT,
    NARROW_GRADIENT,
    PROBABILITY_GRADIENT,
    PROBABILITY_RESIDUAL,
    RESIDUAL,
    SCORE,
    SCORE_GRADIENT,
)

SOFTMAX, EXP, COSH, SINH, SIGNED = range(5)
VALUE_ONE = 2.0**20
SCORE_LIMIT, RESIDUAL_LIMIT, PROBABILITY_LIMIT, GRADIENT_LIMIT = (
    float(grid.limit) for grid in (SCORE, RESIDUAL, PROBABILITY_RESIDUAL, GRADIENT)
)
PROBABILITY_GRADIENT_LIMIT, NARROW_LIMIT, SCORE_GRADIENT_LIMIT = (
    float(grid.limit) for grid in (PROBABILITY_GRADIENT, NARROW_GRADIENT, SCORE_GRADIENT)
)
NO_LIMIT = 2.0**50  # what it is used for stays below


@kernel
def apply_scores(x, v, s, rows, cols, stride, step, function, weight):
    """Scores in units of `step` become values u, in place; `v` gets derivatives and `s` the scores on step 2^-20, where
    the function has a use for them. What lies between the rows is lost."""
    if function != SOFTMAX or weight > 0:
        for i in range(rows * stride):
            s[i] = min(max(np.rint(x[i] * (step * VALUE_ONE)), -SCORE_LIMIT), SCORE_LIMIT)
    if function == SOFTMAX:
        softmax(x, rows, cols, stride, step)
    elif function == SIGNED:
        for i in range(rows * stride):
            x[i] = np.rint(exp(s[i] * (1 / VALUE_ONE)) * VALUE_ONE)
    elif function == EXP:
        for i in range(rows * stride):
            x[i] = np.rint(exp(s[i] * (1 / VALUE_ONE)) * VALUE_ONE)
            v[i] = x[i]
    else:
        for i in range(rows * stride):
            up, down = exp(s[i] * (1 / VALUE_ONE)), exp(s[i] * (-1 / VALUE_ONE))
            cosh, sinh = np.rint((up + down) * (VALUE_ONE / 2)), np.rint((up - down) * (VALUE_ONE / 2))
            x[i], v[i] = (cosh, sinh) if function == COSH else (sinh, cosh)


@kernel
def sum_integers(x):
    """Integers' sum, as such: a sum of floats would be taken one by one."""
    total = np.int64(0)
    for j in range(x.size):
        total += to_integer(x[j])
    return total


@kernel
def sum_signed(x):
    """The first less the second plus the third, and so on."""
    total = np.int64(0)
    for j in range(x.size):
        n = to_integer(x[j])
        total += n if j & 1 == 0 else -n
    return total


@kernel
def get_target(rows, labels, sample, j, indexed):
    """Target j of a sample, in data units; `j` counts over all rows of the sample."""
    if indexed:
        return 4096.0 if labels[sample] == j else 0.0
    return np.float64(rows[sample, j])


@kernel
def subtract(r, t, u, s, cols, stride, row, function, weight, rows, labels, sample, indexed):
    """Residuals of one row: R into `r`, T into `t`."""
    first = row * stride
    if function == SOFTMAX:
        for j in range(cols):
            value = u[first + j] - 256.0 * get_target(rows, labels, sample, j, indexed)
            r[first + j] = min(max(value, -PROBABILITY_LIMIT), PROBABILITY_LIMIT)
    elif function == SIGNED:
        value = np.float64(sum_signed(u[first : first + cols])) - 256.0 * np.float64(rows[sample, 0])
        r[first] = min(max(value, -RESIDUAL_LIMIT), RESIDUAL_LIMIT)
    else:
        alpha = np.float64(sum_integers(u[first : first + cols]))
        for j in range(cols):
            value = u[first + j] * 4096.0 - alpha * get_target(rows, labels, sample, j, indexed)
            r[first + j] = min(max(np.rint(value * 2.0**-12), -RESIDUAL_LIMIT), RESIDUAL_LIMIT)
    if weight > 0:
        for j in range(cols):
            value = np.rint((s[first + j] * np.float64(weight)) * 2.0**-8)
            t[first + j] = min(max(value, -RESIDUAL_LIMIT), RESIDUAL_LIMIT)


@kernel
def square(r, t, cols, stride, row, function, weight, cap):
    """The loss of one row's sample from its residuals."""
    first, total = row * stride, np.int64(0)
    for j in range(1 if function == SIGNED else cols):
        n = to_integer(r[first + j])
        total += n * n
    if weight > 0:
        for j in range(cols):
            n = to_integer(t[first + j])
            total += n * n
    return min(total, cap)


@kernel
def differentiate(r, t, u, v, cols, stride, row, function, weight, rows, labels, sample, indexed):
    """The gradient at one row's scores, in place of R."""
    first = row * stride
    if function == SIGNED:
        g = min(max(np.rint(r[first] * 2.0**-5), -GRADIENT_LIMIT), GRADIENT_LIMIT)
        values, out = u[first : first + cols], r[first : first + cols]
        for j in range(cols):
            signed = g if j & 1 == 0 else -g
            value = np.rint((values[j] * signed) * 2.0**-16)
            out[j] = min(max(value, -SCORE_GRADIENT_LIMIT), SCORE_GRADIENT_LIMIT)
        return
    total = 0.0
    rescale(r, first, cols, 2.0**-5, GRADIENT_LIMIT)
    for j in range(cols):
        total += get_target(rows, labels, sample, j, indexed) * r[first + j]
    for j in range(cols):
        r[first + j] = np.rint(((r[first + j] * 4096.0 - total) * v[first + j]) * 2.0**-28)


@kernel
def finish(r, t, rows, cols, stride, function, weight):
    """Add the weight's part to the gradients of some rows and saturate."""
    if function == SIGNED or (function == SOFTMAX and weight == 0):
        return
    for row in range(rows):
        for i in range(row * stride, row * stride + cols):
            if weight > 0:
                r[i] += np.rint((t[i] * np.float64(weight)) * 2.0**-9)
            r[i] = min(max(r[i], -SCORE_GRADIENT_LIMIT), SCORE_GRADIENT_LIMIT)


@kernel
def differentiate_probabilities(r, p, rows, cols, stride, weight):
    """The gradients at the scores of softmaxes, in place of R; without the part of a weight, before which nothing is
    saturated."""
    rescale(r, 0, rows * stride, 2.0**-3, PROBABILITY_GRADIENT_LIMIT)
    limit = NO_LIMIT if weight > 0 else NARROW_LIMIT
    differentiate_softmax(r, p, rows, cols, stride, 2.0**-38, limit)
