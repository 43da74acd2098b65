"""Write data/planted.npz, for planted_cosh.toml: rescaled hyperbolic regression whose answer is known.

Source of the problem: arXiv 2305.00660. Scores A x with x planted; targets cosh(A x) / <cosh(A x), 1>. At the planted
x, and at -x, the loss is 0 but for the targets' rounding. No score there is above 3 in size: training stays within the
exact domain of 4.

The file is part of the repository; run this only to look at how it came about. The seed is fixed.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.exact.counter import make_uniform, open_stream
from training.hashing import compute_tagged_hash

SEED = compute_tagged_hash("gc/example", b"planted")
SAMPLES, TOKENS, WIDTH = 384, 16, 16
INPUT_BITS, INPUT_STEP = 8, 2.0**-7  # int8: -1 .. 1
PLANTED_BITS, PLANTED_STEP = 9, 2.0**-8  # up to 1; |x| is 2.4, and a score's deviation 1
LARGEST_SCORE = 3.0
DRAWN = 2  # times the tokens that are kept
TARGET_STEP = 2.0**-12

Floats = NDArray[np.float64]


def make_planted() -> dict[str, NDArray[np.int8] | NDArray[np.int16]]:
    """Inputs [samples, tokens, width] and targets [samples, tokens] as integers of their steps."""
    tokens = draw("inputs", (DRAWN * SAMPLES * TOKENS, WIDTH), INPUT_BITS)
    scores = tokens @ plant() * INPUT_STEP
    kept = np.flatnonzero(np.abs(scores) <= LARGEST_SCORE)[: SAMPLES * TOKENS]
    u = np.cosh(scores[kept].reshape(SAMPLES, TOKENS))
    targets = np.rint(u / u.sum(1, keepdims=True) / TARGET_STEP)
    inputs = tokens[kept].reshape(SAMPLES, TOKENS, WIDTH)
    return {"inputs": inputs.astype(np.int8), "targets": targets.astype(np.int16)}


def plant() -> Floats:
    """The x [width] to be found again."""
    return draw("x", (WIDTH,), PLANTED_BITS) * PLANTED_STEP


def draw(label: str, shape: tuple[int, ...], bits: int) -> Floats:
    """Integers of so many bits, sign included, from the seed's stream of that name."""
    drawn = make_uniform(open_stream(SEED, label), int(np.prod(shape)), bits)
    return drawn.reshape(shape).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the synthetic data of planted_cosh.toml.")
    parser.add_argument("path", type=Path, nargs="?", default=Path(__file__).parent / "data" / "planted.npz")
    path = parser.parse_args().path
    np.savez(path, **make_planted())  # type: ignore[arg-type]  # numpy types a keyword of its own
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
