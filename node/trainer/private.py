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


def check_not_promised(request: TrainRequest, work: LocalWork, npz: bytes) -> None:
    """PrivacyRefused for samples that a node with other settings promised privacy; BadInput for what does not fit."""
    from training.errors import PrivacyRefused
    from training.private.update_budget import has_budget
    from training.samples import read_samples

    directory = Path(request.privacy_path)
    if not request.privacy_path or not directory.is_dir():
        return
    if has_budget(directory, read_samples(npz, work.objective.layout, work.train.keys)):
        raise PrivacyRefused(
            "privacy",
            "these samples were promised privacy, and no terms are set now: set `privacy` again, or leave them out",
        )


def describe_private(private: PrivateUpdate | None) -> Frame:
    """The last two values of a Trained: the accounting, and the budget in words."""
    if private is None or private.accounting is None or private.account is None:
        return [[], ""]
    return [list(astuple(private.accounting)), private.account.describe()]
