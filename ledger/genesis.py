"""Genesis of a chain: its parameters and first allocations, whose hash is the chain id.

Source: docs/protocol.md, section 12. Genesis has height 0, no time and no miner.
"""

import itertools
from dataclasses import dataclass, field

from ledger.codec import MAX_AMOUNT, decode, encode, read_bytes, read_list, read_uint
from ledger.errors import DecodeError
from ledger.hashing import tagged_hash
from ledger.keys import ADDRESS_BYTES, KeyPair
from ledger.params import (
    COIN,
    FIELD_NAMES,
    LOCAL,
    MAINNET,
    REGTEST,
    TESTNET,
    ChainParams,
    list_params,
    read_params,
)

LOCAL_ACCOUNTS = 10
LOCAL_ALLOCATION = 100_000 * COIN  # units for each local account
MAX_ALLOCATIONS = 1000
MAX_GENESIS_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Genesis:
    """The start of a chain; allocations are (address, units) in strictly rising order of address."""

    params: ChainParams
    allocations: tuple[tuple[bytes, int], ...] = ()
    chain_id: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chain_id", tagged_hash("gc/genesis", self.encode()))

    @property
    def issued(self) -> int:
        """The sum of the allocations, units."""
        return sum(amount for _, amount in self.allocations)

    def encode(self) -> bytes:
        """Return the canonical bytes the chain id is the hash of."""
        return encode([*list_params(self.params), self.allocations])

    @classmethod
    def decode(cls, data: bytes) -> "Genesis":
        """Return the genesis with that encoding."""
        values = read_list(decode(data, MAX_GENESIS_BYTES), "genesis", len(FIELD_NAMES) + 1)
        return cls(read_params(values[:-1]), _read_allocations(values[-1]))


def local_accounts(seed: str) -> list[KeyPair]:
    """Return the ten funded keys of a local chain; anyone who knows the seed string has them."""
    text = seed.encode()
    return [
        KeyPair.from_seed(tagged_hash("gc/local-account", text + bytes([i]))) for i in range(LOCAL_ACCOUNTS)
    ]


def local_genesis(seed: str) -> Genesis:
    """Return the genesis of the local chain of a seed string."""
    return Genesis(LOCAL, _fund_local_accounts(seed))


def regtest_genesis(seed: str) -> Genesis:
    """Return the genesis of the regression-test chain of a seed string."""
    return Genesis(REGTEST, _fund_local_accounts(seed))


TESTNET_GENESIS = Genesis(TESTNET)
MAINNET_GENESIS = Genesis(MAINNET)


def _fund_local_accounts(seed: str) -> tuple[tuple[bytes, int], ...]:
    return tuple(sorted((keypair.address, LOCAL_ALLOCATION) for keypair in local_accounts(seed)))


def _read_allocations(value: object) -> tuple[tuple[bytes, int], ...]:
    allocations = []
    for item in read_list(value, "allocations", limit=MAX_ALLOCATIONS):
        address, amount = read_list(item, "allocation", 2)
        allocations.append(
            (read_bytes(address, "address", ADDRESS_BYTES), read_uint(amount, "amount", 1, MAX_AMOUNT))
        )
    addresses = [address for address, _ in allocations]
    if any(left >= right for left, right in itertools.pairwise(addresses)):
        raise DecodeError("allocations: expected strictly rising addresses")
    read_uint(sum(amount for _, amount in allocations), "sum of the allocations", 0, MAX_AMOUNT)
    return tuple(allocations)
