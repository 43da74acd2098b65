"""What a second trainer brings: seconds of an update by one process and by a group of two, over gloo.

Whole updates by real trainer processes, the default solver, from the request to the payload. Once on an otherwise idle
machine, and once beside a process that keeps one core busy at the priority of mining.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from figures import ROOT, Report, divide, finish, parse_options

sys.path.insert(0, str(ROOT / "scripts"))
from trainer_jobs import TrainerJob, draw_job, make_attention, make_job

from node.trainer.main import NICE

ROUNDS, QUICK_ROUNDS = 11, 1
MODEL, SAMPLES = make_attention(tokens=8, width=32, outputs=10), 800
GROUPS = {"1 trainer": 1, "2 trainers": 2}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("trainers", __doc__, arguments)
    report = Report("trainers", options.seed, options.quick)
    with tempfile.TemporaryDirectory(prefix="gradientcoin-bench-") as folder:
        digits = make_job(Path(folder, "digits"))
        larger = draw_job(Path(folder, "larger"), MODEL, SAMPLES, sum(options.seed.encode()))
        for name, job in (("digits", digits), ("drawn", larger)):
            measure(report, f"{name}, {job.parameters:,} parameters", job)
            with keep_a_core_busy():
                measure(report, f"{name}, one core busy", job, processor=False)
    report.notes.append(
        f"wall time; {os.cpu_count()} cores, and mining takes one of them: see the lines 'one core busy'"
    )
    finish(report, options)


def measure(report: Report, name: str, job: TrainerJob, processor: bool = True) -> None:
    """Time updates in turns, after one each that starts the processes; with rank 0's processor time, if wanted."""
    with ExitStack() as stack:
        clients = {who: stack.enter_context(job.open_client(count, "cpu")) for who, count in GROUPS.items()}
        for client in clients.values():
            job.train(client)
        rounds = QUICK_ROUNDS if report.quick else ROUNDS
        times: dict[str, list[float]] = {who: [] for who in clients}
        before = {who: read_processor_s(client.pids[0]) for who, client in clients.items()}
        for number in range(rounds):
            for who in sorted(clients, reverse=bool(number % 2)):
                times[who].append(job.train(clients[who], number)[1])
        used = {who: read_processor_s(client.pids[0]) - before[who] for who, client in clients.items()}
    for who, seconds in times.items():
        report.add(f"{name}: update by {who}", [1000 * s for s in seconds], "ms")
    report.add(f"{name}: 1 trainer / 2 trainers", divide(times["1 trainer"], times["2 trainers"]), "x")
    for who in clients if processor else ():
        spent = 1000 * used[who] / rounds
        report.add_one(f"{name}: processor time of rank 0, {who}", spent, "ms")


def read_processor_s(pid: int) -> float:
    """Processor time of a process so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def keep_a_core_busy() -> Iterator[None]:
    program = f"import os\nos.nice({NICE})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            yield
        finally:
            process.kill()


if __name__ == "__main__":
    main()
