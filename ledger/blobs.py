"""Content-addressed files: sidecars of blocks. A blob is on the disk, synced, before anything refers to it.

Several processes may read one store; one writes. Bytes are hashed again on every read, so damage is never served.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from ledger.errors import DecodeError, DiskFailed, LedgerError, MissingBlobs
from ledger.hashing import check_cid, cid_of, cid_text, parse_cid_text

SHARD_CHARS = 2  # of the CID's end: 1024 folders keep each small


class BlobStore:
    """A folder of blobs named by their CID."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def path_of(self, cid: bytes) -> Path:
        text = cid_text(cid)
        return self._root / text[-SHARD_CHARS:] / text

    def has(self, cid: bytes) -> bool:
        return self.path_of(cid).is_file()

    def put(self, blob: bytes) -> bytes:
        """Write a blob durably; return its CID."""
        cid = cid_of(blob)
        path = self.path_of(cid)
        if _is_whole(path, cid):
            return cid
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            _sync_folder(self._root)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with open(temporary, "wb") as file:
                file.write(blob)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            if isinstance(error, OSError) and error.errno and not error.filename:
                error.filename = str(path)  # a full disk is told at the write, which names no file
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return cid

    def get(self, cid: bytes) -> bytes:
        """Return a blob. MissingBlobs if it is not held or its file is damaged (which is then removed)."""
        path = self.path_of(cid)
        try:
            blob = path.read_bytes()
        except FileNotFoundError:
            raise MissingBlobs([cid]) from None
        except OSError as error:
            raise DiskFailed(f"{path}: {error.strerror}") from error
        if not check_cid(cid, blob):
            path.unlink(missing_ok=True)  # fetched again like one that was never held
            raise MissingBlobs([cid])
        return blob

    def remove(self, cid: bytes) -> None:
        """Remove a blob, if it is held."""
        self.path_of(cid).unlink(missing_ok=True)

    def sweep(self, is_wanted: Callable[[bytes], bool]) -> int:
        """Remove blobs that are not wanted and halves of writes that a crash left; return how many files went.

        Only while nothing writes to the store.
        """
        gone = 0
        for path in self._root.glob("*/*"):
            if not _is_blob_of(path, is_wanted):
                path.unlink(missing_ok=True)
                gone += 1
        return gone


def _is_blob_of(path: Path, is_wanted: Callable[[bytes], bool]) -> bool:
    try:
        return is_wanted(parse_cid_text(path.name))
    except DecodeError:
        return False


def _is_whole(path: Path, cid: bytes) -> bool:
    try:
        return check_cid(cid, path.read_bytes())
    except FileNotFoundError:  # also between a look and a read: another thread removes a damaged file
        return False


def put_checked(store: BlobStore, cid: bytes, blob: bytes) -> None:
    """Store a blob that a peer sent for a CID; LedgerError if it is another one."""
    if not check_cid(cid, blob):
        raise LedgerError(f"blob: expected {cid_text(cid)}, got {cid_text(cid_of(blob))}")
    store.put(blob)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
