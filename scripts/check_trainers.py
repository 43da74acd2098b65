"""One update by every kind of trainers this machine can run, side by side, as JSON: for a machine with a GPU.

    scripts/check_trainers.py [--large] [--updates N]

One rank on the processor, two over gloo, one on the first GPU alone and as an NCCL group of one, and, with two GPUs, an
NCCL group of two. The losses must agree to a part in a thousand, or the exit code is 1. What needs a GPU that is not
there is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from trainer_jobs import TrainerJob, draw_job, make_job, make_softmax

from ledger.errors import LedgerError
from node.trainer.client import TrainingRefused
from node.trainer.ranks import MEETING

LARGE, SAMPLES = make_softmax(1024, 1024), 400  # the largest model there is: a million parameters
AGREE = 1e-3  # of the loss before


@dataclass(frozen=True, slots=True)
class Kind:
    """How many ranks on what; `group` makes a process group of one rank, too."""

    name: str
    ranks: int
    device: str
    gpus: int = 0
    group: bool = False


KINDS = (
    Kind("1 rank, cpu", 1, "cpu"),
    Kind("2 ranks, gloo", 2, "cpu"),
    Kind("1 rank, cuda", 1, "cuda", gpus=1),
    Kind("1 rank, nccl", 1, "cuda", gpus=1, group=True),
    Kind("2 ranks, nccl", 2, "cuda", gpus=2),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/check_trainers.py", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument(
        "--large", action="store_true", help="a drawn job of a million parameters, not the digits"
    )
    parser.add_argument("--updates", type=int, default=5, help="timed, after a first one (5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gradientcoin-check-") as folder:
        path = Path(folder)
        job = draw_job(path, LARGE, SAMPLES, seed=1) if options.large else make_job(path)
        found = [check(job, kind, options.updates) for kind in KINDS]
        if any("error" in run for run in found):
            print((path / "trainer.log").read_text(), file=sys.stderr)
    agree = all_agree(found)
    print(
        json.dumps(
            {"machine": describe(), "parameters": job.parameters, "runs": found, "agree": agree}, indent=1
        )
    )
    return 0 if agree else 1


def check(job: TrainerJob, kind: Kind, updates: int) -> dict[str, Any]:  # Any: JSON
    """Losses and seconds of one kind, or why it cannot be."""
    gpus = torch.cuda.device_count()
    if gpus < kind.gpus:
        return {"kind": kind.name, "left_out": f"needs {kind.gpus} GPU, torch sees {gpus}"}
    try:
        with in_group(job.folder, kind.group), job.open_client(kind.ranks, kind.device) as client:
            trained, first_s = job.train(client)
            seconds = sorted(job.train(client)[1] for _ in range(updates))
    except (LedgerError, TrainingRefused) as error:
        return {"kind": kind.name, "error": str(error)}
    return {
        "kind": kind.name,
        "loss_before": trained.loss_before,
        "loss_after": trained.loss_after,
        "steps": trained.steps,
        "first_s": round(first_s, 3),
        "seconds": round(seconds[len(seconds) // 2], 4),
    }


@contextmanager
def in_group(folder: Path, wanted: bool) -> Iterator[None]:
    """Let a trainer find itself in a group of one."""
    meeting = str(folder / "alone.meeting")
    with patch.dict(os.environ, {"RANK": "0", "WORLD_SIZE": "1", MEETING: meeting} if wanted else {}):
        yield


def all_agree(found: list[dict[str, Any]]) -> bool:  # Any: JSON
    """Whether all that ran lower the loss alike."""
    first = found[0]
    for run in found:
        if "left_out" in run:
            continue
        if "error" in run or not run["loss_after"] < run["loss_before"]:
            return False
        if any(
            abs(run[key] - first[key]) > AGREE * first["loss_before"] for key in ("loss_before", "loss_after")
        ):
            return False
    return True


def describe() -> dict[str, Any]:  # Any: JSON
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"torch": torch.__version__, "cpus": os.cpu_count(), "gpus": gpus}


if __name__ == "__main__":
    sys.exit(main())
