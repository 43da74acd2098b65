"""The files of a job's secret evaluation split: its owner's, in the data directory, before the job is sent.

Without them the job's commitment is worth nothing: salts are made once and kept nowhere else. Source: docs/api.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from node.datadir import write_private
from node.rpc.problems import ApiProblem
from node.rpc.views import Json
from node.worker.client import PreparedReply

FOLDER = "evaluation"


def get_folder(data_dir: Path, job: PreparedReply) -> Path:
    """Return where the files of a job's tranches belong: a folder for each split, whatever job it is of."""
    return data_dir / FOLDER / job.spec.evaluation.hex()


def save_tranches(folder: Path, tranches: Sequence[bytes]) -> None:
    """Write a file for each tranche, readable by nobody else; ApiProblem if the disk does not take them."""
    made = False
    try:
        folder.mkdir(parents=True, mode=0o700)
        made = True
        for number, tranche in enumerate(tranches, 1):
            write_private(folder / f"tranche-{number}.gct", tranche)
    except OSError as error:
        if made:  # what was there before is not ours to remove: salts are kept nowhere else
            drop_tranches(folder)
        raise ApiProblem(
            "disk",
            f"{folder}: the evaluation split cannot be written: {error.strerror or error}; nothing was sent",
            "make room on the node's disk, or mend the permissions of its data directory",
        ) from error


def drop_tranches(folder: Path) -> None:
    """Remove the files of a job that was not sent."""
    shutil.rmtree(folder, ignore_errors=True)


def show_evaluation(job: PreparedReply, folder: Path) -> Json | None:
    """Return what the job commits to and where its files are, None without an evaluation split."""
    if not job.tranches:
        return None
    return {"samples": job.evaluation, "tranches": len(job.tranches), "folder": str(folder)}
