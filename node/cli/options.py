"""Options that many commands share, and the choice of the node they ask."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from node.cli.suggest import complete_nodes
from node.datadir import default_data_dir, is_data_dir
from node.exits import Exit, UserError
from node.rpc.client import NodeAddress, NodeClient, read_address
from node.rpc.errors import NodeNotRunning
from node.testnet.state import find_networks, find_running_networks, load_state

NODE_VARIABLE = "GRADIENTCOIN_NODE"

Command = TypeVar("Command", bound=Callable[..., Any])  # Any: click passes parameters by name

node_option = click.option(
    "--node",
    metavar="NAME_OR_DIR",
    shell_complete=complete_nodes,
    help="Which node to ask: a data directory, node-1 of the local network that runs, or network/node-1.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")


def reading(command: Command) -> Command:
    """Options of a command that reads from a node: --node and --json."""
    return node_option(json_option(command))


def connect(named: str | None) -> NodeClient:
    """Client of the node the user means; raises with what was tried."""
    return NodeClient(find_address(named))


def find_address(named: str | None) -> NodeAddress:
    if named:
        return find_named(named, "--node")
    if from_environment := os.environ.get(NODE_VARIABLE):
        return find_named(from_environment, NODE_VARIABLE)
    running = find_running_networks(Path.cwd())
    if len(running) > 1:
        raise UserError(
            f"several local networks run: {', '.join(running)}",
            f"name one's node: --node {next(iter(running))}/node-0",
            Exit.USAGE,
        )
    for name, directory in running.items():
        return read_network_node(name, directory, "node-0", "the only local network that runs")
    return read_default()


def read_default() -> NodeAddress:
    directory = default_data_dir()
    try:
        return read_address(directory, "the default data directory")
    except NodeNotRunning as error:
        stopped = ", ".join(find_networks(Path.cwd()))
        networks = f"none runs; stopped: {stopped}" if stopped else "there is none"
        raise NodeNotRunning(
            f"no node is running. Tried: --node (not given), {NODE_VARIABLE} (not set), a local network under "
            f"{Path.cwd()} ({networks}), and {error.message}",
            "start a local network: gradientcoin testnet up, or your own node: gradientcoin init && gradientcoin run",
        ) from None


def find_named(named: str, source: str) -> NodeAddress:
    """`named` as a data directory, as network/node, or as a node of the only local network that runs."""
    path = Path(named).expanduser()
    if is_data_dir(path):
        return read_address(path, f"named by {source}")
    network, _, node = named.rpartition("/")
    networks = find_networks(Path.cwd()) if network else find_running_networks(Path.cwd())
    candidates = {network: networks[network]} if network in networks else ({} if network else networks)
    if len(candidates) != 1:
        raise not_found(named, source, list(networks))
    [(name, directory)] = candidates.items()
    node = f"node-{node}" if node.isdigit() else node
    if node not in load_state(directory).nodes:
        raise not_found(named, source, list(networks), f"{name} has {', '.join(load_state(directory).nodes)}")
    return read_network_node(name, directory, node, f"named by {source}")


def read_network_node(network: str, directory: Path, node: str, chosen_by: str) -> NodeAddress:
    hint = f"start it again: gradientcoin testnet up --dir {directory}"
    return read_address(directory / node, f"{node} of {network}, {chosen_by}", hint)


def not_found(named: str, source: str, networks: list[str], more: str = "") -> UserError:
    known = ", ".join(networks) or "none"
    return UserError(
        f"{source} {named!r} names no node: it is no data directory (with config.toml or node.json), and no node "
        f"of a local network under {Path.cwd()} (networks: {known}){'; ' + more if more else ''}",
        "see gradientcoin testnet status, or give a node's data directory",
        Exit.NOT_FOUND,
    )
