"""Tranches of a secret evaluation split: the root binds blobs, salts, order and number; files are canonical."""

from dataclasses import replace

import pytest

from ledger.codec import encode
from ledger.errors import DecodeError
from ledger.hashing import tagged_hash
from ledger.merkle import merkle_root
from ledger.tranches import (
    MAGIC,
    MAX_BLOB_BYTES,
    MAX_TRANCHES,
    Tranche,
    decode_tranche,
    derive_salt,
    make_tranches,
)

SECRET = bytes(range(32))
BLOBS = [b"first", b"second", b"third", b"fourth", b"fifth"]
FIRST, SECOND, *_ = make_tranches(BLOBS, SECRET)


@pytest.mark.parametrize("count", [1, 2, 3, 5, MAX_TRANCHES])
def test_every_tranche_is_proven_after_its_file(count: int) -> None:
    blobs = [bytes([i]) for i in range(count)]
    tranches = make_tranches(blobs, SECRET)
    assert [(t.index, t.count, t.blob) for t in tranches] == [(i, count, blobs[i]) for i in range(count)]
    assert {t.root for t in tranches} == {merkle_root([t.salt + t.blob for t in tranches])}
    for tranche in tranches:
        assert decode_tranche(tranche.encode()) == tranche
        assert tranche.is_proven


@pytest.mark.parametrize(
    "changed",
    [
        replace(FIRST, blob=b"First"),
        replace(FIRST, salt=SECOND.salt),
        replace(FIRST, index=1),
        replace(FIRST, count=6),
        replace(FIRST, path=FIRST.path[:-1]),
        replace(FIRST, path=SECOND.path),
        replace(FIRST, root=bytes(32)),
        replace(FIRST, salt=SECOND.salt, blob=SECOND.blob),
    ],
)
def test_changed_tranche_is_not_proven(changed: Tranche) -> None:
    assert not changed.is_proven


def test_root_depends_on_order_number_and_salts() -> None:
    lists = [BLOBS, BLOBS[::-1], BLOBS[:-1], [*BLOBS, BLOBS[-1]], [b"".join(BLOBS)]]
    roots = {make_tranches(blobs, SECRET)[0].root for blobs in lists}
    roots |= {make_tranches(BLOBS, bytes(32))[0].root}
    assert len(roots) == len(lists) + 1


def test_salts_differ_and_do_not_lead_to_each_other() -> None:
    salts = [derive_salt(SECRET, i) for i in range(3)]
    assert salts == [tagged_hash("gc/evaluation/salt", SECRET + bytes([0, 0, 0, i])) for i in range(3)]
    assert len({*salts, SECRET}) == 4


def test_published_tranche_tells_nothing_of_the_others_but_salted_hashes() -> None:
    known = tagged_hash("gc/merkle/leaf", SECOND.blob)
    assert known not in FIRST.path
    assert tagged_hash("gc/merkle/leaf", SECOND.salt + SECOND.blob) in FIRST.path


def _file(**changes: object) -> bytes:
    fields = {
        "root": bytes(32),
        "index": 0,
        "count": 1,
        "salt": bytes(32),
        "path": [],
        "blob": b"x",
    } | changes
    return MAGIC + encode(list(fields.values()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with"),
        (b"GCD1" + bytes(40), "begins with b'GCTRANCH' expected, got b'GCD1"),
        (MAGIC, "not MessagePack"),
        (_file()[:-1], "not MessagePack"),
        (_file() + b"\0", "after the value"),
        (MAGIC + encode([1, 2]), "tranche: expected 6 items, got 2"),
        (_file(root=b""), "tranche root: expected 32 bytes"),
        (_file(index=1), "tranche number: expected 0..0, got 1"),
        (_file(count=0), "tranches: expected 1..256, got 0"),
        (_file(count=MAX_TRANCHES + 1), "tranches: expected 1..256, got 257"),
        (_file(salt=bytes(31)), "tranche salt: expected 32 bytes"),
        (_file(path=[bytes(32)] * 9), "tranche path: expected at most 8 items"),
        (_file(path=[b""]), "tranche path: expected 32 bytes"),
        (_file(blob=bytes(MAX_BLOB_BYTES + 1)), "tranche blob: expected at most"),
        (_file(blob=bytes(MAX_BLOB_BYTES + 4096)), "encoding too long"),
    ],
)
def test_file_that_is_none_says_why(data: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        decode_tranche(data)
