"""What a shell can offer where a command takes a node or a job."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from node.rpc.client import Json

ASK_TIMEOUT_S = 0.5  # the user waits for the key's echo


def complete_nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Nodes of the local networks below the current directory; as `network/node` where several run."""
    from node.testnet.state import TestnetError, find_networks, find_running_networks, load_state

    found = []
    running = find_running_networks(Path.cwd()) or find_networks(Path.cwd())
    for name, directory in running.items():
        try:
            nodes = load_state(directory).nodes
        except TestnetError:
            continue
        found += [node if len(running) == 1 else f"{name}/{node}" for node in nodes]
    return [node for node in found if node.startswith(incomplete)]


def complete_jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Ids of the chain's jobs with their titles, if the node answers at once."""
    from click.shell_completion import CompletionItem

    jobs = ask(ctx, "/v1/jobs", "jobs")
    matching = [job for job in jobs if str(job["id"]).startswith(incomplete)]
    return [CompletionItem(str(job["id"])[:10], help=f"{job['title']}, {job['status']}") for job in matching]


def complete_accounts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the wallet's accounts, if the node answers at once."""
    names = [str(account["name"]) for account in ask(ctx, "/v1/wallet", "accounts")]
    return [name for name in names if name.startswith(incomplete)]


def complete_networks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the local networks below the current directory."""
    from node.testnet.state import find_networks

    return [name for name in find_networks(Path.cwd()) if name.startswith(incomplete)]


def ask(ctx: click.Context, path: str, member: str) -> "list[Json]":
    """A list from the node that the command would ask; empty where there is none."""
    from node.cli.options import find_address
    from node.exits import UserError
    from node.rpc.client import NodeClient

    try:
        client = NodeClient(find_address(ctx.params.get("node")), ASK_TIMEOUT_S)
        return list(client.get(path)[member])
    except (UserError, KeyError):
        return []
