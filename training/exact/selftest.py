"""The start-up self-test: does this machine compute exactly? A node that fails neither mines nor judges.

Known answers for what is known to go wrong: products at the edge of the bit budget, rounding, negative zero, small
numbers flushed to zero, a full loss and full tickets of every objective.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from training.blob import BlobTensor, encode_blob
from training.engine import Engine, Run, Task
from training.errors import SelfTestFailed
from training.exact.counter import GAMMA, WORD, make_uniform, mix, mix_words, open_stream
from training.exact.grids import DATA, PRODUCT_BITS
from training.exact.integers import Integers
from training.hashing import compute_cid
from training.merge import Update
from training.splits import NAMES

Path = Literal["fused", "portable"]
Floats = NDArray[Any]  # Any: numpy's types lose float64 in arithmetic with Python's floats
SEED = bytes(range(32))
NO_BLOBS: Mapping[bytes, bytes] = {}
HEARTBEAT_DIGEST = "7b5eb5967ac34ee5"
ATTENTION_DIGEST = "80df7e3e77129503"
SOFTMAX_DIGEST = "c29e0a8ef30510ba"
SEQUENCE_DIGEST = "c225ebf2abbddc36"
EXPONENTIAL_DIGEST = "3adc9a3e154c65bb"
CYCLE_DIGEST = "0e7409c57bbd87b7"
RELU_DIGEST = "eb55e3f2e31e9e00"
SPECTRAL_DIGEST = "59168601a40b7976"
GRAPH_DIGEST = "e30f47a161681093"
UPDATE_DIGEST = "1e6e618f489ac023"
PREDICTIONS_DIGEST = "37e483ed9399ab0c"
EXP_DIGEST = "96c35e8253e650ed"


def check_machine(path: Path = "fused") -> None:
    """Raise SelfTestFailed unless every known answer comes out. About 100 ms once kernels are loaded."""
    check_primitives(path)
    _require(f"heartbeat ticket ({path})", run_heartbeat(path), HEARTBEAT_DIGEST)
    _require(f"attention_regression ticket ({path})", run_attention(path), ATTENTION_DIGEST)
    _require(f"softmax_regression ticket ({path})", run_softmax(path), SOFTMAX_DIGEST)
    _require(f"sequence_regression ticket ({path})", run_sequence(path), SEQUENCE_DIGEST)
    _require(f"exponential_regression ticket ({path})", run_exponential(path), EXPONENTIAL_DIGEST)
    _require(f"cycle_rank ticket ({path})", run_cycle(path), CYCLE_DIGEST)
    _require(f"adversarial_relu ticket ({path})", run_relu(path), RELU_DIGEST)
    _require(f"kronecker_spectral ticket ({path})", run_spectral(path), SPECTRAL_DIGEST)
    _require(f"graph_network ticket ({path})", run_graph(path), GRAPH_DIGEST)
    _require(f"settlement with an update ({path})", run_update(path), UPDATE_DIGEST)
    _require(f"predictions ({path})", run_predictions(path), PREDICTIONS_DIGEST)


def check_primitives(path: Path) -> None:
    """Raise SelfTestFailed unless this path's own primitives are right."""
    primitives: Primitives = FusedPrimitives() if path == "fused" else PortablePrimitives()
    for name, check in CHECKS:
        _require(f"{name} ({path})", check(primitives), True)
    _require("splitmix64", is_mix_published(), True)
    _require(f"exp ({path})", digest_exp(primitives), EXP_DIGEST)


def _require(name: str, got: object, expected: object) -> None:
    if got != expected:
        raise SelfTestFailed(
            f"self-test '{name}' failed: {expected} expected, got {got}. This machine or its torch, numpy or numba"
            " does not compute exactly; it must neither mine nor judge. Install the versions of constraints.txt, and"
            " clear NUMBA_CACHE_DIR."
        )


# --- primitives -------------------------------------------------------------------------------------------------------


class Primitives(Protocol):
    """What tickets are made of, as a path computes it; float64 in and out."""

    def multiply(self, left: Floats, right: Floats) -> Floats:
        """left @ right, [64, 256] @ [256, 64]."""

    def round(self, x: Floats) -> Floats:
        """To integers, half to even."""

    def fold(self, product: Floats) -> int:
        """The trace of one product."""

    def softmax(self, scores: Floats) -> Floats:
        """Of one row of integers on step 2^-26, on step 2^-20."""

    def exp(self, x: Floats) -> Floats:
        """Of numbers up to 4."""


class PortablePrimitives:
    """By torch, imported here: the compiled path does without it."""

    def multiply(self, left: Floats, right: Floats) -> Floats:
        import torch

        product: Floats = torch.matmul(torch.from_numpy(left), torch.from_numpy(right)).numpy()
        return product

    def round(self, x: Floats) -> Floats:
        import torch

        rounded: Floats = torch.round(torch.from_numpy(x)).numpy()
        return rounded

    def fold(self, product: Floats) -> int:
        import torch

        from training.exact.trace import Trace

        trace = Trace()
        trace.add(torch.from_numpy(product))
        return trace.total

    def softmax(self, scores: Floats) -> Floats:
        import torch

        from training.exact.functions import softmax

        shares: Floats = softmax(torch.from_numpy(scores), 26).numpy()
        return shares

    def exp(self, x: Floats) -> Floats:
        import torch

        from training.exact.functions import exp

        powers: Floats = exp(torch.from_numpy(x)).numpy()
        return powers


class FusedPrimitives:
    """By the kernels; compiling and loading is paid for by those who use them."""

    def multiply(self, left: Floats, right: Floats) -> Floats:
        from training.exact.fused.tile import multiply

        (rows, terms), cols = left.shape, right.shape[1]
        product = np.zeros(rows * cols)
        flat = left.reshape(-1), right.reshape(-1)
        multiply(product, 0, cols, flat[0], 0, terms, 1, flat[1], 0, cols, rows, cols, terms, False)
        return product.reshape(rows, cols)

    def round(self, x: Floats) -> Floats:
        from training.exact.fused.elements import rescale

        rounded = x.copy()
        rescale(rounded, 0, rounded.size, 1.0, 2.0**50)
        return rounded

    def fold(self, product: Floats) -> int:
        from training.exact.fused.elements import fold

        return int(fold(product, 0, 1, product.size, product.size, 0))

    def softmax(self, scores: Floats) -> Floats:
        from training.exact.fused.elements import softmax

        shares = scores.copy()
        softmax(shares, 1, shares.size, shares.size, 2.0**-26)
        return shares

    def exp(self, x: Floats) -> Floats:
        from training.exact.fused.elements import exp

        return np.array([exp(value) for value in x])


def is_product_exact(primitives: Primitives) -> bool:
    """The largest operands the bit budget allows, summed with both signs over 256 terms."""
    bits = (PRODUCT_BITS - 8) // 2
    largest = float((1 << bits) - 1)
    left = np.full((64, 256), largest)
    left[1::2] *= -1.0
    left[:, ::3] -= 1.0
    right = np.full((256, 64), largest)
    exact = left.astype(np.int64) @ right.astype(np.int64)
    return bool((primitives.multiply(left, right).astype(np.int64) == exact).all())


def is_rounding_half_even(primitives: Primitives) -> bool:
    whole = np.arange(-70, 71)
    expected = whole + (whole & 1)  # of two neighbours the even one
    return bool((primitives.round(whole + 0.5) == expected).all())


def is_zero_unsigned(primitives: Primitives) -> bool:
    """Negative zeros must not reach a trace or a delta: both are over integers."""
    zeros = [mix((i * GAMMA) % WORD) for i in (1, 2)]
    signed = (np.array([-0.0, 0.0]), np.array([0.0, -0.0]))
    return all(primitives.fold(product) == sum(zeros) % WORD for product in signed)


def is_softmax_clear_of_small_numbers(primitives: Primitives) -> bool:
    """Scores far apart give zeros and ones, with or without flushing small numbers to zero."""
    shares = primitives.softmax(np.array([0.0, -(2.0**40), -(2.0**49)]))
    return bool((shares == np.array([2.0**20, 0.0, 0.0])).all())


CHECKS: tuple[tuple[str, Callable[[Primitives], bool]], ...] = (
    ("matrix product at the bit budget", is_product_exact),
    ("rounding half to even", is_rounding_half_even),
    ("negative zero", is_zero_unsigned),
    ("softmax of distant scores", is_softmax_clear_of_small_numbers),
)


def is_mix_published() -> bool:
    """splitmix64's published first word for seed 0, by both implementations."""
    return mix(GAMMA) == 0xE220A8397B1DCDAF and int(mix_words(np.array([GAMMA], np.uint64))[0]) == mix(GAMMA)


def digest_exp(primitives: Primitives) -> str:
    """exp over its whole range, that of a softmax and that of the functions of scores, as bits."""
    x = np.arange(-40960, 4097) * 2.0**-10
    return hashlib.sha256(primitives.exp(x).view("<i8").tobytes()).hexdigest()[:16]


# --- tickets ----------------------------------------------------------------------------------------------------------


def run_heartbeat(path: Path) -> str:
    return _summarise(Engine(_refuse_blob, path).heartbeat(SEED, SEED))


def run_attention(path: Path) -> str:
    """Positional tokens and class targets, sizes that fill no vector, weights at their limits, then a settlement."""
    return _run_task(*_make_attention(path))


def run_softmax(path: Path) -> str:
    """With keys and row targets."""
    return _run_task(*_make_softmax(path))


def run_sequence(path: Path) -> str:
    """cosh, its derivative, and a weight on the scores."""
    return _run_task(*_make_sequence(path))


def run_exponential(path: Path) -> str:
    """A sum of exponentials with alternating signs, an odd number of them."""
    blob = _make_blob((9,), 1, rows=True)
    return _run_task(*_make_problem("exponential_regression", (9, 7), blob, ((3, 9),), path))


def run_cycle(path: Path) -> str:
    """Cells of a tensor with three sizes, some of them the same, matrices of 3 x 3."""
    return _run_task(*_make_cycle(path))


def run_relu(path: Path) -> str:
    """Two steps of an adversary, sizes that fill no vector."""
    return _run_task(*_make_relu(path))


def run_spectral(path: Path) -> str:
    """Probes of pairs, more of them than a vector holds."""
    return _run_task(*_make_spectral(path))


def run_graph(path: Path) -> str:
    """Rows of nodes, sizes that fill no vector."""
    return _run_task(*_make_graph(path))


def run_predictions(path: Path) -> str:
    """Classes of a few samples, by each kernel that gives outputs."""
    attention, task, weights = _make_attention(path)
    softmax, keyed, more = _make_softmax(path)
    sequence, rows, most = _make_sequence(path)
    cycle, cells, factors = _make_cycle(path)
    relu, attacked, net = _make_relu(path)
    spectral, probes, pairs = _make_spectral(path)
    graph, nodes, layers = _make_graph(path)
    values = make_uniform(open_stream(SEED, "predictions"), 16 * 15, 16)
    values = np.clip(values, -DATA.limit, DATA.limit)
    classes = [
        attention.predict(task, weights, values.reshape(16, 3, 5)),
        softmax.predict(keyed, more, values[: 16 * 9].reshape(16, 9)),
        sequence.predict(rows, most, values.reshape(16, 3, 5)),
        cycle.predict(cells, factors, values[: 16 * 3].reshape(16, 3) % 4),
        relu.predict(attacked, net, values[: 16 * 9].reshape(16, 9)),
        spectral.predict(probes, pairs, values[: 16 * 13].reshape(16, 13)),
        graph.predict(nodes, layers, values.reshape(16, 3, 5)),
    ]
    return hashlib.sha256(np.concatenate(classes).astype("u1").tobytes()).hexdigest()[:16]


def run_update(path: Path) -> str:
    """A settlement with a ticket, two long steps, an update, whose payload is the signs of a run's delta, and one known
    from the round before."""
    blobs: dict[bytes, bytes] = {}
    engine, task, previous = _make_attention(path, blobs)
    weights = engine.inspect(task).weights
    run, other = (engine.run(task, weights, seed) for seed in (SEED, SEED[::-1]))
    payload = _make_payload(np.frombuffer(other.delta, "<i8"))
    update = Update(compute_cid(payload), len(payload), 3)
    blobs[update.payload_cid] = payload
    oldest = engine.settle(task, previous, [run.delta], (SEED,) * 3).weights
    last = _make_payload(np.frombuffer(run.delta, "<i8")[::-1])
    known = Update(compute_cid(last), len(last), 1)
    blobs[known.payload_cid] = last
    settled = engine.settle(task, weights, [run.delta], (SEED,) * 3, [previous, oldest], [update], [known])
    losses = settled.losses, settled.known_losses, settled.update_losses
    figures = *losses, settled.credits, settled.credit_base
    return _summarise(run, settled.weights, repr(figures).encode())


def _make_payload(delta: Integers) -> bytes:
    """Every third entry, in 4 bits: the outermost codes."""
    kept = len(delta) // 3
    step = int(np.abs(delta).max()) // 15
    numbers = sum((3 * i) << (12 * i) for i in range(kept))
    codes = sum((15 if delta[3 * i] > 0 else 0) << (4 * i) for i in range(kept))
    parts = (kept.to_bytes(2, "little"), step.to_bytes(4, "little"))
    return b"".join((b"GCU1\x04", *parts, _pack(numbers, 12 * kept), _pack(codes, 4 * kept)))


def _pack(joined: int, bits: int) -> bytes:
    return joined.to_bytes((bits + 7) // 8, "little")


Problem = tuple[Engine, Task, bytes]


def _make_attention(path: Path, more: Mapping[bytes, bytes] = NO_BLOBS) -> Problem:
    blob = _make_blob((3, 5), 7)
    return _make_problem("attention_regression", (3, 5, 7, 1, 1), blob, ((3, 12), (3, 12)), path, more)


def _make_softmax(path: Path) -> Problem:
    blob = _make_blob((9,), 5, rows=True, keys=True)
    return _make_problem("softmax_regression", (9, 5, 3, 0), blob, ((3, 9),), path)


def _make_sequence(path: Path) -> Problem:
    blob = _make_blob((3, 5), 3, rows=True)
    return _make_problem("sequence_regression", (3, 5, 2, 300), blob, ((3, 7),), path)


def _make_cycle(path: Path) -> Problem:
    blob = _make_blob((3,), 1, rows=True, ids=(6, 5, 4))
    return _make_problem("cycle_rank", (6, 5, 4, 3), blob, ((3, 6), (3, 6), (3, 6)), path)


def _make_relu(path: Path) -> Problem:
    blob = _make_blob((9,), 1, rows=True)
    return _make_problem("adversarial_relu", (9, 14, 2, 150, 60), blob, ((3, 14),), path)


def _make_spectral(path: Path) -> Problem:
    blob = _make_blob((13,), 1, rows=True)
    return _make_problem("kronecker_spectral", (13, 2), blob, ((3, 9),), path)


def _make_graph(path: Path) -> Problem:
    blob = _make_blob((3, 5), 7)
    return _make_problem("graph_network", (3, 5, 9, 7, 1), blob, ((3, 12), (3, 12)), path)


def _make_problem(
    objective: str,
    params: tuple[int, ...],
    blob: bytes,
    rates: tuple[tuple[int, int], ...],
    path: Path,
    more: Mapping[bytes, bytes] = NO_BLOBS,
) -> Problem:
    """Blobs other than the data are looked for in `more`."""
    task = Task(objective, params, compute_cid(blob), len(blob), SEED, 2, 11, rates, 16)
    engine = Engine(lambda cid: more.get(cid, blob), path)
    weights = np.frombuffer(engine.inspect(task).weights, "<i8").copy()
    weights[::7] = 2**27 - 1
    weights[3::7] = -(2**27 - 1)
    return engine, task, weights.astype("<i8").tobytes()


def _run_task(engine: Engine, task: Task, weights: bytes) -> str:
    run = engine.run(task, weights, SEED)
    settled = engine.settle(task, weights, [run.delta, run.delta], (SEED,) * 3)
    return _summarise(run, settled.weights, repr(settled.losses).encode())


def _make_blob(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    rows: bool = False,
    keys: bool = False,
    ids: tuple[int, ...] = (),
) -> bytes:
    """Targets are classes, or `rows` of values; inputs are values, or `ids` below these."""
    tensors = []
    for name in NAMES:
        stream = open_stream(SEED, name)
        if name.endswith("inputs"):
            values = make_uniform(stream, 16 * int(np.prod(inputs)), 16).reshape(16, *inputs)
            values = values % ids if ids else np.clip(values, -32767, 32767)
            tensors.append(BlobTensor(name, 12, values.astype("<i2")))
        elif rows:
            values = make_uniform(stream, 16 * outputs, 14).reshape(16, outputs)
            tensors.append(BlobTensor(name, 12, values.astype("<i2")))
        else:
            values = make_uniform(stream, 16, 8) % outputs
            tensors.append(BlobTensor(name, 0, values.astype("u1")))
    if keys:
        values = make_uniform(open_stream(SEED, "keys"), outputs * 3, 14).reshape(outputs, 3)
        tensors.append(BlobTensor("keys", 12, values.astype("<i2")))
    return encode_blob(tensors)


def _summarise(run: Run, *more: bytes) -> str:
    parts = (run.digest, run.before.to_bytes(16, "big"), run.after.to_bytes(16, "big"), *more)
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _refuse_blob(cid: bytes) -> bytes:
    raise SelfTestFailed(f"the self-test asked for blob {cid.hex()}")
