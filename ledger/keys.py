"""Ed25519 keys, strict signatures and addresses. Source: docs/protocol.md, section 1.

libsodium's releases differ on signatures with a small-order component (1.0.18 compares R, later ones multiply
by the cofactor). Points outside the prime-order subgroup are refused here; on all others the releases agree.
"""

import functools
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from ledger import bech32m
from ledger.errors import DecodeError
from ledger.hashing import tagged_hash

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
SEED_BYTES = 32
ADDRESS_BYTES = 20
FIELD_PRIME = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493  # L
ADDRESS_PREFIXES = {"gc": "mainnet", "tgc": "testnet", "rgc": "regtest or local"}
KNOWN_KEYS = 4096  # public keys whose check is remembered

SigningKind: TypeAlias = Literal["tx", "header"]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A signing key with its public key; the secret is not shown by repr."""

    public: bytes
    _signing_key: SigningKey = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> "KeyPair":
        """Return the key pair of a 32-byte secret seed."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"key seed: expected {SEED_BYTES} bytes, got {len(seed)}")
        signing_key = SigningKey(seed)
        return cls(bytes(signing_key.verify_key), signing_key)

    @property
    def address(self) -> bytes:
        """The address of the public key."""
        return address_of(self.public)

    def sign(self, kind: SigningKind, chain_id: bytes, payload: bytes) -> bytes:
        """Return the signature, 64 bytes, of a payload of that kind on that chain."""
        return self._signing_key.sign(_signed_message(kind, chain_id, payload)).signature


def verify(public: bytes, signature: bytes, kind: SigningKind, chain_id: bytes, payload: bytes) -> bool:
    """Return whether the strict verifier accepts a signature; it never raises."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    r, s = signature[:32], signature[32:]
    if int.from_bytes(s, "little") >= GROUP_ORDER or not _is_good_key(public) or not _is_good_point(r):
        return False
    try:
        VerifyKey(public).verify(_signed_message(kind, chain_id, payload), signature)
    except BadSignatureError:
        return False
    return True


def address_of(public: bytes) -> bytes:
    """Return the address, 20 bytes, of a public key."""
    return tagged_hash("gc/address", public)[:ADDRESS_BYTES]


def address_text(prefix: str, address: bytes) -> str:
    """Return the bech32m text of an address on the chain with that prefix."""
    if len(address) != ADDRESS_BYTES:
        raise ValueError(f"address: expected {ADDRESS_BYTES} bytes, got {len(address)}")
    return bech32m.encode(prefix, address)


def parse_address(text: str, expected_prefix: str) -> bytes:
    """Return the address a text stands for; DecodeError says whether it is mistyped or of another network."""
    prefix, address = bech32m.decode(text)
    if prefix != expected_prefix:
        raise DecodeError(
            f"address {text!r} is for another network: "
            f"expected prefix {_describe(expected_prefix)}, got {_describe(prefix)}"
        )
    if len(address) != ADDRESS_BYTES:
        raise DecodeError(f"address {text!r}: expected {ADDRESS_BYTES} bytes, got {len(address)}")
    return address


def _signed_message(kind: SigningKind, chain_id: bytes, payload: bytes) -> bytes:
    return tagged_hash("gc/sign/" + kind, chain_id + payload)


@functools.lru_cache(maxsize=KNOWN_KEYS)
def _is_good_key(public: bytes) -> bool:
    return _is_good_point(public)


def _is_good_point(encoded: bytes) -> bool:
    """Return whether 32 bytes are the one form of a point of the prime-order subgroup, not the identity."""
    y = int.from_bytes(encoded, "little") & ((1 << 255) - 1)
    return y < FIELD_PRIME and crypto_core_ed25519_is_valid_point(encoded)


def _describe(prefix: str) -> str:
    network = ADDRESS_PREFIXES.get(prefix, "unknown")
    return f"{prefix!r} ({network})"
