"""Adversarial training on few neurons against the same step by all of them: one thread, searches included.

The step by all neurons is written twice: in whole matrix products, with buffers that stay, and in chunks of neurons
whose scores stay in the cache (`training/solvers/adversarial/dense.py`). Neither asks autograd for a derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from designs import make_rng
from figures import ROOT, Report, Work, divide, finish, median, parse_options

from training.jobs import load_job_file, prepare
from training.objectives.adversarial_relu import make_start
from training.objectives.registry import get_objective
from training.scaling import SIDECAR_LIMIT
from training.solvers.adversarial import Adversary, Settings, ShiftedNet, Trainer, draw_net
from training.solvers.adversarial.lists import Lists
from training.solvers.adversarial.net import Floats, Precision, Shift
from training.solvers.adversarial.problem import open_samples
from training.solvers.adversarial.search import SearchName, list_above, open_reach
from training.solvers.adversarial.step import Seen, Stepper
from training.solvers.adversarial.tree import NeuronTree
from training.splits import parse_dataset

SAMPLES, INPUTS, WIDTH, RADIUS = 64, 32, 1 << 17, 0.05
QUICK_WIDTH = 1 << 11
WIDTHS, QUICK_WIDTHS = tuple(1 << k for k in range(15, 20)), (1 << 10, 1 << 11)
TREE_INPUTS = (3, 4, 6, 8)
EXACT_STEPS = 10
ROUNDS, SIZE_ROUNDS = 9, 5
FASTER_AIM, SAME_AIM, TAIL_AIM, SLOPE_AIM = 4.0, 1e-12, 0.2, 0.95
JOB, JOB_NEURONS, JOB_SAMPLES, DATA_STEP = "robust_digits", (256, 4096), 64, 2.0**-12
SEARCHES: tuple[SearchName, ...] = ("skin", "dense")
SKINS: dict[str, float | None] = {"search in each step": 0.0, "search when due": None}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("adversarial", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("adversarial", options.seed, options.quick)
    width = QUICK_WIDTH if options.quick else WIDTH
    compare_steps(report, width)
    compare_weights(report, width)
    compare_widths(report, QUICK_WIDTHS if options.quick else WIDTHS)
    for inputs in TREE_INPUTS:
        ask_tree(report, inputs, width)
    for neurons in JOB_NEURONS[:1] if options.quick else JOB_NEURONS:
        try_job(report, neurons)
    finish(report, options)


Problem = tuple[ShiftedNet, Floats, Floats]


def draw_problem(seed: str, inputs: int, width: int, precision: Precision, shift: Shift = "relu") -> Problem:
    rng = make_rng(seed, f"adversarial {inputs} {width}")
    x = rng.standard_normal((SAMPLES, inputs))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.where(np.arange(SAMPLES) % 2, -1.0, 1.0)
    return draw_net(width, inputs, rng, precision=precision, shift=shift), x, y


def open_trainer(problem: Problem, settings: Settings) -> Trainer:
    """A trainer whose kernels and rate are there: it took a step."""
    trainer = Trainer(*problem, Adversary(RADIUS), settings, np.random.default_rng(1))
    trainer.take_step()
    return trainer


# --- one step ---------------------------------------------------------------------------------------------------------


def compare_steps(report: Report, width: int) -> None:
    title = f"n={SAMPLES} d={INPUTS} m={width}"
    draw = partial(draw_problem, report.seed, INPUTS, width, "float32")
    ours = {name: open_trainer(draw(), Settings(skin=skin)) for name, skin in SKINS.items()}
    dense = open_trainer(draw(), Settings(search="dense"))
    works: dict[str, Work] = {name: trainer.take_step for name, trainer in ours.items()}
    works["all, in chunks"] = dense.take_step
    works["all, in whole products"] = make_whole_step(*draw(), dense.rate)
    times = report.time(works, ROUNDS)
    for name, seconds in times.items():
        report.add(f"{title}: step, {name}", [1e3 * value for value in seconds], "ms")
    rivals = [name for name in works if name not in SKINS]
    best = min(rivals, key=lambda name: median(times[name]))
    for name in SKINS:
        aim = {} if report.quick else {"at_least": FASTER_AIM}
        report.add(f"{title}: {best} / ours, {name}", divide(times[best], times[name]), "x", **aim)
    describe_shares(report, title, ours["search when due"])


def describe_shares(report: Report, title: str, trainer: Trainer) -> None:
    step = trainer.take_step()
    report.add_one(f"{title}: active at worst points, after all these steps", 100 * step.active, "%")
    report.add_one(f"{title}: candidates", 100 * step.candidates, "%")


def make_whole_step(net: ShiftedNet, x: Floats, y: Floats, rate: float) -> Callable[[], None]:
    """As a user would write it, by hand since autograd takes longer, and with buffers that are not allocated anew."""
    weights, signs = torch.from_numpy(net.weights), torch.from_numpy(net.signs)
    inputs, targets = (torch.from_numpy(array.astype(np.float32)) for array in (x, y))
    scores, pulls = (torch.empty(len(x), net.width) for _ in range(2))
    zero = torch.zeros(())

    def look(points: torch.Tensor) -> None:
        torch.mm(points, weights.T, out=scores)
        torch.where(scores > net.tau, signs, zero, out=pulls)

    def take_step() -> None:
        points = inputs.clone()
        for _ in range(10):
            look(points)
            toward = pulls @ weights
            toward *= (-targets * RADIUS / 4 / toward.norm(dim=1))[
                :, None
            ]  # a logistic slope has the target's sign
            away = points + toward - inputs
            points = inputs + away * (RADIUS / away.norm(dim=1, keepdim=True)).clamp(max=1)
        look(points)
        outputs = scores.sub_(net.tau).mul_(pulls).sum(1)
        slopes = -targets * torch.sigmoid(-targets * outputs)
        weights.sub_((pulls.T * (slopes * rate / len(x))) @ points)

    return take_step


def compare_weights(report: Report, width: int) -> None:
    """After so many steps in float64, for both shifts; and how many are active there at the start."""
    for shift in ("relu", "jump"):
        title = f"float64 n={SAMPLES} d={INPUTS} m={width} {shift}"
        nets: list[ShiftedNet] = []
        for search in SEARCHES:
            problem = draw_problem(report.seed, INPUTS, width, "float64", shift)
            trainer = Trainer(*problem, Adversary(RADIUS), Settings(search=search), np.random.default_rng(1))
            steps = list(trainer.run(EXACT_STEPS))
            nets.append(problem[0])
        apart = float(abs(nets[0].weights - nets[1].weights).max() / abs(nets[1].weights).max())
        report.add_one(
            f"{title}: weights apart after {EXACT_STEPS} steps", apart, "of the largest", at_most=SAME_AIM
        )
        tail, active = math.erfc(nets[0].tau / math.sqrt(2)) / 2, steps[0].active
        name, floor = f"{title}: active at first, off a normal tail by", f"{100 * active:.3g} % are"
        report.add_one(name, 100 * abs(active / tail - 1), "%", at_most=100 * TAIL_AIM, floor=floor)


# --- wider nets -------------------------------------------------------------------------------------------------------


def compare_widths(report: Report, widths: Sequence[int]) -> None:
    works: dict[str, Work] = {}
    for width in widths:
        for name, skin in SKINS.items():
            problem = draw_problem(report.seed, INPUTS, width, "float32")
            works[f"{name} {width}"] = open_trainer(problem, Settings(skin=skin)).take_step
    times = report.time(works, SIZE_ROUNDS)
    for name in reversed(SKINS):
        seconds = [median(times[f"{name} {width}"]) for width in widths]
        aim = {} if report.quick or SKINS[name] == 0 else {"at_most": SLOPE_AIM}
        slope = float(np.polyfit(np.log(widths), np.log(seconds), 1)[0])
        span = f"m={widths[0]} .. {widths[-1]}"
        report.add_one(f"{span}: slope of log time, {name}", slope, "", **aim)
        shown = ", ".join(f"{1e3 * value:.3g}" for value in seconds)
        report.notes.append(f"{span}, {name}: {shown} ms")


# --- the tree ---------------------------------------------------------------------------------------------------------


def ask_tree(report: Report, inputs: int, width: int) -> None:
    net, x, _ = draw_problem(report.seed, inputs, width, "float32")
    points, tree = x.astype(np.float32), NeuronTree(net, np.zeros(net.width))
    reported = sum(len(tree.report(point, net.tau)) for point in points)
    read, pairs = tree.read, SAMPLES * width
    works: dict[str, Work] = {
        "tree": lambda: [tree.report(point, net.tau) for point in points],
        "products": lambda: list_above(net, points, net.tau),
    }
    times = report.time(works, SIZE_ROUNDS)
    title = f"tree d={inputs} m={width}"
    report.add_one(
        f"{title}: rows read", 100 * read / pairs, "%", floor=f"{100 * reported / pairs:.3g} % above tau"
    )
    for name, seconds in times.items():
        report.add(f"{title}: {SAMPLES} half-spaces by {name}", [1e3 * value for value in seconds], "ms")


# --- a job ------------------------------------------------------------------------------------------------------------


def try_job(report: Report, neurons: int) -> None:
    """An attack on samples of an example job, with its net and its adversary: by lists, and by all neurons."""
    job = prepare(load_job_file(ROOT / "examples" / f"{JOB}.toml"), SIDECAR_LIMIT)
    inputs, _, steps, stride, shift = job.spec.params
    split = parse_dataset(job.blob, get_objective("adversarial_relu", job.spec.params).layout).train
    adversary = Adversary(steps * stride * DATA_STEP, "largest", steps, stride * DATA_STEP)
    x, y = split.inputs[:JOB_SAMPLES] * DATA_STEP, split.rows[:JOB_SAMPLES, 0] * DATA_STEP
    samples = open_samples(x, y, "squared", adversary, np.dtype(np.float32), overlap=True)
    net = open_start(inputs, neurons, shift * 2.0**-8)
    stepper = Stepper(net, adversary.open_kernel("squared"))
    lifts = open_reach(samples, adversary).measure_lifts(net)

    def attack(lists: Lists | None) -> Seen:
        return stepper.attack(samples.inputs, samples.targets, lists)

    candidates = list_above(net, samples.inputs, net.tau, lifts)
    assert candidates is not None
    times = report.time({"all": lambda: attack(None), "lists": lambda: attack(candidates)}, SIZE_ROUNDS)
    title, pairs = f"{JOB} m={neurons}", len(x) * neurons
    report.add_one(f"{title}: active at worst points", 100 * attack(candidates).active / pairs, "%")
    report.add_one(f"{title}: candidates", 100 * len(candidates.ids) / pairs, "%")
    name = f"{title}: attack by all / by lists, without the search"
    report.add(name, divide(times["all"], times["lists"]), "x")


def open_start(inputs: int, neurons: int, tau: float) -> ShiftedNet:
    """The fixed net that a job of such sizes begins with."""
    weights = np.ascontiguousarray(make_start(inputs, neurons).T * 2.0**-16, np.float32)
    signs = np.where(np.arange(neurons) % 2, -1, 1).astype(np.float32)
    return ShiftedNet(weights, np.zeros(neurons, np.float32), signs, tau)


if __name__ == "__main__":
    main()
