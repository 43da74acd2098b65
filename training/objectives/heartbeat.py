"""The heartbeat: an attention regression drawn afresh from every parent hash, so that a chain without jobs can live
(section 9.4)."""

from dataclasses import dataclass

import numpy as np

from training.exact.counter import make_uniform, open_stream
from training.exact.grids import DATA
from training.exact.integers import shift_half_even
from training.objectives.attention_regression import OUTPUT, AttentionRegression
from training.objectives.base import (
    Integers,
    compute_work,
    count_parameters,
    load_product_weights,
    make_float,
)
from training.splits import NO_KEYS, NO_LABELS, Shorts, Split

OBJECTIVE = AttentionRegression(tokens=16, width=16, outputs=16, positional=False, indexed=False)
SAMPLES = 256
STEPS = 4
SHARD = 16
RATES = ((1, 9), (1, 9))
INPUT_BITS = 13  # uniform in -1 .. 1
TEACHER_X_BITS = 23  # wide enough that half of the loss hangs on attention
TEACHER_Y_BITS = 22
WEIGHT_BITS = 20
WORK = compute_work(OBJECTIVE, STEPS, SHARD)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One height's problem: its samples and its starting weights."""

    split: Split
    weights: Integers


def make_heartbeat(parent: bytes, *, fused: bool) -> Heartbeat:
    """Draw the problem from the parent hash; both ways give the same integers."""
    inputs = _make_inputs(parent)
    teacher = _make_teacher(parent)
    if fused:
        outputs = OBJECTIVE.compute_outputs_fused(inputs, teacher)
    else:
        products = load_product_weights(OBJECTIVE, teacher)
        expanded = OBJECTIVE.expand(make_float(inputs))
        outputs = OBJECTIVE.compute_outputs(products, expanded).flatten(1).numpy().astype(np.int64)
    rows = np.clip(shift_half_even(outputs, OUTPUT.f - DATA.f), -DATA.limit, DATA.limit).astype(np.int16)
    weights = make_uniform(open_stream(parent, "heartbeat/weights"), count_parameters(OBJECTIVE), WEIGHT_BITS)
    return Heartbeat(Split(inputs, rows, NO_LABELS, NO_KEYS), weights)


def _make_inputs(parent: bytes) -> Shorts:
    size = OBJECTIVE.tokens * OBJECTIVE.width
    entries = make_uniform(open_stream(parent, "heartbeat/inputs"), SAMPLES * size, INPUT_BITS)
    return entries.reshape(SAMPLES, size).astype(np.int16)


def _make_teacher(parent: bytes) -> Integers:
    stream = open_stream(parent, "heartbeat/teacher")
    size_x, size_y = (int(np.prod(shape)) for shape in OBJECTIVE.shapes)
    x = make_uniform(stream, size_x, TEACHER_X_BITS)
    y = make_uniform(stream, size_y, TEACHER_Y_BITS, first=size_x)
    return np.concatenate([x, y])
