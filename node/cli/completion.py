"""`completion`: the script that teaches a shell our commands."""

import click
from click.shell_completion import get_completion_class

VARIABLE = "_GRADIENTCOIN_COMPLETE"
SHELLS = {
    "bash": "echo 'eval \"$(gradientcoin completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(gradientcoin completion zsh)\"' >> ~/.zshrc",
    "fish": "gradientcoin completion fish > ~/.config/fish/completions/gradientcoin.fish",
}
ALIAS = {  # the short name takes the same function
    "bash": "complete -o nosort -F _gradientcoin_completion gcoin",
    "zsh": "compdef _gradientcoin_completion gcoin",
    "fish": "complete --command gcoin --wraps gradientcoin",
}

HELP = "Print the completion script of SHELL. To have it in every new shell, type once:\n\n\b\n" + "\n".join(
    f"{shell}:  {line}" for shell, line in SHELLS.items()
)


@click.command(help=HELP)
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
def completion(shell: str) -> None:
    from node.cli.main import cli

    script = get_completion_class(shell)
    assert script is not None  # SHELLS are those click knows
    click.echo(script(cli, {}, "gradientcoin", VARIABLE).source())
    if shell in ALIAS:
        click.echo(ALIAS[shell])
