"""What a round takes: training its updates, verifying them, replaying its tickets, settling it; and what memory.

Jobs are those of examples/, from their initial weights. An update is what the node's trainer computes by default, in
native float32. What verifying one takes is what one more of them adds to a settlement: its payload read, the known
steps taken out, its part in the mean, and the one exact loss that its credit is. One thread, processor time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from figures import Report, Work, divide, finish, parse_options
from newton_steps import make_newton_step
from settle import (
    BITS,
    KEPT,
    Subject,
    make_look,
    make_settlement,
    read_example,
    run_ticket,
)

from ledger.params import LOCAL
from training.hashing import compute_tagged_hash
from training.local import LocalSettings, LocalUpdate, LocalWork, train_update
from training.merge import Settled
from training.payload import encode_payload

ROUNDS = 11
TICKETS, UPDATES = 4, 4
MORE_UPDATES = 60  # in the settlement that says what one more adds: as many as a round may have
SEEDS = 64  # tried, for samples on which the updates are followed
VERIFY_AIM = 1.0  # percent of training
MEMORY_RUNS = 3
KINDS = ("ticket", "settlement")
PATHS = ("fused", "portable")


@dataclass(frozen=True, slots=True)
class Kind:
    """An example that stands for its kind of job."""

    label: str
    name: str


CASES = (
    Kind("attention (digits)", "digits"),
    Kind("softmax (breast_cancer)", "breast_cancer"),
    Kind("attention row (next_word)", "next_word"),
    Kind("sequence (investment_shares)", "investment_shares"),
    Kind("exponential (sea_temperature)", "sea_temperature"),
)
QUICK_CASES = CASES[1:2]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("rounds", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("rounds", options.seed, options.quick)
    for kind in QUICK_CASES if options.quick else CASES:
        measure(report, kind)
        measure_memory(report, kind)
    blocks, shares = LOCAL.round_length, LOCAL.round_length * LOCAL.block_shares
    report.notes += [
        f"local chain: a round is {blocks} blocks. At least: each won by a ticket of the job, and a share for each of"
        f" the {UPDATES} updates. At most: {LOCAL.block_shares} shares in each block, {shares} together, the upper"
        " bound of what blocks hold.",
        "Newton: the problem set up and one step in float64 on all training samples"
        " (training/solvers/newton.py).",
        "memory: the peak of a fresh process above what it held after imports, self-test and reading the job; by"
        " the kernel's count of resident pages.",
    ]
    finish(report, options)


def measure(report: Report, kind: Kind) -> None:
    subject = read_example(kind.label, f"{kind.name}.toml", report.seed, ROUNDS)
    tickets = [run_ticket(subject, number) for number in range(TICKETS)]
    payloads = [make_payload(subject, number) for number in range(UPDATES)]
    more = [payloads[number % UPDATES] for number in range(UPDATES + MORE_UPDATES)]  # of the same mean
    judged = find_moving(subject, tickets, payloads)
    works: dict[str, Work] = {
        "train": partial(train, subject, 0),
        "look": make_look(subject),
        "replay": partial(run_ticket, subject, 0),
        "settle": make_settlement(judged, tickets, payloads),
        "more": make_settlement(judged, tickets, more),
    }
    step = make_newton_step(subject)
    if step:
        works["newton"] = step
    add_figures(report, subject.label, report.time(works, ROUNDS))


def find_moving(subject: Subject, tickets: Sequence[bytes], payloads: Sequence[bytes]) -> Subject:
    """The subject with a seed of samples that let the updates move the weights: else no credit is looked at."""
    for number in range(SEEDS):
        judged = replace(subject, seed=compute_tagged_hash("bench/sample", subject.seed, bytes([number])))
        settled = make_settlement(judged, tickets, payloads)()
        assert isinstance(settled, Settled)
        if settled.update_scale != "0":
            return judged
    raise RuntimeError(f"{subject.label}: an update that is followed on one of {SEEDS} samples expected")


def add_figures(report: Report, label: str, times: dict[str, list[float]]) -> None:
    verify = [(a - b) / MORE_UPDATES for a, b in zip(times["more"], times["settle"], strict=True)]
    add_ms(report, f"{label}: training an update", times["train"])
    add_ms(report, f"{label}: verifying an update", verify)
    add_ms(report, f"{label}: of it one exact loss", times["look"])
    add_percent(report, f"{label}: verifying / training", verify, times["train"], at_most=VERIFY_AIM)
    add_percent(report, f"{label}: one exact loss / training", times["look"], times["train"])
    if "newton" in times:
        add_ms(report, f"{label}: a Newton step", times["newton"])
        add_percent(report, f"{label}: verifying / a Newton step", verify, times["newton"])
    add_ms(report, f"{label}: replaying a ticket or share", times["replay"])
    add_ms(report, f"{label}: settling {TICKETS} tickets and {UPDATES} updates", times["settle"])
    training = [UPDATES * seconds for seconds in times["train"]]
    for name, replays in (("at least", LOCAL.round_length + UPDATES), ("at most", count_most_replays())):
        chain = [replays * a + b for a, b in zip(times["replay"], times["settle"], strict=True)]
        title = f"{label}: the chain for a round, {name} {replays} replays"
        add_ms(report, title, chain)
        add_percent(report, f"{title}, / training its {UPDATES} updates", chain, training)


def count_most_replays() -> int:
    """Of a round in which all blocks are won by the job's tickets and are full of shares in its updates."""
    return LOCAL.round_length * (1 + LOCAL.block_shares)


def add_ms(report: Report, name: str, seconds: Sequence[float]) -> None:
    report.add(name, [1e3 * value for value in seconds], "ms")


def add_percent(
    report: Report, name: str, parts: Sequence[float], wholes: Sequence[float], at_most: float | None = None
) -> None:
    report.add(name, [100 * ratio for ratio in divide(parts, wholes)], "%", at_most=at_most)


def train(subject: Subject, number: int) -> LocalUpdate:
    """An update by the trainer's defaults."""
    work = LocalWork(subject.objective, subject.train, subject.weights.astype("<i8").tobytes())
    seed = compute_tagged_hash("bench/update", subject.seed, bytes([number]))
    update = train_update(work, LocalSettings(), seed, lambda: False)
    if not isinstance(update, LocalUpdate):
        raise RuntimeError(f"{subject.label}: an update expected, got none: {update.reason}")
    return update


def make_payload(subject: Subject, number: int) -> bytes:
    return encode_payload(train(subject, number).delta, KEPT, BITS)


# --- memory -----------------------------------------------------------------------------------------------------------


def measure_memory(report: Report, kind: Kind) -> None:
    runs = 1 if report.quick else MEMORY_RUNS
    for path in PATHS:
        for what in KINDS:
            peaks = [measure_peak(kind.name, what, path) for _ in range(runs)]
            report.add(f"{kind.label}: memory of a {what}, {path}", peaks, "MiB")


def measure_peak(name: str, what: str, path: str) -> float:
    """MiB, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("peak.py")), name, what, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["mib"])


if __name__ == "__main__":
    main()
