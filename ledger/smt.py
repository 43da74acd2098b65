"""Sparse Merkle tree of the state, in memory. Source: docs/protocol.md, section 5.

A subtree with one leaf is that leaf and an empty one is 32 zero bytes, so a tree of n entries holds about 2n
nodes. Nodes are never changed, only replaced along the changed paths: a copy shares what did not change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from ledger.hashing import HASH_BYTES, ZERO_HASH, tagged_hash

DEPTH = 256


class Leaf(NamedTuple):
    """An entry: its key and the hash of its value."""

    hash: bytes
    key: bytes
    value_hash: bytes


class Inner(NamedTuple):
    """A subtree of at least two leaves."""

    hash: bytes
    left: "Node"
    right: "Node"


Node: TypeAlias = Leaf | Inner | None
Entry: TypeAlias = tuple[bytes, bytes]
Change: TypeAlias = tuple[bytes, bytes | None]
Pair = TypeVar("Pair", Entry, Change)


@dataclass(frozen=True, slots=True)
class StateProof:
    """What ends a key's path (nothing, or a leaf as key and value hash) and the siblings, top first."""

    siblings: tuple[bytes, ...]
    leaf: tuple[bytes, bytes] | None


class SparseMerkleTree:
    """A map from 32-byte keys to value hashes with a root; costs are hashes along the changed paths."""

    __slots__ = ("_top",)

    def __init__(self, entries: Mapping[bytes, bytes] | None = None) -> None:
        self._top: Node = None
        if entries:
            self.update(entries)

    def get_root(self) -> bytes:
        """Return the root, 32 bytes; zeros for an empty tree."""
        return _hash_of(self._top)

    def get(self, key: bytes) -> bytes | None:
        """Return the value hash at a key, or None."""
        leaf, _ = _descend(self._top, key)
        return leaf.value_hash if leaf is not None and leaf.key == key else None

    def set(self, key: bytes, value_hash: bytes | None) -> None:
        """Put a value hash at a key, or remove the key with None."""
        self.update({key: value_hash})

    def update(self, changes: Mapping[bytes, bytes | None] | Iterable[Change]) -> None:
        """Apply changes to different keys at once; every changed node is hashed once."""
        latest = dict(changes)
        for key, value_hash in latest.items():
            if len(key) != HASH_BYTES or (value_hash is not None and len(value_hash) != HASH_BYTES):
                raise ValueError(
                    f"state tree: expected key and value hash of {HASH_BYTES} bytes, got {key.hex()}"
                )
        if latest:
            self._top = _apply(self._top, list(latest.items()), 0)

    def copy(self) -> "SparseMerkleTree":
        """Return a tree that changes on its own; takes constant time."""
        twin = SparseMerkleTree()
        twin._top = self._top
        return twin

    def prove(self, key: bytes) -> StateProof:
        """Return the proof of what the tree holds, or does not hold, at a key."""
        leaf, siblings = _descend(self._top, key)
        return StateProof(tuple(siblings), None if leaf is None else (leaf.key, leaf.value_hash))

    @staticmethod
    def verify(root: bytes, key: bytes, value_hash: bytes | None, proof: StateProof) -> bool:
        """Return whether the tree of that root holds the value hash at the key; None: holds nothing there."""
        if len(key) != HASH_BYTES or len(proof.siblings) > DEPTH or not _is_proof_of(key, value_hash, proof):
            return False
        top = ZERO_HASH if proof.leaf is None else hash_leaf(*proof.leaf)
        for depth in reversed(range(len(proof.siblings))):
            sibling = proof.siblings[depth]
            top = _hash_inner(sibling, top) if _bit(key, depth) else _hash_inner(top, sibling)
        return top == root


def state_key(kind: int, ident: bytes) -> bytes:
    """Return the key of a state entry."""
    return tagged_hash("gc/key", bytes([kind]) + ident)


def hash_value(value: bytes) -> bytes:
    """Return the value hash of a state entry."""
    return tagged_hash("gc/smt/value", value)


def hash_leaf(key: bytes, value_hash: bytes) -> bytes:
    """Return the hash of a leaf."""
    return tagged_hash("gc/smt/leaf", key + value_hash)


def _apply(node: Node, changes: list[Change], depth: int) -> Node:
    """Return the subtree at `depth` after changes to different keys, all of which lie in it."""
    if not changes:
        return node
    if not isinstance(node, Inner):
        return _build(_change_leaf(node, changes), depth)
    zeros, ones = _split(changes, depth)
    return _join(_apply(node.left, zeros, depth + 1), _apply(node.right, ones, depth + 1))


def _change_leaf(leaf: Leaf | None, changes: list[Change]) -> list[Entry]:
    """Return the entries of a subtree of at most one leaf after the changes."""
    entries = [(key, value_hash) for key, value_hash in changes if value_hash is not None]
    if leaf is not None and all(key != leaf.key for key, _ in changes):
        entries.append((leaf.key, leaf.value_hash))
    return entries


def _build(entries: list[Entry], depth: int) -> Node:
    """Return the subtree at `depth` that holds the entries and nothing else."""
    if not entries:
        return None
    if len(entries) == 1:
        key, value_hash = entries[0]
        return Leaf(hash_leaf(key, value_hash), key, value_hash)
    zeros, ones = _split(entries, depth)
    return _join(_build(zeros, depth + 1), _build(ones, depth + 1))


def _split(items: list[Pair], depth: int) -> tuple[list[Pair], list[Pair]]:
    """Return the items whose key has bit 0 and those whose key has bit 1 at `depth`."""
    zeros: list[Pair] = []
    ones: list[Pair] = []
    for item in items:
        (ones if _bit(item[0], depth) else zeros).append(item)
    return zeros, ones


def _join(left: Node, right: Node) -> Node:
    """Return the subtree over two halves; one that has a single leaf is that leaf."""
    if left is None and not isinstance(right, Inner):
        return right
    if right is None and not isinstance(left, Inner):
        return left
    return Inner(_hash_inner(_hash_of(left), _hash_of(right)), left, right)


def _descend(node: Node, key: bytes) -> tuple[Leaf | None, list[bytes]]:
    """Return the leaf at the end of a key's path, if any, and the siblings from the top."""
    siblings: list[bytes] = []
    while isinstance(node, Inner):
        ahead, aside = (node.right, node.left) if _bit(key, len(siblings)) else (node.left, node.right)
        siblings.append(_hash_of(aside))
        node = ahead
    return node, siblings


def _is_proof_of(key: bytes, value_hash: bytes | None, proof: StateProof) -> bool:
    """Return whether the end of the proof's path says that the key has the value hash, or nothing."""
    if any(len(sibling) != HASH_BYTES for sibling in proof.siblings):
        return False
    if proof.leaf is None or value_hash is not None:
        return proof.leaf == (None if value_hash is None else (key, value_hash))
    other, other_hash = proof.leaf
    if len(other) != HASH_BYTES or len(other_hash) != HASH_BYTES or other == key:
        return False
    return all(_bit(key, depth) == _bit(other, depth) for depth in range(len(proof.siblings)))


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def _hash_of(node: Node) -> bytes:
    return ZERO_HASH if node is None else node.hash


def _hash_inner(left: bytes, right: bytes) -> bytes:
    return tagged_hash("gc/smt/node", left + right)
