"""`init` and `run`: a node of one's own."""

import os
import shlex
import sys
from pathlib import Path

import click

from node.cli.output import print_facts, print_json, print_next, warn
from node.datadir import (
    CHAINS,
    CONFIG,
    DEFAULT_LISTEN,
    KEY_FILES,
    UNBORN_CHAINS,
    NodeConfig,
    default_data_dir,
    init_data_dir,
    load_config,
    say_no_network,
)
from node.lock import LOCK_FILE, hold_lock
from node.settings import DEVICES, MAX_TRAINERS, check_setting, list_unknown_variables
from node.testnet.environment import add_kernel_cache

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the node keeps everything. Default: GRADIENTCOIN_DATA_DIR, else the platform's data directory.",
)


@click.command()
@data_dir_option
@click.option("--chain", type=click.Choice(CHAINS), default="local", show_default=True)
@click.option(
    "--chain-seed", help="Seed of a local chain: the same seed is the same chain.  [default: local]"
)
@click.option("--name", default="node", show_default=True, help="What the node calls itself.")
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, metavar="MULTIADDR")
@click.option("--api-port", type=click.IntRange(0, 65535), default=0, help="Port of the local API; 0 is any.")
@click.option(
    "--bootstrap", multiple=True, metavar="MULTIADDR", help="A node to join through; may be repeated."
)
@click.option("--mine/--no-mine", default=True, show_default=True, help="Train for blocks.")
@click.option("--force", is_flag=True, help="Rewrite an existing config; keys are always kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
def init(
    data_dir: Path | None,
    chain: str,
    chain_seed: str | None,
    name: str,
    listen: str,
    api_port: int,
    bootstrap: tuple[str, ...],
    mine: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make a node's data directory: config and keys. The genesis is written at the first start."""
    if chain_seed is not None and chain != "local":
        raise click.UsageError(f"--chain-seed is for --chain local only; {chain} has one genesis")
    check_setting("listen", listen, "--listen")
    check_setting("bootstrap", bootstrap, "--bootstrap")
    directory = (data_dir or default_data_dir()).expanduser().absolute()
    if force:
        check_stopped(directory)
    config = NodeConfig(chain, chain_seed or "local", name, listen, api_port, bootstrap, mine)
    init_data_dir(directory, config, force=force)
    if chain in UNBORN_CHAINS:
        warn(f"warning: {say_no_network(chain)}")
    if as_json:
        keys = [str(directory / key) for key in KEY_FILES]
        print_json({"name": name, "chain": chain, "data_dir": str(directory), "keys": keys})
        return
    click.echo(f"node {name!r} for chain {chain!r} is set up in {directory}")
    print_facts([("config", directory / CONFIG), *((key, directory / key) for key in KEY_FILES)])
    click.echo(
        "wallet.key is the money, identity.key the name in the network: back them up, show them to nobody"
    )
    named = f" --data-dir {shlex.quote(str(directory))}" if data_dir else ""
    print_next(f"gradientcoin run{named}")


@click.command()
@data_dir_option
@click.option(
    "--bootstrap", multiple=True, metavar="MULTIADDR", help="A node to join through; may be repeated."
)
@click.option("--mine/--no-mine", default=None, help="Train for blocks, whatever the config says.")
@click.option(
    "--updates/--no-updates", default=None, help="When mining, also train updates for jobs that pay."
)
@click.option(
    "--trainers",
    type=click.IntRange(1, MAX_TRAINERS),
    help="Processes that train an update together.  [default: 1]",
)
@click.option("--device", type=click.Choice(DEVICES), help="What updates are trained on.  [default: auto]")
@click.option(
    "--samples",
    multiple=True,
    metavar="JOB=FILE",
    help="Samples of your own for a job's updates (docs/trainers.md); may be repeated.",
)
@click.option(
    "--privacy",
    metavar="TERMS",
    help="Use these samples privately, such as epsilon=8,delta=1e-5 (docs/trainers.md).",
)
@click.option("--listen", metavar="MULTIADDR", help="Where other nodes reach this one.")
@click.option("--api-port", type=click.IntRange(0, 65535), help="Port of the local API; 0 is any.")
def run(
    data_dir: Path | None,
    bootstrap: tuple[str, ...],
    mine: bool | None,
    updates: bool | None,
    trainers: int | None,
    device: str | None,
    samples: tuple[str, ...],
    privacy: str | None,
    listen: str | None,
    api_port: int | None,
) -> None:
    """Run the node in the foreground; Ctrl+C stops it. Flags win over the environment and config.toml."""
    directory = (data_dir or default_data_dir()).expanduser().absolute()
    load_config(directory)  # a clear word now instead of a daemon's later
    for mistake in list_unknown_variables():
        warn(f"warning: {mistake}")
    argv = ["--data-dir", str(directory)]
    for address in bootstrap:
        argv += ["--bootstrap", address]
    if mine is not None:
        argv.append("--mine" if mine else "--no-mine")
    if updates is not None:
        argv.append("--updates" if updates else "--no-updates")
    given = {
        "trainers": trainers,
        "device": device,
        "privacy": privacy,
        "listen": listen,
        "api-port": api_port,
    }
    for name, value in given.items():
        if value is not None:
            argv += [f"--{name}", str(value)]
    for pair in samples:
        argv += ["--samples", pair]
    environment = add_kernel_cache(dict(os.environ))
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "node", *argv], environment)


def check_stopped(directory: Path) -> None:
    """Raise UserError while a daemon holds the directory."""
    if (directory / LOCK_FILE).exists():
        with hold_lock(directory):
            return
