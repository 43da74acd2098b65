"""Tranches of a secret evaluation split: what the field `evaluation` of a spec commits to, and the files of them.

The chain stores the root and never looks at it: what it means is a convention. Source: docs/protocol.md, section 11.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.codec import decode, encode, read_bytes, read_list, read_uint
from ledger.errors import DecodeError
from ledger.hashing import HASH_BYTES, tagged_hash
from ledger.merkle import merkle_proof, merkle_root, verify_proof

MAGIC = b"GCTRANCH"
MAX_TRANCHES = 256
MAX_PATH = 8  # siblings; 2^8 = MAX_TRANCHES
MAX_BLOB_BYTES = 8 << 20  # in base64 a file must fit into a request of 16 MiB
MAX_FILE_BYTES = MAX_BLOB_BYTES + 1024


@dataclass(frozen=True, slots=True)
class Tranche:
    """One tranche with all that it takes to check it: `path` are the siblings of its leaf, lowest first."""

    root: bytes
    index: int  # from 0
    count: int
    salt: bytes
    path: tuple[bytes, ...]
    blob: bytes

    def encode(self) -> bytes:
        """Return the bytes of the tranche's file."""
        return MAGIC + encode([self.root, self.index, self.count, self.salt, self.path, self.blob])

    @property
    def is_proven(self) -> bool:
        """Whether the root commits to this blob, with this salt, at this place of so many."""
        return verify_proof(self.root, _leaf(self.salt, self.blob), self.index, self.count, self.path)


def make_tranches(blobs: Sequence[bytes], secret: bytes) -> list[Tranche]:
    """Return the tranches of up to MAX_TRANCHES blobs. `secret` (32 random bytes) leads to all salts: forget it."""
    salts = [derive_salt(secret, i) for i in range(len(blobs))]
    leaves = [_leaf(salt, blob) for salt, blob in zip(salts, blobs, strict=True)]
    root = merkle_root(leaves)
    return [
        Tranche(root, i, len(blobs), salts[i], tuple(merkle_proof(leaves, i)), blob)
        for i, blob in enumerate(blobs)
    ]


def derive_salt(secret: bytes, index: int) -> bytes:
    """Return a tranche's salt; one does not lead to another."""
    return tagged_hash("gc/evaluation/salt", secret + index.to_bytes(4, "big"))


def decode_tranche(data: bytes) -> Tranche:
    """Return the tranche of a file's bytes, proven or not; DecodeError for bytes that are no such file."""
    if not data.startswith(MAGIC):
        raise DecodeError(f"tranche: a file that begins with {MAGIC!r} expected, got {data[: len(MAGIC)]!r}")
    root, index, count, salt, path, blob = read_list(decode(data[len(MAGIC) :], MAX_FILE_BYTES), "tranche", 6)
    total = read_uint(count, "tranches", 1, MAX_TRANCHES)
    return Tranche(
        root=read_bytes(root, "tranche root", HASH_BYTES),
        index=read_uint(index, "tranche number", 0, total - 1),
        count=total,
        salt=read_bytes(salt, "tranche salt", HASH_BYTES),
        path=tuple(
            read_bytes(item, "tranche path", HASH_BYTES)
            for item in read_list(path, "tranche path", limit=MAX_PATH)
        ),
        blob=read_bytes(blob, "tranche blob", limit=MAX_BLOB_BYTES),
    )


def _leaf(salt: bytes, blob: bytes) -> bytes:
    return salt + blob
