"""Write data/next_word.npz: which word follows which in English text, the topics of help() that Python 3.11 ships.

Another version's text gives other counts. `python make_next_word.py [FILE]`.
"""

import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from numpy.typing import NDArray

WORDS, FEATURES = 200, 16
WORD = re.compile(r"[a-z]+")
Arrays = dict[str, NDArray[np.float32]]


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data" / "next_word.npz"
    text = [WORD.findall(topics[name].lower()) for name in sorted(topics)]
    np.savez(file, **make_next_word(text))  # type: ignore[arg-type]  # numpy types a keyword of its own


def make_next_word(text: list[list[str]]) -> Arrays:
    """Of the 200 commonest words: the features of each as the word before [200, 16] and as the word after [200, 16],
    and what part of its occurrences each of the 200 follows [200, 200]."""
    common = Counter(word for words in text for word in words).most_common(WORDS)
    number = {word: i for i, (word, _) in enumerate(sorted(common, key=lambda pair: (-pair[1], pair[0])))}
    counts = np.zeros((WORDS, WORDS))
    for words in text:
        for first, second in pairwise(words):
            if first in number and second in number:
                counts[number[first], number[second]] += 1
    expected = (counts.sum(1, keepdims=True) + 1) * (counts.sum(0, keepdims=True) + 1) / counts.sum()
    left, sizes, right = np.linalg.svd(np.log((counts + 0.5) / (expected + 0.5)))
    scale = np.sqrt(sizes[:FEATURES])
    follows = (counts + 0.1) / (counts + 0.1).sum(1, keepdims=True)
    arrays = {"before": left[:, :FEATURES] * scale, "after": right[:FEATURES].T * scale, "follows": follows}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


if __name__ == "__main__":
    main()
