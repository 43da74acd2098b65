"""The training process: `python -m node.worker.main GENESIS BLOBS PATH`, frames on standard input and output.

The process ends when its input ends: it cannot outlive its node. It knows neither network nor database.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from node.worker.child import become_child

NICE = 5  # the event loops of this machine's nodes go first


def main() -> None:
    genesis_path, blobs_path, path = sys.argv[1:4]
    output = become_child(NICE)
    from node.worker.loop import run_loop

    with suppress(BrokenPipeError):  # the node is gone
        run_loop(Path(genesis_path), Path(blobs_path), path, output)


if __name__ == "__main__":
    main()
