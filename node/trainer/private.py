"""Trainings on samples whose privacy is to be kept: such an update is made privately, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from node.trainer.requests import TrainRequest
from node.worker.wire import Frame

if TYPE_CHECKING:
    from training.local import LocalWork
    from training.private.update import PrivateUpdate

PUBLIC_SHARE = 0.5  # of the time, for public training, which comes first


class SamplesRefused(Exception):
    """The own samples allow no update; the message says why, for the operator."""


def open_private(
    request: TrainRequest,
    work: LocalWork,
    npz: bytes,
    deadline_s: float,
    check: Callable[[], None],
) -> PrivateUpdate:
    """The private part of an update. BadInput or PrivacyRefused for samples or terms that are of no use."""
    import numpy as np

    from training.private.cost import PrivacyTerms
    from training.private.update import PrivateUpdate

    return PrivateUpdate(
        work.objective,
        work.train,
        npz,
        PrivacyTerms(*request.privacy),
        Path(request.privacy_path),
        np.random.default_rng(int.from_bytes(request.seed, "big")),
        lambda: deadline_s - time.monotonic(),
        check,
    )


def describe_private(private: PrivateUpdate | None) -> Frame:
    """The last two values of a Trained: the accounting, and the budget in words."""
    if private is None or private.accounting is None or private.account is None:
        return [[], ""]
    return [list(astuple(private.accounting)), private.account.describe()]
