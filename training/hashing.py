"""Tagged SHA-256, as section 1 of docs/protocol.md defines it. The ledger has its own; neither imports the other."""

import hashlib
from functools import lru_cache

CID_PREFIX = bytes.fromhex("01551220")  # CIDv1, raw, sha2-256, 32 bytes


def compute_tagged_hash(tag: str, *parts: bytes) -> bytes:
    """H(tag, x) with x the parts joined."""
    state = _start(tag).copy()
    for part in parts:
        state.update(part)
    return state.digest()


def compute_cid(blob: bytes) -> bytes:
    """The 36 bytes a blob is addressed by."""
    return CID_PREFIX + hashlib.sha256(blob).digest()


@lru_cache(maxsize=64)
def _start(tag: str) -> "hashlib._Hash":
    head = hashlib.sha256(tag.encode("ascii")).digest()
    return hashlib.sha256(head + head)
