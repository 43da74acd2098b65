"""The ledger's database: one SQLite file, one connection, one transaction a block.

Only rows and bytes are known here, no rules. WAL with synchronous=FULL: a block that was acknowledged is on the disk.
The state table always belongs to the last block of the main chain. What a reader could not tell from damage by
itself is stored with its CRC-32: SQLite notices few flipped bits.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger.blocks import HEADER_BYTES
from ledger.errors import DamagedData, DiskFailed, LedgerError, StorageFailed
from ledger.keys import SIGNATURE_BYTES

# What reads and writes here and of blobs raise; text of a damaged schema cannot even be decoded.
STORAGE_ERRORS = (sqlite3.DatabaseError, OSError, UnicodeDecodeError)
CRC_BYTES = 4
SIGNATURE_OFFSET = (
    CRC_BYTES + 1 + 3 + HEADER_BYTES + 2
)  # in a stored block: heads of array, header and signature
SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (hash BLOB PRIMARY KEY, height INTEGER NOT NULL, parent BLOB NOT NULL, header BLOB NOT NULL,
                     body BLOB NOT NULL, invalid INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE sidecars (cid BLOB NOT NULL, block BLOB NOT NULL, PRIMARY KEY (cid, block)) WITHOUT ROWID;
CREATE INDEX sidecars_by_block ON sidecars (block);
CREATE TABLE main (height INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TABLE undo (hash BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE weights (cid BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE deltas (seed BLOB PRIMARY KEY, height INTEGER NOT NULL, data BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX deltas_by_height ON deltas (height);
CREATE TABLE settlements (job BLOB NOT NULL, height INTEGER NOT NULL, block BLOB NOT NULL, data BLOB NOT NULL,
                          replaced BLOB, PRIMARY KEY (job, height)) WITHOUT ROWID;
CREATE TABLE transactions (txid BLOB PRIMARY KEY, height INTEGER NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A stored block of `size_bytes` in all; `invalid` is 1 once its content was found to break a rule."""

    hash: bytes
    height: int
    parent: bytes
    header: bytes
    invalid: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Storage:
    """Rows by key. Writes belong inside `transaction()`; a failure inside rolls all of them back."""

    db: sqlite3.Connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:  # SQLite ends it by itself after some failures
                self.db.execute("ROLLBACK")
            raise

    def set_durable(self, durable: bool) -> None:
        """Let commits wait for the disk, as they do at first, or not; True also waits for all before it.

        Without waiting a power cut takes the last blocks back, in order: the database stays whole (WAL).
        """
        self.db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        if durable:
            self.db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # syncs the log before it copies

    def close(self) -> None:
        self.db.close()

    # meta

    def get_meta(self, name: str) -> bytes | None:
        return self._one("SELECT value FROM meta WHERE name = ?", name)

    def put_meta(self, name: str, value: bytes) -> None:
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # blocks

    def put_block(self, row: BlockRow, body: bytes, sidecars: Iterable[bytes] = ()) -> None:
        """Keep a block, and that it refers to these blobs (CIDs)."""
        self.db.execute(
            "INSERT OR IGNORE INTO blocks VALUES (?, ?, ?, ?, ?, ?)",
            (row.hash, row.height, row.parent, row.header, _seal(body), row.invalid),
        )
        rows = [(cid, row.hash) for cid in sidecars]
        self.db.executemany("INSERT OR IGNORE INTO sidecars VALUES (?, ?)", rows)

    def get_body(self, block_hash: bytes) -> bytes | None:
        return self._sealed("SELECT body FROM blocks WHERE hash = ?", block_hash)

    def get_signed_header(self, block_hash: bytes) -> tuple[bytes, bytes] | None:
        """Return a block's header and signature without reading its transactions."""
        query = "SELECT header, substr(body, ?, ?) FROM blocks WHERE hash = ?"
        place = (SIGNATURE_OFFSET + 1, SIGNATURE_BYTES)
        row: tuple[bytes, bytes] | None = self.db.execute(query, (*place, block_hash)).fetchone()
        return row

    def mark_invalid(self, block_hash: bytes) -> None:
        self.db.execute("UPDATE blocks SET invalid = 1 WHERE hash = ?", (block_hash,))

    def delete_block(self, block_hash: bytes) -> None:
        self.db.execute("DELETE FROM blocks WHERE hash = ?", (block_hash,))
        self.db.execute("DELETE FROM sidecars WHERE block = ?", (block_hash,))

    def is_sidecar(self, cid: bytes) -> bool:
        """Get whether a stored block, on the main chain or off it, refers to a blob."""
        return self._one("SELECT block FROM sidecars WHERE cid = ? LIMIT 1", cid) is not None

    def iterate_blocks(self) -> Iterator[BlockRow]:
        """Yield all blocks, parents before children."""
        query = "SELECT hash, height, parent, header, invalid, length(body) - ? FROM blocks ORDER BY height"
        return (BlockRow(*row) for row in self.db.execute(query, (CRC_BYTES,)))

    # main chain

    def put_main(self, height: int, block_hash: bytes) -> None:
        self.db.execute("INSERT INTO main VALUES (?, ?)", (height, block_hash))

    def delete_main(self, height: int) -> None:
        self.db.execute("DELETE FROM main WHERE height = ?", (height,))

    def iterate_main(self) -> Iterator[tuple[int, bytes]]:
        return iter(self.db.execute("SELECT height, hash FROM main ORDER BY height"))

    # undo and state

    def put_undo(self, block_hash: bytes, data: bytes) -> None:
        self.db.execute("INSERT OR REPLACE INTO undo VALUES (?, ?)", (block_hash, _seal(data)))

    def get_undo(self, block_hash: bytes) -> bytes | None:
        return self._sealed("SELECT data FROM undo WHERE hash = ?", block_hash)

    def delete_undo(self, block_hash: bytes) -> None:
        self.db.execute("DELETE FROM undo WHERE hash = ?", (block_hash,))

    def load_state(self) -> dict[bytes, bytes]:
        return dict(self.db.execute("SELECT key, value FROM state"))

    def put_state(self, changes: Mapping[bytes, bytes | None]) -> None:
        gone = [(key,) for key, value in changes.items() if value is None]
        kept = [(key, value) for key, value in changes.items() if value is not None]
        self.db.executemany("DELETE FROM state WHERE key = ?", gone)
        self.db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", kept)

    # weights and deltas

    def put_weights(self, cid: bytes, data: bytes) -> None:
        self.db.execute("INSERT OR IGNORE INTO weights VALUES (?, ?)", (cid, data))

    def get_weights(self, cid: bytes) -> bytes | None:
        return self._one("SELECT data FROM weights WHERE cid = ?", cid)

    def delete_weights(self, cid: bytes) -> None:
        self.db.execute("DELETE FROM weights WHERE cid = ?", (cid,))

    def list_weights(self) -> list[bytes]:
        return [row[0] for row in self.db.execute("SELECT cid FROM weights")]

    def list_replaced(self, job_id: bytes, limit: int) -> list[bytes]:
        """Return the weights that the job's last settlements replaced, newest first."""
        query = (
            "SELECT replaced FROM settlements WHERE job = ? AND replaced IS NOT NULL"
            " ORDER BY height DESC LIMIT ?"
        )
        return [row[0] for row in self.db.execute(query, (job_id, limit))]

    def put_delta(self, seed: bytes, height: int, data: bytes) -> None:
        self.db.execute("INSERT OR REPLACE INTO deltas VALUES (?, ?, ?)", (seed, height, _seal(data)))

    def get_delta(self, seed: bytes) -> bytes | None:
        return self._sealed("SELECT data FROM deltas WHERE seed = ?", seed)

    def get_delta_height(self, seed: bytes) -> int:
        row = self.db.execute("SELECT height FROM deltas WHERE seed = ?", (seed,)).fetchone()
        return int(row[0])

    def delete_deltas_below(self, height: int) -> None:
        self.db.execute("DELETE FROM deltas WHERE height < ?", (height,))

    # history

    def find_replacement(self, cid: bytes) -> bytes | None:
        """Return the hash of a main-chain block whose settlement replaced these weights."""
        return self._one("SELECT block FROM settlements WHERE replaced = ? LIMIT 1", cid)

    def put_settlement(
        self, job_id: bytes, height: int, block_hash: bytes, data: bytes, replaced: bytes | None
    ) -> None:
        """Keep a settlement; `replaced` is the CID of the weights it moved, None if they stayed."""
        row = (job_id, height, block_hash, _seal(data, _place(height, block_hash)), replaced)
        self.db.execute("INSERT INTO settlements VALUES (?, ?, ?, ?, ?)", row)

    def delete_settlements(self, block_hash: bytes, height: int) -> None:
        self.db.execute("DELETE FROM settlements WHERE height = ? AND block = ?", (height, block_hash))

    def load_settlements(self, job_id: bytes) -> list[tuple[int, bytes, bytes]]:
        """Return (height, block hash, data) of a job's settlements, oldest first."""
        query = "SELECT height, block, data FROM settlements WHERE job = ? ORDER BY height"
        rows = self.db.execute(query, (job_id,))
        return [(height, block, _unseal(data, _place(height, block))) for height, block, data in rows]

    def put_transaction(self, txid: bytes, height: int, position: int) -> None:
        self.db.execute("INSERT OR REPLACE INTO transactions VALUES (?, ?, ?)", (txid, height, position))

    def delete_transaction(self, txid: bytes) -> None:
        self.db.execute("DELETE FROM transactions WHERE txid = ?", (txid,))

    def find_transaction(self, txid: bytes) -> tuple[int, int] | None:
        """Return (height, position) of a transaction in the main chain."""
        query = "SELECT height, position FROM transactions WHERE txid = ?"
        row: tuple[int, int] | None = self.db.execute(query, (txid,)).fetchone()
        return row

    def _sealed(self, query: str, key: object) -> bytes | None:
        data = self._one(query, key)
        return None if data is None else _unseal(data)

    def _one(self, query: str, key: object) -> bytes | None:
        row = self.db.execute(query, (key,)).fetchone()
        return None if row is None else bytes(row[0])


def _place(height: int, block_hash: bytes) -> bytes:
    return f"{height} {block_hash.hex()}".encode()


def _seal(data: bytes, place: bytes = b"") -> bytes:
    """Return data with their checksum before them; `place` are other columns that it covers."""
    return zlib.crc32(data, zlib.crc32(place)).to_bytes(CRC_BYTES, "big") + data


def _unseal(stored: bytes, place: bytes = b"") -> bytes:
    data = stored[CRC_BYTES:]
    if stored != _seal(data, place):
        raise DamagedData("a row of the database is not what was written: its checksum differs")
    return data


def open_storage(path: Path | str, durable: bool = True) -> Storage:
    """Open or create a database; StorageFailed says what is wrong with its file, LedgerError with its version.

    A database that is thrown away afterwards need not be `durable`: nothing then waits for the disk.

    The connection may be handed from thread to thread; the caller sees to it that one at a time uses it.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.DatabaseError as error:
        raise explain_failure(error, path) from error
    try:
        version = _prepare(db, durable)
    except STORAGE_ERRORS as error:
        db.close()
        raise explain_failure(error, path) from error
    if version != SCHEMA_VERSION:
        db.close()
        raise LedgerError(
            f"database {path}: data version {version}, this program reads and writes version {SCHEMA_VERSION}"
        )
    return Storage(db)


def _prepare(db: sqlite3.Connection, durable: bool) -> int:
    """Return the data version; an empty database is given its tables. One of another version is left as it is."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version == 0 and db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
        raise sqlite3.DatabaseError("its tables are not ours")
    if version in (0, SCHEMA_VERSION):
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
    if version == 0:
        db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        version = SCHEMA_VERSION
    return version


DISK_CODES = (
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM),
)


def explain_failure(error: BaseException, path: Path | str = "") -> StorageFailed:
    """Return what one of STORAGE_ERRORS means."""
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        return DiskFailed(f"{error.filename or path or 'a file'}: {reason}")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest says where
    kind = DiskFailed if code in DISK_CODES else DamagedData
    return kind(f"database {path}: {error}" if path else f"database: {error}")
