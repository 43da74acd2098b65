"""Properties of every command at once: each that answers something can answer in JSON, and says what it does."""

from collections.abc import Iterator

import click
import pytest

from node.cli.main import cli

WITHOUT_JSON = {"run", "completion"}  # a daemon with a log of its own; a script for shells


def walk(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from walk(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


COMMANDS = dict(walk(cli))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_help_and_json(name: str) -> None:
    command = COMMANDS[name]
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) != (name in WITHOUT_JSON)
    assert command.get_short_help_str()
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help or parameter.opts[-1] in UNEXPLAINED, parameter.opts


# their name says it all, and the line has a default or a kind
UNEXPLAINED = {"--chain", "--listen", "--nodes", "--lines", "--path", "--help"}


def test_every_verb_of_the_readme_exists() -> None:
    expected = (
        "init run status peers completion testnet·up testnet·status testnet·logs testnet·down testnet·add testnet·kill"
        " testnet·restart job·quote job·submit job·list job·show job·watch job·cancel job·result wallet·list"
        " wallet·new wallet·balance wallet·send chain·show chain·tx chain·export chain·verify config·show"
    )
    assert set(COMMANDS) == {name.replace("·", " ") for name in expected.split()}
