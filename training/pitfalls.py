"""What a job's owner may not have meant: problems that are solved at the start, collapse, or have no solution.

Source: the pitfalls of 2305.00660, 2307.02419 and 2303.16504; docs/objectives.md. What can only waste an escrow is
refused, what may be meant is said.
"""

from __future__ import annotations

import numpy as np

from training.exact.grids import DATA
from training.exact.scores import Function
from training.jobdata import CELL
from training.jobfile import JobFile
from training.objectives.registry import UPDATES_ALONE, get_objective
from training.section import JobFileError
from training.separation import count_near
from training.splits import Split, parse_dataset

ONE = 1 << DATA.f
FAR = 4.0  # of what pairs that are drawn come to
MOST_COMPARED = 4096  # samples, each with all others
NEAR_ONE = 1 / 64  # beside what rounding can add to the sum of a row


def check_pitfalls(job_file: JobFile) -> None:
    """Raise JobFileError for a function of scores that leaves nothing to train, or a rank that holds any tensor."""
    if job_file.objective in UPDATES_ALONE and not job_file.market.market_only:
        raise JobFileError(
            f"{job_file.path}: [market] market_only: true expected for {job_file.objective}, which is trained by"
            " updates alone; name a price and a round_budget, and leave out burn"
        )
    rank, smallest = job_file.get_param("rank"), min(job_file.get_param(name) for name in CELL)
    if rank and rank**2 > smallest:
        raise JobFileError(
            f"{job_file.path}: [objective] rank: {int(smallest**0.5)} or less expected, got {rank}: a row has rank^2"
            f" entries, and with more than the smallest size, {smallest}, the tensor is copied instead of approximated"
        )
    function, weight = job_file.get_param("function"), job_file.get_param("weight")
    if function == Function.EXP and not weight:
        raise JobFileError(
            f"{job_file.path}: [objective] weight: expected more than 0 where function is 'exp', got 0: without it all"
            " scores fall to the end of their range, where the loss is small and nothing was learnt; 0.1 is a beginning"
        )
    if function == Function.SINH and not job_file.parent:
        raise JobFileError(
            f"{job_file.path}: [objective] function: 'sinh' is for jobs with a parent: weights of 0 solve it, and new"
            " jobs start near 0; take 'cosh' or 'exp', or name the job whose weights to go on from"
        )


def list_pitfalls(job_file: JobFile, blob: bytes) -> list[str]:
    """What the owner of a job that was prepared should know of its training data."""
    objective = get_objective(job_file.objective, job_file.spec_params)
    train = parse_dataset(blob, objective.layout).train
    notes = []
    if objective.layout.rows is not None and job_file.objective in (
        "softmax_regression",
        "sequence_regression",
    ):
        notes += _note_sums(train)
    if job_file.objective in ("exponential_regression", "cycle_rank", "adversarial_relu"):
        notes += _note_contradictions(train)
    if job_file.objective == "cycle_rank":
        notes += _note_unseen(job_file, train)
    if job_file.objective == "adversarial_relu":
        notes += _note_reach(job_file, train)
    if job_file.objective == "kronecker_spectral":
        notes += _note_scale(job_file, train)
    if job_file.objective == "graph_network":
        notes += _note_alone(train)
    return notes


def _note_sums(train: Split) -> list[str]:
    sums = train.rows.sum(1, dtype=np.int64) / ONE
    rounding = train.rows.shape[1] / (2 * ONE)
    off = int((np.abs(sums - 1) > NEAR_ONE + rounding).sum())
    if not off:
        return []
    return [
        f"targets of {off:,} of {train.count:,} training samples do not sum to 1 (they sum to {sums.min():.3g} to"
        f" {sums.max():.3g}): no weights can reach them"
    ]


def _note_scale(job_file: JobFile, train: Split) -> list[str]:
    """Features that are no squares, or not those of pairs that were drawn to count once."""
    notes = []
    if (train.inputs < 0).any():
        notes.append(
            "some features are below 0, so they are no squares of what a pair finds: leave out subtract, and look at"
            " the data"
        )
    found = train.inputs.sum(1, dtype=np.int64).mean() / 2 ** job_file.get_param("scale")
    ratio = found / max(1.0, abs(float(train.rows.mean())))
    if not 1 / FAR < ratio < FAR:
        notes.append(
            f"with all pairs counted once the features come to {ratio:.3g} of the targets in the mean, usual is 1:"
            " compare [objective] scale with what the features were multiplied by"
        )
    return notes


def _note_unseen(job_file: JobFile, train: Split) -> list[str]:
    if not train.rows.any():
        return ["all values of the training samples are 0: weights of 0 solve that"]
    sizes = [job_file.get_param(name) for name in CELL]
    unseen = sum(size - len(np.unique(train.inputs[:, column])) for column, size in enumerate(sizes))
    if not unseen:
        return []
    return [
        f"{unseen:,} of {sum(sizes):,} ids are in no training sample: their rows stay as they are at the start"
    ]


def _note_alone(train: Split) -> list[str]:
    alone = int((~train.inputs.any(1)).sum())
    if not alone:
        return []
    return [
        f"{alone:,} of {train.count:,} training samples have only rows of zeros: a node without neighbours gets the"
        " same share of every class, whatever is trained"
    ]


def _note_contradictions(train: Split) -> list[str]:
    distinct, which = np.unique(train.inputs, axis=0, return_inverse=True)
    targets = train.rows[:, 0].astype(np.int64)
    highest, lowest = np.full(len(distinct), -(1 << 15)), np.full(len(distinct), 1 << 15)
    np.maximum.at(highest, which.reshape(-1), targets)
    np.minimum.at(lowest, which.reshape(-1), targets)
    against = int((highest > lowest).sum())
    if not against:
        return []
    return [
        f"{against:,} inputs occur with different targets among the training samples: they cannot be interpolated, the"
        " loss stays above 0"
    ]


def _note_reach(job_file: JobFile, train: Split) -> list[str]:
    reach = job_file.get_param("steps") * job_file.get_param("stride")
    looked = min(train.count, MOST_COMPARED)
    near = count_near(train.inputs[:looked], train.rows[:looked, 0], 2 * reach)
    if not near:
        return []
    return [
        f"the adversary reaches {reach / ONE:.3g} in every input, and {near:,} of {looked:,} training samples have one"
        " with another target within twice that: both can be moved to one point, where no weights are right for both"
    ]
