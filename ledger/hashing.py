"""Hashes with a tag, and content identifiers (CIDs) of blobs. Source: docs/protocol.md, section 1."""

import base64
import binascii
import functools
import hashlib
from typing import TYPE_CHECKING

from ledger.codec import read_bytes
from ledger.errors import DecodeError

if TYPE_CHECKING:
    from hashlib import _Hash

HASH_BYTES = 32
ZERO_HASH = bytes(HASH_BYTES)
CID_PREFIX = bytes([0x01, 0x55, 0x12, 0x20])  # CIDv1, raw codec, sha2-256, 32 bytes
CID_BYTES = len(CID_PREFIX) + HASH_BYTES
CID_TEXT_PREFIX = "b"  # multibase: base32, lower case, without padding
CID_TEXT_LENGTH = 59


def tagged_hash(tag: str, data: bytes) -> bytes:
    """Return H(tag, data), 32 bytes: hashes of different tags never meet."""
    hasher = _tagged_hasher(tag).copy()
    hasher.update(data)
    return hasher.digest()


def word(digest: bytes) -> int:
    """Return the first 8 bytes of a hash as a big-endian u64."""
    return int.from_bytes(digest[:8], "big")


def cid_of(blob: bytes) -> bytes:
    """Return the CID of a blob, 36 bytes."""
    return CID_PREFIX + hashlib.sha256(blob).digest()


def check_cid(cid: bytes, blob: bytes) -> bool:
    """Return whether the blob is the one the CID names."""
    return cid_of(blob) == cid


def read_cid(value: object, name: str) -> bytes:
    """Return a decoded value as a CID; DecodeError for any other kind of CID."""
    cid = read_bytes(value, name, CID_BYTES)
    if not cid.startswith(CID_PREFIX):
        raise DecodeError(f"{name}: expected a CID starting with {CID_PREFIX.hex()}, got {cid[:4].hex()}")
    return cid


def cid_text(cid: bytes) -> str:
    """Return the text form of a CID: 59 characters, `b` first."""
    return CID_TEXT_PREFIX + base64.b32encode(cid).decode().rstrip("=").lower()


def parse_cid_text(text: str) -> bytes:
    """Return the CID a text stands for; only the form that `cid_text` writes is accepted."""
    if len(text) != CID_TEXT_LENGTH or not text.startswith(CID_TEXT_PREFIX):
        raise DecodeError(
            f"CID text: expected {CID_TEXT_LENGTH} characters starting with b, got {text[:80]!r}"
        )
    try:
        raw = base64.b32decode(text[1:].upper() + "======")
    except (binascii.Error, ValueError):
        raise DecodeError(f"CID text: expected base32 (a-z, 2-7), got {text!r}") from None
    cid = read_cid(raw, "CID text")
    if cid_text(cid) != text:
        raise DecodeError(f"CID text: expected {cid_text(cid)!r}, got {text!r}")
    return cid


@functools.cache  # the tags are constants of the code
def _tagged_hasher(tag: str) -> "_Hash":
    tag_hash = hashlib.sha256(tag.encode("ascii")).digest()
    return hashlib.sha256(tag_hash + tag_hash)
