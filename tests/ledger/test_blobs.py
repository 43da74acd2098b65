"""The blob store: what it serves is whole, whoever writes and whatever happens to the files."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from unittest.mock import patch

import pytest

from ledger.blobs import BlobStore, put_checked
from ledger.errors import LedgerError, MissingBlobs
from ledger.hashing import cid_of


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_stored_blob_is_read_back(store: BlobStore) -> None:
    cid = store.put(b"abc")
    assert cid == cid_of(b"abc")
    assert store.has(cid)
    assert store.get(cid) == b"abc"
    assert store.put(b"abc") == cid


def test_absent_blob_is_missing(store: BlobStore) -> None:
    with pytest.raises(MissingBlobs) as caught:
        store.get(cid_of(b"abc"))
    assert caught.value.cids == (cid_of(b"abc"),)
    assert not store.has(cid_of(b"abc"))


@pytest.mark.parametrize("damage", [b"", b"abd", b"abcc"])
def test_damaged_blob_is_never_served_and_heals(store: BlobStore, damage: bytes) -> None:
    cid = store.put(b"abc")
    store.path_of(cid).write_bytes(damage)
    with pytest.raises(MissingBlobs):
        store.get(cid)
    assert not store.has(cid)
    store.put(b"abc")
    store.path_of(cid).write_bytes(damage)
    store.put(b"abc")  # heals without a read in between
    assert store.get(cid) == b"abc"


def test_blob_for_another_cid_is_refused(store: BlobStore) -> None:
    with pytest.raises(LedgerError, match="expected"):
        put_checked(store, cid_of(b"abc"), b"abd")
    put_checked(store, cid_of(b"abc"), b"abc")
    assert store.get(cid_of(b"abc")) == b"abc"


def test_many_threads_may_put_the_same_blob(store: BlobStore) -> None:
    blobs = [bytes([i]) * 200_000 for i in range(3)]
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for blob in blobs:
                store.path_of(cid_of(blob)).unlink(missing_ok=True)
                store.put(blob)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for blob in blobs:
        store.put(blob)
        assert store.get(cid_of(blob)) == blob


def test_full_disk_leaves_no_file(store: BlobStore, tmp_path: Path) -> None:
    with (
        patch.object(os, "replace", side_effect=OSError("no space left")),
        pytest.raises(OSError, match="space"),
    ):
        store.put(b"abc")
    assert not store.has(cid_of(b"abc"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
