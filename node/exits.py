"""Exit codes of the command line and the daemon (docs/api.md), and the error that carries one to the user."""

from enum import IntEnum


class Exit(IntEnum):
    """What a process says when it ends."""

    DONE = 0
    FAILED = 1  # the thing asked for failed: job refused, verification failed
    USAGE = 2
    BAD_FILE = 3
    NOT_RUNNING = 4
    NOT_FOUND = 5
    LOCKED = 6  # already running, or the data directory is taken
    NO_BALANCE = 7
    DAMAGED = 8
    TIMEOUT = 9
    WORKER = 10  # the training process cannot be started or kept alive
    DISK = 11  # full, over its quota, read-only or failing: nothing that was acknowledged is lost
    INTERRUPTED = 130


class UserError(Exception):
    """Root of errors shown without a traceback: what was wrong, expected, came; what to do; the exit code."""

    exit_code: int = Exit.FAILED

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code
