"""What judging an update costs: of examples/digits.toml, against the training that made it, one thread.

An update is 40 Adam steps of 256 samples in native float32 (torch, autograd), rounded to 4 bits an entry. Verifying it
is reading its payload, taking the known steps (the tickets' mean and the last four) out of it, and the one look at the
loss that its credit takes. What it adds to a settlement is measured as the difference between settlements with 17
updates and with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from figures import Report, Work, divide, finish, parse_options
from ticket import make_digits

from node.work import task_of
from training.engine import Engine, Task
from training.exact.counter import draw_sample, open_stream
from training.exact.grids import DATA, MASTER
from training.exact.integers import Direction, Integers
from training.hashing import compute_cid, compute_tagged_hash
from training.merge import STEPS_KNOWN, Update, find_known_steps
from training.objectives.base import Batch, Objective, split_weights
from training.objectives.registry import get_objective
from training.payload import decode_payload, encode_payload
from training.settlement import take_out_all
from training.splits import Split, parse_dataset

ROUNDS = 11
STEPS, BATCH, RATE = 40, 256, 2e-3
KEPT, BITS = 4096, 4
MORE_UPDATES = 16
TICKETS = 6


@dataclass(frozen=True, slots=True)
class Subject:
    """The job as an engine and as native code see it."""

    engine: Engine
    blobs: dict[bytes, bytes]
    task: Task
    objective: Objective
    train: Split
    weights: Integers
    seed: bytes


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("settle", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("settle", options.seed, options.quick)
    measure(report, make_subject(options.seed))
    report.notes.append(
        f"{STEPS} Adam steps of {BATCH} samples in float32 with torch's autograd; payloads of {BITS} bits an entry."
        " Verifying: decode, take two steps out, one loss of the judging sample. A settlement's own two line searches"
        " are shared by all updates of its round."
    )
    finish(report, options)


def make_subject(seed: str) -> Subject:
    digits = make_digits()
    assert digits.spec is not None  # the digits are a job
    task = task_of(digits.spec)
    blobs = {task.data_cid: digits.blob}
    objective = get_objective(task.objective, task.params)
    train = parse_dataset(digits.blob, objective.layout).train
    weights = np.frombuffer(digits.weights, "<i8").astype(np.int64)
    start = compute_tagged_hash("bench", seed.encode())
    return Subject(Engine(blobs.__getitem__), blobs, task, objective, train, weights, start)


def measure(report: Report, subject: Subject) -> None:
    batches = [draw_batches(subject, number) for number in range(1 + MORE_UPDATES)]
    payloads = [encode_payload(train_update(subject, drawn), KEPT, BITS) for drawn in batches]
    tickets = [run_ticket(subject, number) for number in range(TICKETS)]
    times = report.time(
        {
            "train": partial(train_update, subject, batches[0]),
            "decode": partial(decode_payload, payloads[0], len(subject.weights)),
            "project": make_projection(subject, payloads[0], tickets),
            "look": make_look(subject),
            "verify": make_verification(subject, payloads[0], tickets),
            "one": make_settlement(subject, tickets, payloads[:1]),
            "many": make_settlement(subject, tickets, payloads),
        },
        ROUNDS,
    )
    for name, label in (
        ("train", "training an update, native"),
        ("verify", "verifying an update"),
        ("decode", "of it decoding"),
        ("project", "of it taking two steps out"),
        ("look", "of it one loss of the judging sample"),
        ("one", f"settlement of {TICKETS} tickets and an update"),
        ("many", f"settlement of {TICKETS} tickets and {1 + MORE_UPDATES} updates"),
    ):
        report.add(f"digits: {label}", [seconds * 1e3 for seconds in times[name]], "ms")
    added = [(many - one) / MORE_UPDATES for many, one in zip(times["many"], times["one"], strict=True)]
    report.add(
        "digits: what one more update adds to a settlement", [seconds * 1e3 for seconds in added], "ms"
    )
    report.add("digits: training / verifying", divide(times["train"], times["verify"]), "x")
    report.add("digits: training / what it adds to a settlement", divide(times["train"], added), "x")
    report.add_one("digits: size of the payload", len(payloads[0]), "bytes")


# --- training ---------------------------------------------------------------------------------------------------------


def train_update(subject: Subject, batches: Sequence[Batch]) -> Integers:
    """The delta of an update in master units, from the job's initial weights; batches in units of one."""
    start = torch.from_numpy(subject.weights).double()
    units = split_weights(subject.objective, (start * 2.0**-MASTER.f).float())
    leaves = [tensor.clone().requires_grad_() for tensor in units]
    optimizer = torch.optim.Adam(leaves, lr=RATE)
    for batch in batches:
        optimizer.zero_grad()
        loss = subject.objective.native_loss(leaves, batch)
        (loss / BATCH).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
    end = torch.cat([leaf.detach().double().flatten() for leaf in leaves])
    return torch.round(end * 2.0**MASTER.f - start).to(torch.int64).numpy()


def draw_batches(subject: Subject, number: int) -> list[Batch]:
    return [draw_batch(subject, number, step) for step in range(STEPS)]


def draw_batch(subject: Subject, number: int, step: int) -> Batch:
    stream = open_stream(subject.seed, f"batch/{number}/{step}")
    indices = np.array(draw_sample(stream, subject.train.count, BATCH), np.int64)
    exact = subject.objective.make_batch(subject.train, indices)
    scale = 2.0**-DATA.f
    return Batch(*((tensor * scale).float() for tensor in (exact.inputs, exact.targets, exact.keys)))


def run_ticket(subject: Subject, number: int) -> bytes:
    seed = compute_tagged_hash("bench/ticket", subject.seed, bytes([number]))
    return subject.engine.run(subject.task, subject.weights.astype("<i8").tobytes(), seed).delta


# --- judging ----------------------------------------------------------------------------------------------------------


def make_steps(tickets: Sequence[bytes]) -> list[Direction]:
    """What a settlement takes out: five known steps, here tickets' deltas, each without those before it."""
    deltas = [np.frombuffer(delta, "<i8").astype(np.int64) for delta in tickets]
    mean, *steps = (deltas[number % len(deltas)] * (1 + number) for number in range(STEPS_KNOWN + 1))
    weights = [np.zeros_like(mean), *(-np.sum(steps[: number + 1], 0) for number in range(len(steps)))]
    return find_known_steps(mean, weights[0], weights[1:])


def make_projection(subject: Subject, payload: bytes, tickets: Sequence[bytes]) -> Work:
    return partial(take_out_all, decode_payload(payload, len(subject.weights)), make_steps(tickets))


def make_look(subject: Subject) -> Work:
    """One loss of as many judging samples as a settlement looks at."""
    sample = np.arange(subject.task.sample, dtype=np.int64)
    judge = parse_dataset(subject.blobs[subject.task.data_cid], subject.objective.layout).judge
    return partial(subject.objective.sum_losses_fused, judge, subject.weights, sample)


def make_verification(subject: Subject, payload: bytes, tickets: Sequence[bytes]) -> Work:
    look, steps = make_look(subject), make_steps(tickets)

    def verify() -> object:
        return take_out_all(decode_payload(payload, len(subject.weights)), steps), look()

    return verify


def make_settlement(subject: Subject, tickets: Sequence[bytes], payloads: Sequence[bytes]) -> Work:
    updates = []
    for payload in payloads:
        subject.blobs[compute_cid(payload)] = payload
        updates.append(Update(compute_cid(payload), len(payload), 1))
    weights = subject.weights.astype("<i8").tobytes()
    earlier = [  # as of a job that has settled often
        (subject.weights - np.frombuffer(tickets[0], "<i8") * number).astype("<i8").tobytes()
        for number in range(1, STEPS_KNOWN + 1)
    ]
    return partial(
        subject.engine.settle, subject.task, weights, tickets, (subject.seed,) * 3, earlier, updates
    )


if __name__ == "__main__":
    main()
