"""`testnet`: up, status, logs, down; a network of several nodes on this machine."""

import shlex
import signal
from pathlib import Path

import click
from click.core import ParameterSource

from node.cli.adversaries import print_adversaries, read_attacks
from node.cli.banner import print_banner
from node.cli.logs import Logs
from node.cli.networks import DEFAULT_NAME, dir_option, find_network, name_option, pick_node
from node.cli.nodes import add, kill, restart
from node.cli.output import count_of, print_json, print_table, shorten, warn
from node.cli.suggest import complete_nodes
from node.cli.waiting import waiting
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.rpc.errors import ClientError
from node.testnet.environment import has_kernels
from node.testnet.network import MAX_NODES, READY_TIMEOUT_S, Testnet
from node.testnet.state import FOLDER, STATE_FILE

PROBE_TIMEOUT_S = 3.0
STOPPED = "stopped"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def testnet() -> None:
    """A network of several nodes on this machine."""


for command in (add, kill, restart):
    testnet.add_command(command)
testnet.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test


@testnet.command()
@click.option("-n", "--nodes", type=click.IntRange(1, MAX_NODES), default=4, show_default=True)
@click.option(
    "--seed", help="Seed of the chain: the same seed is the same chain.  [default: the network's name]"
)
@name_option
@dir_option
@click.option(
    "--timeout", type=float, default=READY_TIMEOUT_S, show_default=True, help="Seconds for a node to start."
)
@click.option(
    "--with",
    "attacks",
    callback=read_attacks,
    metavar="NAME=N,...",
    help="Adversaries beside the nodes, to watch what they earn: such as copier=1,noise=2.",
)
@click.option("--attach", is_flag=True, help="Stay and show the nodes' logs; Ctrl+C stops the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
def up(
    nodes: int,
    seed: str | None,
    name: str | None,
    directory: Path | None,
    timeout: float,
    attacks: dict[str, int],
    attach: bool,
    as_json: bool,
) -> int:
    """Start a network, or start it again where it was; its nodes run until `testnet down`."""
    if attach and as_json:
        raise click.UsageError(
            "--attach shows logs for people; leave out --json, or follow `testnet logs --json -f`"
        )
    path = (directory or FOLDER / (name or DEFAULT_NAME)).absolute()
    path.mkdir(parents=True, exist_ok=True)
    network = open_network(path, name, seed)
    with network.lock():
        refuse_running(network, path)
        again = (
            " again where it was (`testnet down --delete` makes room for a new one)"
            if network.names()
            else ""
        )
        there = sum(not node.attack for node in network.state.nodes.values())
        if 0 < nodes < there and is_given("nodes"):
            warn(f"the network has {there} nodes, all are started; -n {nodes} takes none away")
        total = len({*network.names(), *network.name_nodes(nodes, attacks)})
        warn(f"starting {count_of(total, 'node')} in {path}{again}")
        with waiting(describe_start()) as say:
            network.up(
                nodes,
                lambda node, seconds: say(f"  {node} is ready after {seconds:.1f} s"),
                timeout,
                attacks,
            )
    if as_json:
        print_json(describe(network))
    else:
        print_banner(network)
    return stay(network) if attach else Exit.DONE


def refuse_running(network: Testnet, path: Path) -> None:
    """Raise UserError if a node of the network runs."""
    if network.running():
        raise UserError(
            f"the network {network.state.name!r} runs already in {path} ({', '.join(network.running())})",
            "see it: gradientcoin testnet status; stop it: gradientcoin testnet down; "
            "another one beside it: --name OTHER",
            Exit.LOCKED,
        )


def describe_start() -> str:
    """What a start waits for."""
    if has_kernels():
        return "the nodes load their kernels and connect"
    return "the first node compiles the exact kernels, once: a minute or two; then all connect"


def is_given(option: str) -> bool:
    """Whether the user typed an option, or it is at its default."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def stay(network: Testnet) -> int:
    """Show the logs until Ctrl+C or SIGTERM, then stop the network; returns when others stopped it, too."""
    logs = Logs([network.data_dir(name) for name in network.names()])
    logs.skip()
    # a service manager's Ctrl+C, and that of a terminal that is closed
    before = {
        name: signal.signal(name, signal.default_int_handler) for name in (signal.SIGTERM, signal.SIGHUP)
    }
    warn("\nattached: Ctrl+C stops the network")
    try:
        logs.follow(until=lambda: not Testnet.load(network.directory).running())
    except KeyboardInterrupt:
        pass
    else:
        warn("no node of the network runs any more")
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    network = Testnet.load(network.directory)  # nodes may have come and gone meanwhile
    with network.lock():
        return report_stop(network, network.running(), network.stop())


def open_network(path: Path, name: str | None, seed: str | None) -> Testnet:
    """The network in a directory, or a new one."""
    if not (path / STATE_FILE).exists():
        name = name or path.name
        return Testnet.create(path, name, seed or name)
    network = Testnet.load(path)
    if seed is not None and seed != network.state.seed:
        raise UserError(
            f"the network in {path} has the seed {network.state.seed!r}, not {seed!r}",
            "leave out --seed to continue it; or --name OTHER for a new one; "
            f"or delete it: gradientcoin testnet down --delete --dir {shlex.quote(str(path))}",
            Exit.USAGE,
        )
    return network


@testnet.command()
@name_option
@dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
def status(name: str | None, directory: Path | None, as_json: bool) -> int:
    """What each node does, and whether they agree. Exit code 4 if none runs."""
    network = Testnet.load(find_network(name, directory))
    answer = describe(network)
    if as_json:
        print_json(answer)
    else:
        print_status(network, answer)
    return Exit.DONE if network.running() else Exit.NOT_RUNNING


def describe(network: Testnet) -> Json:
    nodes = [describe_node(network, name) for name in network.names()]
    return {
        "name": network.state.name,
        "seed": network.state.seed,
        "directory": str(network.directory),
        "nodes": nodes,
    }


def describe_node(network: Testnet, name: str) -> Json:
    """A node's process and, where it answers, its status."""
    node = network.state.nodes[name]
    pid = node.process.pid if node.process is not None and node.is_running() else None
    entry: Json = {
        "name": name,
        "attack": node.attack or None,
        "data_dir": str(network.data_dir(name)),
        "pid": pid,
        "status": None,
        "error": None,
    }
    if pid is None:
        entry["error"] = STOPPED if node.process is None else "ended by itself"
        return entry
    try:
        entry["status"] = network.client(name).get("/v1/status", timeout_s=PROBE_TIMEOUT_S)
    except ClientError as error:
        entry["error"] = error.message
    return entry


def print_status(network: Testnet, answer: Json) -> None:
    click.echo(
        f"{click.style(network.state.name, bold=True)}  seed {network.state.seed!r}  {network.directory}\n"
    )
    print_table(
        ("NODE", "PID", "STATE", "HEIGHT", "HEAD", "PEERS", "RUNS/S", "BLOCKS", "API"),
        [get_row(node) for node in answer["nodes"]],
    )
    for node in answer["nodes"]:
        if node["error"] not in (None, STOPPED):
            click.echo(f"  {node['name']}: {node['error']}; logs: gradientcoin testnet logs {node['name']}")
    click.echo(f"\n{judge(answer)}")
    print_adversaries(answer)


def get_row(node: Json) -> tuple[object, ...]:
    status = node["status"]
    if status is None:
        return (node["name"], node["pid"] or "-", "-", "-", "-", "-", "-", "-", "-")
    head, mining = status["head"], status["mining"]
    return (
        node["name"],
        node["pid"],
        status["state"],
        head["height"],
        shorten(head["hash"]),
        status["peers"],
        f"{mining['runs_per_s']:.1f}",
        mining["blocks"],
        status["api"],
    )


def judge(answer: Json) -> str:
    """Whether the nodes are on one chain, as far as one glance at each can say."""
    heads = {node["status"]["head"]["hash"] for node in answer["nodes"] if node["status"]}
    alone = [node["name"] for node in answer["nodes"] if node["status"] and not node["status"]["peers"]]
    if not heads:
        return "no node runs; start them: gradientcoin testnet up"
    if alone and len(answer["nodes"]) > 1:
        return f"without any peer: {', '.join(alone)}"
    if len(heads) == 1:
        return "all on one head"
    heights = [node["status"]["head"]["height"] for node in answer["nodes"] if node["status"]]
    return f"{len(heads)} heads at heights {min(heights)} to {max(heights)}: normal for a moment, not for a minute"


@testnet.command()
@click.argument("node", required=False, shell_complete=complete_nodes)
@name_option
@dir_option
@click.option("-f", "--follow", is_flag=True, help="Go on as the logs grow; Ctrl+C ends it.")
@click.option("-n", "--lines", type=click.IntRange(1), default=40, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the JSON lines as they are, each with its node.")
def logs(
    node: str | None, name: str | None, directory: Path | None, follow: bool, lines: int, as_json: bool
) -> None:
    """The log of NODE (node-1, or 1), or of all nodes by time."""
    network = Testnet.load(find_network(name, directory))
    wanted = [pick_node(network, node)] if node else network.names()
    logs = Logs([network.data_dir(item) for item in wanted], as_json)
    logs.print_last(lines)
    if follow:
        logs.follow()


@testnet.command()
@name_option
@dir_option
@click.option(
    "--delete", is_flag=True, help="Delete its directory too: chains, keys and logs of all its nodes."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
def down(name: str | None, directory: Path | None, delete: bool, as_json: bool) -> int:
    """Stop all nodes of a network; `up` starts them again where they were."""
    network = Testnet.load(find_network(name, directory))
    with network.lock():
        running = network.running()
        with waiting(f"stopping {count_of(len(running), 'node')}"):
            killed = network.stop()
        check_nothing_left(network)
        if delete:
            network.remove()
    if as_json:
        print_json(
            {"name": network.state.name, "stopped": running, "killed": killed, "deleted": delete},
        )
        return Exit.DONE
    return report_stop(network, running, killed, ", deleted it" if delete else "")


def check_nothing_left(network: Testnet) -> None:
    left = network.list_left_over()
    if left:
        raise UserError(
            f"processes of the network are still there: {left}",
            f"end them: kill -9 {' '.join(map(str, left))}",
        )


def report_stop(network: Testnet, running: list[str], killed: list[str], more: str = "") -> int:
    click.echo(f"stopped {count_of(len(running), 'node')} of {network.state.name!r}{more}")
    if killed:
        warn(f"had not stopped when the wait for them ended, and were killed: {', '.join(killed)}")
    return Exit.DONE
