"""Counter-based randomness: splitmix64's output function over words of a hashed stream (section 7)."""

import numpy as np
from numpy.typing import NDArray

from training.hashing import compute_tagged_hash

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]
GAMMA = 0x9E3779B97F4A7C15
MULTIPLIER_1 = 0xBF58476D1CE4E5B9
MULTIPLIER_2 = 0x94D049BB133111EB
WORD = 1 << 64
NIBBLES = 16  # of a word
U_GAMMA = np.uint64(GAMMA)
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
    for i, word in enumerate(make_words(stream, count).tolist()):
        j = i + ((word * (population - i)) >> 64)
        drawn.append(moved.get(j, j))
        moved[j] = moved.get(i, i)
    return drawn


# --- the same over arrays -------------------------------------------------------------------------------------------


def mix_words(z: Words) -> Words:
    """`mix` on arrays of words."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MULTIPLIER_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MULTIPLIER_2)
    return z ^ (z >> np.uint64(31))


def make_words(stream: int, count: int) -> Words:
    """The first `count` words of a stream."""
    return mix_words(np.arange(1, count + 1, dtype=np.uint64) * U_GAMMA + np.uint64(stream))


def make_nibbles(stream: int, count: int) -> Integers:
    """The first `count` nibbles of a stream, least significant of each word first."""
    words = make_words(stream, (count + NIBBLES - 1) // NIBBLES)
    shifts = np.arange(0, 4 * NIBBLES, 4, dtype=np.uint64)
    return ((words[:, None] >> shifts) & np.uint64(15)).flatten()[:count].astype(np.int64)


def make_dither(stream: int, count: int) -> Integers:
    """Master units added to the weights at the start of a ticket."""
    return ((make_nibbles(stream, count) & 7) - 4) * DITHER_UNITS


def make_noise(stream: int, count: int) -> Integers:
    """Data units added to the inputs and keys of one step."""
    return make_nibbles(stream, count) - 8


def make_uniform(stream: int, count: int, bits: int, first: int = 0) -> Integers:
    """Integers in -2^(bits-1) .. 2^(bits-1) - 1 from the low bits of words `first`, `first` + 1, ... ."""
    words = make_words(stream, first + count)[first:]
    return (words & np.uint64((1 << bits) - 1)).astype(np.int64) - (1 << (bits - 1))
