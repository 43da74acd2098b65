"""The vectors of `tests/vectors/ledger_*.json`: the code still writes them, and still reads them."""

import hashlib
import json
from typing import Any

import pytest

from ledger.blocks import check_body, decode_block, decode_header, verify_header_signature
from ledger.codec import decode, encode
from ledger.genesis import Genesis
from ledger.hashing import check_cid, parse_cid_text, tagged_hash
from ledger.jobspec import decode_spec, trial_seed
from ledger.keys import parse_address, verify
from ledger.merkle import merkle_root, verify_proof
from ledger.params import LOCAL
from ledger.records import JOB, decode_job
from ledger.smt import SparseMerkleTree, StateProof
from ledger.tranches import decode_tranche
from ledger.transactions import decode_transaction, verify_signature
from tests.vectors.build_ledger import FOLDER, build
from tests.vectors.build_ledger_light import read_proof
from tests.vectors.build_ledger_state import root_of

NAMES = (
    *("ledger_bytes", "ledger_trees", "ledger_tranches", "ledger_chains", "ledger_records"),
    *("ledger_state", "ledger_light", "ledger_targets"),
)
BUILT = build()


def _load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def test_every_file_is_built() -> None:
    assert sorted(BUILT) == sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("ledger_*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_vectors_have_not_changed(name: str) -> None:
    assert json.loads(json.dumps(BUILT[name])) == _load(name)


def test_hash_vectors_follow_from_sha256() -> None:
    rows = _load("ledger_bytes")["hashes"]
    for row in (row for row in rows if "tag" in row):
        tag = hashlib.sha256(row["tag"].encode()).digest()
        digest = hashlib.sha256(tag + tag + bytes.fromhex(row["data"])).hexdigest()
        assert (digest, int(digest[:16], 16)) == (row["hash"], int(row["word"]))
    for row in (row for row in rows if "blob" in row):
        blob = bytes.fromhex(row["blob"])
        assert row["cid"] == "01551220" + hashlib.sha256(blob).hexdigest()
        assert check_cid(parse_cid_text(row["cid_text"]), blob)


def test_codec_vectors_are_canonical() -> None:
    for row in _load("ledger_bytes")["codec"]:
        data = bytes.fromhex(row["encoding"])
        assert encode(decode(data, 1000)) == data


def test_key_vectors_verify_for_their_kind_only() -> None:
    for row in _load("ledger_bytes")["keys"]:
        public, chain_id, payload = (bytes.fromhex(row[name]) for name in ("public", "chain_id", "payload"))
        signature = bytes.fromhex(row["signature_tx"])
        assert verify(public, signature, "tx", chain_id, payload)
        assert not verify(public, signature, "header", chain_id, payload)
        assert verify(public, bytes.fromhex(row["signature_header"]), "header", chain_id, payload)
        for prefix, text in row["texts"].items():
            assert parse_address(text, prefix).hex() == row["address"]


def test_merkle_vectors_verify() -> None:
    for row in _load("ledger_trees")["merkle"][1:]:
        proof = [bytes.fromhex(item) for item in row["proof_of_last"]]
        last = row["count"] - 1
        assert verify_proof(bytes.fromhex(row["root"]), b"leaf %d" % last, last, row["count"], proof)


def test_tranche_vectors_are_proven() -> None:
    for split in _load("ledger_tranches")["splits"]:
        salted = [bytes.fromhex(row["salt"] + row["blob"]) for row in split["tranches"]]
        assert merkle_root(salted).hex() == split["evaluation"]
        for index, row in enumerate(split["tranches"]):
            tranche = decode_tranche(bytes.fromhex(row["file"]))
            assert (tranche.index, tranche.count, tranche.is_proven) == (index, len(salted), True)
            assert (tranche.root.hex(), tranche.salt + tranche.blob) == (split["evaluation"], salted[index])


def test_smt_vectors_verify() -> None:
    for row in _load("ledger_trees")["smt"]:
        root, key, value_hash, absent = (
            bytes.fromhex(row[name]) for name in ("root_after", "key", "value_hash", "absent")
        )
        held = StateProof(tuple(bytes.fromhex(item) for item in row["proof"]), (key, value_hash))
        assert SparseMerkleTree.verify(root, key, value_hash, held)
        siblings = tuple(bytes.fromhex(item) for item in row["absence_proof"])
        end = [bytes.fromhex(item) for item in row["absence_leaf"]]
        missing = StateProof(siblings, (end[0], end[1]) if end else None)
        assert SparseMerkleTree.verify(root, absent, None, missing)


def test_genesis_vectors_decode_to_their_chain_id() -> None:
    for row in _load("ledger_chains")["genesis"]:
        assert Genesis.decode(bytes.fromhex(row["encoding"])).chain_id.hex() == row["chain_id"]


def test_record_vectors_decode_and_verify() -> None:
    vectors = _load("ledger_records")
    chain_id = bytes.fromhex(vectors["chain_id"])
    for row in vectors["transactions"]:
        tx = decode_transaction(bytes.fromhex(row["encoding"]), LOCAL)
        assert (tx.txid.hex(), tx.body_bytes.hex()) == (row["txid"], row["body_bytes"])
        assert verify_signature(tx, chain_id)
    for name in ("spec", "market-only spec", "spec with a parent"):
        spec = bytes.fromhex(vectors[name]["encoding"])
        decoded, fields = decode_spec(spec, LOCAL), vectors[name]["fields"]
        assert (decoded.title, decoded.burn) == (fields["title"], fields["burn"])
        assert (decoded.parent.hex(), decoded.parent_weights.hex()) == (
            fields["parent"],
            fields["parent_weights"],
        )
        assert trial_seed(spec).hex() == vectors[name]["trial_seed"]
    header = decode_header(bytes.fromhex(vectors["header"]["encoding"]))
    assert header.hash.hex() == vectors["header"]["hash"]
    assert verify_header_signature(header, bytes.fromhex(vectors["block"]["signature"]), chain_id)
    block = decode_block(bytes.fromhex(vectors["block"]["encoding"]), LOCAL)
    check_body(block, chain_id)
    assert block.header == header


def test_state_vectors_decode_and_make_their_root() -> None:
    vectors = _load("ledger_state")
    leaves = []
    for row in vectors["entries"]:
        key, value = bytes.fromhex(row["key"]), bytes.fromhex(row["value"])
        assert tagged_hash("gc/key", key).hex() == row["tree_key"]
        leaf = bytes.fromhex(row["tree_key"]) + tagged_hash("gc/smt/value", value)
        assert tagged_hash("gc/smt/leaf", leaf).hex() == row["leaf"]
        leaves.append((bytes.fromhex(row["tree_key"]), value))
        if key[0] == JOB:
            assert decode_job(value).encode() == value
    assert root_of(leaves).hex() == vectors["root"]


def test_payment_vectors_follow_from_the_credits() -> None:
    """Section 10.3.6 in a second hand."""
    for row in _load("ledger_state")["payments"]:
        valid = [credit for credit in row["credits"] if credit is not None]
        positive = sum(credit for credit in valid if credit > 0)
        num, den = row["price"], max(1, row["loss_before"])
        if row["price"] * positive > row["budget"] * row["loss_before"]:
            num, den = row["budget"], positive
        total = 0
        for credit, outcome, amount in zip(row["credits"], row["outcomes"], row["amounts"], strict=True):
            if credit is None:
                assert (outcome, amount) == ("void", row["bond"])
            elif credit < 0:
                assert amount == min(row["bond"], num * -credit // den)
                assert outcome == ("fined" if amount else "unpaid")
            else:
                assert amount == num * credit // den
                assert outcome == ("paid" if amount else "unpaid")
                total += amount
        assert total <= row["budget"]


def test_order_vector_follows_from_the_hashes() -> None:
    row = _load("ledger_state")["order"]
    sample_hash = bytes.fromhex(row["sample_hash"])
    places = {tagged_hash("gc/order", sample_hash + bytes.fromhex(c)): c for c in row["commitments"]}
    assert row["ordered"] == [places[place] for place in sorted(places)] != row["commitments"]


def test_commitment_vector_opens() -> None:
    row = _load("ledger_state")["commitment"]
    miner, job, payload, salt = (bytes.fromhex(row[k]) for k in ("miner", "job", "payload", "salt"))
    made = tagged_hash("gc/commit", miner + job + row["round"].to_bytes(8, "big") + payload + salt)
    assert made.hex() == row["commitment"]


def test_slot_vectors_follow_from_the_burns() -> None:
    vectors = _load("ledger_state")["slots"]
    total = sum(row["burn"] for row in vectors["burns"])
    for row in vectors["draws"]:
        point = int(tagged_hash("gc/slot", bytes.fromhex(row["parent"])).hex()[:16], 16)
        cap = 2**64 // (6 if row["params"] == "mainnet" else 1)
        end, expected = 0, ""
        for job in vectors["burns"]:
            end += min(2**64 * job["burn"] // total, cap)
            expected = expected or (job["job"] if point < end else "")
        assert row["drawn"] == (expected if row["height"] % 4 else "")


def test_light_proof_vectors_follow_from_hashes() -> None:
    for row in _load("ledger_light")["proofs"]:
        data = bytes.fromhex(row["encoding"])
        assert read_proof(data) == {name: value for name, value in row.items() if name != "encoding"}
        headers = data[-286 * row["count"] :]
        start = decode(data[12 : -len(headers)], 1 << 20)
        assert data[:12] == b"GCPROOF1" + (len(data) - len(headers) - 12).to_bytes(4, "big")
        assert isinstance(start, list)
        assert isinstance(start[2], bytes)
        node, key = tagged_hash("gc/smt/value", start[2]), bytes.fromhex(row["tree_key"])
        node = tagged_hash("gc/smt/leaf", key + node)
        for depth, sibling in reversed(list(enumerate(bytes.fromhex(text) for text in row["path"]))):
            is_right = key[depth // 8] >> (7 - depth % 8) & 1
            node = tagged_hash("gc/smt/node", sibling + node if is_right else node + sibling)
        place = headers[286 * (row["place"] - 1) :]
        assert place[182:214] == node  # the state root in the header
