"""Train every example on a local network of its own until it is done, and have a process of its own replay the chain.

For each job file: a fresh chain, three nodes, `job submit`, wait for the target, export, stop, `chain verify`. Prints
what was paid and how long it took, writes docs/images/NAME.svg with the loss at every settlement where --pictures is
given, and ends with 0 only if every job was done and every chain verified. One that fails is named; the others go on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from node.amounts import UNITS_PER_COIN
from node.cli.chain import export_chain
from node.cli.job_files import make_submission
from node.cli.progress import Snapshot, take_snapshot
from node.cli.submit import PREPARE_TIMEOUT_S
from node.cli.verify import run_verifier
from node.datadir import replace_text
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.testnet.network import Testnet
from node.testnet.state import FOLDER
from training.pictures import draw_curves

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PICTURES = ROOT / "docs" / "images"
NODES = 3
CHAIN_FILE = "chain.gcc"
POLL_S = 1.0
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Trained:
    """What became of one example."""

    name: str
    status: str
    loss: float
    first_loss: float
    target: float
    versions: int
    tickets: int
    updates: int
    paid: float  # coins
    blocks: int
    target_s: float  # from the submission
    verified: bool
    verify_s: float

    @property
    def is_done(self) -> bool:
        return self.verified and self.status == "done" and self.loss <= self.target


def main() -> int:
    options = parse_arguments()
    names = options.names or sorted(path.stem for path in EXAMPLES.glob("*.toml"))
    results = [result for name in names if (result := train_one(name, options))]
    if options.json:
        replace_text(options.json, json.dumps([asdict(result) for result in results], indent=1) + "\n")
    is_done = len(results) == len(names) and all(result.is_done for result in results)
    return Exit.DONE if is_done else Exit.FAILED


def train_one(name: str, options: argparse.Namespace) -> Trained | None:
    """Train an example and say what became of it; None for one that failed, which keeps nobody else from his turn."""
    try:
        trained, picture = train(name, options.timeout)
    except UserError as error:
        print(f"{name}: {error.message}" + (f" ({error.hint})" if error.hint else ""), flush=True)
        return None
    print(describe(trained), flush=True)
    if options.pictures:
        replace_text(PICTURES / f"{name}.svg", picture)
    return trained


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/train_examples.py", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="examples/NAME.toml; all of them unless given"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--pictures", action="store_true", help="write docs/images/NAME.svg")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="S", help="for each target (600)")
    return parser.parse_args(arguments)


def train(name: str, timeout_s: float) -> tuple[Trained, str]:
    """Train an example on a network that is gone afterwards, and draw its losses; raises UserError."""
    folder = (FOLDER / f"example-{name}-{time.strftime('%H%M%S')}").absolute()
    network = Testnet.create(folder, folder.name, f"example {name}")
    try:
        try:
            end, points, target_s = run_job(network, name, timeout_s)
        finally:
            network.stop()
        verdict = run_verifier(folder / CHAIN_FILE, lambda height, count: None)
    finally:
        network.remove()
    summary = end.job
    trained = Trained(
        name, str(summary["status"]), float(summary["loss"]), float(summary["first_loss"]),
        float(end.target or 0), int(summary["version"]), int(summary["tickets"]), int(summary["updates"]),
        int(summary["paid"]) / UNITS_PER_COIN, end.height, target_s, verdict.is_verified, verdict.seconds,
    )  # fmt: skip
    return trained, draw_losses(summary, points, end)


def run_job(network: Testnet, name: str, timeout_s: float) -> tuple[Snapshot, list[Json], float]:
    """How the job ended, its history, and the seconds it took; the chain is in the network's folder."""
    network.up(NODES)
    client, begin_s = network.client("node-0"), time.monotonic()
    body = make_submission(EXAMPLES / f"{name}.toml", "local-0", None)
    job = client.post("/v1/jobs", body, timeout_s=PREPARE_TIMEOUT_S)
    end = wait_for_end(network, job["id"], begin_s + timeout_s)
    target_s = time.monotonic() - begin_s
    points = client.get(f"/v1/jobs/{job['id']}/history")["points"]
    export_chain(client, network.directory / CHAIN_FILE)
    return end, points, target_s


def wait_for_end(network: Testnet, job_id: str, deadline_s: float) -> Snapshot:
    while True:
        snapshot = take_snapshot(network.client("node-0"), job_id)
        if snapshot.has_ended:
            return snapshot
        if time.monotonic() > deadline_s:
            loss, target = snapshot.job["loss"], snapshot.target
            raise UserError(
                f"the target was not reached in time: loss {loss}, target {target}", "--timeout 1200"
            )
        time.sleep(POLL_S)


def draw_losses(job: Json, points: Sequence[Json], end: Snapshot) -> str:
    """The loss at every settlement; a dot where updates were paid."""
    losses = [(float(point["height"]), float(point["loss"])) for point in points]
    paid = [place for place, point in zip(losses, points, strict=True) if int(point["paid"])]
    begin = (float(job["submitted"]), float(job["first_loss"]))
    target = None if end.target is None else (f"target {end.target:g}", end.target)
    labels = ("height of the chain; a dot: updates were paid", "loss of a sample")
    return draw_curves(str(job["title"]), {"": [begin, *losses]}, labels, level=target, dots=paid)


def describe(trained: Trained) -> str:
    verdict = "verified" if trained.verified else "NOT VERIFIED"
    return (
        f"{trained.name}: {trained.status} after {trained.target_s:.0f} s, loss"
        f" {trained.first_loss:.4g} -> {trained.loss:.4g} (target {trained.target:.4g}), {trained.versions} versions,"
        f" {trained.tickets} tickets, {trained.updates} updates paid {trained.paid:.2f} coins; {trained.blocks} blocks"
        f" {verdict} in {trained.verify_s:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
