"""The lock on a data directory: held by the running daemon, freed by the system however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node.exits import Exit, UserError

LOCK_FILE = "node.lock"


@contextmanager
def hold_lock(data_dir: Path) -> Iterator[None]:
    """Hold the directory for the length of the block; UserError (exit 6) if another daemon does."""
    try:
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(
            f"the data directory {data_dir} cannot be written: {(error.strerror or str(error)).lower()}",
            "mend its permissions or make room, or name another --data-dir",
            Exit.DISK,
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise UserError(
                f"the data directory {data_dir} is in use by another daemon (pid {holder or 'unknown'})",
                "stop that one, or name another --data-dir",
                Exit.LOCKED,
            ) from None
        with suppress(OSError):  # the pid is for people; the lock holds on a full disk, too
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def find_holder(data_dir: Path) -> int | None:
    """Return the pid of the daemon that holds a directory; None if none does."""
    try:
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR)
    except OSError:
        return None
    try:
        pid = int(os.pread(descriptor, 32, 0))
        os.kill(pid, 0)  # first: a look at the lock must not be in the way of a daemon that starts
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return pid
    except (OSError, ValueError, OverflowError):
        return None
    finally:
        os.close(descriptor)
    return None
