"""The start-up self-test: does this machine compute exactly? A node that fails neither mines nor judges.

Known answers for what is known to go wrong: products at the edge of the bit budget, rounding, negative zero, small
numbers flushed to zero, a full loss and full tickets of both objectives.
"""

import hashlib
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from training.blob import BlobTensor, encode_blob
from training.engine import Engine, Run, Task
from training.errors import SelfTestFailed
from training.exact.counter import make_uniform, mix, mix_words, open_stream
from training.exact.functions import exp, softmax
from training.exact.grids import PRODUCT_BITS
from training.exact.trace import Trace
from training.hashing import compute_cid
from training.splits import NAMES

Path = Literal["fused", "portable"]
SEED = bytes(range(32))
HEARTBEAT_DIGEST = "7b5eb5967ac34ee5"
ATTENTION_DIGEST = "80df7e3e77129503"
SOFTMAX_DIGEST = "04be3a24deb3f44f"
EXP_DIGEST = "6b7ae108d16f0363"


def check_machine(path: Path = "fused") -> None:
    """Raise SelfTestFailed unless every known answer comes out. About 100 ms once kernels are loaded."""
    for name, check in CHECKS:
        _require(name, check(), True)
    _require("exp", digest_exp(), EXP_DIGEST)
    _require(f"heartbeat ticket ({path})", run_heartbeat(path), HEARTBEAT_DIGEST)
    _require(f"attention_regression ticket ({path})", run_attention(path), ATTENTION_DIGEST)
    _require(f"softmax_regression ticket ({path})", run_softmax(path), SOFTMAX_DIGEST)


def _require(name: str, got: object, expected: object) -> None:
    if got != expected:
        raise SelfTestFailed(
            f"self-test '{name}' failed: {expected} expected, got {got}. This machine or its torch, numpy or numba"
            " does not compute exactly; it must neither mine nor judge. Install the versions of constraints.txt, and"
            " clear NUMBA_CACHE_DIR."
        )


# --- primitives -------------------------------------------------------------------------------------------------------


def is_product_exact() -> bool:
    """The largest operands the bit budget allows, summed with both signs over 256 terms."""
    bits = (PRODUCT_BITS - 8) // 2
    largest = float((1 << bits) - 1)
    left = torch.full((64, 256), largest, dtype=torch.float64)
    left[1::2] *= -1.0
    left[:, ::3] -= 1.0
    right = torch.full((256, 64), largest, dtype=torch.float64)
    exact = left.to(torch.int64).numpy() @ right.to(torch.int64).numpy()
    return bool((torch.matmul(left, right).to(torch.int64).numpy() == exact).all())


def is_rounding_half_even() -> bool:
    halves = torch.arange(-70, 71, dtype=torch.float64) + 0.5
    rounded = torch.round(halves).to(torch.int64)
    return bool(((rounded % 2 == 0) & ((rounded.to(torch.float64) - halves).abs() == 0.5)).all())


def is_zero_unsigned() -> bool:
    """Negative zeros must not reach a trace or a delta: both are over integers."""
    trace, twin = Trace(), Trace()
    trace.add(torch.tensor([-0.0, 0.0], dtype=torch.float64))
    twin.add(torch.tensor([0.0, -0.0], dtype=torch.float64))
    return trace.total == twin.total


def is_mix_published() -> bool:
    """splitmix64's published first word for seed 0, by both implementations."""
    z = 0x9E3779B97F4A7C15
    return mix(z) == 0xE220A8397B1DCDAF and int(mix_words(torch.tensor([z - 2**64])).item()) % 2**64 == mix(z)


def is_softmax_clear_of_small_numbers() -> bool:
    """Scores far apart give zeros and ones, with or without flushing small numbers to zero."""
    scores = torch.tensor([[0.0, -(2.0**40), -(2.0**49)]], dtype=torch.float64)
    return bool((softmax(scores, 26) == torch.tensor([[2.0**20, 0.0, 0.0]], dtype=torch.float64)).all())


CHECKS: tuple[tuple[str, Callable[[], bool]], ...] = (
    ("matrix product at the bit budget", is_product_exact),
    ("rounding half to even", is_rounding_half_even),
    ("negative zero", is_zero_unsigned),
    ("splitmix64", is_mix_published),
    ("softmax of distant scores", is_softmax_clear_of_small_numbers),
)


def digest_exp() -> str:
    """exp over its whole range, as bits."""
    x = torch.arange(-40960, 1, dtype=torch.float64) * 2.0**-10
    return hashlib.sha256(exp(x).numpy().view("<i8").tobytes()).hexdigest()[:16]


# --- tickets ----------------------------------------------------------------------------------------------------------


def run_heartbeat(path: Path) -> str:
    return _summarise(Engine(_refuse_blob, path).heartbeat(SEED, SEED))


def run_attention(path: Path) -> str:
    """Positional tokens and class targets, sizes that fill no vector, weights at their limits, then a settlement."""
    return _run_task("attention_regression", (3, 5, 7, 1, 1), (3, 5), 7, ((3, 12), (3, 12)), path)


def run_softmax(path: Path) -> str:
    """With keys and row targets."""
    return _run_task("softmax_regression", (9, 5, 3, 0), (9,), 5, ((3, 9),), path)


def _run_task(
    objective: str,
    params: tuple[int, ...],
    inputs: tuple[int, ...],
    outputs: int,
    rates: tuple[tuple[int, int], ...],
    path: Path,
) -> str:
    blob = _make_blob(inputs, outputs, keys=objective == "softmax_regression")
    task = Task(objective, params, compute_cid(blob), len(blob), SEED, 2, 11, rates, 16)
    engine = Engine(lambda _: blob, path)
    weights = np.frombuffer(engine.inspect(task).weights, "<i8").copy()
    weights[::7] = 2**27 - 1
    weights[3::7] = -(2**27 - 1)
    run = engine.run(task, weights.astype("<i8").tobytes(), SEED)
    settled = engine.settle(task, weights.astype("<i8").tobytes(), [run.delta, run.delta], SEED)
    return _summarise(run, settled.weights, repr(settled.losses).encode())


def _make_blob(inputs: tuple[int, ...], outputs: int, *, keys: bool) -> bytes:
    tensors = []
    for name in NAMES:
        stream = open_stream(SEED, name)
        if name.endswith("inputs"):
            values = make_uniform(stream, 16 * int(np.prod(inputs)), 16).numpy().reshape(16, *inputs)
            tensors.append(BlobTensor(name, 12, np.clip(values, -32767, 32767).astype("<i2")))
        elif keys:
            values = make_uniform(stream, 16 * outputs, 14).numpy().reshape(16, outputs)
            tensors.append(BlobTensor(name, 12, values.astype("<i2")))
        else:
            values = make_uniform(stream, 16, 8).numpy() % outputs
            tensors.append(BlobTensor(name, 0, values.astype("u1")))
    if keys:
        values = make_uniform(open_stream(SEED, "keys"), outputs * 3, 14).numpy().reshape(outputs, 3)
        tensors.append(BlobTensor("keys", 12, values.astype("<i2")))
    return encode_blob(tensors)


def _summarise(run: Run, *more: bytes) -> str:
    parts = (run.digest, run.before.to_bytes(16, "big"), run.after.to_bytes(16, "big"), *more)
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _refuse_blob(cid: bytes) -> bytes:
    raise SelfTestFailed(f"the self-test asked for blob {cid.hex()}")
