"""Rank 1 of a group of two: `python -m tests.training.follower MEETING`; ends when rank 0 leaves."""

from __future__ import annotations

import sys

from training.group import Place, join_group
from training.shared import follow


def main() -> None:
    import torch

    torch.set_num_threads(1)
    follow(join_group(Place(1, 2, 1, 2, sys.argv[1]), "cpu"))


if __name__ == "__main__":
    main()
