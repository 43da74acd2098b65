"""The keys a node signs with: its own, those its user made, and on local and regtest chains the ten funded accounts.

Knows key files and names, nothing of balances. Source: docs/api.md (data directory), docs/protocol.md, section 12.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ledger.genesis import local_accounts
from ledger.keys import SEED_BYTES, KeyPair, address_text
from ledger.params import params_by_name
from node.datadir import write_private
from node.exits import Exit, UserError

WALLET_FILE = "wallet.key"
OWN_NAME = "node"
KEYS_FOLDER = "keys"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
TAKEN = re.compile(r"node|local-\d+")  # names that mean something else
MAX_MADE = 1000
FUNDED_CHAINS = ("local", "regtest")


class UnknownAccount(UserError):
    """No key of this wallet has that name or address."""

    exit_code = Exit.USAGE


@dataclass(frozen=True, slots=True)
class WalletAccount:
    """A key that this node can sign with."""

    name: str
    address: str
    keypair: KeyPair


class Wallet:
    """The accounts of a data directory; its key is made if there is none yet."""

    def __init__(self, data_dir: Path, chain: str, chain_seed: str) -> None:
        self._prefix = params_by_name(chain).address_prefix
        self._folder = data_dir / KEYS_FOLDER
        self.keypair = _load_key(data_dir / WALLET_FILE)
        self._accounts = [self._account(OWN_NAME, self.keypair)]
        self._accounts += [self._account(path.stem, _load_key(path)) for path in self._list_made()]
        self._made = len(self._accounts) - 1
        if chain in FUNDED_CHAINS:
            funded = enumerate(local_accounts(chain_seed))
            self._accounts += [self._account(f"local-{i}", keypair) for i, keypair in funded]

    def __iter__(self) -> Iterator[WalletAccount]:
        """Yield the node's own account, then the ones its user made, then the funded ones."""
        return iter(tuple(self._accounts))  # one may be made meanwhile, in another thread

    @property
    def own(self) -> WalletAccount:
        """The account of wallet.key: what mining earns goes there."""
        return self._accounts[0]

    def find(self, name: str) -> WalletAccount:
        """Return the account with that name or address; UnknownAccount names those there are."""
        for account in self._accounts:
            if name in (account.name, account.address):
                return account
        names = ", ".join(account.name for account in self._accounts)
        raise UnknownAccount(
            f"account: expected a name or an address of this wallet ({names}), got {name[:100]!r}",
            "list the accounts: gradientcoin wallet list",
        )

    def create(self, name: str) -> WalletAccount:
        """Make a key under a new name, kept in the data directory; UserError for a name that cannot be."""
        if not NAME.fullmatch(name) or TAKEN.fullmatch(name):
            raise UserError(
                f"account name: expected 1 to 32 of a-z, 0-9, - and _, not `node` or `local-N`; got {name[:100]!r}",
                "name it for what it is for, such as savings",
                Exit.USAGE,
            )
        if any(account.name == name for account in self._accounts):
            raise UserError(f"there is an account {name!r} already", "choose another name", Exit.USAGE)
        if self._made >= MAX_MADE:
            raise UserError(f"the wallet has {MAX_MADE} accounts already", "use one of them", Exit.USAGE)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        account = self._account(name, _load_key(self.key_path(name)))
        self._made += 1
        self._accounts.insert(self._made, account)
        return account

    def key_path(self, name: str) -> Path:
        """Return where the key of an account that was made here lies."""
        return self._folder / f"{name}.key"

    def _list_made(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.key") if NAME.fullmatch(path.stem))

    def _account(self, name: str, keypair: KeyPair) -> WalletAccount:
        return WalletAccount(name, address_text(self._prefix, keypair.address), keypair)


def _load_key(path: Path) -> KeyPair:
    try:
        seed = bytes.fromhex(path.read_text().strip())
    except FileNotFoundError:
        seed = os.urandom(SEED_BYTES)
        write_private(path, seed.hex() + "\n")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a key: {error}", "restore it from a backup", Exit.DAMAGED) from error
    if len(seed) != SEED_BYTES:
        raise UserError(
            f"{path}: expected {SEED_BYTES} bytes in hex, got {len(seed)}",
            "restore it from a backup",
            Exit.DAMAGED,
        )
    return KeyPair.from_seed(seed)
