"""A node's data directory: where its files lie, and how a new one is made.

Knows file names and the config file's shape (docs/api.md), nothing of what runs in it. Standard library
only: the command line and the testnet harness import it before anything heavy.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.exits import Exit, UserError

CHAINS = ("local", "regtest", "testnet", "mainnet")
UNBORN_CHAINS = ("testnet", "mainnet")  # parameters are there, a public network is not
CONFIG = "config.toml"
NODE_FILE = "node.json"
TOKEN_FILE = "api.token"
KEY_STAKES = {
    "identity.key": "without it peers would know this node under another name",
    "wallet.key": "it holds what this node has earned, and what was sent to its address; a new key is a new address",
}
KEY_FILES = tuple(KEY_STAKES)
LOG_FILE = Path("logs", "node.log")
CONSOLE_FILE = Path("logs", "console.log")
KEY_BYTES = 32
DEFAULT_LISTEN = "/ip4/127.0.0.1/tcp/0"


class DataDirError(UserError):
    """A data directory cannot be made or used."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What `init` writes into config.toml; every other setting keeps the daemon's default."""

    chain: str = "local"
    chain_seed: str = "local"
    name: str = "node"
    listen: str = DEFAULT_LISTEN
    api_port: int = 0
    bootstrap: tuple[str, ...] = ()
    mine: bool = True


def default_data_dir() -> Path:
    """The platform's data directory, or GRADIENTCOIN_DATA_DIR."""
    named = os.environ.get("GRADIENTCOIN_DATA_DIR")
    if named:
        return Path(named).expanduser()
    import platformdirs  # costs several milliseconds; most commands name their node

    return Path(platformdirs.user_data_dir("gradientcoin", appauthor=False))


def is_data_dir(path: Path) -> bool:
    return (path / CONFIG).is_file() or (path / NODE_FILE).is_file()


def init_data_dir(path: Path, config: NodeConfig, *, force: bool = False) -> None:
    """Write config.toml and missing keys; existing keys stay, also with `force`."""
    if (path / CONFIG).exists():
        check_can_replace(path, config, force)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (path / LOG_FILE.parent).mkdir(exist_ok=True)
        for name in KEY_FILES:
            if not (path / name).exists():
                write_private(path / name, os.urandom(KEY_BYTES).hex() + "\n")
        replace_text(path / CONFIG, format_config(config))
    except OSError as error:
        raise DataDirError(
            f"the data directory {path} cannot be written: {error.strerror or error}",
            "name another one with --data-dir, or mend its permissions",
            Exit.BAD_FILE,
        ) from None


def say_no_network(chain: str) -> str:
    """Say what `init` and `run` tell of a chain nobody runs yet."""
    return (
        f"chain {chain}: no public network of that name exists; this node has only the peers you name with "
        "--bootstrap, and alone it mines a chain of its own"
    )


def check_keys(path: Path) -> None:
    """Refuse a directory that lacks a key: one made anew unasked would earn for another address."""
    for name, stake in KEY_STAKES.items():
        if not (path / name).exists():
            raise DataDirError(
                f"{path / name} is missing: {stake}",
                "put it back from your backup; to go on with a new one, on purpose: "
                f"gradientcoin init --force --data-dir {path}, with the --chain, --name and so on it was made with",
                Exit.DAMAGED,
            )


def check_can_replace(path: Path, config: NodeConfig, force: bool) -> None:
    """Refuse to replace a config unasked, or to put another chain's config beside an existing ledger."""
    if not force:
        raise DataDirError(
            f"{path} already holds a node ({CONFIG} exists)",
            "start it with `gradientcoin run`, name another --data-dir, or rewrite the config with --force "
            "(keys are kept)",
            Exit.USAGE,
        )
    try:
        old = load_config(path)
    except DataDirError:
        return  # cannot be read: what it said is lost; the daemon compares the genesis
    wanted = (config.chain, config.chain_seed if config.chain == "local" else "")
    present = (
        str(old.get("chain", "local")),
        str(old.get("chain_seed", "")) if config.chain == "local" else "",
    )
    if (path / "genesis.bin").exists() and wanted != present:
        raise DataDirError(
            f"{path} holds the ledger of chain {describe_chain(present)}, not of {describe_chain(wanted)}",
            "name another --data-dir for the other chain",
            Exit.USAGE,
        )


def describe_chain(chain: tuple[str, str]) -> str:
    name, seed = chain
    return f"{name!r} with seed {seed!r}" if seed else repr(name)


def load_config(path: Path) -> dict[str, Any]:  # Any: values of a TOML file
    try:
        return tomllib.loads((path / CONFIG).read_text())
    except FileNotFoundError:
        raise DataDirError(
            f"{path} is no data directory of a node: it has no {CONFIG}",
            f"make one: gradientcoin init --data-dir {path}",
            Exit.NOT_FOUND,
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataDirError(
            f"{path / CONFIG} cannot be read: {error}",
            f"mend the file, or write it anew: gradientcoin init --force --data-dir {path}",
            Exit.BAD_FILE,
        ) from None


def format_config(config: NodeConfig) -> str:
    settings: Mapping[str, Any] = {  # Any: what json.dumps takes
        "chain": config.chain,
        **({"chain_seed": config.chain_seed} if config.chain == "local" else {}),
        "name": config.name,
        "listen": config.listen,
        "api_port": config.api_port,
        "bootstrap": list(config.bootstrap),
        "mine": config.mine,
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
    head = (
        "# Written by `gradientcoin init`. Flags win over GRADIENTCOIN_* variables, these over this file.\n"
    )
    return head + "\n".join(lines) + "\n"


def write_private(path: Path, content: str | bytes) -> None:
    """Create a file nobody else may read, whole or not at all; the caller has seen that there is none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def replace_text(path: Path, text: str) -> None:
    """Write a file so that readers see the old or the new text, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
