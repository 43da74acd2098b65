"""Job specs: every field has a range, and every field is in the bytes."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import DecodeError
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec, decode_spec, encode_spec, trial_seed
from ledger.params import LOCAL, MAINNET
from tests.ledger.samples import CHILD_SPEC, MARKET_SPEC, PARAMS, SPEC

SPEC_BYTES = encode_spec(SPEC)
TICKETS = {
    "price": st.integers(0, 2**63 - 1),
    "budget": st.integers(0, 6 * LOCAL.coinbase),
    "burn": st.integers(LOCAL.min_burn, 2**63 - 1),
    "market_only": st.just(0),
}
MARKET_ONLY = {
    "price": st.integers(1, 2**63 - 1),
    "budget": st.integers(1, 6 * LOCAL.coinbase),
    "burn": st.just(0),
    "market_only": st.just(1),
}
FIRST = {"parent": st.just(b""), "parent_weights": st.just(b"")}
CONTINUED = {
    "parent": st.binary(min_size=32, max_size=32),
    "parent_weights": st.binary(max_size=9).map(cid_of),
}
FIELDS = st.sampled_from([TICKETS | FIRST, TICKETS | CONTINUED, MARKET_ONLY | FIRST, MARKET_ONLY | CONTINUED])
SPECS = FIELDS.flatmap(
    lambda fields: st.builds(
        JobSpec,
        title=st.text(max_size=16),
        objective=st.text(max_size=8),
        params=st.lists(st.integers(0, 2**32 - 1), max_size=16).map(tuple),
        data_cid=st.binary(max_size=9).map(cid_of),
        data_size=st.integers(1, LOCAL.sidecar_limit),
        init_seed=st.binary(min_size=32, max_size=32),
        steps=st.integers(2, 64),
        shard=st.integers(1, 4096),
        rates=st.lists(st.tuples(st.integers(1, 4095), st.integers(0, 48)), max_size=16).map(tuple),
        sample=st.integers(16, 4096),
        target=st.integers(0, 2**50 - 1),
        lifetime=st.integers(1, 2**32),
        evaluation=st.sampled_from([b"", bytes(32)]),
        **fields,
    )
)


@given(SPECS)
def test_spec_round_trips(spec: JobSpec) -> None:
    assert decode_spec(encode_spec(spec), PARAMS) == spec


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", "ü" * 33),
        ("title", b"bytes"),
        ("objective", "x" * 33),
        ("params", (2**32,)),
        ("params", tuple(range(17))),
        ("data_cid", bytes(36)),
        ("data_cid", SPEC.data_cid[:-1]),
        ("data_size", 0),
        ("data_size", 512 * 1024 + 1),
        ("init_seed", bytes(31)),
        ("steps", 1),
        ("steps", 65),
        ("shard", 0),
        ("shard", 4097),
        ("rates", ((0, 1),)),
        ("rates", ((4096, 1),)),
        ("rates", ((1, 49),)),
        ("rates", ((1, 1, 1),)),
        ("rates", ((1, 1),) * 17),
        ("rates", (5,)),
        ("sample", 15),
        ("sample", 4097),
        ("price", 2**63),
        ("budget", 300 * 10**8 + 1),
        ("burn", 5 * 10**7 - 1),
        ("burn", 2**63),
        ("target", 2**50),
        ("lifetime", 0),
        ("lifetime", 2**32 + 1),
        ("market_only", 1),  # with a burn
        ("market_only", 2),
        ("burn", 0),  # of a job with tickets
        ("evaluation", bytes(31)),
        ("parent", bytes(32)),  # without its weights
        ("parent_weights", cid_of(b"weights")),  # without their job
    ],
)
def test_field_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DecodeError):
        decode_spec(encode_spec(dataclasses.replace(SPEC, **{name: value})), PARAMS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("burn", 1), ("burn", LOCAL.min_burn), ("price", 0), ("budget", 0), ("market_only", 0)],
)
def test_market_only_job_burns_nothing_and_pays(name: str, value: int) -> None:
    assert decode_spec(encode_spec(MARKET_SPEC), PARAMS) == MARKET_SPEC
    with pytest.raises(DecodeError):
        decode_spec(encode_spec(dataclasses.replace(MARKET_SPEC, **{name: value})), PARAMS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parent", bytes(31)),
        ("parent", bytes(33)),
        ("parent", b""),
        ("parent_weights", bytes(36)),
        ("parent_weights", cid_of(b"weights")[:-1]),
        ("parent_weights", b""),
    ],
)
def test_parent_is_a_job_and_its_weights(name: str, value: bytes) -> None:
    assert decode_spec(encode_spec(CHILD_SPEC), PARAMS) == CHILD_SPEC
    with pytest.raises(DecodeError, match="parent"):
        decode_spec(encode_spec(dataclasses.replace(CHILD_SPEC, **{name: value})), PARAMS)


def test_least_burn_depends_on_the_chain() -> None:
    with pytest.raises(DecodeError, match="burn: expected 1250000000"):
        decode_spec(SPEC_BYTES, MAINNET)


def test_other_version_or_length_is_refused() -> None:
    assert SPEC_BYTES[:4] == b"\xdc\x00\x14\x01"
    with pytest.raises(DecodeError, match=r"spec version: expected 1\.\.1, got 2"):
        decode_spec(SPEC_BYTES[:3] + b"\x02" + SPEC_BYTES[4:], PARAMS)
    with pytest.raises(DecodeError, match="spec: expected 20 items, got 21"):
        decode_spec(b"\xdc\x00\x15" + SPEC_BYTES[3:] + b"\x00", PARAMS)
    with pytest.raises(DecodeError, match="at most 4096 bytes"):
        decode_spec(bytes(4097), PARAMS)


def test_trial_seed_is_the_hash_of_the_spec() -> None:
    assert trial_seed(SPEC_BYTES) == tagged_hash("gc/trial", SPEC_BYTES)


@given(st.data())
def test_mutated_spec_raises_only_decode_error(data: st.DataObject) -> None:
    mutated = bytearray(SPEC_BYTES)
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_spec(bytes(mutated), PARAMS)
    except DecodeError:
        return
    assert encode_spec(decoded) == bytes(mutated)
