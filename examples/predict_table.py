"""Predict classes with the checkpoint of a softmax_regression job.

Of the job's own table it says how many rows of each part are right; of any other, it predicts every row.

Needs numpy only: a checkpoint, the data file, and the scaling.json that `python -m training.scaling JOB.toml` writes.
"""

import argparse
import csv
import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class BadFile(Exception):
    """A file that cannot be used. The message is meant for the user."""


class Table(NamedTuple):
    """Input columns in the order of the job, the classes where the table has them, and the line of each row."""

    inputs: Floats
    classes: NDArray[np.int64] | None
    lines: list[int]


def load_weights(path: Path) -> Floats:
    """Tensor X of a .safetensors file: eight bytes with the header's length, a JSON header, the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        tensor = json.loads(data[8:start])["X"]
        first, end = tensor["data_offsets"]
        return np.frombuffer(data[start + first : start + end], "<f8").reshape(tensor["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{path}: not a checkpoint: expected the .safetensors file of `job result`") from error


def load_scaling(path: Path) -> dict[str, Any]:
    """What `python -m training.scaling` wrote."""
    try:
        scaling = json.loads(path.read_bytes())
        missing = {"inputs", "targets", "steps", "rows"} - set(scaling)
    except (ValueError, TypeError) as error:
        raise BadFile(f"{path}: not JSON: expected what `python -m training.scaling` wrote") from error
    if missing:
        raise BadFile(f"{path}: no {sorted(missing)[0]!r}: expected what `python -m training.scaling` wrote")
    return scaling


def load_table(path: Path, scaling: dict[str, Any]) -> Table:
    """The rows of a table. Its classes may be missing: then there is nothing to compare with."""
    inputs, classes, lines = [], [], []
    target = scaling["targets"][0]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or []
            missing = [name for name in scaling["inputs"] if name not in header]
            if missing:
                raise BadFile(
                    f"{path}: no column {missing[0]!r}: expected all {len(scaling['inputs'])} inputs"
                )
            for row in reader:
                place = f"{path}: line {reader.line_num}"
                if None in row or None in row.values():
                    raise BadFile(f"{place}: expected {len(header)} fields, as in the header")
                inputs.append([read_number(place, row, name) for name in scaling["inputs"]])
                lines.append(reader.line_num)
                if target in header:
                    classes.append(int(read_number(place, row, target)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path}: not a .csv file in UTF-8: {error}") from error
    if not inputs:
        raise BadFile(f"{path}: no rows below the header")
    return Table(np.array(inputs), np.array(classes) if classes else None, lines)


def read_number(place: str, row: dict[str, str], name: str) -> float:
    """The number in a column of a row."""
    try:
        number = float(row[name])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadFile(f"{place}, column {name!r}: {row[name]!r} is not a number")
    return number


def scale(inputs: Floats, scaling: dict[str, Any]) -> Floats:
    """The inputs as the model was trained on them."""
    step = 2.0 ** -float(scaling["fraction_bits"])
    largest = float(scaling["largest"])
    operations = {
        "multiply": lambda x: x * float(scaling["multiply"]),
        "subtract": lambda x: x - np.array(scaling["subtract"]),
        "divide": lambda x: x / np.array(scaling["divide"]),
        "round": lambda x: np.rint(x / step) * step,
        "clip": lambda x: np.clip(x, -largest, largest),
        "constant": lambda x: np.hstack([x, np.ones((len(x), 1))]),
    }
    for name in scaling["steps"]:
        inputs = operations[name](inputs)
    return inputs


def predict(scaled: Floats, weights: Floats) -> Floats:
    """Probabilities of the classes: the softmax of inputs times weights."""
    scores = scaled @ weights
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def show_parts(table: Table, probabilities: Floats, rows: dict[str, list[int]]) -> None:
    """How many are right of the rows to train, to judge and held out, and some of the last."""
    guesses = probabilities.argmax(axis=1)
    for part, numbers in rows.items():
        right = int((guesses[numbers] == table.classes[numbers]).sum())
        share = f", {right / len(numbers):.1%}" if numbers else ""
        print(f"{part}: {right} of {len(numbers)} right{share}")
    for row in rows["holdout"][:5]:
        sure = f"({probabilities[row].max():.1%} sure)"
        print(f"row {row}: class {table.classes[row]}, predicted {guesses[row]} {sure}")


def show_rows(table: Table, probabilities: Floats) -> None:
    """The prediction of every row of a table that the job has not seen."""
    guesses = probabilities.argmax(axis=1)
    for i, line in enumerate(table.lines):
        known = "" if table.classes is None else f"class {table.classes[i]}, "
        print(f"line {line}: {known}predicted {guesses[i]} ({probabilities[i].max():.1%} sure)")
    if table.classes is not None:
        right = int((guesses == table.classes).sum())
        print(f"{right} of {len(guesses)} right, {right / len(guesses):.1%}")


def run(checkpoint: Path, scaling_path: Path, path: Path) -> None:
    """Predict, and compare where the classes are known."""
    scaling = load_scaling(scaling_path)
    weights, table = load_weights(checkpoint), load_table(path, scaling)
    scaled = scale(table.inputs, scaling)
    if weights.ndim != 2 or scaled.shape[1] != len(weights):
        raise BadFile(
            f"{checkpoint}: weights {list(weights.shape)} for {scaled.shape[1]} features in {scaling_path}:"
            " expected checkpoint and scaling of the same softmax_regression job"
        )
    probabilities = predict(scaled, weights)
    is_the_jobs = hashlib.sha256(path.read_bytes()).hexdigest() == scaling.get("file_sha256")
    if is_the_jobs and table.classes is not None:
        show_parts(table, probabilities, scaling["rows"])
    else:
        show_rows(table, probabilities)


def main() -> int:
    parser = argparse.ArgumentParser(description="Predict with a softmax_regression checkpoint.")
    parser.add_argument("checkpoint", type=Path, help="checkpoint.safetensors of `job result`")
    parser.add_argument("scaling", type=Path, help="what `python -m training.scaling JOB.toml` wrote")
    parser.add_argument(
        "table", type=Path, help="a .csv file with the job's input columns: the job's, or new rows"
    )
    options = parser.parse_args()
    try:
        run(options.checkpoint, options.scaling, options.table)
    except BadFile as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
