"""Light proofs: honest ones show their record, whatever is changed in one is refused for its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.blocks import HEADER_BYTES, HEARTBEAT, Header
from ledger.codec import encode
from ledger.errors import DamagedData, DecodeError, InvalidHeader, LedgerError
from ledger.genesis import Genesis
from ledger.hashing import cid_of
from ledger.lightchain import check_proof
from ledger.lightproof import LENGTH, MAGIC, MAX_START_BYTES, FalseProof, LightProof
from ledger.params import REGTEST
from ledger.prover import Prover
from ledger.records import JobStatus, job_key
from ledger.smt import SparseMerkleTree, hash_value
from ledger.state import leaf_key
from tests.ledger.chain_builder import ALICE, BOB, GENESIS, ChainBuilder, make_genesis, make_spec
from tests.ledger.light_builder import CLAIM, Forger, check, prove, write_proof

HEIGHT = 42  # the last heartbeat's height is 40
Proved = tuple[LightProof, list[Header]]


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    node = ChainBuilder(tmp_path)
    node.open_job(make_spec(1))
    node.open_job(make_spec(2), key=BOB)
    node.mine_to(HEIGHT)
    return node


@pytest.fixture
def job_id(builder: ChainBuilder) -> bytes:
    return min(builder.chain.state.active_jobs)


@pytest.fixture
def proved(builder: ChainBuilder, job_id: bytes) -> Proved:
    return prove(builder, job_id)


def refuse(builder: ChainBuilder, data: bytes, error: type[LedgerError], match: str) -> None:
    with pytest.raises(error, match=match):
        check(data, builder.verifier)


# honest proofs


def test_honest_proof_shows_the_record_and_the_heartbeat_work(builder: ChainBuilder, proved: Proved) -> None:
    proof, headers = proved
    data = write_proof(*proved)
    shown = check(data, builder.verifier)
    heartbeats = [header.work.height for header in headers if header.work.job_id == HEARTBEAT]
    assert (proof.place, proof.count, len(data)) == (40, HEIGHT, proof.size_bytes)
    assert shown.head == builder.chain.head
    assert (shown.heartbeats, shown.work) == (len(heartbeats), len(heartbeats))  # each is one run on regtest
    assert shown.cover == shown.cover_heartbeats == sum(height >= 40 for height in heartbeats)
    assert len(heartbeats) < HEIGHT


def test_every_place_shows_the_record_of_its_time(
    builder: ChainBuilder, job_id: bytes, tmp_path: Path
) -> None:
    twin = ChainBuilder(tmp_path)
    for height in range(1, 41):
        twin.add(builder.block_at(height))
        if twin.view.get_job(job_id) is not None:
            proof, headers = prove(builder, job_id, height + 1)
            assert proof.read_record() == twin.job(job_id)
            proof.check_record(headers[height].work.state_root)
            assert twin.chain.state.root == headers[height].work.state_root


def test_blocks_of_a_slow_chain_count_their_work(tmp_path: Path) -> None:
    half = make_genesis(dataclasses.replace(REGTEST, start_target=2**255))
    node = ChainBuilder(tmp_path, half)
    job_id = node.open_job()
    node.mine_to(12)
    shown = check(write_proof(*prove(node, job_id)), node.verifier)
    assert shown.work == 1 * shown.heartbeats == (2**256 // (2**255 + 1)) * shown.heartbeats


def test_chain_that_grows_while_a_proof_is_made_changes_nothing(
    builder: ChainBuilder, job_id: bytes, proved: Proved
) -> None:
    prover = Prover(builder.chain, job_id)
    assert not prover.take_back(builder.chain, 39, 2)
    builder.mine_many(5)
    assert prover.take_back(builder.chain, 39, 2)
    assert prover.make_proof() == proved[0]


def test_block_that_left_the_main_chain_is_not_taken_back(builder: ChainBuilder, job_id: bytes) -> None:
    twin = builder.fork(30)
    prover = Prover(builder.chain, job_id)
    for _ in range(20):
        twin.mine(start=5000)
    for height in range(31, twin.height + 1):
        builder.add(twin.block_at(height))
    with pytest.raises(DamagedData, match="is missing"):
        prover.take_back(builder.chain, 19, 100)


def test_job_that_was_not_there_yet_has_no_proof(builder: ChainBuilder, job_id: bytes) -> None:
    prover = Prover(builder.chain, job_id)
    assert prover.take_back(builder.chain, 0, HEIGHT)
    assert prover.make_proof() is None
    assert prover.take_back_unchanged(builder.chain, HEIGHT)
    with pytest.raises(ValueError, match=f"a state after block 0..{HEIGHT - 1} expected"):
        Prover(builder.chain, job_id).make_proof()


def test_record_that_stays_is_shown_where_it_became_what_it_is(builder: ChainBuilder, job_id: bytes) -> None:
    """So more heartbeats cover it."""
    owner = ALICE if builder.job(job_id).owner == ALICE.address else BOB
    builder.mine(builder.cancel(owner, job_id))
    while builder.job(job_id).status is not JobStatus.CANCELLED:
        builder.mine()
    ended, record = builder.height, builder.job(job_id)
    builder.mine_to(ended + 30)
    prover = Prover(builder.chain, job_id)
    assert not prover.take_back_unchanged(builder.chain, 10)
    assert prover.take_back_unchanged(builder.chain, 100)
    proof = prover.make_proof()
    assert proof is not None
    assert (proof.place, proof.read_record()) == (ended + 1, record)
    headers = [builder.chain.load_header(block_hash)[0] for block_hash in prover.hashes[1:]]
    assert check(write_proof(proof, headers), builder.verifier).cover_heartbeats >= 30 // 4


# headers


@pytest.mark.parametrize(
    "change",
    [{"state_root": CLAIM}, {"tx_root": CLAIM}, {"nonce": 77}, {"miner": bytes(32)}, {"tx_count": 7}],
)
@pytest.mark.parametrize("height", [6, 7, 9])
def test_changed_work_header_breaks_the_link_of_the_next(
    builder: ChainBuilder, proved: Proved, height: int, change: dict[str, object]
) -> None:
    proof, headers = proved
    header = headers[height - 1]
    headers[height - 1] = dataclasses.replace(header, work=dataclasses.replace(header.work, **change))  # type: ignore[arg-type]
    with pytest.raises(InvalidHeader, match=f"height {height + 1}: parent: expected"):
        check_proof(proof, headers, builder.verifier.heartbeat_work, lambda header: None)


@pytest.mark.parametrize("change", [{"digest": CLAIM}, {"before": 2**60}, {"after": 0}])
def test_changed_result_of_a_heartbeat_is_refused_by_its_replay(
    builder: ChainBuilder, proved: Proved, change: dict[str, object]
) -> None:
    proof, headers = proved
    headers[7] = dataclasses.replace(headers[7], **change)  # type: ignore[arg-type]
    refuse(
        builder, write_proof(proof, headers), InvalidHeader, "height 8: replay of height 8: expected digest"
    )


@pytest.mark.parametrize("at", [0, 20, HEIGHT - 2])
def test_header_left_out_is_refused(builder: ChainBuilder, proved: Proved, at: int) -> None:
    proof, headers = proved
    del headers[at]
    fewer = dataclasses.replace(proof, count=proof.count - 1)
    refuse(builder, write_proof(fewer, headers), InvalidHeader, f"height {at + 1}: parent: expected")


def test_headers_in_another_order_are_refused(builder: ChainBuilder, proved: Proved) -> None:
    proof, headers = proved
    headers[10:12] = headers[11], headers[10]
    refuse(builder, write_proof(proof, headers), InvalidHeader, "height 11: parent: expected")


FORGED: dict[str, tuple[dict[str, object], str]] = {
    "height": ({"height": 99}, "height: expected 43, got 99"),
    "time": ({"time_ms": 1}, "time: expected later than"),
    "target": ({"target": 2**250}, "target: expected f+, got 4"),
    "loss": ({"job_id": CLAIM, "result": (CLAIM, 5, 5)}, "ticket: not under any threshold"),
    "parent": ({"parent": CLAIM}, "parent: expected"),
    "heartbeat": ({"result": (CLAIM, 5, 4)}, "replay of height 43: expected digest .* got " + CLAIM.hex()),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_header_is_refused_with_its_height(builder: ChainBuilder, proved: Proved, name: str) -> None:
    proof, headers = proved
    changes, match = FORGED[name]
    forger = Forger(GENESIS, builder.verifier, headers)
    forger.forge(**changes)  # type: ignore[arg-type]
    data = write_proof(dataclasses.replace(proof, count=HEIGHT + 1), forger.headers)
    refuse(builder, data, InvalidHeader, f"height 43: {match}")


def test_job_on_a_heartbeats_slot_is_refused(builder: ChainBuilder, proved: Proved) -> None:
    forger = Forger(GENESIS, builder.verifier, proved[1])
    forger.forge(CLAIM)
    forger.forge(CLAIM)
    data = write_proof(dataclasses.replace(proved[0], count=HEIGHT + 2), forger.headers)
    refuse(builder, data, InvalidHeader, f"height 44: job: height 44 is the heartbeat's, got {CLAIM.hex()}")


def test_heartbeat_over_its_own_threshold_is_refused(tmp_path: Path) -> None:
    """A job may declare more work than a heartbeat does, so its threshold would let more tickets through."""
    rare = make_genesis(dataclasses.replace(REGTEST, start_target=2**253, fixed_target=1))
    node = ChainBuilder(tmp_path, rare)
    job_id = node.open_job()
    node.mine_to(4)
    proof, headers = prove(node, job_id)
    forger = Forger(rare, node.verifier, headers)
    for number in range(200):
        forger.headers = list(headers)
        forger.forge(tx_count=number)
        if forger.headers[-1].ticket >= 2**253:
            break
    refuse(
        node,
        write_proof(dataclasses.replace(proof, count=5), forger.headers),
        InvalidHeader,
        "height 5: ticket",
    )


def test_first_header_with_another_state_is_refused(builder: ChainBuilder, proved: Proved) -> None:
    """The state after genesis follows from genesis: nobody begins with coins or jobs of his own."""
    forger = Forger(GENESIS, builder.verifier)
    forger.forge(state_root=CLAIM)
    data = write_proof(dataclasses.replace(proved[0], count=1, place=1), forger.headers)
    refuse(builder, data, InvalidHeader, "height 1: state root: expected .* after genesis")


# the record


def test_record_with_other_weights_is_refused(builder: ChainBuilder, proved: Proved) -> None:
    record = dataclasses.replace(proved[0].read_record(), weights=cid_of(b"mine"))
    false = dataclasses.replace(proved[0], record=record.encode())
    refuse(
        builder, write_proof(false, proved[1]), FalseProof, "this record does not stand under the state root"
    )


def test_path_of_another_job_is_refused(builder: ChainBuilder, job_id: bytes, proved: Proved) -> None:
    other = max(builder.chain.state.active_jobs)
    assert other != job_id
    path = prove(builder, other)[0].path
    refuse(
        builder,
        write_proof(dataclasses.replace(proved[0], path=path), proved[1]),
        FalseProof,
        "does not stand",
    )
    renamed = dataclasses.replace(proved[0], job_id=other)
    refuse(builder, write_proof(renamed, proved[1]), FalseProof, f"job {other.hex()}")


@pytest.mark.parametrize("change", [{"path": ()}, {"place": 39}, {"place": 41}, {"place": 1}])
def test_path_to_another_state_is_refused(
    builder: ChainBuilder, proved: Proved, change: dict[str, object]
) -> None:
    false = dataclasses.replace(proved[0], **change)  # type: ignore[arg-type]
    refuse(builder, write_proof(false, proved[1]), FalseProof, "does not stand")


def test_path_that_is_longer_or_shorter_is_refused(builder: ChainBuilder, proved: Proved) -> None:
    path = proved[0].path
    for other in (path[:-1], path[1:], (*path, bytes(32)), (CLAIM,) * 256):
        false = dataclasses.replace(proved[0], path=other)
        refuse(builder, write_proof(false, proved[1]), FalseProof, "does not stand")


def plant(builder: ChainBuilder, proved: Proved, *jobs: bytes) -> tuple[LightProof, Forger]:
    """A state of the forger's own under the root of his first header, then headers of these jobs."""
    proof, headers = proved
    record = dataclasses.replace(proof.read_record(), weights=cid_of(b"mine")).encode()
    tree = SparseMerkleTree({leaf_key(job_key(proof.job_id)): hash_value(record)})
    forger = Forger(GENESIS, builder.verifier, headers)
    for job in jobs:
        forger.forge(job, state_root=tree.get_root())
    count = len(forger.headers)
    return LightProof(GENESIS, proof.job_id, record, HEIGHT + 1, (), count), forger


def test_state_that_no_heartbeat_covers_is_refused(builder: ChainBuilder, proved: Proved) -> None:
    """Tickets of jobs are not replayed: whoever only hashes can append them, with any state root."""
    proof, forger = plant(builder, proved, CLAIM)
    refuse(
        builder, write_proof(proof, forger.headers), FalseProof, "no heartbeat at height 43 or later covers"
    )


def test_forged_state_is_worth_the_heartbeats_trained_for_it(builder: ChainBuilder, proved: Proved) -> None:
    proof, forger = plant(builder, proved, CLAIM, HEARTBEAT, CLAIM, CLAIM)
    shown = check(write_proof(proof, forger.headers), builder.verifier)
    assert (shown.cover, shown.cover_heartbeats) == (1, 1)


def test_proof_of_another_chain_is_refused(builder: ChainBuilder, proved: Proved) -> None:
    other = Genesis(GENESIS.params, GENESIS.allocations[1:])
    false = dataclasses.replace(proved[0], genesis=other)
    refuse(
        builder,
        write_proof(false, proved[1]),
        InvalidHeader,
        f"height 1: parent: expected {other.chain_id.hex()}",
    )


# bytes


def restart(fields: list[object]) -> bytes:
    data = encode(fields)  # type: ignore[arg-type]
    return MAGIC + LENGTH.pack(len(data)) + data


def list_fields(proof: LightProof) -> list[object]:
    path = b"".join(proof.path)
    return [proof.genesis.encode(), proof.job_id, proof.record, proof.place, path, proof.count]


BAD_FIELDS: dict[str, tuple[int, Callable[[LightProof], object], str]] = {
    "genesis": (0, lambda p: b"\x90", "genesis: expected"),
    "job id": (1, lambda p: p.job_id[1:], "job id: expected 32 bytes, got 31"),
    "record": (2, lambda p: b"\x90", "job: expected .* items, got 0"),
    "record's end": (2, lambda p: p.record[:-1], "not MessagePack"),
    "no place": (3, lambda p: 0, f"place: expected 1..{HEIGHT}, got 0"),
    "place": (3, lambda p: p.count + 1, f"place: expected 1..{HEIGHT}, got {HEIGHT + 1}"),
    "path": (4, lambda p: bytes(33), "path: expected hashes of 32 bytes, got 33 bytes"),
    "long path": (4, lambda p: bytes(32 * 257), "path: expected at most 8192 bytes"),
    "no headers": (5, lambda p: 0, "count of headers: expected"),
    "text": (1, lambda p: "job", "job id: expected bytes, got str"),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_field_out_of_range_is_refused(builder: ChainBuilder, proved: Proved, name: str) -> None:
    place, make, match = BAD_FIELDS[name]
    fields = list_fields(proved[0])
    fields[place] = make(proved[0])
    refuse(builder, restart(fields), DecodeError, match)


def test_start_that_is_not_canonical_is_refused(builder: ChainBuilder, proved: Proved) -> None:
    start = encode(list_fields(proved[0]))  # type: ignore[arg-type]
    longer = b"\xdc\x00\x06" + start[1:]  # the same array with a length of two bytes
    refuse(builder, MAGIC + LENGTH.pack(len(longer)) + longer, DecodeError, "not canonical")
    refuse(
        builder, MAGIC + LENGTH.pack(len(start) + 1) + start + b"\x00", DecodeError, "not canonical: 1 bytes"
    )


def test_start_over_its_limit_is_refused_before_it_is_read(builder: ChainBuilder) -> None:
    data = MAGIC + LENGTH.pack(MAX_START_BYTES + 1)
    refuse(builder, data, DecodeError, f"a start of {MAX_START_BYTES + 1} bytes, at most {MAX_START_BYTES}")


def test_other_file_is_refused(builder: ChainBuilder) -> None:
    refuse(builder, b"GCCHAIN1" + bytes(100), DecodeError, "expected b'GCPROOF1' first, got b'GCCHAIN1'")
    refuse(builder, b"", DecodeError, "not a light proof")


def test_proof_cut_short_or_with_more_behind_it_is_refused(builder: ChainBuilder, proved: Proved) -> None:
    data, start = write_proof(*proved), proved[0].headers_at
    for end in (9, 12, 100, start - 1, start, start + 1, len(data) - HEADER_BYTES, len(data) - 1):
        refuse(builder, data[:end], DecodeError, "cut short")
    refuse(builder, data + b"\x00", DecodeError, f"bytes after the last of {HEIGHT} headers")


def test_parameters_that_would_exhaust_memory_are_refused(builder: ChainBuilder, proved: Proved) -> None:
    params = dataclasses.replace(REGTEST, work_unit_bits=2**62)
    fields = list_fields(proved[0])
    fields[0] = Genesis(params).encode()
    refuse(builder, restart(fields), DecodeError, r"work_unit_bits: expected 0\.\.64, got")


def test_every_single_bit_counts(builder: ChainBuilder, proved: Proved) -> None:
    data = write_proof(*proved)
    for position in [*range(0, proved[0].headers_at, 7), *range(proved[0].headers_at, len(data), 611)]:
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        with pytest.raises(LedgerError):
            check(bytes(changed), builder.verifier)
