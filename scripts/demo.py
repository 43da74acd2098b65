"""The demo: strangers train a model together, one of them dies and comes back, one comes late, all end up the same.

Starts four nodes of a fresh local chain, submits examples/digits.toml, kills node 2 at version 3 and starts it again
some blocks later, lets a fifth node join, waits for the job's target, and compares what all five hold. Then every
node is stopped, and a process of its own replays the whole chain from genesis. Exit code 0 only if the held-out
accuracy is 85 % or more, all weights are equal and the replay agrees; every number it prints is measured.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from demo_report import Report, list_failures, print_report
from demo_view import NodeView, View, make_view

from node.cli.chain import export_chain
from node.cli.job_files import make_submission
from node.cli.progress import Snapshot, take_snapshot
from node.cli.result import RESULT_TIMEOUT_S, save_result
from node.cli.submit import PREPARE_TIMEOUT_S
from node.cli.verify import run_verifier, show_progress
from node.datadir import replace_text
from node.exits import Exit, UserError
from node.rpc.client import Json
from node.rpc.errors import ClientError, NoAnswer, TimedOut
from node.testnet.network import Testnet
from node.testnet.state import FOLDER

JOB_FILE = Path(__file__).resolve().parent.parent / "examples" / "digits.toml"
VICTIM = "node-2"
KILL_AT_VERSION = 3
BLOCKS_APART = 5  # kill, restart, late join
TIMEOUT_S = 600.0  # from the first node's start to the target
AGREE_TIMEOUT_S = 180.0
POLL_S = 1.0
PATIENCE = 3  # attempts to get an answer
PROBE_TIMEOUT_S = 5.0


def main() -> int:
    options = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    name = time.strftime("demo-%Y%m%d-%H%M%S")
    network = Testnet.create((FOLDER / name).absolute(), name, options.seed)
    keep = False
    try:
        report = Demo(network, options).run()
        keep = options.keep
    except KeyboardInterrupt:
        stop(network)
        print(f"interrupted; all nodes are stopped, their logs are in {network.directory}", file=sys.stderr)
        return Exit.INTERRUPTED
    except UserError as error:
        print(f"demo failed: {error.message}\n  {error.hint}\n  logs: {network.directory}", file=sys.stderr)
        return error.exit_code
    finally:
        if not keep:
            stop(network)
    return finish(network, report, options)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument(
        "--seed", default="demo", help="of the chain: the same seed is the same genesis (demo)"
    )
    parser.add_argument("--nodes", type=int, default=4, choices=range(3, 11), help="before the late one (4)")
    parser.add_argument("--keep", action="store_true", help="leave the network running at the end")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds until the target (600)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


def interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def stop(network: Testnet) -> None:
    """Stop every node and say so if one would not go."""
    killed = network.stop()
    if killed:
        print(f"had to be killed: {', '.join(killed)}", file=sys.stderr)


def finish(network: Testnet, report: Report, options: argparse.Namespace) -> int:
    """Print and save the figures; the exit code says whether all of it was as promised."""
    left = [] if options.keep else network.list_left_over()
    failures = list_failures(report, left)
    text = json.dumps({"ok": not failures, "failures": failures, **report.to_json()}, indent=1) + "\n"
    replace_text(network.directory / "demo.json", text)
    if options.json:
        replace_text(options.json, text)
    print_report(report, network.directory, failures)
    if options.keep:
        print(f"the network still runs; stop it: gradientcoin testnet down --name {network.state.name}")
    else:
        print(f"all nodes are stopped; processes left: {len(left)}")
    return Exit.FAILED if failures else Exit.DONE


@dataclass(slots=True)
class Demo:
    """One run. The moments that the story needs are kept as heights and seconds since its begin."""

    network: Testnet
    options: argparse.Namespace
    begin_s: float = field(default_factory=time.monotonic)
    report: Report = field(default_factory=Report)
    killed_at: int | None = None
    restarted_at: int | None = None
    joined: str | None = None
    waiting: list[str] = field(default_factory=list)  # started, not ready yet

    def run(self) -> Report:
        self.start_network()
        job = self.submit()
        with make_view() as view:
            self.follow(job["id"], view)
            self.wait_for_agreement(job["id"], view)
        self.measure(job["id"])
        self.verify()
        self.report.seconds["total"] = self.elapsed_s()
        return self.report

    def elapsed_s(self) -> float:
        return time.monotonic() - self.begin_s

    # --- the story ---

    def start_network(self) -> None:
        count = self.options.nodes
        print(f"starting {count} nodes in {self.network.directory}")
        self.network.up(count, lambda name, seconds: print(f"  {name} is ready after {seconds:.1f} s"))
        self.report.seconds["up"] = self.elapsed_s()
        status = self.network.client("node-0").get("/v1/status")
        self.report.chain = {"seed": self.options.seed, "genesis": status["genesis"]}
        print(f"seed      {self.options.seed!r}\ngenesis   {status['genesis']}")

    def submit(self) -> Json:
        body = make_submission(JOB_FILE, "local-0", None)
        job = self.network.client("node-0").post("/v1/jobs", body, timeout_s=PREPARE_TIMEOUT_S)
        self.report.job = {key: job[key] for key in ("id", "title", "data_cid", "spec_sha256")}
        print(
            f"job       {job['id']}  {job['title']}\ndata CID  {job['data_cid']}\nspec      {job['spec_sha256']}"
        )
        print("watch it from another terminal, in this folder:")
        print(f"  source .venv/bin/activate && gradientcoin job watch {job['id'][:10]}\n", flush=True)
        return job

    def follow(self, job_id: str, view: View) -> None:
        """Show the job and play the story until it is done."""
        while True:
            snapshot = self.take_snapshot(job_id)
            self.check_alive()
            self.advance(snapshot, view)
            self.greet(view)
            view.show(snapshot, self.look_at_nodes(job_id), self.elapsed_s())
            if snapshot.has_ended and "target" not in self.report.seconds:
                self.report.seconds["target"] = self.elapsed_s()
                view.say(self.elapsed_s(), f"job {snapshot.job['status']}: {snapshot.job['reason']}")
            if snapshot.has_ended and self.joined and not self.waiting:
                return
            if self.elapsed_s() > self.options.timeout:
                raise UserError(
                    f"the target was not reached within {self.options.timeout:g} s: loss {snapshot.job['loss']}, "
                    f"target {snapshot.target}, version {snapshot.job['version']}",
                    "a busy or slow machine needs more: --timeout 1800",
                    Exit.TIMEOUT,
                )
            time.sleep(POLL_S)

    def advance(self, snapshot: Snapshot, view: View) -> None:
        """Kill, restart and add nodes when their moment has come."""
        height = snapshot.height
        if self.killed_at is None:
            if snapshot.job["version"] >= KILL_AT_VERSION or snapshot.has_ended:
                self.network.kill(VICTIM)
                self.killed_at = height
                self.note(view, f"{VICTIM} is killed (SIGKILL, with its worker) at height {height}")
        elif self.restarted_at is None:
            if height >= self.killed_at + BLOCKS_APART:
                self.network.start(VICTIM)
                self.restarted_at = height
                self.waiting.append(VICTIM)
                self.note(view, f"{VICTIM} starts again at height {height}")
        elif self.joined is None and height >= self.restarted_at + BLOCKS_APART:
            self.joined = f"node-{self.options.nodes}"
            self.join(self.joined)
            self.waiting.append(self.joined)
            self.note(
                view, f"{self.joined} joins late, at height {height}, with nothing but seed and address"
            )

    def greet(self, view: View) -> None:
        """Say which of the nodes that were started answer now."""
        for name in tuple(self.waiting):
            if self.network.is_ready(name):
                self.waiting.remove(name)
                self.note(view, f"{name} is ready")

    def check_alive(self) -> None:
        gone = set(self.network.names()) - set(self.network.running())
        if self.killed_at is not None and self.restarted_at is None:
            gone.discard(VICTIM)
        for name in gone:
            raise UserError(f"{name} ended by itself\n{self.network.tail(name)}", self.network.log_hint(name))

    def join(self, name: str) -> None:
        """What the join line does: `init` with the chain's seed, then a node that knows one address."""
        directory = self.network.data_dir(name)
        init = ["init", "--data-dir", str(directory), "--chain-seed", self.options.seed, "--name", name]
        subprocess.run([sys.executable, "-P", "-m", "node.cli", *init], check=True, stdout=subprocess.DEVNULL)
        self.network.add(name)
        self.network.start(name)

    def note(self, view: View, text: str) -> None:
        self.report.events.append({"s": round(self.elapsed_s(), 1), "event": text})
        view.say(self.elapsed_s(), text)

    def take_snapshot(self, job_id: str) -> Snapshot:
        """The job as node 0 sees it; on a busy machine an answer may take its time."""
        for _ in range(PATIENCE):
            try:
                return take_snapshot(self.network.client("node-0"), job_id)
            except (TimedOut, NoAnswer):
                self.check_alive()
        return take_snapshot(self.network.client("node-0"), job_id)

    def look_at_nodes(self, job_id: str) -> list[NodeView]:
        return [self.look_at(name, job_id) for name in self.network.names()]

    def look_at(self, name: str, job_id: str) -> NodeView:
        if not self.network.state.nodes[name].is_running():
            return NodeView(name, "killed")
        try:
            client = self.network.client(name)
            status = client.get("/v1/status", timeout_s=PROBE_TIMEOUT_S)
            job = client.get(f"/v1/jobs/{job_id}", timeout_s=PROBE_TIMEOUT_S)
        except ClientError:
            return NodeView(name, "starting" if name in self.waiting else "busy")
        return NodeView(name, status["state"], status, job)

    def wait_for_agreement(self, job_id: str, view: View) -> None:
        """Until every node says that the job has ended, with the same weights; measure decides if it never comes."""
        deadline = time.monotonic() + AGREE_TIMEOUT_S
        while time.monotonic() < deadline:
            nodes = self.look_at_nodes(job_id)
            view.show(self.take_snapshot(job_id), nodes, self.elapsed_s())
            if len({node.weights_cid for node in nodes}) == 1 and all(node.has_ended for node in nodes):
                break
            time.sleep(POLL_S)
        self.report.seconds["agreed"] = self.elapsed_s()

    # --- the figures ---

    def measure(self, job_id: str) -> None:
        """Ask every node for its weights and their accuracy on the held-out samples; save the result."""
        from demo_holdout import make_held_out  # imports the engine, which the start need not wait for

        print("asking every node for its accuracy on the held-out images")
        held_out = make_held_out(JOB_FILE)
        for name in self.network.names():
            client = self.network.client(name)
            score = client.post(f"/v1/jobs/{job_id}/accuracy", {"inputs_base64": held_out}, timeout_s=60.0)
            self.report.nodes.append({"name": name, **score})
        client = self.network.client("node-0")
        summary = client.get(f"/v1/jobs/{job_id}")
        keys = (
            "status",
            "reason",
            "version",
            "loss",
            "first_loss",
            "target_loss",
            "tickets",
            "updates",
            "paid",
        )
        self.report.job |= {key: summary[key] for key in keys}
        result = client.get(f"/v1/jobs/{job_id}/result", timeout_s=RESULT_TIMEOUT_S)
        save_result(result, self.network.directory / "result")

    def verify(self) -> None:
        """Fetch the chain from the node that came last, stop all nodes, and replay it without them."""
        last = self.joined or "node-0"
        file = self.network.directory / "chain.gcc"
        size_bytes = export_chain(self.network.client(last), file)
        if not self.options.keep:
            stop(self.network)
        print(
            f"replaying the chain of {last} ({size_bytes:,} bytes) from genesis in a process of its own",
            flush=True,
        )
        with show_progress("replaying") as progress:
            verdict = run_verifier(file, progress)
        self.report.verify = {"ok": verdict.is_verified, **verdict.answer}
        self.report.seconds["verify"] = verdict.seconds


if __name__ == "__main__":
    sys.exit(main())
