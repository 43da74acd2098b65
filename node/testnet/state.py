"""testnet.json: the nodes of a local network and their processes; where networks are looked for."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from node.datadir import replace_text
from node.exits import Exit, UserError
from node.testnet.process import ProcessId, is_alive

STATE_FILE = "testnet.json"
FOLDER = Path(".gradientcoin", "testnets")
FORMAT = 1


class TestnetError(UserError):
    """A local network cannot do what was asked."""

    __test__ = False  # no test class, whatever pytest thinks of the name


@dataclass(slots=True)
class NodeEntry:
    """A node of the network; `process` is None when it was stopped or never started.

    `attack` names the adversary that it is (node/testnet/attacks.py); empty for an honest node.
    """

    name: str
    process: ProcessId | None = None
    attack: str = ""

    def is_running(self) -> bool:
        return self.process is not None and is_alive(self.process)


@dataclass(slots=True)
class NetworkState:
    """What testnet.json holds; data directories are `<directory>/<node name>`, so a network may be moved."""

    name: str
    seed: str
    created_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    nodes: dict[str, NodeEntry] = field(default_factory=dict)

    def is_running(self) -> bool:
        return any(node.is_running() for node in self.nodes.values())


def save_state(directory: Path, state: NetworkState) -> None:
    """Write testnet.json whole."""
    nodes = []
    for node in state.nodes.values():
        process = node.process
        running = {} if process is None else {"pid": process.pid, "started": process.started}
        attack = {"attack": node.attack} if node.attack else {}
        nodes.append({"name": node.name, **attack, **running})
    value = {
        "format": FORMAT,
        "name": state.name,
        "seed": state.seed,
        "created_ms": state.created_ms,
        "nodes": nodes,
    }
    replace_text(directory / STATE_FILE, json.dumps(value, indent=1) + "\n")


def load_state(directory: Path) -> NetworkState:
    """Read testnet.json; raises TestnetError when there is none, or none we understand."""
    path = directory / STATE_FILE
    try:
        value = json.loads(path.read_text())
        if value["format"] != FORMAT:
            raise ValueError(f"format {value['format']}, expected {FORMAT}")
        nodes = {entry["name"]: parse_node(entry) for entry in value["nodes"]}
        return NetworkState(str(value["name"]), str(value["seed"]), int(value["created_ms"]), nodes)
    except FileNotFoundError:
        raise TestnetError(
            f"no local network in {directory}: it has no {STATE_FILE}",
            "start one: gradientcoin testnet up",
            Exit.NOT_FOUND,
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TestnetError(
            f"{path} cannot be read: {error!r}", "remove the directory and start a new network", Exit.DAMAGED
        ) from None


def parse_node(entry: dict[str, str | int]) -> NodeEntry:
    process = ProcessId(int(entry["pid"]), str(entry["started"])) if "pid" in entry else None
    return NodeEntry(str(entry["name"]), process, str(entry.get("attack", "")))


def find_networks(start: Path) -> dict[str, Path]:
    """Networks by name under the nearest `.gradientcoin/testnets` of `start` and its parents."""
    for folder in (parent / FOLDER for parent in (start, *start.parents)):
        if folder.is_dir():
            return {path.name: path for path in sorted(list_networks(folder))}
    return {}


def list_networks(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if (path / STATE_FILE).is_file())


def find_running_networks(start: Path) -> dict[str, Path]:
    """Those of `find_networks` with at least one live node; unreadable ones are passed over."""
    running = {}
    for name, path in find_networks(start).items():
        try:
            if load_state(path).is_running():
                running[name] = path
        except TestnetError:
            continue
    return running
