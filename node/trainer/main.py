"""The trainer: `python -m node.trainer.main GENESIS BLOBS PATH`, frames on standard input and output.

PATH is how the engine reads data ("portable": nothing is compiled). The process ends when its input ends, at the
latest after the training step it is in.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from node.threads import use_one_thread
from node.worker.child import become_child

NICE = 5  # as mining: until torch is imported


def main() -> None:
    genesis_path, blobs_path, path = sys.argv[1:4]
    output = become_child(NICE)
    use_one_thread()
    from node.trainer.loop import run_loop

    with suppress(BrokenPipeError):  # the node is gone
        run_loop(Path(genesis_path), Path(blobs_path), path, output)


if __name__ == "__main__":
    main()
