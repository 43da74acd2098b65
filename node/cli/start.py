"""The console script. Ctrl+C is quiet from the first line to the last, also while modules load."""

import signal
import sys
from typing import NoReturn

signal.signal(signal.SIGINT, signal.SIG_DFL)  # until commands run there is nothing to clean up


def main() -> NoReturn:
    from node.cli.main import run
    from node.exits import Exit

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # in the moments before and after `run` catches it
        code = Exit.INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)
