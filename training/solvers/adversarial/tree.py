"""Candidates for few inputs: a kd tree of the neurons' weights, which is asked anew at every step, for every sample.

Neurons that were moved are taken out and put in again; bounds on their way are widened. Exact, and in six dimensions
or fewer it reads a part of all rows only; in sixteen nearly all. Source: 2208.05395, whose half-space reporting
(Agarwal, Eppstein, Matousek 1992) it stands for.

Shapes: m neurons; D = d, or d + 1 where there are biases.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.solvers.adversarial import tree_kernels
from training.solvers.adversarial.lists import Lists
from training.solvers.adversarial.net import Floats, Ids, ShiftedNet
from training.solvers.adversarial.search import Reach, SearchName
from training.solvers.adversarial.skin import MOST_SHARE

SPARE = 4  # times the nodes that a tree of full leaves has: leaves are half full, and some are split


class NeuronTree:
    """A tree over a net's neurons; `lifts` [m] is what each score is raised by when it is asked for."""

    def __init__(self, net: ShiftedNet, lifts: NDArray[np.float64]) -> None:
        self._net, self.lifts = net, lifts
        self.read = self.rebuilds = 0  # rows that were read to answer
        self._has_biases = bool(net.biases.any())
        self._found = np.empty(net.width + 1, np.int32)
        self._nodes = make_nodes(net.width, net.weights.shape[1] + self._has_biases)
        self.rebuild()

    def rebuild(self) -> None:
        self.rebuilds += 1
        tree_kernels.build(self._nodes, self._net.weights, self._net.biases, self.lifts)

    def report(self, point: Floats, threshold: float) -> Ids:
        """Who is above the threshold at a point [d] once lifted, in order."""
        x = np.append(point, 1.0) if self._has_biases else point.astype(np.float64)
        count, read = tree_kernels.report(
            self._nodes, self._net.weights, self._net.biases, self.lifts, x, threshold, self._found
        )
        self.read += read
        return np.sort(self._found[:count])

    def move(self, touched: Ids) -> None:
        moved = tree_kernels.move(self._nodes, touched, self._net.weights, self._net.biases, self.lifts)
        if moved < 0:
            self.rebuild()


class TreeSearch:
    """See Search."""

    name: SearchName = "tree"
    drift = None  # what moves is moved in the tree

    def __init__(self, net: ShiftedNet, inputs: Floats, reach: Reach) -> None:
        self._net, self._inputs, self._reach = net, inputs, reach
        self._tree = NeuronTree(net, reach.measure_lifts(net).astype(np.float64))

    @property
    def rebuilds(self) -> int:
        return self._tree.rebuilds

    def find(self, samples: NDArray[np.int64]) -> Lists | None:
        most, total, found = MOST_SHARE * len(samples) * self._net.width, 0, []
        for i in samples:
            found.append(self._tree.report(self._inputs[i], self._net.tau))
            total += len(found[-1])
            if total > most:
                return None
        starts = np.concatenate([[0], np.cumsum([len(ids) for ids in found])])
        return Lists(starts, np.concatenate(found))

    def move(self, touched: Ids) -> None:
        self._tree.lifts[touched] = self._reach.measure_lifts(self._net)[touched]
        self._tree.move(touched)


def make_nodes(neurons: int, sides: int) -> tree_kernels.Nodes:
    """Room for a tree of so many points of so many sides."""
    room = max(SPARE * 2 * neurons // tree_kernels.LEAF, 64)
    left, right, axis, leaf, counts = (np.empty(room, np.int32) for _ in range(5))
    low, high, centre = (np.empty((room, sides)) for _ in range(3))
    cut, radius, reach = (np.empty(room) for _ in range(3))
    slots, used = np.empty((room, tree_kernels.ROOM), np.int32), np.zeros(2, np.int64)
    home = np.empty(neurons, np.int32)
    return tree_kernels.Nodes(
        left, right, axis, cut, low, high, centre, radius, reach, leaf, slots, counts, used, home
    )
