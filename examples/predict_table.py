"""Predict classes with the checkpoint of a softmax_regression job, and say how many of the held-out rows are right.

Needs numpy only: a checkpoint, the data file, and the scaling.json that `python -m training.scaling JOB.toml` writes.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def load_weights(path: Path) -> Floats:
    """Tensor X of a .safetensors file: eight bytes with the header's length, a JSON header, the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensor = json.loads(data[8:start])["X"]
    first, end = tensor["data_offsets"]
    return np.frombuffer(data[start + first : start + end], "<f8").reshape(tensor["shape"])


def load_table(path: Path, scaling: dict[str, list[str]]) -> tuple[Floats, NDArray[np.int64]]:
    """Input columns in the order of the job, and the classes."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    inputs = np.array([[float(row[name]) for name in scaling["inputs"]] for row in rows])
    return inputs, np.array([int(float(row[scaling["targets"][0]])) for row in rows])


def scale(inputs: Floats, scaling: dict[str, object]) -> Floats:
    """The inputs as the model was trained on them."""
    step = 2.0 ** -float(scaling["fraction_bits"])
    largest = float(scaling["largest"])
    operations = {
        "multiply": lambda x: x * float(scaling["multiply"]),
        "subtract": lambda x: x - np.array(scaling["subtract"]),
        "divide": lambda x: x / np.array(scaling["divide"]),
        "round": lambda x: np.rint(x / step) * step,
        "clip": lambda x: np.clip(x, -largest, largest),
    }
    for name in scaling["steps"]:
        inputs = operations[name](inputs)
    return inputs


def predict(scaled: Floats, weights: Floats) -> Floats:
    """Probabilities of the classes: the softmax of inputs times weights."""
    scores = scaled @ weights
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict with a softmax_regression checkpoint.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("scaling", type=Path)
    parser.add_argument("table", type=Path)
    options = parser.parse_args()
    scaling = json.loads(options.scaling.read_text())
    inputs, classes = load_table(options.table, scaling)
    probabilities = predict(scale(inputs, scaling), load_weights(options.checkpoint))
    guesses = probabilities.argmax(axis=1)
    for part, rows in scaling["rows"].items():
        right = int((guesses[rows] == classes[rows]).sum())
        print(f"{part}: {right} of {len(rows)} right, {right / len(rows):.1%}")
    for row in scaling["rows"]["holdout"][:5]:
        print(
            f"row {row}: class {classes[row]}, predicted {guesses[row]} ({probabilities[row].max():.1%} sure)"
        )


if __name__ == "__main__":
    main()
