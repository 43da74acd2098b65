"""Counter-based randomness: splitmix64's output function over words of a hashed stream (section 7)."""

import torch
from torch import Tensor

from training.hashing import compute_tagged_hash

GAMMA = 0x9E3779B97F4A7C15
MULTIPLIER_1 = 0xBF58476D1CE4E5B9
MULTIPLIER_2 = 0x94D049BB133111EB
WORD = 1 << 64
NIBBLES = 16  # of a word
DITHER_UNITS = 1 << 8  # master units of one unit of dither: one step of the grid that products read


def mix(z: int) -> int:
    """splitmix64's output function on one word."""
    z = ((z ^ (z >> 30)) * MULTIPLIER_1) % WORD
    z = ((z ^ (z >> 27)) * MULTIPLIER_2) % WORD
    return z ^ (z >> 31)


def open_stream(seed: bytes, label: str) -> int:
    """The start of the stream of words that a seed and a label name."""
    return int.from_bytes(compute_tagged_hash("gc/stream", seed, label.encode("ascii"))[:8], "big")


def get_word(stream: int, i: int) -> int:
    """Word i = 0, 1, ... of a stream."""
    return mix((stream + (i + 1) * GAMMA) % WORD)


def draw_sample(stream: int, population: int, count: int) -> list[int]:
    """`count` distinct numbers below `population`, in drawn order: a Fisher-Yates shuffle cut short."""
    moved: dict[int, int] = {}
    drawn = []
    for i in range(count):
        j = i + ((get_word(stream, i) * (population - i)) >> 64)
        drawn.append(moved.get(j, j))
        moved[j] = moved.get(i, i)
    return drawn


# --- the same over tensors ------------------------------------------------------------------------------------------


def make_signed(word: int) -> int:
    """A u64 as the int64 with the same bits."""
    return word - WORD if word >= WORD // 2 else word


def mix_words(z: Tensor) -> Tensor:
    """`mix` on int64 tensors that hold the bits of u64 words. Shifts are arithmetic, hence the masks."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * make_signed(MULTIPLIER_1)
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * make_signed(MULTIPLIER_2)
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def make_words(stream: int, count: int) -> Tensor:
    """The first `count` words of a stream, as int64 with the same bits."""
    steps = torch.arange(1, count + 1, dtype=torch.int64) * make_signed(GAMMA)
    return mix_words(steps + make_signed(stream))


def make_nibbles(stream: int, count: int) -> Tensor:
    """The first `count` nibbles of a stream, least significant of each word first."""
    words = make_words(stream, (count + NIBBLES - 1) // NIBBLES)
    shifts = torch.arange(0, 4 * NIBBLES, 4, dtype=torch.int64)
    return ((words[:, None] >> shifts) & 15).flatten()[:count]


def make_dither(stream: int, count: int) -> Tensor:
    """Master units added to the weights at the start of a ticket."""
    return ((make_nibbles(stream, count) & 7) - 4) * DITHER_UNITS


def make_noise(stream: int, count: int) -> Tensor:
    """Data units added to the inputs of one step."""
    return make_nibbles(stream, count) - 8


def make_uniform(stream: int, count: int, bits: int, first: int = 0) -> Tensor:
    """Integers in -2^(bits-1) .. 2^(bits-1) - 1 from the low bits of words `first`, `first` + 1, ... ."""
    words = make_words(stream, first + count)[first:]
    return (words & ((1 << bits) - 1)) - (1 << (bits - 1))
