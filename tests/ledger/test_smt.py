"""The state's sparse Merkle tree against the definition in the specification."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import smt
from ledger.hashing import tagged_hash
from ledger.smt import SparseMerkleTree, StateProof, hash_leaf, hash_value, state_key

# Keys that share long prefixes, and some that do not.
KEYS = st.builds(
    lambda head, fill, tail: bytes([head]) + bytes([fill]) * 30 + bytes([tail]),
    st.integers(0, 255),
    st.sampled_from([0, 255]),
    st.integers(0, 7),
) | st.binary(min_size=32, max_size=32)
HASHES = st.integers(0, 2**16).map(lambda number: hash_value(number.to_bytes(4, "big")))
ENTRIES = st.dictionaries(KEYS, HASHES, max_size=25)
CHANGES = st.dictionaries(KEYS, HASHES | st.none(), max_size=25)


def naive_root(entries: dict[bytes, bytes], depth: int = 0) -> bytes:
    """The specification's words as a recursion."""
    if not entries:
        return bytes(32)
    if len(entries) == 1:
        ((key, value_hash),) = entries.items()
        return tagged_hash("gc/smt/leaf", key + value_hash)
    halves: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
    for key, value_hash in entries.items():
        halves[int.from_bytes(key, "big") >> (255 - depth) & 1][key] = value_hash
    left, right = (naive_root(half, depth + 1) for half in halves)
    return tagged_hash("gc/smt/node", left + right)


@given(ENTRIES)
def test_root_equals_naive_definition(entries: dict[bytes, bytes]) -> None:
    assert SparseMerkleTree(entries).get_root() == naive_root(entries)


@given(ENTRIES, st.lists(CHANGES, max_size=4))
def test_updates_equal_a_tree_built_afresh(
    entries: dict[bytes, bytes], batches: list[dict[bytes, bytes | None]]
) -> None:
    tree, one_by_one, held = SparseMerkleTree(entries), SparseMerkleTree(entries), dict(entries)
    for batch in batches:
        removed = dict.fromkeys(sorted(held)[::3])  # also some that exist
        changes: dict[bytes, bytes | None] = {**removed, **batch}
        tree.update(changes)
        for key, value_hash in changes.items():
            one_by_one.set(key, value_hash)
            held.pop(key, None)
            if value_hash is not None:
                held[key] = value_hash
        assert tree.get_root() == one_by_one.get_root() == naive_root(held)
        assert all(tree.get(key) == held.get(key) for key in changes)


@given(ENTRIES, CHANGES)
def test_copy_changes_on_its_own(entries: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> None:
    tree = SparseMerkleTree(entries)
    twin = tree.copy()
    twin.update(changes)
    assert tree.get_root() == naive_root(entries)


def test_empty_tree_has_root_zero() -> None:
    tree = SparseMerkleTree()
    assert tree.get_root() == bytes(32)
    tree.set(bytes(32), hash_value(b"x"))
    assert tree.get_root() == hash_leaf(bytes(32), hash_value(b"x"))
    tree.set(bytes(32), None)
    assert tree.get_root() == bytes(32)


@given(ENTRIES, KEYS, HASHES)
def test_proof_shows_what_is_held_and_nothing_else(
    entries: dict[bytes, bytes], key: bytes, other: bytes
) -> None:
    tree = SparseMerkleTree(entries)
    for asked in [key, *entries]:
        proof, held = tree.prove(asked), entries.get(asked)
        assert SparseMerkleTree.verify(tree.get_root(), asked, held, proof)
        for claim in {other, None, hash_value(b"z")} - {held}:
            assert not SparseMerkleTree.verify(tree.get_root(), asked, claim, proof)


@given(ENTRIES, KEYS, KEYS)
def test_proof_for_one_key_does_not_hide_another(
    entries: dict[bytes, bytes], key: bytes, other: bytes
) -> None:
    """No proof made for any key shows a held key as absent."""
    tree = SparseMerkleTree(entries)
    for held in entries:
        for asked in (key, other, *entries):
            assert not SparseMerkleTree.verify(tree.get_root(), held, None, tree.prove(asked))


@given(ENTRIES, KEYS, st.data())
def test_changed_proof_is_refused(entries: dict[bytes, bytes], key: bytes, data: st.DataObject) -> None:
    tree = SparseMerkleTree(entries)
    proof = tree.prove(key)
    root, held = tree.get_root(), tree.get(key)
    if not proof.siblings:
        return
    where = data.draw(st.integers(0, len(proof.siblings) - 1))
    changed = [*proof.siblings]
    changed[where] = hash_value(b"changed")
    for siblings in (tuple(changed), proof.siblings[:-1], (*proof.siblings, bytes(32)), (b"short",)):
        assert not SparseMerkleTree.verify(root, key, held, StateProof(siblings, proof.leaf))


def test_keys_and_hashes_of_other_lengths_are_refused() -> None:
    for key, value_hash in ((b"short", bytes(32)), (bytes(32), b"short")):
        with pytest.raises(ValueError, match="expected key and value hash of 32 bytes"):
            SparseMerkleTree().set(key, value_hash)
    too_long = StateProof((bytes(32),) * 257, None)
    assert not SparseMerkleTree.verify(bytes(32), bytes(32), None, too_long)


def test_kinds_with_the_same_id_have_different_keys() -> None:
    assert state_key(1, b"id") != state_key(2, b"id")
    assert state_key(1, b"") == tagged_hash("gc/key", b"\x01")


def test_update_hashes_only_changed_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = SparseMerkleTree({hash_value(i.to_bytes(4, "big")): bytes(32) for i in range(10_000)})
    count = 0

    def count_hash(tag: str, data: bytes) -> bytes:
        nonlocal count
        count += 1
        return tagged_hash(tag, data)

    monkeypatch.setattr(smt, "tagged_hash", count_hash)
    for i in range(100):
        tree.set(hash_value(i.to_bytes(4, "big")), bytes([1] * 32))  # hashing the key costs one too
    assert count < 100 * 30  # log2 of 10,000 is 13.3


@pytest.mark.slow
def test_update_of_ten_thousand_entries_takes_well_under_a_millisecond_each() -> None:
    keys = [hash_value(i.to_bytes(4, "big")) for i in range(10_000)]
    tree = SparseMerkleTree(dict.fromkeys(keys, bytes(32)))
    start = time.process_time()
    for key in keys[:2000]:
        tree.set(key, key)
    assert (time.process_time() - start) / 2000 < 0.0005
