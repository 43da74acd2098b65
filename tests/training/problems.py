"""Training tasks with drawn data, for tests and vectors. Everything comes from named streams, nothing from a clock."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from training.blob import BlobTensor, encode_blob
from training.engine import Engine, Task
from training.exact.counter import make_uniform, open_stream
from training.hashing import compute_cid
from training.objectives.registry import get_objective

SEED = bytes(range(32))
LIMIT = 2**27 - 1


@dataclass(frozen=True)
class Problem:
    """A task, its blob, and weights to start from."""

    task: Task
    blob: bytes
    weights: bytes

    def make_engine(self, path: str = "fused") -> Engine:
        return Engine(self.load_blob, path)  # type: ignore[arg-type]  # tests pass names

    @property
    def load_blob(self) -> Callable[[bytes], bytes]:
        return lambda _: self.blob


def make_problem(
    objective: str,
    params: tuple[int, ...],
    *,
    shard: int,
    rates: tuple[tuple[int, int], ...],
    steps: int = 2,
    train: int = 24,
    judge: int = 16,
    sample: int = 16,
    input_bits: int = 13,
    weights: str = "initial",
) -> Problem:
    """Inputs are uniform over `input_bits` bits; weights are "initial", or at their limits: "saturated"."""
    layout = get_objective(objective, params).layout
    tensors = []
    for name, count in (("train", train), ("judge", judge)):
        if layout.ids:
            drawn = draw_integers(f"{name}.inputs", (count, *layout.inputs), 16) % layout.ids
            tensors.append(BlobTensor(f"{name}.inputs", 12, drawn.astype("<i2")))
        else:
            tensors.append(draw_tensor(f"{name}.inputs", (count, *layout.inputs), input_bits))
        if layout.rows is not None:
            tensors.append(draw_tensor(f"{name}.targets", (count, *layout.rows), 13))
        else:
            labels = draw_integers(f"{name}.labels", (count,), 16) % layout.classes
            tensors.append(BlobTensor(f"{name}.targets", 0, labels.astype("u1")))
    if layout.keys is not None:
        tensors.append(draw_tensor("keys", layout.keys, 13))
    blob = encode_blob(tensors)
    task = Task(objective, params, compute_cid(blob), len(blob), SEED, steps, shard, rates, sample)
    start = Engine(lambda _: blob, "portable").inspect(task).weights
    return Problem(task, blob, saturate_weights(start) if weights == "saturated" else start)


def draw_tensor(name: str, shape: tuple[int, ...], bits: int) -> BlobTensor:
    values = np.clip(draw_integers(name, shape, bits), -32767, 32767)
    return BlobTensor(name, 12, values.astype("<i2"))


def draw_integers(name: str, shape: tuple[int, ...], bits: int) -> np.ndarray:
    return make_uniform(open_stream(SEED, name), prod(shape), bits).reshape(shape)


def saturate_weights(weights: bytes) -> bytes:
    """All at plus or minus the limit, by the sign they have."""
    return np.where(np.frombuffer(weights, "<i8") < 0, -LIMIT, LIMIT).astype("<i8").tobytes()


# Those that rounds are settled with, too: how a settlement goes does not hang on the function of scores.
SETTLED = (
    "attention positional classes", "attention rows", "attention saturated", "attention one token",
    "attention many tokens", "softmax classes", "softmax keys rows", "softmax saturated", "softmax block and a bit",
    "rescaled cosh keys", "sequence softmax", "exponential", "cycle rank",
    "adversarial relu", "kronecker spectral", "graph classes",
)  # fmt: skip

# Sizes that fill vectors and that do not; one token, many; every kind of placement, targets and keys; inputs and
# weights over their whole range; rates at both ends.
PROBLEMS: dict[str, Callable[[], Problem]] = {
    "attention positional classes": lambda: make_problem(
        "attention_regression", (4, 6, 10, 1, 1), shard=20, rates=((1, 10), (1, 10)), steps=3
    ),
    "attention rows": lambda: make_problem(
        "attention_regression", (3, 5, 7, 0, 0), shard=13, rates=((3, 10), (3, 10))
    ),
    "attention saturated": lambda: make_problem(
        "attention_regression",
        (5, 8, 9, 0, 0),
        shard=24,
        rates=((1, 12), (4095, 10)),
        input_bits=16,
        weights="saturated",
    ),
    "attention one token": lambda: make_problem(
        "attention_regression", (1, 1, 1, 0, 0), shard=1, rates=((1, 48), (4095, 0))
    ),
    "attention many tokens": lambda: make_problem(
        "attention_regression", (33, 2, 3, 1, 1), shard=3, rates=((1, 6), (1, 6)), train=4
    ),
    "softmax classes": lambda: make_problem(
        "softmax_regression", (20, 10, 0, 1), shard=24, rates=((1, 4),), steps=3
    ),
    "softmax keys rows": lambda: make_problem("softmax_regression", (9, 5, 3, 0), shard=11, rates=((3, 7),)),
    "softmax saturated": lambda: make_problem(
        "softmax_regression",
        (33, 17, 12, 0),
        shard=24,
        rates=((4095, 8),),
        input_bits=16,
        weights="saturated",
    ),
    "rescaled exp": lambda: make_problem("softmax_regression", (9, 5, 0, 0, 1, 0), shard=11, rates=((3, 9),)),
    "rescaled cosh keys": lambda: make_problem(
        "softmax_regression", (9, 5, 3, 0, 2, 40), shard=11, rates=((3, 9),)
    ),
    "rescaled sinh saturated": lambda: make_problem(
        "softmax_regression",
        (33, 17, 12, 1, 3, 4095),
        shard=24,
        rates=((4095, 8),),
        input_bits=16,
        weights="saturated",
    ),
    "softmax with a weight": lambda: make_problem(
        "softmax_regression", (20, 10, 0, 1, 0, 50), shard=24, rates=((1, 5),)
    ),
    "sequence softmax": lambda: make_problem(
        "sequence_regression", (7, 5, 0, 30), shard=13, rates=((1, 6),), steps=3
    ),
    "sequence exp": lambda: make_problem("sequence_regression", (70, 3, 1, 0), shard=5, rates=((1, 9),)),
    "sequence cosh saturated": lambda: make_problem(
        "sequence_regression",
        (6, 11, 2, 4095),
        shard=24,
        rates=((4095, 6),),
        input_bits=16,
        weights="saturated",
    ),
    "sequence sinh one token": lambda: make_problem(
        "sequence_regression", (1, 1, 3, 0), shard=1, rates=((1, 9),)
    ),
    "adversarial relu": lambda: make_problem(
        "adversarial_relu", (5, 14, 3, 200, 20), shard=20, rates=((1, 12),), steps=3
    ),
    "adversarial relu saturated": lambda: make_problem(
        "adversarial_relu",
        (17, 66, 1, 1023, 0),
        shard=24,
        rates=((4095, 8),),
        input_bits=16,
        weights="saturated",
    ),
    "adversarial relu asleep": lambda: make_problem(
        "adversarial_relu", (1, 2, 8, 1, 4095), shard=1, rates=((1, 9),)
    ),
    "kronecker spectral": lambda: make_problem(
        "kronecker_spectral", (19, 3), shard=20, rates=((1, 6),), steps=3
    ),
    "kronecker spectral saturated": lambda: make_problem(
        "kronecker_spectral",
        (140, 0),
        shard=70,
        rates=((4095, 8),),
        train=80,
        input_bits=16,
        weights="saturated",
    ),
    "kronecker spectral one": lambda: make_problem("kronecker_spectral", (1, 12), shard=1, rates=((1, 9),)),
    "graph classes": lambda: make_problem(
        "graph_network", (4, 6, 11, 5, 1), shard=20, rates=((1, 10), (1, 11)), steps=3
    ),
    "graph rows": lambda: make_problem(
        "graph_network", (64, 3, 8, 3, 0), shard=3, rates=((3, 12), (3, 12)), train=4
    ),
    "graph saturated": lambda: make_problem(
        "graph_network",
        (5, 17, 33, 9, 0),
        shard=24,
        rates=((4095, 12), (4095, 14)),
        input_bits=16,
        weights="saturated",
    ),
    "graph few of all": lambda: make_problem(
        "graph_network", (1, 1, 8, 2, 1), shard=1, rates=((1, 48), (4095, 0))
    ),
    "cycle rank": lambda: make_problem(
        "cycle_rank", (5, 4, 3, 3), shard=20, rates=((1, 5), (1, 6), (3, 7)), steps=3
    ),
    "cycle rank saturated": lambda: make_problem(
        "cycle_rank",
        (2, 9, 3, 8),
        shard=70,
        rates=((4095, 8), (4095, 8), (4095, 8)),
        train=80,
        weights="saturated",
    ),
    "cycle rank one": lambda: make_problem(
        "cycle_rank", (1, 1, 4096, 1), shard=7, rates=((1, 4), (1, 4), (1, 48))
    ),
    "exponential": lambda: make_problem(
        "exponential_regression", (5, 37), shard=20, rates=((1, 9),), steps=3
    ),
    "exponential saturated": lambda: make_problem(
        "exponential_regression",
        (17, 130),
        shard=24,
        rates=((4095, 8),),
        input_bits=16,
        weights="saturated",
    ),
    "softmax wide rows": lambda: make_problem(
        "softmax_regression", (3, 130, 192, 1), shard=9, rates=((1, 7),)
    ),
    "attention wide rows": lambda: make_problem(
        "attention_regression", (2, 130, 3, 0, 1), shard=3, rates=((1, 9), (1, 9)), train=4
    ),
    "sequence wide rows": lambda: make_problem(
        "sequence_regression", (3, 130, 1, 26), shard=5, rates=((1, 9),)
    ),
    "softmax block and a bit": lambda: make_problem(
        "softmax_regression", (3, 2, 1, 1), shard=130, rates=((1, 9),), train=150
    ),
}
