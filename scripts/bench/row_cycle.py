"""Row 2, low cycle rank: a full tensor against what reads all of it in every sweep; a sparse one that no array holds.

Each by its own stopping rule, from its own start. Seconds are processor time of this thread; those of the command are
wall time of a process. Planted tensors under noise: the floor is the noise, of the norm. Source: 2304.06594.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from designs import make_rng
from figures import ROOT, Report, divide
from numpy.typing import NDArray

from training.solvers.cycle.als import Plan, run_starts
from training.solvers.cycle.decompose import decompose
from training.solvers.cycle.dense import DenseTensor
from training.solvers.cycle.factors import Factors, draw_factors
from training.solvers.cycle.residual import measure_residual
from training.solvers.cycle.tensors import open_cells, open_dense

SIDE, QUICK_SIDE, RANK = 200, 20, 3
DENSE_NOISE, SPARSE_NOISE = 0.05, 0.1
DRAWS, ROUNDS, LINEAR_ROUNDS = 5, 3, 5
WIDE, QUICK_WIDE = 3000, 100
ACTIVE, QUICK_ACTIVE = (58, 93), (6, 10)  # indices of each mode whose cells are not 0: 4 times the cells
STRAY = 0.1  # cells of noise anywhere, of all
BUDGET_S, QUICK_BUDGET_S = 20.0, 0.5  # of a tensorly run
FASTER_AIM, FLOOR_AIM, LINEAR_AIM = 5.0, 1.02, 5.0
SECONDS_AIM, MEMORY_AIM = 10.0, 1000.0

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def measure(report: Report, quick: bool) -> None:
    """Add the figures of row 2."""
    torch.set_num_threads(1)
    decompose(open_dense(np.ones((9, 9, 9))), 1, 1)  # torch loads parts of itself: nobody's time
    compare_dense(report, QUICK_SIDE if quick else SIDE, 1 if quick else DRAWS, quick)
    run_command(report, quick)
    compare_sizes(report, quick)


# --- a full tensor ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """What one method made of one tensor; `error` is relative to the norm."""

    seconds: float
    error: float
    stopped: bool = True  # by its own rule, not by the budget


@dataclass(frozen=True, slots=True)
class Race:
    floor: float
    sketched: Run
    full: Run
    one_start: Run
    others: dict[str, Run]


def compare_dense(report: Report, side: int, draws: int, quick: bool) -> None:
    title = f"dense n={side} k={RANK}"
    races = [run_race(f"{report.seed}/{draw}", side, quick) for draw in range(draws)]
    floors = [race.floor for race in races]
    report.add(f"{title}: rotation and sketch", [1e3 * race.sketched.seconds for race in races], "ms")
    errors = divide([race.sketched.error for race in races], floors)
    report.add_one(f"{title}: its error / floor, worst draw", max(errors), "x", at_most=FLOOR_AIM)
    add_opponent(report, f"{title}: our full ALS, 4 starts", races, [race.full for race in races])
    add_opponent(report, f"{title}: our full ALS, 1 start", races, [race.one_start for race in races])
    if not races[0].others:
        report.notes.append("tensorly is not installed, so it was not compared: pip install -e '.[bench]'")
    for solve in races[0].others:
        runs = [race.others[solve] for race in races]
        aim = {} if quick else {"at_least": FASTER_AIM}
        add_opponent(report, f"{title}: tensorly tensor_ring_als ({solve})", races, runs, **aim)


def add_opponent(report: Report, title: str, races: list[Race], runs: list[Run], **aim: float) -> None:
    report.add(title, [1e3 * run.seconds for run in runs], "ms")
    errors = [run.error / race.floor for run, race in zip(runs, races, strict=True)]
    report.add(f"{title}: its error / floor", errors, "x")
    far, late = sum(error > FLOOR_AIM for error in errors), sum(not run.stopped for run in runs)
    if far or late:
        report.notes.append(
            f"{title} ended in {far} of {len(runs)} draws above {FLOOR_AIM:g} of the floor, the worst at"
            f" {max(errors):.3g}; {late} were cut off by the budget"
        )
    ours = [race.sketched.seconds for race in races]
    report.add(f"{title} / ours", divide([run.seconds for run in runs], ours), "x", **aim)


def run_race(seed: str, side: int, quick: bool) -> Race:
    rng = make_rng(seed, f"dense {side}")
    planted = draw_factors((side,) * 3, RANK, rng).compute_dense()
    noise = torch.from_numpy(rng.standard_normal(planted.shape))
    noise *= DENSE_NOISE * planted.norm() / noise.norm()
    values = planted + noise
    array: Floats = values.numpy()
    tensors = (open_dense(array) for _ in range(3))  # one each: they keep products for later
    sketched, full, one_start = (
        time_ours(run, values)
        for run in (
            lambda: decompose(next(tensors), RANK, 1),
            lambda: run_starts(next(tensors), RANK, np.random.default_rng(1)),
            lambda: run_starts(next(tensors), RANK, np.random.default_rng(1), Plan(starts=1)),
        )
    )
    again = [time_ours(lambda: decompose(open_dense(array), RANK, 1), values) for _ in range(ROUNDS - 1)]
    sketched = sorted([sketched, *again], key=lambda run: run.seconds)[ROUNDS // 2]
    others = {}
    if find_spec("tensorly"):
        budget_s = QUICK_BUDGET_S if quick else BUDGET_S
        others = {solve: run_tensorly(array, solve, budget_s) for solve in ("lstsq", "normal_eq")}
    return Race(float(noise.norm() / values.norm()), sketched, full, one_start, others)


def time_ours(run: Callable[[], Factors], values: torch.Tensor) -> Run:
    begin_s = time.thread_time()
    factors = run()
    seconds = time.thread_time() - begin_s
    return Run(seconds, float((values - factors.compute_dense()).norm() / values.norm()))


def run_tensorly(array: Floats, solve: str, budget_s: float) -> Run:
    """By its own rule: no more than 1e-6 won in an iteration, or 100 of them. `lstsq` is what it does unasked.

    It measures the error of its start first, for the callback's sake: that does not count.
    """
    decomposition: Any = import_module("tensorly.decomposition")  # Any: it has no types
    begins: list[float] = []
    errors: list[float] = []

    def look(_: object, error: object) -> bool:
        if not begins:
            begins.append(time.thread_time())
        errors.append(float(error))  # type: ignore[arg-type]  # a numpy number
        return time.thread_time() - begins[0] > budget_s

    decomposition.tensor_ring_als(array, [RANK] * 4, ls_solve=solve, random_state=1, callback=look)
    seconds = time.thread_time() - begins[0]
    return Run(seconds, errors[-1], stopped=seconds <= budget_s)


# --- a sparse tensor --------------------------------------------------------------------------------------------------


def draw_sparse(seed: str, side: int, active: int) -> tuple[Ids, Floats, float]:
    """Cells [N, 3] and values [N] of a planted tensor on so many indices of each mode, with noise on all its cells and
    on others anywhere; and the noise's share of the norm."""
    rng = make_rng(seed, f"sparse {side} {active}")
    planted = draw_factors((active,) * 3, RANK, rng).compute_dense().numpy()
    ids = [rng.permutation(side)[:active] for _ in range(3)]
    grid = np.stack(np.meshgrid(*ids, indexing="ij"), -1).reshape(-1, 3)
    stray = rng.integers(0, side, (int(STRAY * len(grid)), 3))
    cells = np.concatenate([grid, stray])
    noise = rng.standard_normal(len(cells))
    noise *= SPARSE_NOISE * np.linalg.norm(planted) / np.linalg.norm(noise)
    values = np.concatenate([planted.ravel(), np.zeros(len(stray))]) + noise
    return cells, values, float(np.linalg.norm(noise) / np.linalg.norm(values))


def run_command(report: Report, quick: bool) -> None:
    """The whole command on a file, in a process of its own: its seconds by the wall, and its memory."""
    side, active = (QUICK_WIDE, QUICK_ACTIVE[1]) if quick else (WIDE, ACTIVE[1])
    cells, values, floor = draw_sparse(report.seed, side, active)
    title = f"sparse n={side} k={RANK}, {len(values)} cells"
    with tempfile.TemporaryDirectory() as folder:
        file, told = Path(folder, "tensor.npz"), Path(folder, "told.json")
        np.savez(file, cells=cells, values=values, shape=np.array([side] * 3))
        command = [
            sys.executable,
            "-m",
            "training.cycle_rank",
            str(file),
            "--rank",
            str(RANK),
            "--json",
            str(told),
        ]
        begin_s = time.monotonic()
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, check=True, stdout=subprocess.DEVNULL
        )
        seconds = time.monotonic() - begin_s
        found = json.loads(told.read_text())
    report.add_one(
        f"{title}: the command", seconds, "s", at_most=SECONDS_AIM, floor="its start: torch's import"
    )
    for name, part in found["seconds"].items():
        report.add_one(f"{title}: of it {name}", part, "s")
    if found["peak_mb"] is not None:
        array_gb = 8 * side**3 / 1e9
        report.add_one(
            f"{title}: memory",
            found["peak_mb"],
            "MB",
            at_most=MEMORY_AIM,
            floor=f"{array_gb:.3g} GB as an array",
        )
    report.add_one(f"{title}: error / floor", found["error"] / floor, "x", at_most=FLOOR_AIM)


def compare_sizes(report: Report, quick: bool) -> None:
    """The same side with 4 times the cells."""
    side, actives = (QUICK_WIDE, QUICK_ACTIVE) if quick else (WIDE, ACTIVE)
    drawn = [draw_sparse(report.seed, side, active) for active in actives]
    times: list[list[float]] = [[], []]
    for which in chain.from_iterable(repeat((0, 1), 1 if quick else LINEAR_ROUNDS)):
        cells, values, floor = drawn[which]
        begin_s = time.thread_time()
        tensor = open_cells(cells, values, [side] * 3)
        factors = decompose(tensor, RANK, 1)
        times[which].append(time.thread_time() - begin_s)
        assert isinstance(tensor, DenseTensor) or measure_residual(tensor, factors).relative < 2 * floor
    counts = [len(values) for _, values, _ in drawn]
    for count, seconds in zip(counts, times, strict=True):
        report.add(f"sparse n={side} k={RANK}, {count} cells: in process", seconds, "s")
    name = f"sparse n={side} k={RANK}: time of {counts[1] / counts[0]:.3g} times the cells"
    report.add(name, divide(times[1], times[0]), "x", at_most=LINEAR_AIM)
