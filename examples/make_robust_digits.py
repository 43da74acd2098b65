"""Write data/robust_digits.npz: the digits of digits.npz, and whether each is odd (1) or even (-1).

`python make_robust_digits.py [FILE]`.
"""

import sys
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "robust_digits.npz"
    digits = np.load(DATA / "digits.npz")
    pixels = digits["images"].reshape(len(digits["images"]), -1)
    odd = np.where(digits["labels"] % 2 == 1, 1, -1).astype(np.int8)
    np.savez_compressed(file, pixels=pixels, odd=odd)


if __name__ == "__main__":
    main()
