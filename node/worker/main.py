"""The training process: `python -m node.worker.main GENESIS BLOBS PATH`, frames on standard input and output.

The process ends when its input ends: it cannot outlive its node. It knows neither network nor database.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

NICE = 5  # the event loops of this machine's nodes go first


def main() -> None:
    genesis_path, blobs_path, path = sys.argv[1:4]
    for number in (signal.SIGINT, signal.SIGHUP):  # a Ctrl+C or a closed terminal is the node's to handle
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICE)
    output = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not break the frames, not even when it is imported
    from node.worker.loop import run_loop

    with suppress(BrokenPipeError):  # the node is gone
        run_loop(Path(genesis_path), Path(blobs_path), path, output)


if __name__ == "__main__":
    main()
