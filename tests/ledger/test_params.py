"""Presets, genesis and chain ids."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode, encode
from ledger.errors import DecodeError, LedgerError
from ledger.genesis import (
    LOCAL_ALLOCATION,
    MAINNET_GENESIS,
    TESTNET_GENESIS,
    Genesis,
    local_accounts,
    local_genesis,
    regtest_genesis,
)
from ledger.hashing import tagged_hash
from ledger.keys import KeyPair
from ledger.params import FIELD_NAMES, LOCAL, PRESETS, encode_params, list_params, params_by_name, read_params


@pytest.mark.parametrize("name", ["local", "regtest", "testnet", "mainnet"])
def test_preset_round_trips(name: str) -> None:
    params = params_by_name(name)
    assert params.name == name
    values = decode(encode_params(params), 1000)
    assert isinstance(values, list)
    assert read_params(values) == params


def test_unknown_network_is_named_with_the_known_ones() -> None:
    with pytest.raises(LedgerError, match="one of local, regtest, testnet, mainnet, got 'foonet'"):
        params_by_name("foonet")


@pytest.mark.parametrize("name", FIELD_NAMES)
def test_any_parameter_changes_the_chain_id(name: str) -> None:
    value = getattr(LOCAL, name)
    other: Any = value + "x" if isinstance(value, str) else value ^ 1
    changed = dataclasses.replace(LOCAL, **{name: other})
    assert Genesis(changed).chain_id != Genesis(LOCAL).chain_id


def test_chain_ids_differ() -> None:
    geneses = [local_genesis("a"), local_genesis("b"), regtest_genesis("a"), TESTNET_GENESIS, MAINNET_GENESIS]
    assert len({genesis.chain_id for genesis in geneses}) == len(geneses)
    for genesis in geneses:
        assert Genesis.decode(genesis.encode()) == genesis
        assert genesis.chain_id == tagged_hash("gc/genesis", genesis.encode())
        assert genesis.params in PRESETS.values()


def test_local_genesis_funds_ten_accounts_and_public_ones_nobody() -> None:
    accounts = local_accounts("seed")
    assert accounts[3].public == KeyPair.from_seed(tagged_hash("gc/local-account", b"seed\x03")).public
    assert {address for address, _ in local_genesis("seed").allocations} == {key.address for key in accounts}
    assert local_genesis("seed").issued == 10 * LOCAL_ALLOCATION == 10 * 100_000 * 10**8
    assert not TESTNET_GENESIS.allocations + MAINNET_GENESIS.allocations


@pytest.mark.parametrize(
    "allocations",
    [
        [[bytes(20), 1], [bytes(20), 1]],  # twice
        [[b"\x01" * 20, 1], [bytes(20), 1]],  # falling
        [[bytes(20), 0]],
        [[bytes(20), 2**62], [b"\x01" * 20, 2**62]],  # the sum
        [[bytes(19), 1]],
        [[bytes(20)]],
        5,
    ],
)
def test_bad_allocation_is_refused(allocations: object) -> None:
    with pytest.raises(DecodeError):
        Genesis.decode(encode([*list_params(LOCAL), allocations]))  # type: ignore[list-item]  # wrong on purpose


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "Lo cal"),
        ("name", "x" * 33),
        ("round_length", 0),
        ("fixed_target", 2),
        ("start_target", b"x"),
        ("coinbase", 2**63),
        ("coinbase", b"1"),
        ("slot_cap_den", 0),
        ("interval_ms", "1"),
    ],
)
def test_bad_parameter_is_refused(name: str, value: int | str | bytes) -> None:
    values = list_params(LOCAL)
    values[FIELD_NAMES.index(name)] = value
    with pytest.raises(DecodeError, match=name):
        Genesis.decode(encode([*values, []]))


@given(st.binary(max_size=300))
def test_any_bytes_raise_only_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Genesis.decode(data)
