"""Merkle root and inclusion proofs of a list. Source: docs/protocol.md, section 1.

The count is hashed into the root, so that a list and its copy with a repeated tail never share one.
"""

from collections.abc import Sequence

from ledger.hashing import HASH_BYTES, ZERO_HASH, tagged_hash


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a list of byte strings, 32 bytes."""
    level = [_leaf(leaf) for leaf in leaves]
    while len(level) > 1:
        level = _next_level(level)
    return _root(len(leaves), level[0] if level else ZERO_HASH)


def merkle_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the siblings of the leaf at `index`, lowest first; levels without a partner have none."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf index: expected 0..{len(leaves) - 1}, got {index}")
    level = [_leaf(leaf) for leaf in leaves]
    proof = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            proof.append(level[index ^ 1])
        level, index = _next_level(level), index // 2
    return proof


def verify_proof(root: bytes, leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bool:
    """Return whether the list of `count` items with that root has `leaf` at `index`; it never raises."""
    if not 0 <= index < count < 1 << 64 or any(len(sibling) != HASH_BYTES for sibling in proof):
        return False
    siblings = iter(proof)
    top, width = _leaf(leaf), count
    while width > 1:
        if index ^ 1 < width:
            sibling = next(siblings, None)
            if sibling is None:
                return False
            top = _node(sibling, top) if index & 1 else _node(top, sibling)
        index, width = index // 2, (width + 1) // 2
    return next(siblings, None) is None and _root(count, top) == root


def _next_level(level: list[bytes]) -> list[bytes]:
    paired = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return paired + level[len(level) & ~1 :]


def _leaf(data: bytes) -> bytes:
    return tagged_hash("gc/merkle/leaf", data)


def _node(left: bytes, right: bytes) -> bytes:
    return tagged_hash("gc/merkle/node", left + right)


def _root(count: int, top: bytes) -> bytes:
    return tagged_hash("gc/merkle/root", count.to_bytes(8, "big") + top)
