"""Vectors of the ledger's bytes: one of everything, as JSON files `ledger_*.json` beside this file.

`python -m tests.vectors.build_ledger` writes them. They are consensus: a change in one is a change of the protocol.
Bytes are hexadecimal; integers that JSON readers would round are decimal text.
"""

import dataclasses
import json
from pathlib import Path

from ledger.blocks import Header
from ledger.codec import Encodable, encode
from ledger.difficulty import ANCHOR_HEIGHT, block_work, next_target, threshold
from ledger.genesis import MAINNET_GENESIS, TESTNET_GENESIS, Genesis, local_genesis, regtest_genesis
from ledger.hashing import cid_of, cid_text, tagged_hash, word
from ledger.jobspec import JobSpec, encode_spec, trial_seed
from ledger.keys import ADDRESS_PREFIXES, KeyPair, address_of, address_text
from ledger.merkle import merkle_proof, merkle_root
from ledger.params import LOCAL, MAINNET, MAX_TARGET, PRESETS, encode_params
from ledger.smt import SparseMerkleTree, hash_leaf, hash_value, state_key
from ledger.tranches import make_tranches
from ledger.transactions import Transaction
from tests.ledger.samples import (
    BLOB,
    BLOCK,
    CHAIN_ID,
    CHILD_SPEC,
    GENESIS,
    HEADER,
    MARKET_SPEC,
    SEED,
    SPEC,
    TRANSACTIONS,
)
from tests.vectors.build_ledger_light import build_light
from tests.vectors.build_ledger_state import build_state

FOLDER = Path(__file__).parent
EXACT_IN_JSON = 2**53  # JavaScript's and others' readers round integers from here on


def build() -> dict[str, object]:
    """Return the contents of the files by their names without `.json`."""
    return {
        "ledger_bytes": {"codec": _codec(), "hashes": _hashes(), "keys": _keys()},
        "ledger_trees": {"merkle": _merkle(), "smt": _smt()},
        "ledger_tranches": {"splits": [_tranches(count) for count in (1, 2, 3, 5)]},
        "ledger_chains": {"params": _params(), "genesis": _geneses()},
        "ledger_records": {
            "chain_id": CHAIN_ID.hex(),
            "genesis": GENESIS.encode().hex(),
            "transactions": [_transaction(tx) for tx in TRANSACTIONS],
            "spec": _spec(SPEC),
            "market-only spec": _spec(MARKET_SPEC),
            "spec with a parent": _spec(CHILD_SPEC),
            "header": _header(HEADER),
            "block": {"signature": BLOCK.signature.hex(), "encoding": BLOCK.encode().hex()},
        },
        "ledger_state": build_state(),
        "ledger_light": build_light(),
        "ledger_targets": {"next_target": _targets(), "work": _block_work(), "threshold": _thresholds()},
    }


def write() -> None:
    """Write all files."""
    for name, content in build().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _codec() -> list[dict[str, str]]:
    edges = [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1]
    blobs = [bytes(length) for length in (0, 1, 255, 256)]
    texts = ["", "ü", "x" * 31, "x" * 32]
    arrays: list[list[int]] = [[], [0] * 15, [0] * 16]
    values: list[Encodable] = [*edges, *blobs, *texts, *arrays, [1, [b"\x02", ["3"]]]]
    return [{"python": repr(value), "encoding": encode(value).hex()} for value in values]


def _hashes() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for tag, data in (("gc/block", b""), ("gc/tx", b"abc"), ("gc/ticket-seed", bytes(range(200)))):
        digest = tagged_hash(tag, data)
        rows.append({"tag": tag, "data": data.hex(), "hash": digest.hex(), "word": str(word(digest))})
    for blob in (b"", b"abc", BLOB):
        rows.append({"blob": blob.hex(), "cid": cid_of(blob).hex(), "cid_text": cid_text(cid_of(blob))})
    return rows


def _keys() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for seed in (bytes(32), bytes(range(32))):
        key = KeyPair.from_seed(seed)
        address = address_of(key.public)
        rows.append(
            {
                "seed": seed.hex(),
                "public": key.public.hex(),
                "address": address.hex(),
                "texts": {prefix: address_text(prefix, address) for prefix in ADDRESS_PREFIXES},
                "chain_id": CHAIN_ID.hex(),
                "payload": b"payload".hex(),
                "signature_tx": key.sign("tx", CHAIN_ID, b"payload").hex(),
                "signature_header": key.sign("header", CHAIN_ID, b"payload").hex(),
            }
        )
    return rows


def _merkle() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for count in (0, 1, 2, 3, 4, 5, 8, 9):
        leaves = [b"leaf %d" % i for i in range(count)]
        proof = merkle_proof(leaves, count - 1) if count else []
        rows.append({"count": count, "root": merkle_root(leaves).hex(), "proof_of_last": _hex(proof)})
    return rows


def _tranches(count: int) -> dict[str, object]:
    blobs = [BLOB, *(b"blob %d" % i for i in range(1, count))]
    tranches = make_tranches(blobs, tagged_hash("gc/vectors", b"secret"))
    rows = [
        {"salt": tranche.salt.hex(), "blob": tranche.blob.hex(), "file": tranche.encode().hex()}
        for tranche in tranches
    ]
    return {"evaluation": tranches[0].root.hex(), "tranches": rows}


def _smt() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    tree = SparseMerkleTree()
    absent = state_key(6, b"")
    for i in range(9):
        key, value = state_key(1, bytes([i]) * 20), b"value %d" % i
        tree.set(key, hash_value(value))
        held, missing = tree.prove(key), tree.prove(absent)
        rows.append(
            {
                "key": key.hex(),
                "value": value.hex(),
                "value_hash": hash_value(value).hex(),
                "leaf": hash_leaf(key, hash_value(value)).hex(),
                "root_after": tree.get_root().hex(),
                "proof": _hex(held.siblings),
                "absent": absent.hex(),
                "absence_proof": _hex(missing.siblings),
                "absence_leaf": _hex(missing.leaf or ()),
            }
        )
    return rows


def _params() -> dict[str, object]:
    return {
        name: {"fields": _fields(params), "encoding": encode_params(params).hex()}
        for name, params in PRESETS.items()
    }


def _geneses() -> list[dict[str, object]]:
    geneses: list[tuple[str, Genesis]] = [
        (f"local {SEED}", local_genesis(SEED)),
        (f"regtest {SEED}", regtest_genesis(SEED)),
        ("testnet", TESTNET_GENESIS),
        ("mainnet", MAINNET_GENESIS),
    ]
    return [
        {
            "name": name,
            "chain_id": genesis.chain_id.hex(),
            "issued": str(genesis.issued),
            "encoding": genesis.encode().hex(),
        }
        for name, genesis in geneses
    ]


def _transaction(tx: Transaction) -> dict[str, object]:
    return {
        "kind": tx.kind,
        "sender": tx.sender.hex(),
        "nonce": tx.nonce,
        "fee": tx.fee,
        "body": _fields(tx.body),
        "body_bytes": tx.body_bytes.hex(),
        "txid": tx.txid.hex(),
        "signature": tx.signature.hex(),
        "encoding": tx.encode().hex(),
        "size": tx.size,
    }


def _spec(spec: JobSpec) -> dict[str, object]:
    data = encode_spec(spec)
    return {"fields": _fields(spec), "encoding": data.hex(), "trial_seed": trial_seed(data).hex()}


def _header(header: Header) -> dict[str, object]:
    return {
        "work": _fields(header.work),
        "digest": header.digest.hex(),
        "before": _show(header.before),
        "after": _show(header.after),
        "encoding": header.encode().hex(),
        "seed": header.seed.hex(),
        "hash": header.hash.hex(),
        "ticket": header.ticket.to_bytes(32, "big").hex(),
    }


def _targets() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for params in (LOCAL, MAINNET):
        half_life_ms = params.half_life_blocks * params.interval_ms
        lates_ms = [0, 1, -1, 999, -999, half_life_ms, -half_life_ms, half_life_ms // 3, -half_life_ms // 3]
        lates_ms += [
            5 * half_life_ms + 12345,
            -20 * half_life_ms - 777,
            13 * half_life_ms,
            300 * half_life_ms,
        ]
        rows += [
            _target_row(params.name, height, late_ms)
            for height, late_ms in [(0, 0), (ANCHOR_HEIGHT, 0), *((100, late_ms) for late_ms in lates_ms)]
        ]
    rows.append(_target_row("local", 9, 2**62))
    rows.append(_target_row("local", 2**40, 0))
    rows.append(_target_row("local", 2**40, -LOCAL.interval_ms * (2**40 - ANCHOR_HEIGHT)))
    rows.append(_target_row("regtest", 100, -50_000))
    return rows


def _target_row(name: str, height: int, late_ms: int) -> dict[str, object]:
    """Return the target after a parent at a height that is `late_ms` behind its schedule from the anchor at time 0."""
    params = PRESETS[name]
    time_ms = max(0, params.interval_ms * (height - ANCHOR_HEIGHT) + late_ms)
    target = next_target(params, height, time_ms, 0)
    return {
        "params": name,
        "parent_height": _show(height),
        "parent_time_ms": _show(time_ms),
        "anchor_time_ms": 0,
        "target": target.to_bytes(32, "big").hex(),
    }


def _block_work() -> list[dict[str, str]]:
    targets = (1, 2**244, 2**248, 2**248 + 1, MAX_TARGET)
    return [
        {"target": target.to_bytes(32, "big").hex(), "work": str(block_work(target))} for target in targets
    ]


def _thresholds() -> list[dict[str, object]]:
    return [
        {
            "target": target.to_bytes(32, "big").hex(),
            "work": work,
            "offslot": offslot,
            "threshold": threshold(target, work, offslot, LOCAL).to_bytes(32, "big").hex(),
        }
        for target in (1, 2**248 + 12345, MAX_TARGET)
        for work in (2**21, 2**24, 12_345_678, 2**27)
        for offslot in (False, True)
    ]


def _fields(record: object) -> dict[str, object]:
    """Return the fields that make up a record; those derived from others are shown on their own."""
    assert dataclasses.is_dataclass(record)
    return {
        field.name: _show(getattr(record, field.name)) for field in dataclasses.fields(record) if field.init
    }


def _show(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_show(item) for item in value]
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, int) and value >= EXACT_IN_JSON:
        return str(value)
    return value


def _hex(items: tuple[bytes, ...] | list[bytes]) -> list[str]:
    return [item.hex() for item in items]


if __name__ == "__main__":
    write()
