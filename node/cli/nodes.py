"""`testnet add`, `kill` and `restart`: single nodes of a network that runs."""

from pathlib import Path

import click

from node.cli.networks import dir_option, find_network, name_option, pick_node, repeat_choice
from node.cli.output import print_json, print_next, warn
from node.cli.suggest import complete_nodes
from node.cli.waiting import waiting
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.testnet.network import READY_TIMEOUT_S, Testnet

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
node_argument = click.argument("node", shell_complete=complete_nodes)
timeout_option = click.option(
    "--timeout", type=float, default=READY_TIMEOUT_S, show_default=True, help="Seconds for it to start."
)


@click.command()
@name_option
@dir_option
@timeout_option
@json_option
def add(name: str | None, directory: Path | None, timeout: float, as_json: bool) -> None:
    """Start one more node; it joins those that run and replays the chain so far."""
    network = Testnet.load(find_network(name, directory))
    with network.lock():
        check_running(network)
        node = network.next_name()
        network.add(node)
        start(network, node, timeout)
    show(network, node, "joined", as_json)


@click.command()
@node_argument
@name_option
@dir_option
@json_option
def kill(node: str, name: str | None, directory: Path | None, as_json: bool) -> None:
    """End NODE (node-1, or 1) with SIGKILL, as a power cut would; `restart` brings it back."""
    network = Testnet.load(find_network(name, directory))
    with network.lock():
        wanted = pick_node(network, node)
        if wanted not in network.running():
            raise UserError(
                f"{wanted} does not run",
                f"start it: gradientcoin testnet restart {wanted}{repeat_choice(network)}",
                Exit.NOT_RUNNING,
            )
        network.kill(wanted)
    if as_json:
        print_json({"network": network.state.name, "node": wanted, "killed": True})
        return
    click.echo(f"killed {wanted} of {network.state.name!r}")
    print_next(f"gradientcoin testnet restart {wanted}{repeat_choice(network)}")


@click.command()
@node_argument
@name_option
@dir_option
@timeout_option
@json_option
def restart(node: str, name: str | None, directory: Path | None, timeout: float, as_json: bool) -> None:
    """Stop NODE (node-1, or 1) if it runs, and start it where it was."""
    network = Testnet.load(find_network(name, directory))
    with network.lock():
        wanted = pick_node(network, node)
        if wanted in network.running() and not network.stop_node(wanted):
            warn(f"{wanted} did not stop by itself, and was killed")
        start(network, wanted, timeout)
    show(network, wanted, "runs again", as_json)


def check_running(network: Testnet) -> None:
    if not network.running():
        raise UserError(
            f"the network {network.state.name!r} does not run",
            f"start it: gradientcoin testnet up --dir {network.directory}",
            Exit.NOT_RUNNING,
        )


def start(network: Testnet, node: str, timeout_s: float) -> None:
    """Start one node and wait until it answers; if it fails, or at Ctrl+C, nothing of it stays."""
    try:
        network.start(node)
        with waiting(f"{node} starts") as say:
            network.wait_ready([node], lambda name, s: say(f"  {name} is ready after {s:.1f} s"), timeout_s)
    except BaseException:
        network.kill(node)
        raise


def show(network: Testnet, node: str, what: str, as_json: bool) -> None:
    client = network.client(node)
    status: Json = client.get("/v1/status")
    if as_json:
        print_json({"network": network.state.name, "node": node, "status": status})
        return
    click.echo(f"{node} {what} at height {status['head']['height']:,}: {client.address.url}")
    print_next(f"gradientcoin testnet status{repeat_choice(network)}")
