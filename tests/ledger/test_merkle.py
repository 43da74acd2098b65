"""Merkle root and proofs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.hashing import tagged_hash
from ledger.merkle import merkle_proof, merkle_root, verify_proof

LEAVES = st.lists(st.binary(max_size=40), min_size=1, max_size=40)


def _naive_top(hashes: list[bytes]) -> bytes:
    """The tree as a recursion: the left half is the largest power of two below the count."""
    if len(hashes) == 1:
        return hashes[0]
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return tagged_hash("gc/merkle/node", _naive_top(hashes[:half]) + _naive_top(hashes[half:]))


@given(LEAVES)
def test_root_equals_naive_definition(leaves: list[bytes]) -> None:
    top = _naive_top([tagged_hash("gc/merkle/leaf", leaf) for leaf in leaves])
    assert merkle_root(leaves) == tagged_hash("gc/merkle/root", len(leaves).to_bytes(8, "big") + top)


def test_empty_list_has_the_root_of_zeros() -> None:
    assert merkle_root([]) == tagged_hash("gc/merkle/root", bytes(8) + bytes(32))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=40, unique=True), st.data())
def test_proof_verifies_only_its_leaf_index_and_count(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, proof, count = merkle_root(leaves), merkle_proof(leaves, index), len(leaves)
    assert verify_proof(root, leaves[index], index, count, proof)
    assert not verify_proof(root, leaves[index] + b"x", index, count, proof)
    assert not verify_proof(root, leaves[index], index, count + 1, proof)
    assert not verify_proof(root, leaves[index], index, count, [*proof, bytes(32)])
    assert not verify_proof(root, leaves[index], index, count, proof[:-1]) or not proof
    assert not verify_proof(root, leaves[index], index ^ 1, count, proof) or count == 1


def test_repeated_tail_changes_the_root() -> None:
    assert merkle_root([b"a", b"b", b"c"]) != merkle_root([b"a", b"b", b"c", b"c"])


def test_impossible_proof_is_refused() -> None:
    root = merkle_root([b"a", b"b"])
    (sibling,) = merkle_proof([b"a", b"b"], 0)
    for index, count in ((-1, 2), (2, 2), (0, 0), (0, 1 << 70)):
        assert not verify_proof(root, b"a", index, count, [sibling])
    assert not verify_proof(root, b"a", 0, 2, [sibling[:31]])
    with pytest.raises(IndexError):
        merkle_proof([b"a"], 1)
