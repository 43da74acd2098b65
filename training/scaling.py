"""Tell how a job's inputs were put on the chain's grid, so that its checkpoint can be used on new data.

`python -m training.scaling JOB.toml -o scaling.json` computes it anew from the job file and its data.
"""

import argparse
import base64
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.data import describe_names
from training.errors import TrainingError
from training.jobs import PreparedJob, load_job_file, prepare
from training.quantise import get_stored_limit

SIDECAR_LIMIT = 1 << 28  # bytes: whether a chain carries the job is asked when it is submitted
Json = dict[str, object]


def describe_scaling(prepared: PreparedJob) -> Json:
    """What turns a row of the data file into inputs of the model, and which rows were whose.

    `subtract` and `divide` have one number for each feature, in row-major order. `steps` is the order of operations:
    `round` is to a multiple of 2^-fraction_bits, ties to even, `clip` to -largest .. largest,
    `constant` puts a 1 after the features of every sample; `shape` is a sample's before it.
    """
    source = prepared.file.data.inputs
    how, standard = source.normalisation, prepared.input_standard
    step = 2.0**-how.fraction_bits
    subtract = prepared.input_offset * step if standard is None else standard.mean
    divide = np.ones(subtract.shape) if standard is None else standard.deviation
    last = ["round", "subtract"] if standard is None else ["subtract", "divide", "round"]
    added = ["constant"] if source.constant else []
    return {
        "job": prepared.file.title,
        "file_sha256": hashlib.sha256(prepared.file.data.file.read_bytes()).hexdigest(),
        "data_cid": _write_cid(prepared.spec.data_cid),
        "inputs": list(source.names),
        "targets": list(prepared.file.data.targets.names),
        "shape": list(subtract.shape),
        "steps": ["multiply", *last, "clip", *added],
        "multiply": how.multiply,
        "subtract": subtract.ravel().tolist(),
        "divide": divide.ravel().tolist(),
        "fraction_bits": how.fraction_bits,
        "largest": get_stored_limit(how.fraction_bits) * step,
        "rows": {
            "train": prepared.parts.train,
            "judge": prepared.parts.judge,
            "holdout": prepared.parts.holdout,
        },
    }


def _write_json(values: Json) -> str:
    """One line for each key."""
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    return f"{{\n{lines}\n}}\n"


def _write_cid(cid: bytes) -> str:
    """The text of a CID as the chain shows it."""
    return "b" + base64.b32encode(cid).decode().rstrip("=").lower()


def main() -> int:
    """Write a job's scaling as JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.scaling", description=main.__doc__)
    parser.add_argument("job_file", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("scaling.json"))
    options = parser.parse_args()
    try:
        job_file = replace(load_job_file(options.job_file), parent="")  # its data are the same without one
        prepared = prepare(job_file, SIDECAR_LIMIT)
        options.output.write_text(_write_json(describe_scaling(prepared)))
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"error: {options.output}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    loss = prepared.report["inputs"]
    print(
        f"{options.output}: {describe_names(prepared.file.data.inputs.names)}; rounded by at most"
        f" {loss.max_rounding_error:.2g}, {loss.clipped} of {loss.values} values clipped"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
