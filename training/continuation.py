"""Where a job begins that continues another: the weights that its parent ended with, which must fit its model.

Source: docs/protocol.md, section 4; docs/job-files.md.
"""

from dataclasses import dataclass

from training.hashing import compute_cid
from training.jobfile import JobFile
from training.objective_params import OBJECTIVES, ChoiceParam
from training.section import JobFileError

SHOWN_DIGITS = 10  # of a job's id


@dataclass(frozen=True, slots=True)
class Start:
    """A job that has ended, as its chain knows it: id, model, and final weights as little-endian int64."""

    job_id: bytes
    objective: str
    params: tuple[int, ...]
    weights: bytes

    @property
    def weights_cid(self) -> bytes:
        """The CID that the spec of a job that continues this one names."""
        return compute_cid(self.weights)


def check_start(job_file: JobFile, start: Start | None) -> None:
    """Raise JobFileError unless the weights are of the job file's model, and there wherever it names a parent."""
    if start is None:
        if job_file.parent:
            raise JobFileError(
                f"{job_file.path}: parent: the weights of job {job_file.parent} are needed; only a node has them"
            )
        return
    parent = start.job_id.hex()[:SHOWN_DIGITS]
    if job_file.objective != start.objective:
        raise _misfit(job_file, "name", parent, repr(start.objective), repr(job_file.objective))
    shape = OBJECTIVES[job_file.objective]
    known = start.params + (0,) * (len(shape.params) - len(start.params))  # optional ones are left out
    for param, (name, came), expected in zip(shape.params, job_file.params, known, strict=True):
        if came != expected:
            show = (lambda i, words=param.words: repr(words[i])) if isinstance(param, ChoiceParam) else str
            raise _misfit(job_file, name, parent, show(expected), show(came))


def _misfit(job_file: JobFile, key: str, parent: str, expected: str, came: str) -> JobFileError:
    return JobFileError(
        f"{job_file.path}: [objective] {key}: expected {expected} as in job {parent}, which it continues, got {came};"
        " weights fit the model that they were trained for only"
    )
