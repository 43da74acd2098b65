"""How long until something happens: four nodes to a block that all know, the command line, the demo to its target.

Kernels are compiled already, as set-up leaves them.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import ROOT, Report, finish, parse_options
from nodes import list_processes, open_folder, open_network, wait_for_height

from node.testnet.environment import node_environment
from node.testnet.network import Testnet

CLI = (str(Path(sys.executable).with_name("gradientcoin")),)
NODES = 4
TIMEOUT_S = 120.0
DEMO_TIMEOUT_S = 900.0
NETWORK_AIM_S = 10.0
CLI_AIM_MS = 80.0
DEMO_AIM_S = 180.0
CHECK = "from training.exact.selftest import check_machine; check_machine('fused')"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("startup", __doc__, arguments)
    report = Report("startup", options.seed, options.quick)
    measure_cli(report, 3 if options.quick else 21)
    measure_training(report, 1 if options.quick else 5)
    measure_network(report, options.seed, 1 if options.quick else 5)
    if not options.quick:
        measure_demo(report, options.seed)
    report.notes.append("wall time: everything else that runs on the machine counts")
    finish(report, options)


def measure_cli(report: Report, rounds: int) -> None:
    """`--help`, and `status` of a node, each beside an interpreter that does nothing."""
    with open_network("bench-status", 1) as network:
        pause(network)  # a start is measured, not a busy machine
        commands = {
            "python -c pass": (sys.executable, "-c", "pass"),
            "gradientcoin --help": (*CLI, "--help"),
            "gradientcoin status": (*CLI, "status", "--node", str(network.data_dir("node-0"))),
        }
        spent: dict[str, list[Spent]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                spent[name].append(run_command(command))
    bare = spent.pop("python -c pass")
    report.add("python -c pass", [each.wall_s * 1e3 for each in bare], "ms")
    for name, values in spent.items():
        over = [value - own for value, own in zip(values, bare, strict=True)]
        walls = [each.wall_s * 1e3 for each in over]
        report.add(f"{name}, over the interpreter's own", walls, "ms", at_most=CLI_AIM_MS)
        report.add(f"{name}, processor time over it", [each.cpu_s * 1e3 for each in over], "ms")


@dataclass(frozen=True, slots=True)
class Spent:
    """Wall and processor time of a process."""

    wall_s: float
    cpu_s: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


def run_command(command: Sequence[str]) -> Spent:
    """Run a command that must end well."""
    begin = Spent(time.perf_counter(), read_children_s())
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S, env=node_environment())
    return Spent(time.perf_counter(), read_children_s()) - begin


def read_children_s() -> float:
    """Processor time of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pause(network: Testnet) -> None:
    """Stop the training process of the first node; its end is the network's."""
    _, worker = list_processes(network, "node-0")
    os.kill(worker, signal.SIGSTOP)


def measure_training(report: Report, rounds: int) -> None:
    """What a training process does before it says that it is ready: imports, kernels, self-test."""
    spent = [run_command((sys.executable, "-c", CHECK)) for _ in range(rounds)]
    report.add("a training process until it is ready", [each.wall_s for each in spent], "s")
    report.add("a training process, processor time until then", [each.cpu_s for each in spent], "s")


def measure_network(report: Report, seed: str, rounds: int) -> None:
    ready, known = [], []
    for _ in range(rounds):
        with open_folder() as folder:
            directory = folder / "net"
            try:
                begin_s = time.perf_counter()
                up = (*CLI, "testnet", "up", "-n", str(NODES), "--seed", seed, "--dir", str(directory))
                subprocess.run(up, check=True, capture_output=True, timeout=TIMEOUT_S)
                ready.append(time.perf_counter() - begin_s)
                wait_for_height(Testnet.load(directory), 1, TIMEOUT_S)
                known.append(time.perf_counter() - begin_s)
            finally:
                down = (*CLI, "testnet", "down", "--dir", str(directory))
                subprocess.run(down, capture_output=True, timeout=TIMEOUT_S)
    report.add(f"testnet up -n {NODES}, until it returns", ready, "s")
    report.add(
        f"testnet up -n {NODES}, until all know a block", known, "s", at_most=NETWORK_AIM_S,
        floor="two starts one after the other (node 0 first), and a block's interval of 1 s",
    )  # fmt: skip


def measure_demo(report: Report, seed: str) -> None:
    with open_folder() as folder:
        file = folder / "demo.json"
        command = (str(ROOT / "scripts" / "demo"), "--seed", seed, "--json", str(file))
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=DEMO_TIMEOUT_S)
        seconds = json.loads(file.read_text())["seconds"]
    report.add_one("scripts/demo, from up to target", seconds["target"], "s", at_most=DEMO_AIM_S)
    report.add_one("scripts/demo, the whole of it", seconds["total"], "s")


if __name__ == "__main__":
    main()
