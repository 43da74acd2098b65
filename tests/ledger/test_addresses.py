"""Addresses as text: bech32m with errors that say what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import bech32m
from ledger.errors import DecodeError
from ledger.keys import ADDRESS_PREFIXES, address_of, address_text, parse_address

ADDRESS = address_of(bytes(32))
TEXT = address_text("rgc", ADDRESS)


@given(st.binary(min_size=20, max_size=20), st.sampled_from(sorted(ADDRESS_PREFIXES)))
def test_address_text_round_trips(address: bytes, prefix: str) -> None:
    text = address_text(prefix, address)
    assert parse_address(text, prefix) == address
    assert parse_address(text.upper(), prefix) == address


@pytest.mark.parametrize(
    "text",
    [  # BIP 350's valid strings
        "A1LQFN3A",
        "a1lqfn3a",
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
        "?1v759aa",
    ],
)
def test_bip350_valid_string_is_accepted(text: str) -> None:
    prefix, data = bech32m.decode(text)
    assert bech32m.encode(prefix, data) == text.lower()


@pytest.mark.parametrize(
    "text",
    [  # BIP 350's invalid strings, and bech32 (not m)
        " 1xj0phk",
        "\x7f1g6xzxy",
        "\x801vctc34",
        "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
        "qyrz8wqd2c9m",
        "1qyrz8wqd2c9m",
        "y1b0jsk6g",
        "lt1igcx5c0",
        "in1muywd",
        "mm1crxm3i",
        "au1s5cgom",
        "M1VUXWEZ",
        "16plkw9",
        "1p2gdwpf",
        "a12uel5l",
    ],
)
def test_bip350_invalid_string_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        bech32m.decode(text)


def test_address_of_another_network_is_refused_by_name() -> None:
    with pytest.raises(DecodeError, match=r"another network: expected prefix 'gc' \(mainnet\), got 'rgc'"):
        parse_address(TEXT, "gc")


@given(st.integers(0, len(TEXT) - 1), st.sampled_from(bech32m.ALPHABET))
def test_mistyped_character_is_refused(position: int, character: str) -> None:
    mistyped = TEXT[:position] + character + TEXT[position + 1 :]
    if mistyped != TEXT:
        with pytest.raises(DecodeError):
            parse_address(mistyped, "rgc")


def test_mixed_case_and_other_lengths_are_refused() -> None:
    for text in (TEXT[:10] + TEXT[10:].upper(), TEXT[:-1], TEXT + "q", "", bech32m.encode("rgc", bytes(21))):
        with pytest.raises(DecodeError):
            parse_address(text, "rgc")


@given(st.text(max_size=100))
def test_any_text_raises_only_decode_error(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_address(text, "rgc")
