"""What failures of a daemon mean for its user: what was wrong, what to do, the exit code. Source: docs/operating.md."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import trio

from ledger.errors import DiskFailed, LedgerError
from ledger.storage import explain_failure
from node.exits import Exit, UserError
from node.p2p.transport import ListenError

DATABASE = "chain.sqlite"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
DISK_HINT = (
    "make room on the disk, or see why it fails, and start the node again; nothing acknowledged is lost"
)


def is_disk_failure(error: OSError) -> bool:
    return error.errno in DISK_ERRORS


def explain_disk(error: OSError, data_dir: Path) -> UserError:
    """Return what a disk that fails means; a write's error does not name its file, but the directory is known."""
    return UserError(str(explain_failure(error, f"a file in {data_dir}")), DISK_HINT, Exit.DISK)


def explain_ledger(error: LedgerError, data_dir: Path) -> UserError:
    """Return what a ledger that cannot be used means for the user, and what to do."""
    if isinstance(error, DiskFailed):
        return UserError(f"the ledger cannot be read or written: {error}", DISK_HINT, Exit.DISK)
    files = ", ".join(str(data_dir / f"{DATABASE}{ending}") for ending in ("", "-wal", "-shm"))
    return UserError(
        f"the ledger cannot be used: {error}",
        f"move {files} (those that exist) away and start again: the node then fetches the chain anew from its peers; "
        "keys and blobs are other files and stay where they are",
        Exit.DAMAGED,
    )


def find_user_error(group: BaseExceptionGroup, data_dir: Path) -> UserError | None:
    """Return the error that is meant for the user, if nothing worse is in the group."""
    meant, worse = group.split(_is_meant_for_users)
    if worse is not None or meant is None:
        return None
    for error in _leaves(meant):
        if isinstance(error, UserError):
            return error
        if isinstance(error, ListenError):
            return UserError(str(error), "name a free address of this machine with --listen", Exit.LOCKED)
        if isinstance(error, OSError):
            return explain_disk(error, data_dir)
    return None


def _is_meant_for_users(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return is_disk_failure(error)
    return isinstance(error, UserError | ListenError | trio.Cancelled)


def _leaves(group: BaseExceptionGroup) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
