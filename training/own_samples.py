"""Put samples of a miner's own on a job's grid, as the job's were: a file for `gradientcoin run --samples JOB=FILE`.

`python -m training.own_samples JOB.toml DATA -o samples.npz` takes the owner's job file with its data, which say what
is subtracted and divided by, and a data file of the miner's with the same arrays or columns.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.errors import TrainingError
from training.exact.grids import DATA
from training.jobdata import StoredArray, load_samples, store_targets
from training.jobs import PreparedJob, load_job_file, prepare
from training.quantise import Loss, clip_units, round_values
from training.scaling import SIDECAR_LIMIT
from training.splits import Shorts


def encode_samples(prepared: PreparedJob, data: Path) -> tuple[bytes, int, Loss]:
    """The npz of all samples in a data file, how many they are, and what rounding and clipping cost the inputs.

    Raises TrainingError for a file that the job could not have been made of.
    """
    job_file = replace(prepared.file, data=replace(prepared.file.data, file=data))
    arrays = load_samples(job_file)
    how, values = job_file.data.inputs.normalisation, arrays["inputs"]
    rounded = round_values(values, how, prepared.input_standard)
    units, outside = clip_units(rounded.units - prepared.input_offset, how.fraction_bits)
    inputs = StoredArray(units, how.fraction_bits)
    if job_file.data.inputs.constant:
        inputs = inputs.add_constant()
    targets = store_targets(job_file, arrays["targets"], list(range(len(values))), {})
    file = io.BytesIO()
    np.savez_compressed(file, inputs=_to_data_units(inputs), targets=_to_targets(prepared, targets))
    loss = Loss(rounded.error, int((outside | rounded.beyond).sum()), units.size)
    return file.getvalue(), len(values), loss


def _to_targets(prepared: PreparedJob, targets: StoredArray) -> Shorts:
    return targets.units.astype(np.int16) if prepared.file.get_param("targets") else _to_data_units(targets)


def _to_data_units(array: StoredArray) -> Shorts:
    units: Shorts = (array.units << (DATA.f - array.fraction_bits)).astype(np.int16)
    return units


def main() -> int:
    """Put samples of your own on a job's grid."""
    parser = argparse.ArgumentParser(prog="python -m training.own_samples", description=main.__doc__)
    parser.add_argument("job_file", type=Path, help="the owner's, with its data beside it")
    parser.add_argument("data", type=Path, help="your samples: a file as the job's own data file is")
    parser.add_argument("-o", "--output", type=Path, default=Path("samples.npz"))
    options = parser.parse_args()
    try:
        prepared = prepare(load_job_file(options.job_file), SIDECAR_LIMIT)
        npz, count, loss = encode_samples(prepared, options.data)
        options.output.write_bytes(npz)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"error: {options.output}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    clipped = f"{loss.clipped} of {loss.values} values clipped"
    print(f"{options.output}: {count} samples for {prepared.spec.title!r}; {clipped}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
