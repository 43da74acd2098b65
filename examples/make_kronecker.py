"""Write data/kronecker_spectral.npz: probes of all pairs of tumours of breast_cancer.csv, seen by 240 of the pairs.

A1 = A2 = A [569, 4] are a constant and three standardised measurements. Of the 569^2 = 323,761 pairs (i, j) 240 are
drawn by leverage (training/kronecker). A probe Z [4, 4] is Gaussian and scaled to |A Z A'| = 1; a pair's feature is its
part of the estimate of that 1, (a_i' Z a_j)^2 / (T p_i p_j), times 2^6, in steps of 2^-9.
`python make_kronecker.py [FILE]`.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from training.kronecker.factors import Factor, Floats, open_factor
from training.kronecker.sparsify import draw_rows
from training.kronecker.spectral import compute_features

DATA = Path(__file__).parent / "data"
COLUMNS = ("mean_radius", "mean_texture", "mean_smoothness")
PAIRS, PROBES, SEED = 240, 940, 1
DRAWN = 2 * PAIRS  # rows asked for: how many come is drawn, too
SCALE, FRACTION_BITS = 6, 9


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "kronecker_spectral.npz"
    factor, rng = read_tumours(), np.random.default_rng(SEED)
    left, right = (draw_rows(factor, DRAWN, rng) for _ in range(2))
    first, second = left.ids[:PAIRS], right.ids[:PAIRS]
    weights = 1 / np.sqrt(PAIRS * left.chances[:PAIRS] * right.chances[:PAIRS])
    found = draw_probes(factor.width**2, rng) @ compute_features(factor, factor, first, second).T
    units = np.rint((weights * found) ** 2 * 2 ** (SCALE + FRACTION_BITS))
    np.savez_compressed(
        file,
        features=np.minimum(units, 2 ** (3 + FRACTION_BITS) - 1).astype(np.int16),
        length=np.ones(PROBES, np.uint8),
        A1=factor.rows,
        A2=factor.rows,
        first=first,
        second=second,
        weights=weights,
    )


def read_tumours() -> Factor:
    with (DATA / "breast_cancer.csv").open(newline="") as lines:
        rows = np.array([[float(row[name]) for name in COLUMNS] for row in csv.DictReader(lines)])
    standard = (rows - rows.mean(0)) / rows.std(0)
    return open_factor(np.hstack([np.ones((len(rows), 1)), standard]), "A1")


def draw_probes(size: int, rng: np.random.Generator) -> Floats:
    """Probes [PROBES, size] in whitened coordinates: there |A Z A'| is the length."""
    probes = rng.standard_normal((PROBES, size))
    scaled: Floats = probes / np.linalg.norm(probes, axis=1)[:, None]
    return scaled


if __name__ == "__main__":
    main()
