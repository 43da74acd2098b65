"""Strict Ed25519: whatever two verifiers could judge differently is refused."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
)

from ledger.hashing import tagged_hash
from ledger.keys import FIELD_PRIME, GROUP_ORDER, KeyPair, verify

CHAIN = bytes(range(32))
PAYLOAD = b"payload"
KEY = KeyPair.from_seed(bytes(32))
SIGNATURE = KEY.sign("tx", CHAIN, PAYLOAD)

ORDER_8 = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)
SIGN_BIT = 1 << 255


def _encode_y(y: int, sign: int = 0) -> bytes:
    return (y + sign * SIGN_BIT).to_bytes(32, "little")


def _small_order_points() -> list[bytes]:
    ys = [int.from_bytes(bytes.fromhex(text), "little") for text in ORDER_8] + [0]
    return [_encode_y(1), _encode_y(FIELD_PRIME - 1)] + [_encode_y(y, sign) for y in ys for sign in (0, 1)]


SMALL_ORDER = _small_order_points()
NON_CANONICAL = [
    *[_encode_y(FIELD_PRIME + y, sign) for y in range(19) for sign in (0, 1)],
    _encode_y(1, 1),
    _encode_y(FIELD_PRIME - 1, 1),
]
MIXED_ORDER = [crypto_core_ed25519_add(KEY.public, point) for point in SMALL_ORDER[1:]]


def _sign_with_r(r_point: bytes, nonce: int, public: bytes = KEY.public) -> bytes:
    """Return the signature by KEY's secret with a given R = nonce * B + something, S = nonce + h * a."""
    secret = hashlib.sha512(bytes(32)).digest()[:32]
    clamped = bytes([secret[0] & 248, *secret[1:31], secret[31] & 63 | 64])
    message = tagged_hash("gc/sign/tx", CHAIN + PAYLOAD)
    challenge = crypto_core_ed25519_scalar_reduce(hashlib.sha512(r_point + public + message).digest())
    scalar = crypto_core_ed25519_scalar_reduce(clamped + bytes(32))
    product = crypto_core_ed25519_scalar_mul(challenge, scalar)
    return r_point + crypto_core_ed25519_scalar_add(nonce.to_bytes(32, "little"), product)


def test_own_signature_is_accepted() -> None:
    assert verify(KEY.public, SIGNATURE, "tx", CHAIN, PAYLOAD)
    assert verify(KEY.public, KEY.sign("header", CHAIN, PAYLOAD), "header", CHAIN, PAYLOAD)


def test_signature_made_by_hand_is_accepted() -> None:
    """So the refusals of hand-made signatures below are for their points, not for their arithmetic."""
    r_point = crypto_scalarmult_ed25519_base_noclamp((12345).to_bytes(32, "little"))
    assert verify(KEY.public, _sign_with_r(r_point, 12345), "tx", CHAIN, PAYLOAD)


def test_there_are_eight_small_order_points() -> None:
    assert len(set(SMALL_ORDER)) == 8


@pytest.mark.parametrize("point", SMALL_ORDER + NON_CANONICAL + MIXED_ORDER)
def test_bad_public_key_is_refused(point: bytes) -> None:
    assert not verify(point, SIGNATURE, "tx", CHAIN, PAYLOAD)
    assert not verify(point, _encode_y(1) + bytes(32), "tx", CHAIN, PAYLOAD)
    identity_trick = crypto_scalarmult_ed25519_base_noclamp((5).to_bytes(32, "little"))
    assert not verify(point, identity_trick + (5).to_bytes(32, "little"), "tx", CHAIN, PAYLOAD)
    assert not verify(point, _sign_with_r(identity_trick, 5, point), "tx", CHAIN, PAYLOAD)


@pytest.mark.parametrize("point", SMALL_ORDER + NON_CANONICAL + MIXED_ORDER)
def test_bad_r_is_refused(point: bytes) -> None:
    assert not verify(KEY.public, point + SIGNATURE[32:], "tx", CHAIN, PAYLOAD)
    assert not verify(KEY.public, _sign_with_r(point, 0), "tx", CHAIN, PAYLOAD)


@pytest.mark.parametrize("point", SMALL_ORDER[1:])
def test_r_of_mixed_order_that_cofactored_verifiers_accept_is_refused(point: bytes) -> None:
    r_point = crypto_core_ed25519_add(
        crypto_scalarmult_ed25519_base_noclamp((12345).to_bytes(32, "little")), point
    )
    assert not verify(KEY.public, _sign_with_r(r_point, 12345), "tx", CHAIN, PAYLOAD)


def test_s_not_below_the_group_order_is_refused() -> None:
    s = int.from_bytes(SIGNATURE[32:], "little")
    for larger in (s + GROUP_ORDER, s + 2 * GROUP_ORDER, GROUP_ORDER, 2**256 - 1, s | 1 << 255):
        assert not verify(KEY.public, SIGNATURE[:32] + larger.to_bytes(32, "little"), "tx", CHAIN, PAYLOAD)


def test_other_kind_chain_payload_or_key_is_refused() -> None:
    other = KeyPair.from_seed(bytes(31) + b"\x01")
    assert not verify(KEY.public, SIGNATURE, "header", CHAIN, PAYLOAD)
    assert not verify(KEY.public, SIGNATURE, "tx", CHAIN[::-1], PAYLOAD)
    assert not verify(KEY.public, SIGNATURE, "tx", CHAIN, PAYLOAD + b"x")
    assert not verify(other.public, SIGNATURE, "tx", CHAIN, PAYLOAD)


@settings(max_examples=200)
@given(st.binary(max_size=40), st.binary(max_size=70))
def test_any_bytes_are_refused_without_an_error(public: bytes, signature: bytes) -> None:
    assert not verify(public, signature, "tx", CHAIN, PAYLOAD)
    assert not verify(public.ljust(32, b"\x01")[:32], signature.ljust(64, b"\x02")[:64], "tx", CHAIN, PAYLOAD)


@given(st.integers(0, 511))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    flipped = (int.from_bytes(SIGNATURE, "big") ^ 1 << bit).to_bytes(64, "big")
    assert not verify(KEY.public, flipped, "tx", CHAIN, PAYLOAD)


def test_secret_is_not_shown() -> None:
    assert "_signing_key" not in repr(KEY)
    with pytest.raises(ValueError, match="expected 32 bytes, got 5"):
        KeyPair.from_seed(b"short")
