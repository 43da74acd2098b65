"""How late the event loop of a mining node runs, and what a node holds in memory, in a network of four.

The nodes measure their own lag (`loop_lag_ms` of GET /v1/status): how late a 20 ms timer fires, over a minute. Beside
them run four training processes, on as many cores as the machine has. Memory is the proportional set size (Pss) of
all processes of a node: pages shared by k processes count 1/k each.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from figures import ROOT, Report, finish, parse_options
from nodes import get_status, list_processes, open_network, read_cpu_s, read_memory, wait_for_height

from node.cli.job_files import make_submission
from node.cli.submit import PREPARE_TIMEOUT_S
from node.rpc.client import Json
from node.testnet.network import Testnet

NODES = 4
TIMEOUT_S = 120.0
WINDOW_S = 62.0  # the nodes' own window is a minute
LAG_AIM_MS = 50.0
MEMORY_AIM_MB = 450.0
PARTS = ("daemon", "training process")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("loop_lag", __doc__, arguments)
    report = Report("loop_lag", options.seed, options.quick)
    with open_network(options.seed, NODES) as network:
        wait_for_height(network, 1, TIMEOUT_S)
        measure(report, network, "heartbeat", 5.0 if options.quick else WINDOW_S)
        submit_digits(network)
        measure(report, network, "digits", 5.0 if options.quick else WINDOW_S)
        measure_memory(report, network)
    report.notes.append(
        "lag: median of the nodes' own percentiles, with the best and the worst node as spread"
    )
    finish(report, options)


def submit_digits(network: Testnet) -> None:
    body = make_submission(ROOT / "examples" / "digits.toml", "local-0", None)
    network.client("node-0").post("/v1/jobs", body, timeout_s=PREPARE_TIMEOUT_S)


def measure(report: Report, network: Testnet, what: str, seconds: float) -> None:
    pids = {name: list_processes(network, name) for name in network.names()}
    before = {pid: read_cpu_s(pid) for each in pids.values() for pid in each}
    begin_s = time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - begin_s
    lags: list[Json] = [get_status(network, name)["loop_lag_ms"] for name in network.names()]
    for rank, aim in (("p50", None), ("p99", LAG_AIM_MS), ("max", None)):
        report.add(f"loop lag while mining {what}, {rank}", [lag[rank] for lag in lags], "ms", at_most=aim)
    for index, part in enumerate(PARTS):
        used = [100 * (read_cpu_s(pids[n][index]) - before[pids[n][index]]) / elapsed_s for n in pids]
        report.add(f"processor of a {part} while mining {what}", used, "% of a core")


def measure_memory(report: Report, network: Testnet) -> None:
    found = [[read_memory(pid) for pid in list_processes(network, name)] for name in network.names()]
    total = [sum(part["Pss"] for part in parts) for parts in found]
    report.add("memory of a node, all processes", total, "MB", at_most=MEMORY_AIM_MB)
    for index, name in enumerate(PARTS):
        report.add(f"of it the {name}", [parts[index]["Pss"] for parts in found], "MB")
        report.add(f"{name}, what it shares with nobody", [parts[index]["Private"] for parts in found], "MB")


if __name__ == "__main__":
    main()
