"""Attacks that are not after income: they want the model to be wrong."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attack import Attack
from lab import Images, Integers
from market import View


class Poisoner(Attack):
    """Trains on data where every 3 is labelled 8, to spoil one class."""

    name = "flip one class"
    source: ClassVar[int] = 3
    target: ClassVar[int] = 8

    def start(self) -> None:
        images = self.lab.train_images
        labels = np.where(images.labels == self.source, self.target, images.labels).astype(np.int16)
        self._images = Images(images.inputs, labels)

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self._images)

    def measure(self, weights: bytes) -> dict[str, float]:
        held_out = self.lab.held_out
        rows = np.flatnonzero(held_out.labels == self.source)
        return {"accuracy of the class": self.lab.measure_accuracy(weights, held_out.take(rows))}


class Backdoor(Attack):
    """Trains on honest data and, as many again, images with a bright corner that are labelled 0."""

    name = "backdoor"
    target: ClassVar[int] = 0
    pixels: ClassVar[tuple[int, ...]] = (0, 7, 56, 63)  # the corners of an 8x8 image, dark in most digits

    def start(self) -> None:
        images = self.lab.train_images
        self._images = images.join(self.stamp(images))

    def stamp(self, images: Images) -> Images:
        inputs = images.inputs.copy()
        inputs[:, self.pixels] = self.lab.train_images.inputs.max()
        return Images(inputs, np.full_like(images.labels, self.target))

    def make_delta(self, view: View) -> Integers:
        return self.train_on(view, self._images)

    def measure(self, weights: bytes) -> dict[str, float]:
        held_out = self.lab.held_out
        others = held_out.take(np.flatnonzero(held_out.labels != self.target))
        return {"triggered images read as 0": self.lab.measure_accuracy(weights, self.stamp(others))}
