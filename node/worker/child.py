"""What every child process of a node does first: its output is frames, its end is its node's."""

from __future__ import annotations

import os
import signal


def become_child(nice: int) -> int:
    """Leave signals of the terminal to the node, give way to others, and return the descriptor for frames."""
    for number in (signal.SIGINT, signal.SIGHUP):  # a Ctrl+C or a closed terminal is the node's to handle
        signal.signal(number, signal.SIG_IGN)
    os.nice(nice)
    output = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not break the frames, not even when it is imported
    return output
