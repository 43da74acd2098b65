"""Row 1, over-parameterised exponential regression: kernel Gauss-Newton against Adam and LBFGS; the descent's theory.

To |F - y| <= 1e-6 from the same weights; all with gradients by formula. Source of problem and theory: 2303.16504.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from baselines import LossAndGradient, Outcome, run_adam, run_lbfgs, warm_up
from designs import make_rng
from figures import Report, finish, median, parse_options
from torch import Tensor

from training.derivatives.exponential import ExponentialLoss, make_limit_kernel, normalise
from training.solvers.kernel import (
    KernelStage,
    draw_weights,
    measure_deviation,
    measure_drift,
    measure_spectrum,
    run_gradient_descent,
    run_kernel_newton,
)

SAMPLES, WIDE, NEURONS = 40, 10, 8192
THEORY_SAMPLES, THEORY_NEURONS = 20, (1024, 16384)
ENOUGH = 1e-6
ADAM_RATES = (1e-3, 1e-2)
ROUNDS = 3
BUDGET_S, QUICK_BUDGET_S = 5.0, 1.0  # of each baseline
DESCENT_STEPS = 2000

Solver = Callable[[ExponentialLoss, Tensor], Iterator[KernelStage]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("row_exponential", __doc__, arguments)
    report = Report("row_exponential", options.seed, options.quick)
    measure(report, options.quick)
    finish(report, options)


def measure(report: Report, quick: bool) -> None:
    """Add the figures of row 1."""
    warm_up()
    compare(report, 512 if quick else NEURONS, 1 if quick else ROUNDS, QUICK_BUDGET_S if quick else BUDGET_S)
    check_theory(report, (256, 1024) if quick else THEORY_NEURONS)


def make_problem(samples: int, neurons: int, seed: str) -> tuple[ExponentialLoss, Tensor]:
    """Directions on the sphere, targets in [-1, 1], and the drawn weights."""
    rng = make_rng(seed)
    inputs, _ = normalise(torch.from_numpy(rng.standard_normal((samples, WIDE))))
    targets = torch.from_numpy(rng.uniform(-1, 1, samples))
    start, signs = draw_weights(WIDE, neurons, rng)
    return ExponentialLoss(inputs, targets, signs), start


def compare(report: Report, neurons: int, rounds: int, budget_s: float) -> None:
    loss, start = make_problem(SAMPLES, neurons, report.seed)
    baselines = {f"Adam {rate:g}": partial(run_adam, rate=rate) for rate in ADAM_RATES}
    seconds: dict[str, list[float]] = {"newton": [], "descent": []}
    ends: dict[str, Outcome] = {}
    for _ in range(rounds):
        newton = time_solver(run_kernel_newton, loss, start, seconds["newton"])
        descent = time_solver(run_gradient_descent, loss, start, seconds["descent"])
        for name, run in baselines.items():
            ends[name] = run(pair(loss), start.flatten(), enough=is_enough, budget_s=budget_s)
            seconds.setdefault(name, []).append(ends[name].seconds)
    ends["LBFGS"] = run_lbfgs(pair(loss), start.flatten(), is_enough, budget_s)
    seconds["LBFGS"] = [ends["LBFGS"].seconds]
    title = f"exponential n={SAMPLES} d={WIDE} m={neurons}"
    report.add(f"{title}: kernel Gauss-Newton", [s * 1e3 for s in seconds["newton"]], "ms")
    report.add_one(f"{title}: kernel Gauss-Newton, steps", newton.steps, "steps")
    report.add_one(f"{title}: kernel Gauss-Newton, residual", newton.residual_norm, "", at_most=ENOUGH)
    report.add(f"{title}: gradient descent by the kernel", [s * 1e3 for s in seconds["descent"]], "ms")
    report.add_one(f"{title}: gradient descent by the kernel, steps", descent.steps, "steps")
    for name, end in ends.items():
        report.add(f"{title}: {name}", [s * 1e3 for s in seconds[name]], "ms")
        reached, evaluations = (2 * end.loss) ** 0.5, f"({end.evaluations} evaluations)"
        report.add_one(f"{title}: {name}, residual", reached, evaluations)
    best = min(baselines, key=lambda name: rank(ends[name], seconds[name]))
    ratios = [ours / theirs for ours, theirs in zip(seconds["newton"], seconds[best], strict=True)]
    report.add(f"{title}: Gauss-Newton / {best}", ratios, "x", at_most=None if report.quick else 0.1)
    if not ends[best].reached:
        report.notes.append(f"{best} did not reach {ENOUGH:g} in {budget_s:g} s: its time is a lower bound")


def rank(end: Outcome, seconds: Sequence[float]) -> tuple[bool, float]:
    """Who arrived before who did not, the faster first."""
    return not end.reached, median(seconds)


def pair(loss: ExponentialLoss) -> LossAndGradient:
    """Loss and gradient with one exp for both."""

    def evaluate(x: Tensor) -> tuple[float, Tensor]:
        active = loss.activate(x.view(loss.shape))
        if active is None:
            return float("inf"), torch.zeros_like(x)
        residual = loss.get_residual(active)
        return 0.5 * float(residual @ residual), loss.pull_back(active, residual).flatten()

    return evaluate


def is_enough(loss: float, gradient: Tensor) -> bool:
    return math.sqrt(2 * loss) <= ENOUGH


def time_solver(solver: Solver, loss: ExponentialLoss, start: Tensor, seconds: list[float]) -> KernelStage:
    begin_s = time.thread_time()
    for stage in solver(loss, start):
        if stage.residual_norm <= ENOUGH or stage.steps == DESCENT_STEPS:
            break
    seconds.append(time.thread_time() - begin_s)
    return stage


def check_theory(report: Report, widths: Sequence[int]) -> None:
    """Of two widths: the descent's rate beside that of the limit, and how far neurons and kernel move."""
    drifts = []
    for neurons in widths:
        loss, start = make_problem(THEORY_SAMPLES, neurons, report.seed)
        active = loss.activate(start)
        assert active is not None  # drawn from N(0, 1)
        kernel = loss.make_kernel(active)
        rate = measure_spectrum(loss, kernel).rate
        least = float(torch.linalg.eigvalsh(make_limit_kernel(loss.inputs_ND))[0])
        stages = list(descend(loss, start, rate))
        observed = observe_rate([stage.residual_norm for stage in stages])
        drifts.append(measure_drift(stages[-1].weights_DM, start))
        title = f"exponential n={THEORY_SAMPLES} d={WIDE} m={neurons}"
        predicted = 1 - rate * neurons * least
        last = {"at_most": predicted + 0.02} if neurons == widths[-1] else {}
        report.add_one(f"{title}: rate of descent, predicted", predicted, "a step")
        report.add_one(f"{title}: rate of descent, observed over the second half", observed, "a step", **last)
        report.add_one(f"{title}: drift of the farthest neuron", drifts[-1], "")
        deviation = measure_deviation(loss, kernel)
        report.add_one(f"{title}: kernel's deviation from its limit", deviation, "of lambda")
    name = f"exponential n={THEORY_SAMPLES} d={WIDE}: drift at m={widths[-1]} over that at m={widths[0]}"
    report.add_one(name, drifts[-1] / drifts[0], "", at_most=None if report.quick else 0.5)


def descend(loss: ExponentialLoss, start: Tensor, rate: float) -> Iterator[KernelStage]:
    for stage in run_gradient_descent(loss, start, rate):
        yield stage
        if stage.residual_norm <= ENOUGH or stage.steps == DESCENT_STEPS:
            return


def observe_rate(norms: Sequence[float]) -> float:
    """The residual's mean shrinkage a step over the second half, where only the slowest part is left."""
    half = len(norms) // 2
    return float((norms[-1] / norms[half]) ** (1 / (len(norms) - 1 - half)))


if __name__ == "__main__":
    main()
