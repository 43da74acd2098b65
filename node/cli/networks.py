"""Which local network, and which of its nodes, a command means."""

import re
import shlex
from pathlib import Path

import click

from node.cli.suggest import complete_networks
from node.exits import Exit, UserError
from node.testnet.network import Testnet
from node.testnet.state import FOLDER, STATE_FILE, find_networks, find_running_networks

DEFAULT_NAME = "local"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


def check_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A network's name is that of its folder, and stands in commands."""
    if value is not None and not NAME.fullmatch(value):
        raise click.BadParameter(f"expected 1 to 32 of A-Z, a-z, 0-9, - and _, got {value!r}")
    return value


name_option = click.option(
    "--name",
    callback=check_name,
    shell_complete=complete_networks,
    help=f"The network's name, and its folder under {FOLDER}.",
)
dir_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Its directory.  [default: {FOLDER}/<name> in the current directory]",
)


def find_network(name: str | None, directory: Path | None) -> Path:
    """The directory of the network that is meant: named, else the only one that runs, else the only one there is."""
    if directory is not None:
        return directory.absolute()
    networks = find_networks(Path.cwd())
    if name is not None:
        if name not in networks:
            raise no_network(f"no local network {name!r}", list(networks))
        return networks[name]
    candidates = find_running_networks(Path.cwd()) or networks
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    if not candidates:
        raise no_network("no local network", [])
    if not find_running_networks(Path.cwd()) and DEFAULT_NAME in candidates:
        return candidates[DEFAULT_NAME]
    running = find_running_networks(Path.cwd())
    listed = ", ".join(candidates) if running else f"{', '.join(candidates)} (none runs)"
    raise UserError(
        f"several local networks: {listed}",
        "name one: --name NAME; delete one: gradientcoin testnet down --delete --name NAME",
        Exit.USAGE,
    )


def repeat_choice(network: Testnet) -> str:
    """The option that names this network again in the next command; nothing where it goes without saying."""
    try:
        if find_network(None, None).resolve() == network.directory:
            return ""
    except UserError:
        pass
    if find_networks(Path.cwd()).get(network.state.name, Path()).resolve() == network.directory:
        return f" --name {network.state.name}"
    return f" --dir {shlex.quote(str(network.directory))}"


def no_network(what: str, known: list[str]) -> UserError:
    return UserError(
        f"{what} in {Path.cwd()} or above it (looked for {FOLDER}/*/{STATE_FILE}; there: {', '.join(known) or 'none'})",
        "start one: gradientcoin testnet up, or give its directory: --dir DIR",
        Exit.NOT_FOUND,
    )


def pick_node(network: Testnet, named: str) -> str:
    """The name of a node that a user named in full or by its number."""
    named = named.removeprefix(f"{network.state.name}/")
    name = f"node-{named}" if named.isdigit() else named
    if name not in network.names():
        raise UserError(
            f"the network {network.state.name!r} has no node {named!r}: it has {', '.join(network.names())}",
            "add one: gradientcoin testnet add",
            Exit.NOT_FOUND,
        )
    return name
