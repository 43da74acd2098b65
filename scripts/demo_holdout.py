"""The samples that no node ever saw, as POST /v1/jobs/{id}/accuracy takes them."""

import base64
import io
from pathlib import Path

import numpy as np

from training.exact.grids import DATA
from training.jobfile import load_job_file
from training.jobs import prepare

MAX_SIDECAR_BYTES = 1 << 20  # only the held-out samples are taken from the job prepared here


def make_held_out(job_file: Path) -> str:
    """A job file's held-out samples: npz in base64, the inputs on the data grid."""
    prepared = prepare(load_job_file(job_file), MAX_SIDECAR_BYTES)
    inputs, labels = prepared.holdout_inputs, prepared.holdout_targets
    file = io.BytesIO()
    np.savez(file, inputs=inputs.units << (DATA.f - inputs.fraction_bits), labels=labels.units)
    return base64.b64encode(file.getvalue()).decode()
