"""Kernels that move weights, and say how far they went from where candidates were listed.

Shapes: weights [m, d]. Row after row in their order, whichever samples move them: memory is read once.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections import namedtuple

import numpy as np

from training.solvers.adversarial.compiler import kernel

# What scores can change by: at a point of norm `longest` or in the ball around it, by a row's move from `reference`
Watch = namedtuple("Watch", "reference longest radius is_euclidean")


@kernel
def sort_by_neuron(starts, ids, neurons):
    """Which samples each neuron is active at, in their order: those of r are samples[places[r] : places[r + 1]]."""
    places = np.zeros(neurons + 1, np.int64)
    for r in ids[: starts[-1]]:
        places[r + 1] += 1
    for r in range(neurons):
        places[r + 1] += places[r]
    free, samples = places.copy(), np.empty(starts[-1], np.int32)
    for i in range(starts.size - 1):
        for r in ids[starts[i] : starts[i + 1]]:
            samples[free[r]] = i
            free[r] += 1
    return places, samples


@kernel
def update(net, worst, scale, touched):
    """Add scale * slope_i * sign_r * point_i to the weights of each neuron r that is active at point i; returns how
    many neurons that were. `touched` has them, in order."""
    places, samples = sort_by_neuron(worst.starts, worst.ids, net.signs.size)
    count = 0
    for r in range(net.signs.size):
        if places[r] == places[r + 1]:
            continue
        touched[count] = r
        count += 1
        row, along = net.weights[r], scale * net.signs[r]
        for i in samples[places[r] : places[r + 1]]:
            amount, point = along * worst.slopes[i], worst.points[i]
            for k in range(row.size):
                row[k] += amount * point[k]
    return count


@kernel
def measure_drift(weights, watch, touched):
    """The most by which these neurons' moves can have changed a score at a sample or in its ball."""
    most = 0.0
    for r in touched:
        row, before = weights[r], watch.reference[r]
        squares, sizes = 0.0, 0.0
        for k in range(row.size):
            change = np.float64(row[k]) - np.float64(before[k])
            squares += change * change
            sizes += abs(change)
        length = np.sqrt(squares)
        size = length if watch.is_euclidean else sizes
        most = max(most, watch.longest * length + watch.radius * size)
    return most


@kernel
def measure_lifts(net, watch, precision, lifts):
    """By how much each neuron's score can rise within a ball, and rounding raise it: at a point of norm `longest`."""
    d = net.weights.shape[1]
    for r in range(lifts.size):
        row = net.weights[r]
        squares, sizes = 0.0, 0.0
        for k in range(d):
            value = np.float64(row[k])
            squares += value * value
            sizes += abs(value)
        length = np.sqrt(squares)
        size = length if watch.is_euclidean else sizes
        rounding = (d + 4) * precision * (length * watch.longest + watch.radius * size + abs(net.biases[r]))
        lifts[r] = watch.radius * size + rounding
