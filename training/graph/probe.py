"""How many slices to cut features into: found out at work, as the result is the same bit for bit.

Time is that of the processor, all threads together: what others do on the machine counts little.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CHOICES = (1, 2, 4, 8, 16)
RUNS = 3  # of each
NARROWEST = 16  # columns of a slice: a cache line of float32


@dataclass(slots=True)
class Probe:
    """The first runs take each choice in turn, all later ones the fastest."""

    width: int  # columns
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for slices in CHOICES:
            if slices == 1 or slices * NARROWEST <= self.width:
                self.seconds[slices] = []

    @property
    def is_over(self) -> bool:
        return len(self.seconds) == 1 or all(len(taken) >= RUNS for taken in self.seconds.values())

    @property
    def chosen(self) -> int:
        """Of what is known so far. One slice, unless all runs of another choice were faster than all of its own."""
        least = min(self.seconds[1], default=0.0)
        faster = {slices: taken for slices, taken in self.seconds.items() if taken and max(taken) < least}
        return min(faster, key=lambda slices: sum(faster[slices]) / len(faster[slices]), default=1)

    @contextmanager
    def run(self) -> Iterator[int]:
        """Do something with this many slices, and take its time."""
        if self.is_over:
            yield self.chosen
            return
        slices = min(self.seconds, key=lambda choice: (len(self.seconds[choice]), choice))
        begin_s = time.process_time()
        yield slices
        self.seconds[slices].append(time.process_time() - begin_s)


def cut(width: int, slices: int) -> list[int]:
    """Where slices of `width` columns begin, and the end: whole cache lines each, as far as they go."""
    lines = -(-width // NARROWEST)
    return sorted(
        {min(width, NARROWEST * (lines * part // slices)) for part in range(slices + 1)} | {0, width}
    )
