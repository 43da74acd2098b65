"""What `testnet up` prints: nodes, funded accounts, how to join, what to type next."""

import shlex

import click

from node.amounts import format_coins
from node.cli.examples import find_example
from node.cli.networks import repeat_choice
from node.cli.output import print_facts, print_next, print_table
from node.testnet.network import Testnet

JOINER = "node-joined"


def print_banner(network: Testnet) -> None:
    names = network.running()
    statuses = {name: network.client(name).get("/v1/status") for name in names}
    first = statuses[names[0]]
    accounts = network.client(names[0]).get("/v1/wallet")["accounts"]
    click.echo(f"\n{click.style(f'local network {network.state.name!r} is up', bold=True, fg='green')}\n")
    print_facts(
        [("chain", first["chain_id"]), ("seed", network.state.seed), ("directory", network.directory)]
    )
    click.echo()
    print_table(
        ("NODE", "API", "PEER ADDRESS"), [(n, s["api"], s["addresses"][0]) for n, s in statuses.items()], "  "
    )
    click.echo("\n  Accounts of this chain. Their keys come from the seed: for play, never for real coins.\n")
    rows = [(item["name"], item["address"], format_coins(item["balance"])) for item in accounts]
    print_table(("ACCOUNT", "ADDRESS", "COINS"), rows, "  ")
    click.echo("\n  Join it with one more node, from any directory of this machine:\n")
    click.echo(f"    {get_join_line(network, first['addresses'][0])}")
    again = repeat_choice(network)
    click.echo(
        f"\n  Look at it: gradientcoin testnet status{again}    Stop it: gradientcoin testnet down{again}"
    )
    print_next(f"gradientcoin job submit {find_example()}")


def get_join_line(network: Testnet, address: str) -> str:
    """The commands that make and run a further node of this network."""
    seed = shlex.quote(network.state.seed)
    where = f"--data-dir {JOINER}"
    init = f"gradientcoin init {where} --chain local --chain-seed {seed} --name {JOINER}"
    return f"{init} && gradientcoin run {where} --bootstrap {address}"
