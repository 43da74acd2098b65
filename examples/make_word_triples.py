"""Write data/word_triples.npz: which three words follow one another in English text, the topics of help() that Python
3.11 ships, as cells of a 48 x 48 x 48 tensor: the 47 commonest words and, as number 0, all others.

Another version's text gives other counts. `python make_word_triples.py [FILE]`.
"""

import re
import sys
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from numpy.typing import NDArray

from training.exact.counter import draw_sample, open_stream
from training.hashing import compute_tagged_hash

WORDS = 47
WORD = re.compile(r"[a-z]+")
SEED = compute_tagged_hash("gc/example", b"word triples")
Arrays = dict[str, NDArray[np.int16] | NDArray[np.float32]]


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data" / "word_triples.npz"
    text = [WORD.findall(topics[name].lower()) for name in sorted(topics)]
    np.savez_compressed(file, **make_word_triples(text))  # type: ignore[arg-type]  # numpy types a keyword of its own


def make_word_triples(text: list[list[str]]) -> Arrays:
    """Cells [N, 3], all that occur and as many that do not, and log(1 + count) of each [N]."""
    common = Counter(word for words in text for word in words).most_common(WORDS)
    number = {word: i for i, (word, _) in enumerate(sorted(common, key=lambda pair: (-pair[1], pair[0])), 1)}
    counts = np.zeros((1 + WORDS,) * 3)
    for words in text:
        ids = [number.get(word, 0) for word in words]
        for cell in zip(ids, ids[1:], ids[2:], strict=False):
            counts[cell] += 1
    there, not_there = np.argwhere(counts > 0), np.argwhere(counts == 0)
    drawn = draw_sample(open_stream(SEED, "cells"), len(not_there), len(there))
    cells = np.concatenate([there, not_there[drawn]])
    values = np.log1p(counts[tuple(cells.T)])
    return {"cells": cells.astype(np.int16), "values": values.astype(np.float32)}


if __name__ == "__main__":
    main()
