"""The console script. Ctrl+C is quiet from the first line to the last, also while modules load."""

import _signal  # type: ignore[import-not-found]  # not `signal`: its own import is long enough to be hit

_signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until commands run there is nothing to clean up

import sys  # noqa: E402
from typing import NoReturn  # noqa: E402


def main() -> NoReturn:
    from node.cli.main import run
    from node.exits import Exit

    try:
        for name in (
            _signal.SIGTERM,
            _signal.SIGHUP,
        ):  # both end a command as Ctrl+C does: nothing stays behind
            if _signal.getsignal(name) == _signal.SIG_DFL:  # not under nohup
                _signal.signal(name, _signal.default_int_handler)
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # in the moments before and after `run` catches it
        code = Exit.INTERRUPTED
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    sys.exit(code)
