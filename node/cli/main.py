"""The command line's root: its commands, and the one place where errors become words and exit codes.

Imports click and nothing else at start; what a command needs comes with that command.
"""

import os
import sys
from collections.abc import Sequence

import click

from node.cli.lazy import Lazy, LazyGroup
from node.exits import Exit, UserError

DEBUG_VARIABLE = "GRADIENTCOIN_DEBUG"
PIPE_CLOSED = 141  # what a shell reports for a program whose reader went away

HELP = """A node of a network that trains models and keeps its own books of the work.

\b
A network on this machine:   gradientcoin testnet up
A job for it:                gradientcoin job submit examples/digits.toml
A node of your own:          gradientcoin init && gradientcoin run

Which node a command asks: --node, else GRADIENTCOIN_NODE, else node-0 of the only local network that runs,
else the node in the default data directory.
"""

cli = LazyGroup(
    "gradientcoin",
    HELP,
    {
        "init": Lazy("node.cli.own_node:init", "Make a node's data directory: config and keys."),
        "run": Lazy("node.cli.own_node:run", "Run the node in the foreground."),
        "status": Lazy("node.cli.status:status", "What the node does: chain, peers, mining, wallet."),
        "peers": Lazy("node.cli.status:peers", "Whom the node is connected to."),
        "testnet": Lazy("node.cli.testnet:testnet", "A network of several nodes on this machine."),
        "job": Lazy("node.cli.job:job", "Quote, submit, watch and cancel training jobs; fetch results."),
        "wallet": Lazy("node.cli.wallet:wallet", "Accounts, balances, sending coins."),
        "chain": Lazy(
            "node.cli.chain:chain", "Look at blocks and transactions; export and verify the chain."
        ),
        "explain": Lazy("node.cli.explain:explain", "Why a job, update or block is as it is."),
        "verify": Lazy(
            "node.cli.explain:verify", "Compute a verdict again from an exported chain, without a node."
        ),
        "verify-checkpoint": Lazy(
            "node.cli.verify_checkpoint:verify_checkpoint",
            "Check a checkpoint against a proof of its job, without the chain.",
        ),
        "private-attention": Lazy(
            "node.cli.private_attention:private_attention",
            "Release an attention matrix under differential privacy.",
        ),
        "confirmations": Lazy(
            "node.cli.confirmations:confirmations", "How many blocks to wait before a payment counts."
        ),
        "cost": Lazy("node.cli.cost:cost", "What a block costs at the least, and what rewriting some costs."),
        "config": Lazy("node.cli.config:config", "What a node runs with, and where each setting comes from."),
        "completion": Lazy("node.cli.completion:completion", "Shell completion for bash, zsh and fish."),
    },
)


def add_version_option() -> None:
    option = click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, help="Show the version."
    )
    option.callback = lambda ctx, param, value: print_version(ctx, value)
    cli.params.append(option)


def print_version(ctx: click.Context, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"gradientcoin {version('gradientcoin')}")
        ctx.exit()


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. Users see no traceback unless they ask for it."""
    as_json = "--json" in arguments
    try:
        result = cli.main(list(arguments), prog_name="gradientcoin", standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        return fail(error.message, error.hint, error.exit_code, as_json)
    except click.ClickException as error:
        return fail(error.format_message(), get_usage_hint(error, arguments), error.exit_code, as_json)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
        return PIPE_CLOSED
    except OSError as error:
        if is_output_lost():  # a full disk behind a pipe, say: nothing more can be printed there
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return fail_by_bug(error, as_json)
    except Exception as error:  # the border to the user: a bug is one line, not forty
        return fail_by_bug(error, as_json)
    return result if isinstance(result, int) else Exit.DONE


def get_usage_hint(error: click.ClickException, arguments: Sequence[str]) -> str:
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    path = error.ctx.command_path
    if error.ctx.parent is None and "--node" in arguments:
        return "--node goes behind the command: gradientcoin status --node node-1"
    return f"{path} --help"


def is_output_lost() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def fail(message: str, hint: str, code: int, as_json: bool = False) -> int:
    """Say what was wrong and what to do: in words on stderr, and with --json as one value on stdout too."""
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)
    if hint:
        click.echo(click.style("  try: ", fg="cyan") + hint, err=True)
    if as_json:
        print_error(message, hint, code)
    return code


def print_error(message: str, hint: str, code: int) -> None:
    import json

    error = {"message": message, "hint": hint, "exit_code": int(code)}
    click.echo(json.dumps({"error": error}, indent=2, ensure_ascii=False))


def fail_by_bug(error: Exception, as_json: bool) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        raise error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        hint = "check the path, its permissions and free disk space; or name another place"
        return fail(f"{where}{(error.strerror or str(error)).lower()}", hint, Exit.FAILED, as_json)
    what = f"{type(error).__name__}: {error}"
    return fail(
        f"this should not happen: {what}",
        f"set {DEBUG_VARIABLE}=1 for the traceback, and report it; node and command line may differ in version",
        Exit.FAILED,
        as_json,
    )


add_version_option()
