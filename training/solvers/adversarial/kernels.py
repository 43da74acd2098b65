"""Kernels of the adversary, and of the net at the points that it comes to: both look at candidates only.

Shapes: weights [m, d]; a sample's candidates are ids[starts[i] : starts[i + 1]]. They are copied into a tile once for
all steps of the adversary: blocks [d, w] with a candidate in each column, small enough that a block stays in the
nearest cache from its scores to its part of the gradient.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections import namedtuple

import numpy as np

from training.solvers.adversarial.compiler import kernel

GROUP = 16  # candidates copied together: each row of a block gets whole cache lines

# `below` is subtracted from an active score: tau, or nothing for a jump
Net = namedtuple("Net", "weights biases signs tau below")
Lists = namedtuple("Lists", "starts ids")
Plan = namedtuple("Plan", "is_euclidean radius stride steps is_logistic")
# blocks [b, d, w]; biases, signs, scores [b w]; pulls [w], derivatives of the output; toward [d], its by the point
Tile = namedtuple("Tile", "blocks biases signs scores pulls toward")
# What an attack leaves: points [n, d], outputs, slopes and losses [n], and whose neurons are active there
Worst = namedtuple("Worst", "points outputs slopes losses starts ids resting")


@kernel
def gather(net, ids, tile):
    """Columns of the tile become the weights of these neurons; the last group is filled up with the last one."""
    count, d, width = ids.size, net.weights.shape[1], tile.pulls.size
    rows = np.empty(
        (GROUP, d), net.weights.dtype
    )  # read one after the other, then turned: they wait for memory
    for first in range(0, count, GROUP):
        for g in range(GROUP):
            r = ids[min(first + g, count - 1)]
            row, copy = net.weights[r], rows[g]
            for k in range(d):
                copy[k] = row[k]
            tile.biases[first + g], tile.signs[first + g] = net.biases[r], net.signs[r]
        block, at = tile.blocks[first // width], first % width
        for k in range(d):
            column = block[k, at : at + GROUP]
            for g in range(GROUP):
                column[g] = rows[g, k]


@kernel
def score(block, biases, x, scores):
    """Scores of a block's columns at x: four rows at a time, so that they are loaded less often."""
    width, d = scores.size, x.size
    even = d - d % 4
    for j in range(width):
        scores[j] = biases[j]
    for k in range(0, even, 4):
        c0, c1, c2, c3 = block[k, :width], block[k + 1, :width], block[k + 2, :width], block[k + 3, :width]
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        for j in range(width):
            scores[j] += (x0 * c0[j] + x1 * c1[j]) + (x2 * c2[j] + x3 * c3[j])
    for k in range(even, d):
        c0, x0 = block[k, :width], x[k]
        for j in range(width):
            scores[j] += x0 * c0[j]


@kernel
def activate(net, scores, signs, pulls):
    """A block's part of the output, and in `pulls` the output's derivative by each score."""
    zero, tau, below = scores.dtype.type(0), net.tau, net.below
    total = zero
    for j in range(scores.size):
        value = signs[j] if scores[j] > tau else zero
        pulls[j] = value
        total += value * (scores[j] - below)
    return total


@kernel
def pull(block, pulls, toward):
    """Add a block's part of the output's derivative by the point."""
    width, d = pulls.size, toward.size
    even = d - d % 4
    for k in range(0, even, 4):
        c0, c1, c2, c3 = block[k, :width], block[k + 1, :width], block[k + 2, :width], block[k + 3, :width]
        s0 = s1 = s2 = s3 = pulls.dtype.type(0)
        for j in range(width):
            s0 += pulls[j] * c0[j]
            s1 += pulls[j] * c1[j]
            s2 += pulls[j] * c2[j]
            s3 += pulls[j] * c3[j]
        toward[k] += s0
        toward[k + 1] += s1
        toward[k + 2] += s2
        toward[k + 3] += s3
    for k in range(even, d):
        c0, s0 = block[k, :width], pulls.dtype.type(0)
        for j in range(width):
            s0 += pulls[j] * c0[j]
        toward[k] += s0


@kernel
def look(net, tile, count, point, wants_toward):
    """The output at a point by the first `count` columns, and in `toward` its derivative, if that is wanted."""
    width, output = tile.pulls.size, point.dtype.type(0)
    for k in range(point.size):
        tile.toward[k] = 0
    for first in range(0, count, width):
        end = min(first + width, count)
        block, scores, pulls = tile.blocks[first // width], tile.scores[first:end], tile.pulls[: end - first]
        score(block, tile.biases[first:end], point, scores)
        output += activate(net, scores, tile.signs[first:end], pulls)
        if wants_toward:
            pull(block, pulls, tile.toward)
    return output


@kernel
def differentiate(output, target, is_logistic):
    """The derivative of a sample's loss by the output: of log(1 + exp(-y f)), or of (f - y)^2 / 2."""
    if not is_logistic:
        return output - target
    margin = output * target
    if margin > 0.0:
        small = np.exp(-margin)
        return -target * small / (1.0 + small)
    return -target / (1.0 + np.exp(margin))


@kernel
def measure(output, target, is_logistic):
    """A sample's loss."""
    if not is_logistic:
        return 0.5 * (output - target) ** 2
    margin = output * target
    return np.log1p(np.exp(-abs(margin))) + max(-margin, 0.0)


@kernel
def move_point(plan, x, point, toward, along):
    """One step of the adversary toward `along` times the derivative; False where that is 0, and it stays."""
    length = 0.0
    for k in range(x.size):
        length += toward[k] * toward[k]
    if not (length > 0.0 and along != 0.0):
        return False
    if not plan.is_euclidean:
        for k in range(x.size):
            moved = point[k] + plan.stride * np.sign(toward[k]) * along
            point[k] = min(max(moved, x[k] - plan.radius), x[k] + plan.radius)
        return True
    scale, far = plan.stride * along / np.sqrt(length), 0.0
    for k in range(x.size):
        point[k] += scale * toward[k]
        far += (point[k] - x[k]) ** 2
    far = np.sqrt(far)
    if far > plan.radius:
        for k in range(x.size):
            point[k] = x[k] + (point[k] - x[k]) * (plan.radius / far)
    return True


@kernel
def copy_point(x, point):
    for k in range(x.size):
        point[k] = x[k]


@kernel
def attack(net, plan, tile, lists, inputs, targets, worst):
    """All samples' worst points within their balls, what the net says there, and which neurons are active.

    Each call of a kernel is compiled anew where it stands: so there is one of each, and few levels of them.
    """
    found, resting = 0, 0
    for i in range(inputs.shape[0]):
        ids, x, point = lists.ids[lists.starts[i] : lists.starts[i + 1]], inputs[i], worst.points[i]
        gather(net, ids, tile)
        copy_point(x, point)
        left, slope, output = plan.steps, 0.0, x.dtype.type(0)
        while True:
            output = look(net, tile, ids.size, point, left > 0)
            slope = differentiate(output, targets[i], plan.is_logistic)
            if left == 0 or not move_point(plan, x, point, tile.toward, np.sign(slope)):
                break  # where a step is 0, so is the next
            left -= 1
        resting += left == plan.steps
        worst.outputs[i], worst.slopes[i] = output, slope
        worst.losses[i] = measure(output, targets[i], plan.is_logistic)
        worst.starts[i] = found
        for j in range(ids.size):
            worst.ids[found] = ids[j]
            found += tile.scores[j] > net.tau
    worst.starts[inputs.shape[0]] = found
    worst.resting[0] = resting
