"""Try a job's local rule before money is spent on it: do tickets at the initial weights lower their loss?"""

from dataclasses import replace
from fractions import Fraction
from typing import Literal

from training.engine import Engine, Run
from training.hashing import compute_tagged_hash
from training.jobs import PreparedJob, make_task
from training.rates import Rate, convert_rate, get_rate
from training.section import JobFileError

TRIALS = 4  # seeds that must all give a valid ticket
MAX_HALVINGS = 20


def tune_rates(prepared: PreparedJob, path: Literal["fused", "portable"] = "fused") -> list[Run]:
    """Run tickets at the initial weights with the job's rates, and return them if all are valid.

    Otherwise halve all rates until they are, and raise JobFileError naming the learning_rate that works.
    """
    engine = Engine(lambda cid: prepared.blob, path=path)
    for halvings in range(MAX_HALVINGS):
        scale = Fraction(1, 2**halvings)
        rates = _scale_rates(prepared, scale)
        if rates is None:
            break
        runs = _try_rates(engine, prepared, rates)
        if runs is not None and halvings == 0:
            return runs
        if runs is not None:
            raise JobFileError(
                f"{prepared.file.path}: [rule] learning_rate: too high: tickets at the initial weights do not lower"
                f" their loss; {_describe_rates(prepared, scale)} is the largest of its halves that works,"
                " and half of that is safer later in training"
            )
    raise JobFileError(
        f"{prepared.file.path}: [rule] learning_rate: no rate makes a ticket lower its loss at the initial weights;"
        " look at the scale of inputs and targets, and whether the targets can be learned from the inputs at all"
    )


def _scale_rates(prepared: PreparedJob, scale: Fraction) -> tuple[Rate, ...] | None:
    """The spec's own rates scaled, or None where they leave what a pair can say."""
    try:
        return tuple(convert_rate(get_rate(pair) * scale) for pair in prepared.spec.rates)
    except ValueError:
        return None


def _try_rates(engine: Engine, prepared: PreparedJob, rates: tuple[Rate, ...]) -> list[Run] | None:
    """The trial runs, or None as soon as one of them is not valid."""
    task = replace(make_task(prepared.spec), rates=rates)
    runs = []
    for trial in range(TRIALS):
        run = engine.run(
            task, prepared.facts.weights, compute_tagged_hash("gc/job-file/trial", bytes([trial]))
        )
        if run.after >= run.before:
            return None
        runs.append(run)
    return runs


def _describe_rates(prepared: PreparedJob, scale: Fraction) -> str:
    """The scaled rates as the file would say them."""
    values = [f"{float(rate * scale):.6g}" for rate in prepared.file.rule.learning_rates]
    names = prepared.file.tensors
    if len(names) == 1:
        return values[0]
    return "{ " + ", ".join(f"{name} = {value}" for name, value in zip(names, values, strict=True)) + " }"
