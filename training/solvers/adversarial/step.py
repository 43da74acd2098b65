"""An attack on a batch and the step of the weights that follows, on lists of candidates or on all neurons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.solvers.adversarial import kernels, moves
from training.solvers.adversarial.dense import DenseStep
from training.solvers.adversarial.lists import Lists
from training.solvers.adversarial.net import Floats, Ids, ShiftedNet

BLOCK_BYTES = 16 << 10  # of a tile's block: half of the nearest cache
WIDEST, NARROWEST = 512, 16  # of a block, in candidates


@dataclass(slots=True)
class Seen:
    """Worst points and what the net says there; `active` counts pairs of a sample and a neuron."""

    worst: kernels.Worst
    active: int
    is_dense: bool


class Stepper:
    """Attacks and steps of one net; buffers are kept from step to step."""

    def __init__(self, net: ShiftedNet, plan: kernels.Plan) -> None:
        self._net, self._plan, self._kernel_net = net, plan, net.open_kernel()
        self._dense = DenseStep(net, plan)
        self._tile: kernels.Tile | None = None
        self._touched = np.empty(net.width, np.int32)

    def attack(self, inputs: Floats, targets: Floats, lists: Lists | None) -> Seen:
        """Worst points of inputs [n, d] with targets [n]; without lists by all neurons."""
        if lists is None:
            worst, active = self._dense.attack(inputs, targets)
            return Seen(worst, active, True)
        most = int(np.diff(lists.starts).max())
        if self._tile is None or self._tile.scores.size < most:
            self._tile = make_tile(self._net, most + most // 8)
        worst = make_worst(inputs, len(lists.ids))
        kernels.attack(self._kernel_net, self._plan, self._tile, lists, inputs, targets, worst)
        return Seen(worst, int(worst.starts[-1]), False)

    def update(self, seen: Seen, scale: float) -> Ids:
        """Add scale * slope * (the output's derivative) of each sample to the weights; returns whom that moved."""
        if seen.is_dense:
            return self._dense.update(seen.worst, scale)
        count = moves.update(self._kernel_net, seen.worst, scale, self._touched)
        return self._touched[:count]


def make_tile(net: ShiftedNet, candidates: int) -> kernels.Tile:
    """Room for so many candidates of a sample."""
    kind, inputs = net.weights.dtype, net.weights.shape[1]
    fitting = BLOCK_BYTES // (inputs * kind.itemsize) // kernels.GROUP * kernels.GROUP
    width = min(max(fitting, NARROWEST), WIDEST)
    blocks = -(-max(candidates, 1) // width)
    biases, signs, scores = (np.empty(blocks * width, kind) for _ in range(3))
    columns = np.empty((blocks, inputs, width), kind)
    return kernels.Tile(columns, biases, signs, scores, np.empty(width, kind), np.empty(inputs, kind))


def make_worst(inputs: Floats, room: int) -> kernels.Worst:
    """Room for what an attack leaves, where so many neurons are active at the most."""
    kind, count = inputs.dtype, len(inputs)
    return kernels.Worst(
        np.empty_like(inputs), np.empty(count, kind), np.empty(count, kind), np.empty(count),
        np.empty(count + 1, np.int64), np.empty(room + 1, np.int32), np.zeros(1, np.int64),
    )  # fmt: skip
