"""Write data/private_records.npz: tumours of breast_cancer.csv as records nobody may see, for private-attention.

Y [10, 569] float64, a record in each column: its ten mean measurements, each scaled by bounds that are public knowledge
(no statistics of these records: those would tell of them), and all by 1/24, about 1/sqrt(569): so M = Y Y^T is about
the measurements' mean products, and no record is longer than 0.043.
`python make_private_records.py [FILE]`.
"""

import csv
import sys
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
SHARE = 1 / 24
BOUNDS = {
    "mean_radius": (0, 30), "mean_texture": (0, 40), "mean_perimeter": (0, 200), "mean_area": (0, 2500),
    "mean_smoothness": (0, 0.2), "mean_compactness": (0, 0.4), "mean_concavity": (0, 0.5),
    "mean_concave_points": (0, 0.25), "mean_symmetry": (0, 0.4), "mean_fractal_dimension": (0, 0.1),
}  # fmt: skip


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "private_records.npz"
    with (DATA / "breast_cancer.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    scaled = [
        [SHARE * ((float(row[name]) - low) / (high - low) - 0.5) for row in rows]
        for name, (low, high) in BOUNDS.items()
    ]
    np.savez_compressed(file, Y=np.array(scaled))


if __name__ == "__main__":
    main()
