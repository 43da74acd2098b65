"""From a block's announcement to its acceptance on all four nodes, over real libp2p.

Every node logs a block when it has become its head. The miner does so right before it announces the block, the
others after replaying it. All stamps are of one machine's clock, in milliseconds. Counted are blocks that became a
head on all nodes; one that lost a race before it came everywhere is named apart.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from figures import Report, finish, parse_options, pick
from nodes import open_network, wait_for_height

from node.datadir import LOG_FILE
from node.testnet.network import Testnet

NODES = 4
TIMEOUT_S = 120.0
WINDOW_S = 180.0
SOURCE = "node.services.chain_service"
SETTLE_S = 5.0  # blocks of the last seconds may still be on their way


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("gossip", __doc__, arguments)
    report = Report("gossip", options.seed, options.quick)
    with open_network(options.seed, NODES) as network:
        wait_for_height(network, 1, TIMEOUT_S)
        begin_ms = time.time_ns() // 1_000_000
        time.sleep(6.0 if options.quick else WINDOW_S)
        end_ms = time.time_ns() // 1_000_000
        time.sleep(SETTLE_S)
        heads = collect_heads(network)
    add_figures(report, heads, begin_ms, end_ms)
    finish(report, options)


def collect_heads(network: Testnet) -> dict[str, list[int]]:
    """Return the times at which nodes took each block as their head, by its hash."""
    heads: dict[str, list[int]] = defaultdict(list)
    for name in network.names():
        seen: dict[str, int] = {}
        for time_ms, block_hash in read_heads(network.data_dir(name) / LOG_FILE):
            seen.setdefault(block_hash, time_ms)  # it may come back after a reorganisation
        for block_hash, time_ms in seen.items():
            heads[block_hash].append(time_ms)
    return heads


def read_heads(path: Path) -> Iterator[tuple[int, str]]:
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        words = entry["message"].split()
        if entry["from"] == SOURCE and words[:1] == ["head"]:
            yield round(datetime.fromisoformat(entry["time"]).timestamp() * 1000), words[2]


def add_figures(report: Report, heads: dict[str, list[int]], begin_ms: int, end_ms: int) -> None:
    counted = [sorted(times) for times in heads.values() if begin_ms <= min(times) < end_ms]
    complete = [times for times in counted if len(times) == NODES]
    if not complete:
        raise RuntimeError(f"no block of {len(counted)} reached all {NODES} nodes")
    first = sorted(times[1] - times[0] for times in complete)
    last = sorted(times[-1] - times[0] for times in complete)
    report.add_one("blocks that became the head everywhere", len(complete), "blocks")
    report.add_one("blocks that lost a race on the way", len(counted) - len(complete), "blocks")
    floor = "one replay for each hop (0.5 ms for a heartbeat), one disk write"
    report.add("announcement to acceptance by the first other node", first, "ms")
    report.add("announcement to acceptance by all nodes", last, "ms", floor=floor)
    for share, name in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
        report.add_one(f"announcement to acceptance by all nodes, {name}", pick(last, share), "ms")


if __name__ == "__main__":
    main()
