"""Train a wide net against an adversary: `python -m training.adversarial FILE.npz --radius 0.05`.

FILE has arrays `inputs` [n, d] and `targets` [n], of -1 and 1 unless `--loss squared`. `--output` writes what the net
is: `weights` [m, d], `biases` [m], `signs` [m] and `tau`; its output is the sum of sign_r max(<w_r, x> + b_r - tau, 0).
It is no job's net: adversarial_relu has other fixed weights and another adversary. Source: arXiv 2208.05395.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from training.arrays import read_arrays
from training.errors import ProblemRefused, TrainingError
from training.exact.late import torch
from training.memory import read_peak_mb
from training.outputs import write_outputs
from training.solvers.adversarial import Adversary, Settings, Trained, train
from training.solvers.adversarial.net import Precision, Shift, ShiftedNet
from training.solvers.adversarial.problem import Loss, Norm
from training.solvers.adversarial.search import SearchName

PARTS = ("search", "attack", "update", "watch")


@dataclass(frozen=True, slots=True)
class Report:
    """What was trained and what it took; shares as in Step, means over steps where nothing else is said."""

    samples: int
    inputs: int
    width: int
    tau: float
    rate: float
    steps: int
    first_loss: float  # at worst points, before the first step
    last_loss: float  # before the last one
    last_right: float  # of the samples, at worst points before the last step
    plain_right: float  # at the samples themselves, after it
    active: float
    candidates: float
    touched: float
    resting: int  # samples whose gradient was 0, of all steps together
    rebuilds: int
    fallbacks: int  # steps that looked at all neurons since lists would have been too long
    seconds: dict[str, float]  # of loading the kernels, and of each part of all steps together
    peak_mb: float | None
    doubts: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    torch.set_num_threads(1)  # the kernels have one
    try:
        report, net = run(options)
    except TrainingError as error:
        print(f"error: {options.file}: {error}", file=sys.stderr)
        return 3
    for line in describe(report):
        print(line)
    arrays = {"weights": net.weights, "biases": net.biases, "signs": net.signs, "tau": net.tau}
    return write_outputs(options.output, arrays, options.json, asdict(report))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.adversarial",
        description="Train a wide net of shifted neurons against an adversary that moves each sample in a ball.",
    )
    parser.add_argument("file", type=Path, help=".npz with `inputs` [n, d] and `targets` [n]")
    _add_adversary(parser)
    _add_training(parser)
    parser.add_argument("--output", type=Path, metavar="NET.npz", help="write the net there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is printed there")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed: a number from 0 expected, got {options.seed}")
    if options.steps < 1:
        parser.error(f"--steps: a number from 1 expected, got {options.steps}")
    return options


def _add_adversary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--radius", type=float, default=0.05, help="of each sample's ball (0.05)")
    parser.add_argument("--norm", choices=get_args(Norm), default="euclidean", help="of the ball (euclidean)")
    parser.add_argument(
        "--attack-steps",
        type=int,
        default=10,
        metavar="N",
        help="of the adversary, a quarter of the radius each (10)",
    )
    parser.add_argument("--overlap", action="store_true", help="train though balls of other targets meet")
    parser.add_argument("--unit", action="store_true", help="give each input the length 1 first")


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, default=1 << 16, metavar="M", help="neurons (65536)")
    parser.add_argument(
        "--shift", choices=get_args(Shift), default="relu", help="above tau: z - tau, or z (relu)"
    )
    parser.add_argument("--loss", choices=get_args(Loss), default="logistic")
    parser.add_argument("--steps", type=int, default=30, metavar="N", help="of the weights (30)")
    parser.add_argument("--rate", type=float, help="learning rate (chosen at the first step)")
    parser.add_argument("--batch", type=int, metavar="N", help="samples of a step (all)")
    parser.add_argument("--search", choices=get_args(SearchName), help="how candidates are found (skin)")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is drawn (1)")


def run(options: argparse.Namespace) -> tuple[Report, ShiftedNet]:
    """Train on a file's samples. Raises ProblemRefused."""
    inputs, targets = read_samples(options.file, options.unit)
    begin_s = time.monotonic()
    load_kernels(options)
    loaded_s = time.monotonic() - begin_s
    trained = train(
        inputs,
        targets,
        Adversary(options.radius, options.norm, options.attack_steps),
        steps=options.steps,
        width=options.width,
        seed=options.seed,
        shift=options.shift,
        precision=options.precision,
        settings=Settings(options.loss, options.rate, options.batch, options.search, overlap=options.overlap),
    )
    return make_report(trained, inputs, targets, loaded_s), trained.net


def load_kernels(options: argparse.Namespace) -> None:
    """Train something small: where the kernels were never compiled on this machine, that takes long."""
    settings = Settings(search=options.search)
    train(
        np.eye(2), [-1, 1], Adversary(0.1), steps=1, width=64, precision=options.precision, settings=settings
    )


def read_samples(path: Path, unit: bool) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """`inputs` and `targets` of a file, the first of length 1 if `unit`. Raises ProblemRefused."""
    arrays = read_arrays(path)
    if set(arrays) != {"inputs", "targets"}:
        came = ", ".join(sorted(arrays)) or "none"
        raise ProblemRefused("file", f"arrays `inputs` and `targets` expected, got {came[:200]}")
    inputs, targets = arrays["inputs"], arrays["targets"]
    if not unit or inputs.ndim != 2 or inputs.dtype.kind not in "biuf":
        return inputs, targets  # or refused later, with everything else
    lengths = np.linalg.norm(inputs.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ProblemRefused(
            "inputs", "finite lengths above 0 expected for --unit, a sample with another came"
        )
    return inputs / lengths, targets


def make_report(
    trained: Trained, inputs: NDArray[np.generic], targets: NDArray[np.generic], loaded_s: float
) -> Report:
    net, steps = trained.net, trained.steps
    plain = net.evaluate(np.ascontiguousarray(inputs, net.weights.dtype))
    return Report(
        samples=len(inputs),
        inputs=inputs.shape[1],
        width=net.width,
        tau=net.tau,
        rate=trained.rate,
        steps=len(steps),
        first_loss=steps[0].loss,
        last_loss=steps[-1].loss,
        last_right=steps[-1].right,
        plain_right=float((np.sign(plain) == np.sign(targets)).mean()),
        active=float(np.mean([step.active for step in steps])),
        candidates=float(np.mean([step.candidates for step in steps])),
        touched=float(np.mean([step.touched for step in steps])),
        resting=sum(step.resting for step in steps),
        rebuilds=sum(step.rebuilds for step in steps),
        fallbacks=sum(step.is_fallback for step in steps),
        seconds={"load": loaded_s} | {part: sum(step.seconds[part] for step in steps) for part in PARTS},
        peak_mb=read_peak_mb(),
        doubts=trained.doubts,
    )


def describe(report: Report) -> Iterator[str]:
    yield f"{report.samples} samples of {report.inputs}, {report.width} neurons above {report.tau:.4g}"
    yield f"training   {report.steps} steps of rate {report.rate:.4g}"
    yield f"loss       {report.first_loss:.6g} to {report.last_loss:.6g} at worst points"
    yield f"right      {report.last_right:.1%} at worst points, {report.plain_right:.1%} at the samples"
    yield f"active     {report.active:.3%} of neurons at a point, {report.touched:.1%} at any"
    yield f"candidates {report.candidates:.3%}, all looked at {report.rebuilds} times"
    if report.fallbacks:
        yield f"           {report.fallbacks} steps by all neurons: more than a quarter were candidates"
    if report.resting:
        yield f"           {report.resting} samples woke no neuron, or had no slope, and were not moved"
    for name, seconds in report.seconds.items():
        yield f"{name:10} {seconds:8.3f} s"
    yield f"{'together':10} {sum(report.seconds.values()):8.3f} s"
    if report.peak_mb is not None:
        yield f"memory     {report.peak_mb:.0f} MB at the most"
    for doubt in report.doubts:
        yield f"note: {doubt}"


if __name__ == "__main__":
    sys.exit(main())
