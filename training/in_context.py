"""In-context learning, measured: how a fitted x moves when a row of its context moves: `python -m training.in_context`.

The statements of 2307.02419 and 2305.00660 are Lipschitz bounds with constants like exp(R^2), for a context A of norm
up to R. What they bound is measured here beside bounds of the same form that can be computed for the problem at hand:

- *prediction*: |f(A', x) - f(A, x)| <= |x| |A' - A| / 2 at the same x, for a softmax (the norm of its derivative is at
  most 1/2);
- *fit*: |x*(A') - x*(A)| <= |gradient of the moved loss at x*(A)| / l, with l the least eigenvalue of the Hessian
  between the two fits (here: the lesser one of their ends);
- *a step of learning is a change of context*: f(A, x + s) = f(A + A s x' / |x|^2, x), an identity.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.derivatives.hyperbolic import Hyperbolic
from training.derivatives.scored import ScoredLoss
from training.derivatives.softmax import SoftmaxVector
from training.exact.late import torch
from training.pictures import draw_curves
from training.solvers.newton import run_newton
from training.solvers.outcome import Limits, Outcome, run_to_end

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["softmax", "exp", "cosh"]
KINDS: tuple[Kind, ...] = ("softmax", "exp", "cosh")
# Of x: a small one is 0 to cosh and its weight.
NORMS: dict[Kind, float] = {
    "softmax": 1.0,
    "exp": 1.0,
    "cosh": 4.0,
}
MOVES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
ROWS_MOVED = 8
WEIGHT = 0.3  # on A x: the paper's regulariser, which makes the problem strongly convex
LIMITS = Limits(tolerance=1e-11)


@dataclass(frozen=True, slots=True)
class Moved:
    """A row of the context moved by `move`; figures are the largest over the rows tried."""

    kind: str
    move: float
    fit: float  # |x*(A') - x*(A)|
    predicted: float  # the same by one Newton step from the old fit
    bound: float  # gradient / least eigenvalue; inf where that is not above 0
    prediction: float  # |f(A', x) - f(A, x)| at the old fit
    prediction_bound: float | None  # |x| move / 2, of a softmax


@dataclass(frozen=True, slots=True)
class Context:
    """A [n, d], targets [n], and where the fit begins [d]."""

    kind: Kind
    a_nd: Tensor
    targets_n: Tensor
    start_d: Tensor

    def open(self, a_nd: Tensor) -> ScoredLoss:
        weights_n = torch.full((len(a_nd),), WEIGHT, dtype=torch.float64)
        if self.kind == "softmax":
            return SoftmaxVector(a_nd, self.targets_n, weights_n)
        return Hyperbolic(self.kind, a_nd, self.targets_n, weights_n)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    contexts = [draw_context(kind, options.rows, options.width, options.seed) for kind in KINDS]
    table = [moved for context in contexts for moved in measure_moves(context, options.seed)]
    gaps = {context.kind: measure_identity(context, options.seed) for context in contexts}
    print_table(table, gaps)
    if options.picture:
        options.picture.write_text(draw_moves(table))
    if options.json:
        moves = [asdict(moved) | ({} if moved.bound < math.inf else {"bound": None}) for moved in table]
        value = {"moves": moves, "identity": gaps}
        options.json.write_text(json.dumps(value, indent=1) + "\n")
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.in_context",
        description="How a fitted x moves when a row of its context moves, measured beside what bounds it.",
    )
    parser.add_argument("--rows", type=int, default=64, help="of the context (64)")
    parser.add_argument("--width", type=int, default=8, help="of a row (8)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (1)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the fits' moves there, as SVG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"a seed of 0 or more expected, got {options.seed}")
    if options.rows < 2 or not 1 <= options.width <= options.rows:
        parser.error(
            f"2 rows or more and a width from 1 to their number expected, got {options.rows} and {options.width}"
        )
    return options


def draw_context(kind: Kind, rows: int, width: int, seed: int) -> Context:
    """Rows of norm 1 and the targets that a drawn x gives, changed by a tenth; the fit begins at that x."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    a_nd = torch.from_numpy(rng.standard_normal((rows, width)))
    a_nd = a_nd / a_nd.norm(dim=1, keepdim=True)
    x_d = torch.from_numpy(rng.standard_normal(width))
    x_d = x_d * (NORMS[kind] / x_d.norm())
    scores_n = a_nd @ x_d
    values_n = scores_n.cosh() if kind == "cosh" else scores_n.exp()
    values_n = values_n * torch.from_numpy(rng.uniform(0.9, 1.1, rows))
    return Context(kind, a_nd, values_n / values_n.sum(), x_d)


def measure_moves(context: Context, seed: int) -> list[Moved]:
    """One line for each size of a move: the largest figures over some rows, each moved in a direction of its own."""
    problem = context.open(context.a_nd)
    fitted_d = fit(problem, context.start_d)
    rng = np.random.default_rng([seed, 100])
    rows = rng.permutation(len(context.a_nd))[:ROWS_MOVED]
    directions = rng.standard_normal((len(rows), context.a_nd.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    table = []
    for move in MOVES:
        found = []
        for row, direction in zip(rows.tolist(), directions, strict=True):
            moved_nd = context.a_nd.clone()
            moved_nd[row] += move * torch.from_numpy(direction)
            found.append(measure_move(context, problem, fitted_d, moved_nd))
        bound = float(fitted_d.norm()) * move / 2 if context.kind == "softmax" else None
        moves, predicted, limit, prediction = (max(column) for column in zip(*found, strict=True))
        table.append(Moved(context.kind, move, moves, predicted, limit, prediction, bound))
    return table


def measure_move(
    context: Context, problem: ScoredLoss, fitted_d: Tensor, moved_nd: Tensor
) -> tuple[float, float, float, float]:
    """How far the fit moves, how far by one Newton step, its bound, and how far the prediction moves."""
    moved = context.open(moved_nd)
    end_d = fit(moved, fitted_d)
    gradient_d = moved.differentiate(fitted_d)
    hessian_dd = moved.make_hessian(fitted_d)
    step_d = torch.linalg.solve(hessian_dd, gradient_d)
    least = min(float(torch.linalg.eigvalsh(moved.make_hessian(x_d)).min()) for x_d in (fitted_d, end_d))
    bound = float(gradient_d.norm()) / least if least > 0 else math.inf
    predictions = [predict(context, a_nd, fitted_d) for a_nd in (context.a_nd, moved_nd)]
    prediction = float((predictions[1] - predictions[0]).norm())
    return float((end_d - fitted_d).norm()), float(step_d.norm()), bound, prediction


def measure_identity(context: Context, seed: int) -> float:
    """The largest difference between a step of learning and the change of context that is the same, over the largest
    prediction."""
    x_d = fit(context.open(context.a_nd), context.start_d)
    step_d = 0.1 * torch.from_numpy(np.random.default_rng([seed, 200]).standard_normal(len(x_d)))
    changed_nd = context.a_nd + torch.outer(context.a_nd @ step_d, x_d) / (x_d @ x_d)
    learnt, told = predict(context, context.a_nd, x_d + step_d), predict(context, changed_nd, x_d)
    return float((learnt - told).abs().max() / learnt.abs().max())


def fit(problem: ScoredLoss, start_d: Tensor) -> Tensor:
    """The minimum that Newton finds. Raises RuntimeError where it finds none."""
    end = run_to_end(run_newton(problem, start_d, LIMITS))
    if end.outcome not in (Outcome.CONVERGED, Outcome.STALLED, Outcome.STATIONARY_START):
        raise RuntimeError(
            f"a fit expected, the solver ended with: {end.outcome.value if end.outcome else 'nothing'}"
        )
    return end.x


def predict(context: Context, a_nd: Tensor, x_d: Tensor) -> Tensor:
    scores_n = a_nd @ x_d
    if context.kind == "softmax":
        return torch.softmax(scores_n, 0)
    return scores_n.exp() if context.kind == "exp" else scores_n.cosh()


def print_table(table: Sequence[Moved], gaps: Mapping[Kind, float]) -> None:
    print(
        f"{'':8} {'row moved':>10} {'fit moves':>10} {'predicted':>10} {'bound':>10} {'f moves':>10} {'bound':>10}"
    )
    for moved in table:
        last = "" if moved.prediction_bound is None else f"{moved.prediction_bound:10.2e}"
        print(
            f"{moved.kind:8} {moved.move:10.0e} {moved.fit:10.2e} {moved.predicted:10.2e} {moved.bound:10.2e}"
            f" {moved.prediction:10.2e} {last}"
        )
    for kind, gap in gaps.items():
        print(f"{kind}: a step of learning and the change of context that is the same differ by {gap:.0e}")


def draw_moves(table: Sequence[Moved]) -> str:
    curves = {}
    for kind in KINDS:
        lines = [moved for moved in table if moved.kind == kind]
        curves[f"{kind}: fit"] = [(moved.move, moved.fit) for moved in lines if moved.fit > 0]
        curves[f"{kind}: bound"] = [
            (moved.move, moved.bound) for moved in lines if 0 < moved.bound < math.inf
        ]
    labels = ("a row of the context moves by", "the fitted x moves by")
    return draw_curves("In-context learning", curves, labels, log_x=True, log_y=True)


if __name__ == "__main__":
    sys.exit(main())
