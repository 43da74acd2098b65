"""Kernels that make lists of neurons out of scores, and read such lists.

Shapes: the neurons of point i are ids[starts[i] : starts[i + 1]], in ascending order where nothing else is said.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections import namedtuple

import numpy as np

from training.solvers.adversarial.compiler import kernel

LANES = 16  # scores looked at together: most such groups hold nothing

Lists = namedtuple("Lists", "starts ids")


@kernel
def append_above(scores, lifts, threshold, first, counts, found):
    """Append to row i of `found` the neurons that row i of scores [n, w] has above the threshold once lifted, of
    `lifts` [w]; column 0 is neuron `first`. A row of `found` has room for all, and one more."""
    width = lifts.size
    whole = width - width % LANES
    for i in range(scores.shape[0]):
        row, ids, place = scores[i], found[i], counts[i]
        for at in range(0, whole, LANES):
            group, raised, count = row[at : at + LANES], lifts[at : at + LANES], 0
            for g in range(LANES):
                count += group[g] + raised[g] > threshold
            if count:
                for g in range(LANES):
                    ids[place] = first + at + g
                    place += group[g] + raised[g] > threshold
        for r in range(whole, width):
            ids[place] = first + r
            place += row[r] + lifts[r] > threshold
        counts[i] = place


@kernel
def join(counts, found):
    """The first counts[i] of each row, one after the other."""
    starts = np.zeros(counts.size + 1, np.int64)
    for i in range(counts.size):
        starts[i + 1] = starts[i] + counts[i]
    ids = np.empty(starts[-1], np.int32)
    for i in range(counts.size):
        for j in range(counts[i]):  # assigning slices takes ten seconds to compile
            ids[starts[i] + j] = found[i, j]
    return starts, ids


@kernel
def select(starts, ids, samples):
    """The lists of some of the points."""
    chosen = np.zeros(samples.size + 1, np.int64)
    for i in range(samples.size):
        chosen[i + 1] = chosen[i] + starts[samples[i] + 1] - starts[samples[i]]
    taken = np.empty(chosen[-1], np.int32)
    for i in range(samples.size):
        first = starts[samples[i]]
        for j in range(chosen[i + 1] - chosen[i]):
            taken[chosen[i] + j] = ids[first + j]
    return chosen, taken


@kernel
def filter_above(net, starts, ids, points, threshold):
    """Of each point's list those whose score there is above the threshold."""
    kept, taken, place = np.zeros(points.shape[0] + 1, np.int64), np.empty(ids.size + 1, np.int32), 0
    for i in range(points.shape[0]):
        point = points[i]
        for r in ids[starts[i] : starts[i + 1]]:
            score, row = net.biases[r], net.weights[r]
            for k in range(point.size):
                score += row[k] * point[k]
            taken[place] = r
            place += score > threshold
        kept[i + 1] = place
    return kept, taken[:place].copy()
