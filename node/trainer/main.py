"""A trainer: `python -m node.trainer.main [--device D] GENESIS BLOBS PATH`, frames on standard input and output.

PATH is how the engine reads data ("portable": nothing is compiled). The process ends when its input ends, at the
latest after the training step it is in.

With the variables of torchrun (RANK, WORLD_SIZE, ...) it is one of a group: rank 0 speaks with the node, the others
compute what rank 0 asks; see docs/trainers.md.
"""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path

from node.threads import use_one_thread
from node.trainer.ranks import read_place
from node.worker.child import become_child

NICE = 5  # as mining: until torch is imported


def main() -> None:
    options = _parse_arguments()
    output = become_child(NICE)
    use_one_thread()
    place = read_place(os.environ)
    if place is not None and place.rank > 0:
        from node.trainer.follower import run_follower

        run_follower(place, options.device)
        return
    from node.trainer.loop import run_loop

    with suppress(BrokenPipeError):  # the node is gone
        run_loop(options.genesis, options.blobs, options.path, output, place, options.device)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m node.trainer.main")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("genesis", type=Path)
    parser.add_argument("blobs", type=Path)
    parser.add_argument("path", choices=("fused", "portable"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
