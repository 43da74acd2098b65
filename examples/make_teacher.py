"""Write data/teacher.safetensors: inputs, and what a small attention layer with random weights makes of them.

The file is part of the repository; run this only to look at how it came about. The seed is fixed.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from training.exact.counter import make_uniform, open_stream
from training.hashing import compute_tagged_hash

SEED = compute_tagged_hash("gc/example", b"teacher")
SAMPLES, TOKENS, WIDTH, OUTPUTS = 768, 8, 8, 4
INPUT_BITS, INPUT_STEP = 8, 2.0**-6  # int8: -2 .. 2
X_STEP, Y_STEP = 2.0**-10, 2.0**-9  # of 9-bit integers: up to a quarter and a half
TARGET_STEP = 2.0**-8


def make_teacher() -> dict[str, NDArray[np.int8] | NDArray[np.int16]]:
    """Inputs and targets as integers of their steps."""
    inputs = draw("inputs", (SAMPLES, TOKENS, WIDTH), INPUT_BITS)
    a = inputs * INPUT_STEP
    x = draw("X", (WIDTH, WIDTH), 9) * X_STEP
    y = draw("Y", (WIDTH, OUTPUTS), 9) * Y_STEP
    scores = a @ x @ a.transpose(0, 2, 1)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    targets = np.rint(weights @ a @ y / TARGET_STEP)
    return {"inputs": inputs.astype(np.int8), "targets": targets.astype(np.int16)}


def draw(label: str, shape: tuple[int, ...], bits: int) -> NDArray[np.float64]:
    """Integers of so many bits, sign included, from the seed's stream of that name."""
    drawn = make_uniform(open_stream(SEED, label), int(np.prod(shape)), bits)
    return drawn.reshape(shape).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the synthetic data of teacher.toml.")
    parser.add_argument(
        "path", type=Path, nargs="?", default=Path(__file__).parent / "data" / "teacher.safetensors"
    )
    path = parser.parse_args().path
    save_file(make_teacher(), path)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
