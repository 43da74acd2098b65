"""Half-space reporting: which neurons are above a threshold at a point, and which could be in the ball around a sample.

Three backends answer the second question: by a list that allows for drift (skin.py), by a tree (tree.py), or not at
all, where all neurons are looked at instead. What they list is never too little: rounding is allowed for.

Shapes: inputs [n, d]; lists as in lists.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from training.exact.late import torch
from training.solvers.adversarial import moves
from training.solvers.adversarial.lists import Lists, append_above, join
from training.solvers.adversarial.net import BLOCK_POINTS, CHUNK_NEURONS, Floats, Ids, ShiftedNet
from training.solvers.adversarial.problem import Adversary, Samples

ROOM_IDS = 1 << 24  # 64 MiB

SearchName = Literal["skin", "tree", "dense"]


class Search(Protocol):
    """Candidates of samples, as the weights of a net move."""

    name: SearchName

    @property
    def rebuilds(self) -> int:
        """How often all neurons were looked at anew."""

    @property
    def drift(self) -> float | None:
        """How much of what lists allow for was used up; None where none is allowed for."""

    def find(self, samples: NDArray[np.int64]) -> Lists | None:
        """Lists with all neurons that are active somewhere in the balls around these samples, and perhaps others;
        None where these are too many to pay."""

    def move(self, touched: Ids) -> None:
        """Be told that the weights of these neurons have changed."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a score can be, within a sample's ball, from that at the sample."""

    longest: float  # norm of a sample
    radius: float
    is_euclidean: bool

    def watch(self, reference: Floats) -> moves.Watch:
        return moves.Watch(reference, self.longest, self.radius, self.is_euclidean)

    def measure_lifts(self, net: ShiftedNet) -> Floats:
        """By how much each neuron's score can rise [m], rounding included."""
        lifts = np.empty(net.width, net.weights.dtype)
        precision = float(np.finfo(net.weights.dtype).eps)
        moves.measure_lifts(net.open_kernel(), self.watch(net.weights), precision, lifts)
        return lifts


class NoSearch:
    """All neurons, always."""

    name: SearchName = "dense"
    rebuilds = 0  # there is nothing to build
    drift = None

    def find(self, samples: NDArray[np.int64]) -> Lists | None:
        return None

    def move(self, touched: Ids) -> None:
        """Nothing is kept."""


def open_reach(samples: Samples, adversary: Adversary) -> Reach:
    return Reach(samples.longest, adversary.radius, adversary.is_euclidean)


def list_above(
    net: ShiftedNet,
    points: Floats,
    threshold: float,
    lifts: Floats | None = None,
    most: int | None = None,
    room: Ids | None = None,
) -> Lists | None:
    """Who is above the threshold at each of these points [n, d], by matrix products over all neurons; None where that
    comes to more than `most`. With lifts [m], whose score and lift together are. See `make_room` for the last."""
    lifts = np.zeros(net.width, net.weights.dtype) if lifts is None else lifts
    room = make_room(net, len(points)) if room is None else room
    blocks, total = [], 0
    for first in range(0, len(points), len(room)):
        counts = _fill_room(net, points[first : first + len(room)], threshold, lifts, room)
        total += int(counts.sum())
        if most is not None and total > most:
            return None
        blocks.append(join(counts, room))
    if len(blocks) == 1:
        return Lists(*blocks[0])
    counts = np.concatenate([np.diff(starts) for starts, _ in blocks])
    return Lists(np.concatenate([[0], np.cumsum(counts)]), np.concatenate([ids for _, ids in blocks]))


def make_room(net: ShiftedNet, points: int) -> Ids:
    """Where ids are put before it is known how many they are: to be kept, as fresh memory takes as long as the rest."""
    return np.empty((min(points, BLOCK_POINTS, ROOM_IDS // net.width), net.width + 1), np.int32)


def _fill_room(
    net: ShiftedNet, points: Floats, threshold: float, lifts: Floats, room: Ids
) -> NDArray[np.int64]:
    """Put into each point's row who is above the threshold there; returns how many [n]."""
    counts = np.zeros(len(points), np.int64)
    x, weights, biases = (torch.from_numpy(array) for array in (points, net.weights, net.biases))
    for first in range(0, net.width, CHUNK_NEURONS):
        rows = slice(first, first + CHUNK_NEURONS)
        scores = torch.addmm(biases[rows], x, weights[rows].T).numpy()
        append_above(scores, lifts[rows], net.weights.dtype.type(threshold), first, counts, room)
    return counts
