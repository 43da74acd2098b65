"""Chaos: a local network trains a job while its nodes are killed, frozen and stopped by chance, from a seed.

Nodes are killed with all they started (SIGKILL), lose their training process, are frozen (SIGSTOP) for some seconds,
or are stopped (SIGTERM); each comes back. What a node said it had before it was struck it must have afterwards. At the
end all nodes must reach one tip with one set of weights, a separate process replays the chain from genesis and checks
the supply, and no process may be left. Exit code 0 only if all of it holds.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from node.cli.chain import export_chain
from node.cli.job_files import make_submission
from node.cli.submit import PREPARE_TIMEOUT_S
from node.cli.verify import run_verifier, show_progress
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.rpc.errors import ApiError, ClientError
from node.testnet.network import Testnet, wait_until
from node.testnet.process import PROC, get_exit_status, is_alive, read_stat

JOB_FILE = Path(__file__).resolve().parent.parent / "examples" / "teacher.toml"
PAUSE_S = (1.0, 4.0)  # between two strikes
FROZEN_S = (2.0, 8.0)
DOWN_S = (0.0, 4.0)
ONE_TIP_S = 120.0
PROBE_S = 5.0
WORKER_WINDOW_S = 70.0
POLL_S = 0.2
STOP_S = 15.0


class Broken(Exception):
    """Something that must hold did not."""


def main() -> int:
    options = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="gradientcoin-chaos-", ignore_cleanup_errors=True) as folder:
        network = Testnet.create(Path(folder) / "net", "chaos", f"chaos-{options.seed}")
        try:
            report = Chaos(network, options).run()
        except (Broken, UserError) as error:
            print(f"BROKEN: {error}", file=sys.stderr)
            for name in network.names():
                print(f"{name}\n{network.tail(name)}", file=sys.stderr)
            return Exit.FAILED
        finally:
            network.stop()
        left = network.list_left_over()
    print(json.dumps({**report, "processes_left": len(left)}, indent=1))
    return Exit.FAILED if left else Exit.DONE


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--seed", type=int, default=1, help="of the strikes and the chain (1)")
    parser.add_argument("--kills", type=int, default=20, help="strikes, at most (20)")
    parser.add_argument("--minutes", type=float, default=10.0, help="for the strikes, at most (10)")
    parser.add_argument("--nodes", type=int, default=4, choices=range(2, 11))
    return parser.parse_args()


@dataclass(slots=True)
class Chaos:
    """One run."""

    network: Testnet
    options: argparse.Namespace
    strikes: Counter[str] = field(default_factory=Counter)
    recoveries_s: list[float] = field(default_factory=list)
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    worker_deaths: dict[str, list[float]] = field(default_factory=dict)
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.options.seed)

    def run(self) -> Json:
        begin_s = time.monotonic()
        self.network.up(self.options.nodes)
        job = self.network.client("node-0").post(
            "/v1/jobs", make_submission(JOB_FILE, "local-0", None), timeout_s=PREPARE_TIMEOUT_S
        )
        self.wait_for_job(str(job["id"]))
        deadline_s = time.monotonic() + 60 * self.options.minutes
        while self.strikes.total() < self.options.kills and time.monotonic() < deadline_s:
            self.strike()
            time.sleep(self.rng.uniform(*PAUSE_S))
        height, head = self.wait_for_one_tip()
        self.check_acknowledged()
        weights = self.compare_weights(str(job["id"]))
        verdict = self.verify()
        return {
            "seed": self.options.seed,
            "strikes": dict(self.strikes),
            "height": height,
            "head": head,
            "weights": weights,
            "acknowledged": sum(map(len, self.acknowledged.values())),
            "slowest_recovery_s": round(max(self.recoveries_s, default=0.0), 1),
            "verified_blocks": verdict["blocks"],
            "seconds": round(time.monotonic() - begin_s),
        }

    def wait_for_job(self, job_id: str) -> None:
        """Until its submission is in a block: before that it is in memory only, and may die with its node."""
        deadline_s = time.monotonic() + ONE_TIP_S
        while time.monotonic() < deadline_s:
            with suppress(ClientError):
                if self.ask("node-0", f"/v1/jobs/{job_id}")["status"] != "pending":
                    return
            time.sleep(POLL_S)
        raise Broken(f"the job was in no block within {ONE_TIP_S:g} s")

    # --- strikes ---

    def strike(self) -> None:
        kind = self.rng.choice(["kill", "kill", "worker", "freeze", "stop"])
        name = self.rng.choice(self.network.names())
        if kind == "worker" and not self.may_lose_worker(name):
            kind = "freeze"
        strikes: dict[str, Callable[[str], None]] = {
            "kill": self.kill,
            "worker": self.kill_worker,
            "freeze": self.freeze,
            "stop": self.stop,
        }
        self.note_head(name)
        print(f"{self.strikes.total() + 1:3d}  {kind:6s} {name}", flush=True)
        strikes[kind](name)
        self.strikes[kind] += 1

    def note_head(self, name: str) -> None:
        """Remember what a node says it has: it must not lose it."""
        with suppress(ClientError):
            head = self.network.client(name).get("/v1/status", timeout_s=PROBE_S)["head"]
            if head["height"]:
                self.acknowledged.setdefault(name, set()).add(head["hash"])

    def kill(self, name: str) -> None:
        self.network.kill(name)
        self.bring_back(name)

    def may_lose_worker(self, name: str) -> bool:
        """A node stands two deaths of its training process a minute; a third is its end."""
        now_s, recent = time.monotonic(), self.worker_deaths.setdefault(name, [])
        recent[:] = [death_s for death_s in recent if now_s - death_s < WORKER_WINDOW_S]
        recent.append(now_s)
        return len(recent) <= 2

    def kill_worker(self, name: str) -> None:
        process = self.network.state.nodes[name].process
        assert process is not None
        for entry in PROC.iterdir():
            fields = read_stat(int(entry.name)) if entry.name.isdigit() else None
            if fields is not None and fields[0] not in "ZX" and int(fields[1]) == process.pid:
                os.kill(int(entry.name), signal.SIGKILL)
                return

    def freeze(self, name: str) -> None:
        process = self.network.state.nodes[name].process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        try:
            time.sleep(self.rng.uniform(*FROZEN_S))
        finally:
            os.kill(process.pid, signal.SIGCONT)

    def stop(self, name: str) -> None:
        node = self.network.state.nodes[name]
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGTERM)
        process = node.process
        wait_until(lambda: not is_alive(process), STOP_S)
        if (status := get_exit_status(process)) != 0:
            raise Broken(f"{name} did not stop as it should: exit status {status}")
        self.network.forget(node)
        self.bring_back(name)

    def bring_back(self, name: str) -> None:
        time.sleep(self.rng.uniform(*DOWN_S))
        begin_s = time.monotonic()
        self.network.start(name)
        self.network.wait_ready([name])
        self.recoveries_s.append(time.monotonic() - begin_s)

    # --- what must hold ---

    def wait_for_one_tip(self) -> tuple[int, str]:
        """Return a height that all nodes have, and the block there, which is the same on all."""
        names = self.network.names()
        gone = set(names) - set(self.network.running())
        if gone:
            raise Broken(f"ended by themselves: {', '.join(sorted(gone))}")
        wanted = max(self.ask(name, "/v1/status")["head"]["height"] for name in names)
        deadline_s = time.monotonic() + ONE_TIP_S
        while time.monotonic() < deadline_s:
            with suppress(ClientError):
                hashes = {self.ask(name, f"/v1/blocks/{wanted}")["hash"] for name in names}
                if len(hashes) == 1:
                    return wanted, hashes.pop()
            time.sleep(POLL_S)
        raise Broken(f"no one tip at height {wanted} within {ONE_TIP_S:g} s")

    def check_acknowledged(self) -> None:
        for name, hashes in self.acknowledged.items():
            for block_hash in hashes:
                try:
                    self.ask(name, f"/v1/blocks/{block_hash}")
                except ApiError as error:
                    raise Broken(f"{name} lost block {block_hash}: {error}") from error

    def compare_weights(self, job_id: str) -> str:
        """Return the weights all nodes hold of the job at one moment."""
        deadline_s = time.monotonic() + ONE_TIP_S
        while time.monotonic() < deadline_s:
            found = {self.ask(name, f"/v1/jobs/{job_id}")["weights_cid"] for name in self.network.names()}
            if len(found) == 1:
                return str(found.pop())
            time.sleep(POLL_S)
        raise Broken("the nodes hold different weights")

    def verify(self) -> Json:
        """Replay the chain in a process of its own; it checks the supply as well."""
        file = self.network.directory / "chain.gcc"
        export_chain(self.network.client("node-0"), file)
        self.network.stop()
        with show_progress("replaying") as progress:
            verdict = run_verifier(file, progress)
        if not verdict.is_verified:
            raise Broken(f"the chain does not verify: {verdict.answer}")
        return verdict.answer

    def ask(self, name: str, path: str) -> Json:
        return self.network.client(name).get(path)


if __name__ == "__main__":
    sys.exit(main())
