"""The daemon's front door: `python -m node --data-dir DIR`; see docs/api.md.

Settings and the directory's lock are looked at before anything heavy is loaded, so that a mistake is told at once.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    # From the first moment: whoever interrupts gets no traceback. The node sets its own later.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from node.datadir import check_keys
from node.exits import UserError
from node.lock import hold_lock
from node.settings import Settings, load_settings


def main() -> None:
    def run(settings: Settings) -> int:
        from node.app import run_daemon

        return run_daemon(settings)

    run_program(run)


def run_program(run: Callable[[Settings], int]) -> NoReturn:
    """Read the arguments, lock the directory, run, and exit with what comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # quiet while modules load; the node sets its own later
    flags = _parse_arguments()
    try:
        sys.exit(_run(flags.pop("data_dir").expanduser().resolve(), flags, run))
    except UserError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  try: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)


def _run(data_dir: Path, flags: dict[str, Any], run: Callable[[Settings], int]) -> int:
    settings = load_settings(data_dir, flags)
    with hold_lock(data_dir):
        check_keys(data_dir)
        return run(settings)


def _parse_arguments() -> dict[str, Any]:  # Any: argparse's values
    parser = argparse.ArgumentParser(prog="python -m node", description="Run a GradientCoin node.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--bootstrap", action="append", default=[])
    parser.add_argument("--listen")
    parser.add_argument("--api-port", type=int)
    parser.add_argument("--mine", action=argparse.BooleanOptionalAction)
    parser.add_argument("--updates", action=argparse.BooleanOptionalAction)
    parser.add_argument("--trainers", type=int)
    parser.add_argument("--device")
    parser.add_argument("--samples", action="append", default=[], metavar="JOB=FILE", dest="own_samples")
    parser.add_argument("--privacy", metavar="TERMS")
    parser.add_argument("--worker-path")
    parser.add_argument("--log-level")
    return vars(parser.parse_args())


if __name__ == "__main__":
    main()
