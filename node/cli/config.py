"""`config`: what a node would run with here, and where each setting comes from."""

from pathlib import Path

import click

from node.cli.output import print_json, print_table, warn
from node.cli.own_node import data_dir_option
from node.datadir import default_data_dir
from node.settings import explain_settings, list_unknown_variables


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """What a node runs with, and where each setting comes from."""


@config.command()
@data_dir_option
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
def show(data_dir: Path | None, origin: bool, as_json: bool) -> None:
    """The settings `gradientcoin run` would use, typed here and now.

    GRADIENTCOIN_* variables win over config.toml, config.toml over the defaults; flags of `run` win over all. A daemon
    that runs already keeps what it was started with.
    """
    directory = (data_dir or default_data_dir()).expanduser().absolute()
    settings = explain_settings(directory, {})
    for mistake in list_unknown_variables():
        warn(f"warning: {mistake}")
    if as_json:
        print_json(
            {"data_dir": str(directory)}
            | {
                item.key: {"value": item.value, "origin": item.origin} if origin else item.value
                for item in settings
            }
        )
        return
    click.echo(f"data directory {directory}\n")
    rows = [(item.key, format_value(item.value), item.origin) for item in settings]
    if origin:
        print_table(("SETTING", "VALUE", "FROM"), rows)
    else:
        print_table(("SETTING", "VALUE"), [row[:2] for row in rows])


def format_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        value = [f"{key}={part}" for key, part in value.items()]
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return str(value)
