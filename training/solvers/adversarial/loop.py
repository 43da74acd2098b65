"""Adversarial training of a wide net of shifted neurons, each step of which looks at few of them.

A step: the adversary moves each sample to a worse point in its ball; the net's loss there moves the weights of the
neurons that are active there, down its gradient at these points as they are. All but the few candidates of a sample
(search.py) are left alone by both. It is the same step as by all neurons, up to rounding.

Source: 2208.05395, algorithm 1; its oracle is projected gradient descent here, and its cost is counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.errors import ProblemRefused
from training.solvers.adversarial.dense import measure_sharpness
from training.solvers.adversarial.net import Floats, Precision, Shift, ShiftedNet, check_net, draw_net
from training.solvers.adversarial.problem import Adversary, Loss, Samples, open_samples
from training.solvers.adversarial.search import NoSearch, Search, SearchName, open_reach
from training.solvers.adversarial.skin import SkinSearch
from training.solvers.adversarial.step import Stepper
from training.solvers.adversarial.tree import TreeSearch

DIVERGED = 1e6  # times the first loss
RATE_SAMPLES = 256  # that curvature is measured at
CURVATURES: dict[Loss, float] = {"squared": 1.0, "logistic": 0.25}  # by the output, at the most


@dataclass(frozen=True, slots=True)
class Settings:
    """`rate` None: 1 / (the largest curvature of the loss by the weights), measured at the first step.
    `batch` None: all samples in every step. `skin` None: chosen by the drift; see skin.py.
    `overlap`: train although the adversary can win."""

    loss: Loss = "logistic"
    rate: float | None = None
    batch: int | None = None
    search: SearchName | None = None
    skin: float | None = None
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What a step saw and did; shares are of all pairs of a sample and a neuron, except `touched`, of all neurons.

    `loss` is the mean one at the worst points, before the weights moved; `resting` samples were those whose gradient
    was 0, so that the adversary left them where they are. `candidates` is 1 where all neurons were looked at.
    """

    number: int
    loss: float
    right: float  # share of the samples whose worst point has its target's sign
    active: float
    candidates: float
    touched: float
    resting: int
    search: SearchName  # by which it was done: "dense" too where lists were too long to pay
    is_fallback: bool
    rebuilds: int  # in this step
    drift: float | None  # of scores since the list was made, as a share of its skin; None where there is none
    seconds: dict[str, float] = field(default_factory=dict)  # search, attack, update, watch


@dataclass(frozen=True, slots=True)
class Trained:
    net: ShiftedNet
    rate: float
    steps: tuple[Step, ...]
    doubts: tuple[str, ...]


DEFAULT = Settings()


def train(
    inputs: ArrayLike,
    targets: ArrayLike,
    adversary: Adversary,
    *,
    steps: int,
    width: int = 1 << 16,
    seed: int = 1,
    shift: Shift = "relu",
    precision: Precision = "float32",
    settings: Settings = DEFAULT,
) -> Trained:
    """Draw a net of `width` neurons for inputs [n, d] and train it so many steps on targets [n].

    The logistic loss wants targets of -1 and 1; inputs should have length 1. Raises ProblemRefused.
    """
    shape = np.shape(inputs)
    if len(shape) != 2:
        raise ProblemRefused("inputs", f"shape n x d expected, {len(shape)} dimensions came")
    rng = np.random.default_rng(seed)
    net = draw_net(width, shape[1], rng, shift=shift, precision=precision)
    return train_net(net, inputs, targets, adversary, steps=steps, rng=rng, settings=settings)


def train_net(
    net: ShiftedNet,
    inputs: ArrayLike,
    targets: ArrayLike,
    adversary: Adversary,
    *,
    steps: int,
    rng: np.random.Generator,
    settings: Settings = DEFAULT,
) -> Trained:
    """Train this net in place; `rng` draws batches. Raises ProblemRefused."""
    if steps < 1:
        raise ProblemRefused("steps", f"a number from 1 expected, {steps} came")
    trainer = Trainer(net, inputs, targets, adversary, settings, rng)
    done = tuple(trainer.run(steps))
    return Trained(net, trainer.rate, done, trainer.samples.doubts)


class Trainer:
    """Steps of one net on one set of samples."""

    def __init__(
        self,
        net: ShiftedNet,
        inputs: ArrayLike,
        targets: ArrayLike,
        adversary: Adversary,
        settings: Settings,
        rng: np.random.Generator,
    ) -> None:
        check_net(net)
        self.samples = open_samples(
            inputs, targets, settings.loss, adversary, net.weights.dtype, settings.overlap
        )
        if self.samples.inputs.shape[1] != net.weights.shape[1]:
            raise ProblemRefused(
                "inputs",
                f"{net.weights.shape[1]} numbers in a sample expected, {self.samples.inputs.shape[1]} came",
            )
        self._rate = _check_settings(settings, len(self.samples.inputs))
        self.search = open_search(settings, net, self.samples, adversary)
        self._net, self._settings, self._rng = net, settings, rng
        self._stepper = Stepper(net, adversary.open_kernel(settings.loss))
        self._number, self._first_loss = 0, math.inf

    @property
    def rate(self) -> float:
        """0 before a first step that is to choose it."""
        return self._rate or 0.0

    def run(self, steps: int) -> Iterator[Step]:
        """Take so many steps. Raises ProblemRefused where the loss runs away."""
        for _ in range(steps):
            yield self.take_step()

    def take_step(self) -> Step:
        """One step. Raises ProblemRefused where the loss has run away, before it moves anything."""
        clock, rebuilds = Clock(), self.search.rebuilds
        chosen = self._draw()
        y = self.samples.targets[chosen]
        lists = self.search.find(chosen)
        clock.stop("search")
        seen = self._stepper.attack(self.samples.inputs[chosen], y, lists)
        clock.stop("attack")
        self._number += 1
        loss = self._check_loss(float(seen.worst.losses.mean()))
        if self._rate is None:
            self._rate = self._choose_rate(seen.worst.points)
        touched = self._stepper.update(seen, -self._rate / len(y))
        clock.stop("update")
        self.search.move(touched)
        clock.stop("watch")
        pairs, is_dense = len(y) * self._net.width, lists is None
        return Step(
            number=self._number,
            loss=loss,
            right=float((np.sign(seen.worst.outputs) == np.sign(y)).mean()),
            active=seen.active / pairs,
            candidates=1.0 if lists is None else len(lists.ids) / pairs,
            touched=len(touched) / self._net.width,
            resting=int(seen.worst.resting[0]),
            search="dense" if is_dense else self.search.name,
            is_fallback=is_dense and self.search.name != "dense",
            rebuilds=self.search.rebuilds - rebuilds,
            drift=None if is_dense else self.search.drift,
            seconds=clock.seconds,
        )

    def _draw(self) -> NDArray[np.int64]:
        count = len(self.samples.inputs)
        batch = self._settings.batch
        if batch is None or batch == count:
            return np.arange(count)
        return np.sort(self._rng.choice(count, batch, replace=False))

    def _choose_rate(self, points: Floats) -> float:
        """As far as a step may go along the loss's sharpest direction at these points [n, d], if slopes stay."""
        picked = points[np.linspace(0, len(points) - 1, min(len(points), RATE_SAMPLES)).astype(np.int64)]
        sharpest = measure_sharpness(self._net, picked) * CURVATURES[self._settings.loss]
        return 1.0 / sharpest if sharpest > 0 else 1.0

    def _check_loss(self, loss: float) -> float:
        if self._first_loss == math.inf:
            self._first_loss = loss
        if not loss <= DIVERGED * max(self._first_loss, 1.0):
            rate = "its default" if self._rate is None else f"{self._rate:.3g}"
            raise ProblemRefused(
                "rate",
                f"one smaller than {rate} expected: the loss ran from {self._first_loss:.3g} to {loss:.3g}",
            )
        return loss


class Clock:
    """Seconds from one stop to the next, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def stop(self, name: str) -> None:
        now_s = time.perf_counter()
        self.seconds[name] = now_s - self._last_s
        self._last_s = now_s


def open_search(settings: Settings, net: ShiftedNet, samples: Samples, adversary: Adversary) -> Search:
    """The backend that is asked for: without a name a list with a skin, which was faster in all dimensions."""
    reach = open_reach(samples, adversary)
    makers: dict[SearchName | None, Callable[[], Search]] = {
        None: lambda: SkinSearch(net, samples.inputs, reach, settings.skin),
        "skin": lambda: SkinSearch(net, samples.inputs, reach, settings.skin),
        "tree": lambda: TreeSearch(net, samples.inputs, reach),
        "dense": NoSearch,
    }
    if settings.search not in makers:
        raise ProblemRefused("search", f"'skin', 'tree' or 'dense' expected, {settings.search!r} came")
    return makers[settings.search]()


def _check_settings(settings: Settings, samples: int) -> float | None:
    """The rate. Raises ProblemRefused."""
    rate, batch, skin = settings.rate, settings.batch, settings.skin
    if rate is not None and not 0 < rate < math.inf:
        raise ProblemRefused("rate", f"a finite number above 0 expected, {rate} came")
    if batch is not None and not 1 <= batch <= samples:
        raise ProblemRefused("batch", f"1 .. {samples} samples expected, {batch} came")
    if skin is not None and not 0 <= skin < math.inf:
        raise ProblemRefused("skin", f"a finite number from 0 expected, {skin} came")
    return rate
