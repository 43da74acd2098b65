"""Properties of every command at once: each that answers something can answer in JSON, and says what it does."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from node.cli.main import cli
from node.exits import Exit

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


DOCUMENT = (Path(__file__).parents[3] / "docs/command-line.md").read_text()
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


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_in_the_documentation(name: str) -> None:
    assert f"`{name}" in DOCUMENT or f", `{name}" in DOCUMENT


def test_exit_codes_are_those_of_the_documentation() -> None:
    rows = [line.split("|")[1].strip() for line in DOCUMENT.splitlines() if line.startswith("| ")]
    assert [int(cell) for cell in rows if cell.isdigit()] == [code.value for code in Exit]


def test_verbs_are_these() -> None:
    expected = (
        "init run status peers completion testnet·up testnet·status testnet·logs testnet·down testnet·add testnet·kill"
        " testnet·restart job·quote job·submit job·list job·show job·watch job·updates job·cancel job·result"
        " job·slices job·solve job·evaluate job·provenance job·proof wallet·list wallet·new wallet·balance wallet·send"
        " chain·show chain·tx chain·export chain·verify config·show explain verify verify-checkpoint confirmations cost"
        " private-attention"
    )
    assert set(COMMANDS) == {name.replace("·", " ") for name in expected.split()}
