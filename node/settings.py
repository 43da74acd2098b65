"""What a daemon runs with: flags win over GRADIENTCOIN_* variables, these over config.toml. Source: docs/api.md."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from node.datadir import CHAINS, CONFIG, DEFAULT_LISTEN, DataDirError, load_config
from node.exits import Exit
from node.privacy import WrongTerms, count_terms, read_terms
from node.protocol.peer_book import parse_peer_id

PATHS = ("fused", "portable")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
PREFIX = "GRADIENTCOIN_"
OTHER_VARIABLES = ("NODE", "DATA_DIR", "DEBUG", "TORCH_INDEX")  # read elsewhere
KINDS = {bool: "true or false", int: "a whole number", str: "a text"}
DEVICES = ("auto", "cpu", "cuda")
SOLVERS = ("auto", "newton", "adam", "sgd")
PRECISIONS = ("float32", "float64")
MAX_TRAINERS = 64
JOB_PREFIX = re.compile("[0-9a-f]{4,64}")
FLAGS = {"own_samples": "--samples"}  # those not named as their keys
CHOICES = {
    "chain": CHAINS, "worker_path": PATHS, "log_level": LOG_LEVELS, "device": DEVICES, "solver": SOLVERS,
    "precision": PRECISIONS,
}  # fmt: skip
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Settings:
    """A daemon's settings, checked."""

    data_dir: Path
    chain: str
    chain_seed: str
    name: str
    listen: str
    api_port: int
    bootstrap: tuple[str, ...]
    mine: bool
    updates: bool  # whether a mining node trains updates, too
    worker_path: str
    log_level: str
    trainers: int = 1  # processes that train an update together
    device: str = "auto"  # that they train on
    solver: str = "auto"
    precision: str = "float32"  # of training; what is judged is exact
    trainer_launcher: tuple[str, ...] = ()  # torchrun and its options, where the group is on several machines
    own_samples: tuple[tuple[str, str], ...] = ()  # (beginning of a job's id, file), absolute
    privacy: tuple[int, ...] = ()  # terms on which these are used: node/privacy.py


DEFAULTS: dict[str, Any] = {  # Any: the types a TOML file can hold
    "chain": "local",
    "chain_seed": "local",
    "name": "node",
    "listen": DEFAULT_LISTEN,
    "api_port": 0,
    "bootstrap": [],
    "mine": True,
    "updates": True,
    "worker_path": "fused",
    "log_level": "INFO",
    "trainers": 1,
    "device": "auto",
    "solver": "auto",
    "precision": "float32",
    "trainer_launcher": [],
    "own_samples": {},
    "privacy": {},  # in the file a key of [own_samples]
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting's value and where it comes from: a flag, a variable, config.toml or the default."""

    key: str
    value: Any
    origin: str


def load_settings(
    data_dir: Path, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> Settings:
    """Read a data directory's settings; DataDirError names the key that is wrong and where it came from."""
    values = {item.key: item.value for item in explain_settings(data_dir, flags, environment)}
    values["bootstrap"] = tuple(values["bootstrap"])
    values["own_samples"] = tuple(values["own_samples"].items())
    if values["privacy"] and not values["own_samples"]:
        raise DataDirError(
            "privacy: expected own samples that it is about, got none",
            "name them beside it: [own_samples] JOB = FILE, or --samples JOB=FILE",
            Exit.BAD_FILE,
        )
    values["privacy"] = count_terms(values["privacy"])
    values["trainer_launcher"] = tuple(values["trainer_launcher"])
    if values["trainer_launcher"] and values["trainers"] != 1:
        wanted = "1 beside trainer_launcher, which says how many there are"
        raise DataDirError(
            f"trainers: expected {wanted}, got {values['trainers']}", "leave one of them out", Exit.BAD_FILE
        )
    return Settings(data_dir=data_dir, **values)


def explain_settings(
    data_dir: Path, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> list[Setting]:
    """Read a data directory's settings with their origins; raises as `load_settings` does."""
    file = _take_privacy(load_config(data_dir), str(data_dir / CONFIG))
    unknown = sorted(set(file) - set(DEFAULTS))
    if unknown:
        close = get_close_matches(unknown[0], DEFAULTS, 1)
        raise DataDirError(
            f"{data_dir / CONFIG}: unknown key {unknown[0]!r}",
            f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(DEFAULTS)}",
            Exit.BAD_FILE,
        )
    return [Setting(key, *_choose(key, flags, environment, file, data_dir)) for key in DEFAULTS]


def _take_privacy(file: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The keys of a file with `privacy` beside [own_samples], where it stands in it."""
    if "privacy" in file:
        raise _wrong("privacy", origin, "it within [own_samples]", file["privacy"])
    samples = file.get("own_samples")
    if not isinstance(samples, dict) or "privacy" not in samples:
        return dict(file)
    rest = {job: name for job, name in samples.items() if job != "privacy"}
    return dict(file) | {"own_samples": rest, "privacy": samples["privacy"]}


def list_unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a sentence for each variable that looks like a setting and is none."""
    known = {PREFIX + key.upper() for key in DEFAULTS} | {PREFIX + name for name in OTHER_VARIABLES}
    found = []
    for name in sorted(set(environment) - known):
        if name.startswith(PREFIX):
            close = get_close_matches(name, known, 1)
            found.append(f"{name} is no setting{f'; did you mean {close[0]}?' if close else ''}")
    return found


def _choose(
    key: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Mapping[str, Any],
    data_dir: Path,
) -> tuple[Any, str]:
    """Return a setting's value and origin."""
    if flags.get(key) not in (None, (), []):
        flag = FLAGS.get(key, f"--{key.replace('_', '-')}")
        return check_setting(key, flags[key], flag), flag
    variable = PREFIX + key.upper()
    if variable in environment:
        return check_setting(key, _parse(key, environment[variable], variable), variable), variable
    if key in file:
        return check_setting(key, file[key], str(data_dir / CONFIG), data_dir), str(data_dir / CONFIG)
    return DEFAULTS[key], "default"


def _parse(key: str, text: str, variable: str) -> Any:
    default = DEFAULTS[key]
    if isinstance(default, bool):
        if text.lower() not in TRUE + FALSE:
            raise _wrong(key, variable, "1 or 0", text)
        return text.lower() in TRUE
    if isinstance(default, int):
        if not text.isdigit():
            raise _wrong(key, variable, "a number", text)
        return int(text)
    if isinstance(default, list):
        return [part for part in text.replace(",", " ").split() if part]
    if isinstance(default, dict):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def check_setting(key: str, value: Any, origin: str, folder: Path = Path()) -> Any:
    """Return a value that fits its setting; DataDirError says what was expected, and where the value stands.

    Files are relative to `folder`.
    """
    default = DEFAULTS[key]
    if key == "privacy":
        return _check_privacy(key, value, origin)
    if isinstance(default, dict):
        return _check_samples(key, value, origin, folder)
    if isinstance(default, list):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise _wrong(key, origin, "a list of texts", value)
    elif type(value) is not type(default):
        raise _wrong(key, origin, KINDS[type(default)], value)
    choices = CHOICES.get(key)
    if choices and value not in choices:
        raise _wrong(key, origin, f"one of {', '.join(choices)}", value)
    if key == "api_port" and not 0 <= value < 65536:
        raise _wrong(key, origin, "0..65535", value)
    if key == "trainers" and not 1 <= value <= MAX_TRAINERS:
        raise _wrong(key, origin, f"1..{MAX_TRAINERS}", value)
    if key == "listen" and not _is_listenable(value):
        raise _wrong(key, origin, f"an address to listen on, such as {DEFAULT_LISTEN}", value)
    for address in value if key == "bootstrap" else ():
        if parse_peer_id(address) is None:
            raise _wrong(key, origin, "full addresses of nodes, /ip4/HOST/tcp/PORT/p2p/ID", address)
    return value


def _check_samples(key: str, value: Any, origin: str, folder: Path) -> dict[str, str]:
    """Files by job: of a table, or of texts JOB=FILE."""
    pairs = list(value.items()) if isinstance(value, dict) else [tuple(text.split("=", 1)) for text in value]
    for pair in pairs:
        if (
            len(pair) != 2
            or not JOB_PREFIX.fullmatch(str(pair[0]))
            or not (pair[1] and isinstance(pair[1], str))
        ):
            shown = "=".join(map(str, pair))
            raise _wrong(key, origin, "JOB=FILE with 4 or more hex digits of a job's id", shown)
    return {job: str((folder / Path(file).expanduser()).absolute()) for job, file in pairs}


def _check_privacy(key: str, value: Any, origin: str) -> dict[str, float | int]:
    try:
        return read_terms(value)
    except WrongTerms as error:
        raise _wrong(key, origin, str(error), value) from None


def _is_listenable(address: str) -> bool:
    match = re.fullmatch(r"/ip([46])/([0-9A-Fa-f.:]+)/tcp/([0-9]{1,5})", address)
    if match is None or int(match[3]) >= 65536:
        return False
    try:
        return ipaddress.ip_address(match[2]).version == int(match[1])
    except ValueError:
        return False


def _wrong(key: str, origin: str, expected: str, got: object) -> DataDirError:
    return DataDirError(
        f"{key} from {origin}: expected {expected}, got {got!r}", "mend it there", Exit.BAD_FILE
    )
