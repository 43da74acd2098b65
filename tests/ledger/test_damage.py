"""A damaged database is refused or read as it was written: nothing else is ever served."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.blobs import BlobStore
from ledger.chain import Chain
from ledger.errors import DamagedData, DiskFailed, LedgerError
from ledger.records import JOB, decode_job
from ledger.storage import SCHEMA_VERSION, STORAGE_ERRORS, Storage, explain_failure, open_storage
from tests.ledger.chain_builder import ALICE, BOB, GENESIS, ChainBuilder
from tests.ledger.toy_work import ToyWork

FLIPS = 200  # 3,000 were tried: none served
HEIGHT = 25


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chain with a job, a side branch and settlements; its database is one file."""
    folder = tmp_path_factory.mktemp("damage")
    builder = ChainBuilder(folder, database=str(folder / "chain.sqlite"))
    builder.open_job()
    builder.mine_to(12)
    rival = builder.fork(10)
    builder.add(rival.mine(rival.transfer(ALICE, BOB, 7)))
    builder.mine_to(HEIGHT)
    builder.storage.close()
    return folder


def read_all(folder: Path, database: Path) -> list[Any]:
    """Open a database as a node does and read what it would serve, use or build on."""
    with closing(open_storage(database).db) as db:
        blobs = BlobStore(folder / "blobs")
        chain = Chain(Storage(db), blobs, GENESIS, ToyWork(blobs))
        jobs = {k[1:]: decode_job(v) for k, v in chain.state.entries().items() if k[0] == JOB}
        return [
            chain.head.hash,
            chain.state.root,
            [chain.get_block(h) for h in chain.index.main[1:]],
            [chain.load_touched_jobs(h) for h in chain.index.main[1:]],
            [chain.load_weights(record.weights) for record in jobs.values()],
            [header for header, _ in chain.headers_after([], HEIGHT)],
            [record for job in jobs for record in chain.list_settlements(job)],
        ]


def test_flipped_bits_are_refused_or_do_no_harm(written: Path, tmp_path: Path) -> None:
    database = written / "chain.sqlite"
    sound, intact = database.read_bytes(), read_all(written, database)
    rng, refused = random.Random(5), 0
    for number in range(FLIPS):
        damaged = bytearray(sound)
        damaged[rng.randrange(len(sound))] ^= 1 << rng.randrange(8)
        path = tmp_path / f"{number}.sqlite"
        path.write_bytes(damaged)
        try:
            found = read_all(written, path)
        except (LedgerError, *STORAGE_ERRORS):
            refused += 1
        else:
            histories, known = found.pop(), intact[-1]  # of a history, rows may be lost that nothing counts
            assert all(record in known for record in histories)
            assert found == intact[:-1]
    assert refused > FLIPS // 4  # the rest fell on free space and on what is not read here


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_start(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(b"no database at all" + data[18:])


def spoil_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(byte ^ 0x5A for byte in data[4096:])
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut_in_half, spoil_start, spoil_pages])
def test_damaged_file_is_named_as_damaged(
    written: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "chain.sqlite"
    path.write_bytes((written / "chain.sqlite").read_bytes())
    damage(path)
    try:
        read_all(written, path)
    except (LedgerError, *STORAGE_ERRORS) as error:
        failure = error if isinstance(error, LedgerError) else explain_failure(error)
        assert isinstance(failure, DamagedData)
    else:
        pytest.fail("damage was not noticed")


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_other_data_version_is_refused_and_left_as_it_is(written: Path, tmp_path: Path, version: int) -> None:
    path = tmp_path / "chain.sqlite"
    path.write_bytes((written / "chain.sqlite").read_bytes())
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("PRAGMA journal_mode = DELETE")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=f"data version {version}.*version {SCHEMA_VERSION}"):
        open_storage(path)
    assert path.read_bytes() == before


def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(DamagedData, match="not ours"):
        open_storage(path)


def test_failures_of_the_disk_are_told_from_damage() -> None:
    full, corrupt = sqlite3.OperationalError("database or disk is full"), sqlite3.DatabaseError("malformed")
    full.sqlite_errorcode, corrupt.sqlite_errorcode = sqlite3.SQLITE_FULL, sqlite3.SQLITE_CORRUPT
    assert isinstance(explain_failure(full), DiskFailed)
    assert isinstance(explain_failure(corrupt), DamagedData)
    failure = explain_failure(OSError(28, "No space left on device", "/data/blobs/x"))
    assert isinstance(failure, DiskFailed)
    assert "/data/blobs/x: No space left" in str(failure)
