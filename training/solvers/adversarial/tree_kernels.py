"""Kernels of a kd tree of neurons: who is above a threshold at a point is asked of boxes and balls before rows.

Nodes are numbered from 0, the root. Points of the tree are rows of weights [m, d], with their bias as one more entry
where there are biases. Bounds only grow as neurons move: they hold, and get looser.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections import namedtuple

import numpy as np

from training.solvers.adversarial.compiler import kernel

LEAF = 64  # neurons of a new leaf, at most
ROOM = 2 * LEAF  # that one can come to hold
NO_CHILD = -1
ROUNDING = 1e-12  # of the largest terms of a bound: far more than float64 loses

# children, cuts and bounds of each node; a leaf's neurons are slots[leaf, : counts[leaf]]
Nodes = namedtuple("Nodes", "left right axis cut low high centre radius reach leaf slots counts used home")


@kernel
def read_row(weights, biases, r, row):
    """A neuron's point, in float64."""
    d = weights.shape[1]
    for k in range(d):
        row[k] = weights[r, k]
    if row.size > d:
        row[d] = biases[r]


@kernel
def widen(nodes, node, row, lift):
    """Make a node's bounds hold this point, whose score can rise by `lift`."""
    squares = 0.0
    for k in range(row.size):
        nodes.low[node, k] = min(nodes.low[node, k], row[k])
        nodes.high[node, k] = max(nodes.high[node, k], row[k])
        squares += (row[k] - nodes.centre[node, k]) ** 2
    nodes.radius[node] = max(nodes.radius[node], np.sqrt(squares))
    nodes.reach[node] = max(nodes.reach[node], lift)


@kernel
def fill_leaf(nodes, node, ids):
    leaf = nodes.used[1]
    nodes.used[1] += 1
    nodes.left[node], nodes.leaf[node], nodes.counts[leaf] = NO_CHILD, leaf, ids.size
    for j in range(ids.size):
        nodes.slots[leaf, j] = ids[j]
        nodes.home[ids[j]] = leaf


@kernel
def bound(nodes, node, ids, weights, biases, lifts):
    """Set a node's bounds to those of its neurons."""
    row = np.empty(nodes.low.shape[1])
    nodes.radius[node], nodes.reach[node] = 0.0, 0.0
    for k in range(row.size):
        nodes.low[node, k], nodes.high[node, k], nodes.centre[node, k] = np.inf, -np.inf, 0.0
    for r in ids:
        read_row(weights, biases, r, row)
        for k in range(row.size):
            nodes.centre[node, k] += row[k] / ids.size
    for r in ids:
        read_row(weights, biases, r, row)
        widen(nodes, node, row, lifts[r])


@kernel
def divide(nodes, node, ids, weights, biases):
    """Cut a node at the median of its widest side; returns its neurons in that order, and how many go left."""
    axis = 0
    for k in range(nodes.low.shape[1]):
        if nodes.high[node, k] - nodes.low[node, k] > nodes.high[node, axis] - nodes.low[node, axis]:
            axis = k
    values = np.empty(ids.size)
    for j in range(ids.size):
        values[j] = weights[ids[j], axis] if axis < weights.shape[1] else biases[ids[j]]
    order, half = np.argsort(values), ids.size // 2
    nodes.axis[node], nodes.cut[node] = axis, values[order[half]]
    nodes.left[node], nodes.right[node] = nodes.used[0], nodes.used[0] + 1
    nodes.used[0] += 2
    return ids[order], half


@kernel
def build(nodes, weights, biases, lifts):
    """A tree of all neurons."""
    ids = np.arange(weights.shape[0]).astype(np.int32)
    todo = [(0, 0, ids.size)]
    nodes.used[0], nodes.used[1] = 1, 0
    while todo:
        node, first, end = todo.pop()
        bound(nodes, node, ids[first:end], weights, biases, lifts)
        if end - first <= LEAF:
            fill_leaf(nodes, node, ids[first:end])
            continue
        sorted_ids, half = divide(nodes, node, ids[first:end].copy(), weights, biases)
        for j in range(end - first):
            ids[first + j] = sorted_ids[j]
        todo.append((nodes.left[node], first, first + half))
        todo.append((nodes.right[node], first + half, end))


@kernel
def split(nodes, node, weights, biases, lifts):
    """Make two leaves of a full one: the first half stays in its place."""
    leaf = nodes.leaf[node]
    ids, half = divide(nodes, node, nodes.slots[leaf].copy(), weights, biases)
    left, right = nodes.left[node], nodes.right[node]
    bound(nodes, left, ids[:half], weights, biases, lifts)
    bound(nodes, right, ids[half:], weights, biases, lifts)
    nodes.left[left], nodes.leaf[left], nodes.counts[leaf] = NO_CHILD, leaf, half
    for j in range(half):
        nodes.slots[leaf, j] = ids[j]
    fill_leaf(nodes, right, ids[half:])


@kernel
def take_out(nodes, r):
    leaf = nodes.home[r]
    last = nodes.counts[leaf] - 1
    for j in range(last):
        if nodes.slots[leaf, j] == r:
            nodes.slots[leaf, j] = nodes.slots[leaf, last]
    nodes.counts[leaf] = last


@kernel
def move(nodes, touched, weights, biases, lifts):
    """Remove and insert neurons whose weights have changed. One that stays on its side of all cuts only widens the
    bounds on its way. Returns how many changed leaves; -1 where nodes ran out, and the tree must be built anew."""
    row, moved = np.empty(nodes.low.shape[1]), 0
    for r in touched:
        read_row(weights, biases, r, row)
        node = 0
        widen(nodes, node, row, lifts[r])
        while nodes.left[node] != NO_CHILD:
            goes_left = row[nodes.axis[node]] < nodes.cut[node]
            node = nodes.left[node] if goes_left else nodes.right[node]
            widen(nodes, node, row, lifts[r])
        leaf = nodes.leaf[node]
        if leaf == nodes.home[r]:
            continue
        moved += 1
        take_out(nodes, r)
        nodes.slots[leaf, nodes.counts[leaf]] = r
        nodes.counts[leaf] += 1
        nodes.home[r] = leaf
        if nodes.counts[leaf] == ROOM:
            if nodes.used[0] + 2 > nodes.left.size:
                return -1
            split(nodes, node, weights, biases, lifts)
    return moved


@kernel
def bracket(low, high, centre, radius, node, x, length):
    """Between what and what the scores of a node's neurons are at x, of norm `length`; rounding is given away."""
    least = most = middle = size = 0.0
    for k in range(x.size):
        a, b = low[node, k] * x[k], high[node, k] * x[k]
        least += min(a, b)
        most += max(a, b)
        size += max(abs(a), abs(b))
        middle += centre[node, k] * x[k]
    spread = radius[node] * length
    rounding = ROUNDING * (size + spread)
    return max(least, middle - spread) - rounding, min(most, middle + spread) + rounding


@kernel
def scan(ids, weights, biases, lifts, x, threshold, found, count):
    """Append to `found` which of these neurons are above the threshold at x once lifted; returns how many it has."""
    d = weights.shape[1]
    for r in ids:
        score = lifts[r]
        for k in range(d):
            score += weights[r, k] * x[k]
        if x.size > d:
            score += biases[r] * x[d]
        found[count] = r
        count += score > threshold
    return count


@kernel
def report(nodes, weights, biases, lifts, x, threshold, found):
    """Put into `found` who is above the threshold at x once lifted, in any order.

    x has one more entry of 1 where the tree has biases. Returns how many they are, and how many rows were read for it.
    """
    low, high, centre, radius = (
        nodes.low,
        nodes.high,
        nodes.centre,
        nodes.radius,
    )  # a call with all costs more than it
    left, right, reach, length = nodes.left, nodes.right, nodes.reach, np.sqrt(np.sum(x * x))
    count, read, todo, waiting = 0, 0, np.empty(left.size, np.int32), 1
    todo[0] = 0
    while waiting:
        waiting -= 1
        node = todo[waiting]
        least, most = bracket(low, high, centre, radius, node, x, length)
        if most + reach[node] <= threshold:
            continue
        if left[node] != NO_CHILD:
            todo[waiting], todo[waiting + 1] = right[node], left[node]
            waiting += 2
            continue
        leaf = nodes.leaf[node]
        ids = nodes.slots[leaf, : nodes.counts[leaf]]
        if least > threshold:
            for j in range(ids.size):
                found[count + j] = ids[j]
            count += ids.size
            continue
        read += ids.size
        count = scan(ids, weights, biases, lifts, x, threshold, found, count)
    return count, read
