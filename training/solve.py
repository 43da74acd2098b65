"""What a job can reach, told line by line: `python -m training.solve JOB.toml`, the work behind `job solve`.

Prints a JSON line for every step, and then one with everything; a refusal is a line with `error`. docs/api.md has none
of it: its reader is the command line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from training.checkpoint import get_checkpoint_limit, read_checkpoint
from training.continuation import Start
from training.engine import Engine, Task
from training.errors import CheckpointRefused, TrainingError
from training.exact.fused.cache import is_compiled
from training.exact.late import torch
from training.holdout import HoldoutScore, score_holdout
from training.jobfile import LOSS_BITS, JobFile, load_job_file
from training.jobs import JobFileError, PreparedJob, make_task, prepare
from training.native import Precision
from training.pitfalls import list_pitfalls
from training.reach import TOLERANCES, Judged, Reached, Settings, SolverName, solve
from training.scaling import SIDECAR_LIMIT
from training.solvers.auto import MOST_DENSE
from training.solvers.outcome import Outcome

Json = dict[str, object]
BAD_FILE, BAD_USAGE = 3, 2
MOST_SECONDS = 3600  # that the command line lets one ask for
JOB_ID = bytes(32)  # of a parent that is not known here: its weights are all that counts


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a search: its job, its settings and bound, how long it took, and what it came to."""

    prepared: PreparedJob
    settings: Settings
    bound_s: int
    seconds: float
    reached: Reached
    engine: Engine
    path: Literal["fused", "portable"]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        return run(options)
    except TrainingError as error:
        return refuse(str(error), BAD_FILE)
    except OSError as error:
        return refuse(f"{error.filename}: cannot be read: {error.strerror}", BAD_FILE)
    except ValueError as error:
        return refuse(str(error), BAD_USAGE)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.solve", description=__doc__)
    parser.add_argument("job_file", type=Path)
    parser.add_argument("--solver", choices=get_args(SolverName), default="auto")
    parser.add_argument("--precision", choices=get_args(Precision), default="float64")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, help="Weights to begin at.")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    settings = Settings(options.solver, options.precision, options.starts, options.seed)
    job_file = load_job_file(options.job_file)
    prepared = load_job(job_file, options.checkpoint)
    _check_size(prepared, settings)
    path: Literal["fused", "portable"] = "fused" if is_compiled() else "portable"
    engine = Engine(lambda cid: prepared.blob, path)
    # Loads kernels, which is not searching.
    engine.score_judging(make_task(prepared.spec), prepared.facts.weights)
    torch.get_num_threads()  # imports it, which is no searching either
    begin = time.monotonic()
    reached = solve(
        prepared, engine, settings, lambda: (time.monotonic() - begin) / options.seconds, report_point
    )
    told = Told(prepared, settings, options.seconds, time.monotonic() - begin, reached, engine, path)
    print_line(describe(told))
    return 0


def load_job(job_file: JobFile, checkpoint: Path | None) -> PreparedJob:
    """Prepare a job as its submission would be, with a checkpoint's weights in the place of its initial or parent's."""
    if checkpoint is None:
        return prepare(job_file, SIDECAR_LIMIT)
    # A model, and nothing to do.
    task = Task(job_file.objective, job_file.spec_params, b"", 0, b"", 0, 0, (), 0)
    with checkpoint.open("rb") as file:
        data = file.read(get_checkpoint_limit(task) + 1)
    try:
        weights = read_checkpoint(task, data)
    except CheckpointRefused as error:
        raise JobFileError(f"{checkpoint}: {error}") from None
    return prepare(job_file, SIDECAR_LIMIT, Start(JOB_ID, job_file.objective, job_file.spec_params, weights))


def _check_size(prepared: PreparedJob, settings: Settings) -> None:
    size = prepared.facts.parameter_count
    if settings.solver == "newton" and size > MOST_DENSE:
        raise ValueError(
            f"--solver newton: at most {MOST_DENSE:,} parameters expected, this job has {size:,}; take steihaug"
        )


def report_point(judged: Judged) -> None:
    print_line(
        {
            "start": judged.start + 1,
            "step": judged.steps,
            "training_loss": judged.training_loss,
            "loss": judged.loss,
        }
    )


def print_line(line: Json) -> None:
    print(json.dumps(line), flush=True)


def refuse(message: str, code: int) -> int:
    print_line({"error": message, "exit_code": code})
    return code


def describe(told: Told) -> Json:
    """Everything about a search, as JSON: losses are in the units of target_loss."""
    prepared, reached = told.prepared, told.reached
    target = prepared.spec.target * 2.0**-LOSS_BITS
    suggested = reached.suggest_target()
    return {
        "title": prepared.file.title,
        "objective": prepared.file.objective,
        "parameters": prepared.facts.parameter_count,
        "train": prepared.facts.train_count,
        "judge": prepared.facts.judge_count,
        "holdout": len(prepared.parts.holdout),
        "solver": reached.choice.method.value if reached.choice else "sampled",
        "reason": reached.reason,
        "precision": told.settings.precision,
        "starts": told.settings.starts,
        "steps": reached.solution.steps,
        "seconds": round(told.seconds, 3),
        "outcome": reached.outcome.value,
        "explanation": explain_outcome(told),
        "gradient": reached.gradient,
        "at_limit": reached.at_limit,
        "initial": describe_point(told, reached.initial),
        "lowest": describe_point(told, reached.lowest),
        "solution": describe_point(told, reached.solution),
        "target_loss": target or None,
        "reached": not reached.is_empty and reached.lowest.loss <= target if target else None,
        "suggested": suggested,
        "notes": list_pitfalls(prepared.file, prepared.blob),
    }


def describe_point(told: Told, judged: Judged) -> Json:
    score = told.engine.score_judging(make_task(told.prepared.spec), judged.weights)
    held = _score_holdout(told, judged)
    return {
        "start": judged.start + 1,
        "step": judged.steps,
        "training_loss": judged.training_loss,
        "loss": judged.loss,
        "accuracy": None if score.right is None else score.right / score.count,
        "holdout_loss": held and held.mean_loss,
        "holdout_accuracy": held and held.accuracy,
    }


def _score_holdout(told: Told, judged: Judged) -> HoldoutScore | None:
    if not told.prepared.parts.holdout:
        return None
    return score_holdout(told.prepared, judged.weights, told.path)


def explain_outcome(told: Told) -> str:
    """A sentence, with what to do about it where there is something."""
    reached, settings = told.reached, told.settings
    return {
        Outcome.CONVERGED: f"the gradient fell below {TOLERANCES[settings.precision]:g} of that at the start: an"
        " optimum of the training loss",
        Outcome.STATIONARY_START: "the initial weights are a stationary point, no step from there lowers the loss: an"
        " optimum or a saddle; try another seed, or --starts 4",
        Outcome.COLLAPSED: "the loss fell only because all scores ran to where their function is next to nothing,"
        " whatever the targets: nothing was learnt; set or raise weight",
        Outcome.STALLED: f"no step lowers the loss or the gradient any further in {settings.precision}",
        Outcome.BUDGET: f"reached the limit of {settings.steps} steps; {explain_end(told)}",
        Outcome.TIME: f"the time of {told.bound_s} s was over; {explain_end(told)}",
    }[reached.outcome]


def explain_end(told: Told) -> str:
    """Whether going on would have been of use, where a search was cut off."""
    lowest, solution = told.reached.lowest, told.reached.solution
    if lowest.start == solution.start and lowest.steps <= solution.steps - 1:
        return (
            "the training loss was still falling, but the judging loss is lowest at step"
            f" {lowest.steps:g}: going on would not help"
        )
    if told.reached.outcome is Outcome.TIME and told.bound_s < MOST_SECONDS:
        return f"the loss was still falling: try --seconds {min(MOST_SECONDS, 4 * told.bound_s)}"
    return "the loss was still falling"


if __name__ == "__main__":
    sys.exit(main())
