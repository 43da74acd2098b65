"""What private samples add to one update, from their file to the accounting that goes with the update.

In this order: read the file, take what is public (directions, clip, how long it will last), write the cost down, draw.
Refused before anything is written down: samples that do not fit, too little time, a budget that is spent. Whatever
happens afterwards, the cost stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.errors import PrivacyRefused
from training.exact.late import torch
from training.objectives.base import Objective
from training.per_sample import differentiate_each
from training.private.cost import DELTA_UNITS, PrivacyTerms, count_cost, find_noise
from training.private.gradients import PrivateSamples
from training.private.noise import SecretNoise
from training.private.update_budget import Account, identify_samples, spend_update
from training.samples import read_samples
from training.solvers.private import Frame, PrivateStep, take_private_steps
from training.splits import Split

if TYPE_CHECKING:
    from torch import Tensor

MOST_S = 30.0  # of private sums: they are rank 0's alone, and the other ranks of a group wait for 60 s


@dataclass(frozen=True, slots=True)
class Accounting:
    """What is public about the privacy of an update: docs/protocol.md, section 7.2, has the units."""

    data_id: bytes
    epsilon: int
    delta: int
    clip: int
    noise: int
    steps: int
    spent: int


class PrivateUpdate:
    """One update's private steps. `time_left` says how many seconds there are for them; `check` may raise.
    `noise` is for measurements that are to repeat: by default it is the system's, and a secret.

    Raises PrivacyRefused for terms that cannot be kept, BadInput for samples that do not fit.
    """

    def __init__(
        self,
        objective: Objective,
        public: Split,
        npz: bytes,
        terms: PrivacyTerms,
        directory: Path,
        rng: np.random.Generator,
        time_left: Callable[[], float],
        check: Callable[[], None] = lambda: None,
        noise: SecretNoise | None = None,
    ) -> None:
        self._objective, self._public = objective, public
        self._terms, self._noise, self._directory = terms, find_noise(terms), directory
        self._samples = read_samples(npz, objective.layout, public.keys)
        self._time_left, self._check = time_left, check
        own = PrivateSamples(objective, self._samples, noise or SecretNoise(), check)
        self._step = PrivateStep(objective, public, own, self._noise, rng)
        self.accounting: Accounting | None = None
        self.account: Account | None = None

    @property
    def warning(self) -> str:
        """What is wrong with the terms for these samples, without being refused."""
        if self._terms.delta * self._samples.count < DELTA_UNITS:
            return ""
        return (
            f"privacy: delta {self._terms.delta / DELTA_UNITS:g} is 1/{self._samples.count} or more, one sample's share"
            " of the file: a mechanism that tells all of one sample could keep that promise"
        )

    def refine(self, weights: Tensor) -> Tensor:
        """The weights after the private steps, in their precision and place. To be called once.

        Raises PrivacyRefused where the budget or the time does not allow it.
        """
        point = weights.detach().to("cpu", torch.float64)
        if not bool(torch.isfinite(point).all()):
            raise PrivacyRefused("privacy", "training diverged before the private samples came to it")
        next(
            differentiate_each(self._objective, self._public, point, np.zeros(1, np.int64))
        )  # loads torch.func
        begin_s = self._time_left()

        def announce(frame: Frame) -> None:
            self._check()
            public_s = begin_s - self._time_left()  # a sum takes no longer for each sample
            self._check_time(public_s * (1 + self._samples.count / self._step.looked_at))
            self._spend(frame.clip)

        return take_private_steps(self._step, point, self._terms.steps, announce).to(weights)

    def _check_time(self, step_s: float) -> None:
        needed_s, left_s = step_s * self._terms.steps, min(MOST_S, self._time_left())
        if needed_s > left_s:
            raise PrivacyRefused(
                "privacy",
                f"{self._terms.steps} steps with {self._samples.count} own samples take about {needed_s:.1f} s, and"
                f" there are {left_s:.1f} s for them: nothing was spent",
            )

    def _spend(self, clip: int) -> None:
        cost = count_cost(self._noise, self._terms.steps)
        try:
            data_id = identify_samples(self._directory, self._samples)
            account = spend_update(self._directory, data_id, cost, self._terms)
        except OSError as error:
            raise PrivacyRefused(
                "privacy", f"the budget in {self._directory} cannot be written: {error.strerror}"
            ) from error
        self.account = account
        self.accounting = Accounting(
            data_id, account.epsilon, account.delta, clip, self._noise, self._terms.steps, account.spent
        )
