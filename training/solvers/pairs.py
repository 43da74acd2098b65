"""Preconditioners for a softmax of A1 X A2', whose Hessian has d1 d2 rows: from the Gram matrices, and from a sample.

`make_whitening`: (A1'A1) (x) (A2'A2), two small Cholesky factors. It takes out what the conditions of A1 and A2 do to
the Hessian, which is their product, squared; what softmaxes do stays. The better of the two wherever it was measured.

`make_pair_sketch`: a row's J'J in the scores is sum over k of f_k^2 (b_k - p)(b_k - p)', p = A2' f, so that of all rows
is a sum over pairs (j, k), of which some are drawn by leverage (training/kronecker) at the first point and kept. It
knows the softmaxes, too, but costs pairs * (d1 d2)^2, and (d1 d2)^2 whenever it is applied. Centred rows keep it
definite: the diagonal sampled and the rest exact, as in sketch.py, is indefinite where the two nearly cancel.

Source: 2402.07027 for the sampling; both uses are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.derivatives.designs import MatrixDesign
from training.derivatives.softmax import SoftmaxMatrix
from training.exact.late import torch
from training.kronecker.factors import compute_leverage, open_factor
from training.solvers.descent import measure_scale
from training.solvers.sketch import invert
from training.solvers.steihaug import Apply, MakePreconditioner

if TYPE_CHECKING:
    from torch import Tensor

PAIRS_PER_PARAMETER = 3
SMALLEST = 1e-10  # of the mean of a sample's diagonal, added to it


def make_whitening(problem: SoftmaxMatrix) -> MakePreconditioner:
    """The same at every point. Raises ProblemRefused for a factor of less than full column rank."""
    first, second = (_invert_gram(array, name) for array, name in _get_factors(problem))

    def apply(v: Tensor) -> Tensor:
        return (first @ v.view(len(first), len(second)) @ second).flatten()

    return lambda x: apply


def _invert_gram(array: Tensor, name: str) -> Tensor:
    open_factor(array.numpy(), name)  # refused here, and not as numbers that mean nothing
    inverse: Tensor = torch.cholesky_inverse(torch.linalg.cholesky(array.T @ array))
    return inverse


def make_pair_sketch(
    problem: SoftmaxMatrix, rng: np.random.Generator, pairs: int | None = None
) -> MakePreconditioner:
    """That of the first point asked for, from so many pairs (PAIRS_PER_PARAMETER for each). Raises ProblemRefused."""
    kept: list[Apply] = []
    count = pairs or PAIRS_PER_PARAMETER * problem.size

    def make(x: Tensor) -> Apply:
        if not kept:
            kept.append(invert(_sketch(problem, x, count, rng)))
        return kept[0]

    return make


def _sketch(problem: SoftmaxMatrix, x: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    (a1, _), (a2, _) = _get_factors(problem)
    f_RC = torch.softmax(problem.compute_scores(x), 1)
    (j, p), (k, q) = (_draw(array, name, count, rng) for array, name in _get_factors(problem))
    shares = f_RC[j, k] / torch.sqrt(count * p * q)
    centred = a2[k] - (f_RC @ a2)[j]
    rows = (a1[j][:, :, None] * (shares[:, None] * centred)[:, None, :]).flatten(1)
    hessian = rows.T @ rows
    if problem.ridge:
        hessian += problem.ridge.weight * torch.kron(a1.T @ a1, a2.T @ a2)
    diagonal = hessian.diagonal()
    diagonal.add_(max(SMALLEST * float(diagonal.mean()), measure_scale(diagonal)))
    return hessian


def _draw(array: Tensor, name: str, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows in proportion to their leverage, and their chances."""
    leverage = compute_leverage(open_factor(array.numpy(), name))
    chances = leverage / leverage.sum()
    picked = rng.choice(len(chances), count, p=chances)
    return torch.from_numpy(picked), torch.from_numpy(chances[picked])


def _get_factors(problem: SoftmaxMatrix) -> tuple[tuple[Tensor, str], tuple[Tensor, str]]:
    design = problem.design
    assert isinstance(design, MatrixDesign)
    return (design.a1_nd, "inputs"), (design.a2_nd, "keys")
