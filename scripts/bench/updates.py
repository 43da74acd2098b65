"""What paying for updates buys: the digits job on four nodes, trained by tickets alone and by tickets and updates.

Same seed, same job but for its price and target; the two networks run one after the other and are compared at equal
numbers of blocks since the submission.
"""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import ROOT, Report, finish, parse_options
from nodes import get_height, open_network, wait_for

sys.path.insert(0, str(ROOT / "scripts"))
from demo_holdout import make_held_out

from ledger.chainfile import ChainFile
from ledger.transactions import CommitUpdate, RevealUpdate
from node.rpc.client import Json, NodeClient
from node.testnet.network import Testnet

JOB_FILE = ROOT / "examples" / "digits.toml"
NODES = 4
BLOCKS, QUICK_BLOCKS = 96, 30  # since the submission: 16 rounds, 5 rounds
MATURE_HEIGHT = 16  # miners have coins for their bonds
TIMEOUT_S = 400.0
COIN = 10**8
PAYMENT_AIM_S = 20.0
ACCURACY_AIM = 88.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job after so many blocks: mean loss on the judging split, held-out accuracy in percent."""

    loss: float
    accuracy: float
    updates: int
    paid_units: int
    first_paid_s: float | None
    growth: Growth | None


@dataclass(frozen=True, slots=True)
class Growth:
    """What the chain's updates take for good, bytes: transactions and payloads, by revealed update."""

    commitment: float
    reveal: float
    payload: float

    @property
    def total(self) -> float:
        return self.commitment + self.reveal + self.payload


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("updates", __doc__, arguments)
    report = Report("updates", options.seed, options.quick)
    blocks = QUICK_BLOCKS if options.quick else BLOCKS
    alone = run_network(options.seed, blocks, paying=False)
    both = run_network(options.seed, blocks, paying=True)
    rounds = f"after {blocks} blocks"
    report.add_one(f"loss {rounds}, tickets alone", alone.loss, "")
    report.add_one(f"loss {rounds}, tickets and updates", both.loss, "")
    report.add_one(f"loss {rounds}, with updates / without", both.loss / alone.loss, "x", at_most=1.0)
    report.add_one(f"held-out accuracy {rounds}, tickets alone", alone.accuracy, "%")
    report.add_one(
        f"held-out accuracy {rounds}, tickets and updates", both.accuracy, "%", at_least=ACCURACY_AIM
    )
    report.add_one("updates paid", both.updates, "updates")
    report.add_one("coins they earned", both.paid_units / COIN, "coins")
    if both.first_paid_s is not None:
        report.add_one(
            "submission until its first update is paid", both.first_paid_s, "s", at_most=PAYMENT_AIM_S,
            floor="to the next round's begin, that round and the one that reveals: 12 to 18 blocks of 1 s",
        )  # fmt: skip
    if both.growth is not None:
        add_growth(report, both.growth)
    report.notes.append(
        "losses are means over the judging split, at the last settlement; a race of real processes"
    )
    finish(report, options)


def add_growth(report: Report, growth: Growth) -> None:
    for name, size in (
        ("commitment, with its shares", growth.commitment),
        ("reveal", growth.reveal),
        ("payload", growth.payload),
    ):
        report.add_one(f"on the chain for an update: {name}", size, "bytes")
    report.add_one("chain growth for 1,000 updates", growth.total * 1000 / 2**20, "MiB")
    report.notes.append(
        "the state does not grow: a settled round's commitments and spent shares leave it; of weights nodes keep the"
        " last 20 versions; blocks and payloads stay"
    )


def run_network(seed: str, blocks: int, paying: bool) -> Outcome:
    """Train the job for so many blocks and measure it."""
    with open_network(seed, NODES) as network:
        client = network.client("node-0")
        wait_for(lambda: get_height(network, "node-0") >= MATURE_HEIGHT, TIMEOUT_S, "coins for bonds")
        begin_s = time.monotonic()
        job_id = submit(client, paying)
        first_paid_s = wait_for_payment(client, job_id, begin_s) if paying else None
        start = wait_for_block(client, job_id)
        wait_for(lambda: get_height(network, "node-0") >= start + blocks, TIMEOUT_S, f"{blocks} blocks")
        return measure(network, job_id, first_paid_s, measure_growth(client) if paying else None)


def measure_growth(client: NodeClient) -> Growth | None:
    """Read the whole chain; commitments that were not revealed count for those that were."""
    commitments = reveals = payloads = count = 0
    with TemporaryDirectory() as directory:
        file = Path(directory) / "chain"
        client.download("/v1/chain/export", file, TIMEOUT_S)
        with file.open("rb") as data:
            for filed in ChainFile(data.read):
                for tx in filed.block.transactions:
                    commitments += len(tx.encode()) if isinstance(tx.body, CommitUpdate) else 0
                    if isinstance(tx.body, RevealUpdate):
                        count += 1
                        reveals += len(tx.encode())
                        payloads += tx.body.size
    return Growth(commitments / count, reveals / count, payloads / count) if count else None


def submit(client: NodeClient, paying: bool) -> str:
    """Submit the example, without its target; without its price where nothing shall be paid."""
    drop = ("target_loss",) if paying else ("target_loss", "price", "round_budget")
    lines = [line for line in JOB_FILE.read_text().splitlines() if not line.startswith(drop)]
    data = JOB_FILE.parent / "data" / "digits.npz"
    body = {
        "file_name": JOB_FILE.name,
        "toml": "\n".join(lines),
        "data_name": "data/digits.npz",
        "data_base64": base64.b64encode(data.read_bytes()).decode(),
    }
    return str(client.post("/v1/jobs", body, timeout_s=120.0)["id"])


def wait_for_payment(client: NodeClient, job_id: str, begin_s: float) -> float:
    """Return the seconds from the submission until an update of the job was paid."""

    def is_paid() -> bool:
        return int(client.get(f"/v1/jobs/{job_id}")["updates"]) > 0

    wait_for(is_paid, TIMEOUT_S, "a paid update")
    return time.monotonic() - begin_s


def wait_for_block(client: NodeClient, job_id: str) -> int:
    """Return the height of the block that holds the job."""
    wait_for(lambda: get_job(client, job_id)["submitted"] is not None, TIMEOUT_S, "the job in a block")
    return int(get_job(client, job_id)["submitted"])


def get_job(client: NodeClient, job_id: str) -> Json:
    return client.get(f"/v1/jobs/{job_id}")


def measure(network: Testnet, job_id: str, first_paid_s: float | None, growth: Growth | None) -> Outcome:
    client = network.client("node-0")
    job = get_job(client, job_id)
    held_out = {"inputs_base64": make_held_out(Path(JOB_FILE))}
    score = client.post(f"/v1/jobs/{job_id}/accuracy", held_out, timeout_s=120.0)
    accuracy = 100 * float(score["accuracy"])
    return Outcome(float(job["loss"]), accuracy, int(job["updates"]), int(job["paid"]), first_paid_s, growth)


if __name__ == "__main__":
    main()
