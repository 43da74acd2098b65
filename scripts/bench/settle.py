"""What judging an update costs against the training that made it: attention, regression, a million parameters.

One thread. An update is 40 Adam steps of 256 samples in native float32 (torch, autograd), or what the node's trainer
computes by default, rounded to 4 bits an entry. Verifying it is reading its payload, taking the known steps (the
tickets' mean, the last four, the last updates' mean) out of it, and the one look at the loss that its credit takes.
What it adds to a settlement is measured as the difference between settlements with 17 updates and with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from figures import ROOT, Report, Work, divide, finish, parse_options

from ledger.genesis import local_genesis
from training.blob import BlobTensor, encode_blob
from training.engine import Engine, Task
from training.exact.counter import draw_sample, open_stream
from training.exact.grids import DATA, MASTER
from training.exact.integers import Direction, Integers
from training.hashing import compute_cid, compute_tagged_hash
from training.jobs import load_job_file, prepare
from training.local import LocalSettings, LocalWork, train_update
from training.merge import STEPS_KNOWN, Update, find_known_steps
from training.objectives.base import Batch, Objective, split_weights
from training.payload import decode_payload, encode_payload
from training.settlement import take_out_all
from training.splits import Split, parse_dataset

ROUNDS = 11
STEPS, BATCH, RATE = 40, 256, 2e-3
KEPT, BITS = 4096, 4
MORE_UPDATES = 16
DIFFERENT = 2  # updates that are trained; the others are these again
TICKETS = 6
VERIFY_AIM = 0.5  # percent
MILLION_INPUTS, MILLION_OUTPUTS = 1024, 1000
MILLION_SAMPLES, MILLION_SAMPLE, MILLION_ROUNDS = (256, 60), 60, 3  # of 64 a settlement would be refused


@dataclass(frozen=True, slots=True)
class Subject:
    """The job as an engine and as native code see it."""

    label: str
    engine: Engine
    blobs: dict[bytes, bytes]
    task: Task
    objective: Objective
    train: Split
    weights: Integers
    seed: bytes
    rounds: int


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("settle", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("settle", options.seed, options.quick)
    small, large = (make_attention, make_regression), (make_million,)
    for make in small if options.quick else (*small, *large):
        measure(report, make(options.seed))
    report.notes.append(
        f"Adam: {STEPS} steps of {BATCH} samples in float32 with torch's autograd. Solver: what the node's trainer does"
        f" by default. Payloads of {BITS} bits an entry. Verifying: decode, take the known steps out, one loss of the"
        " sample."
        " A settlement's own three line searches are shared by all updates of its round."
    )
    finish(report, options)


def make_attention(seed: str) -> Subject:
    return read_example("attention (digits)", "digits.toml", seed, ROUNDS)


def make_regression(seed: str) -> Subject:
    return read_example("regression (breast cancer)", "breast_cancer.toml", seed, ROUNDS)


def read_example(label: str, name: str, seed: str, rounds: int) -> Subject:
    job = prepare(load_job_file(ROOT / "examples" / name), local_genesis("bench").params.sidecar_limit)
    task = Task(**{key: getattr(job.spec, key) for key in Task.__dataclass_fields__})
    return open_subject(label, task, job.blob, seed, rounds)


def make_million(seed: str) -> Subject:
    """Softmax regression of 1,024 inputs on 1,000 outputs, samples drawn from a linear teacher."""
    rng = np.random.default_rng(list(seed.encode()))
    inputs = rng.integers(-4096, 4097, (sum(MILLION_SAMPLES), MILLION_INPUTS)).astype("<i2")
    classes = (inputs @ rng.normal(size=(MILLION_INPUTS, MILLION_OUTPUTS))).argmax(1)
    targets = np.eye(MILLION_OUTPUTS, dtype="<i2")[classes]
    tensors, first = [], 0
    for name, count in zip(("train", "judge"), MILLION_SAMPLES, strict=True):
        rows = slice(first, first + count)
        tensors += [
            BlobTensor(f"{name}.inputs", DATA.f, inputs[rows]),
            BlobTensor(f"{name}.targets", 0, targets[rows]),
        ]
        first += count
    blob = encode_blob(tensors)
    task = Task(
        objective="softmax_regression", params=(MILLION_INPUTS, MILLION_OUTPUTS, 0, 0), data_cid=compute_cid(blob),
        data_size=len(blob), init_seed=bytes(32), steps=2, shard=16, rates=((1, 9),), sample=MILLION_SAMPLE,
    )  # fmt: skip
    return open_subject("a million parameters", task, blob, seed, MILLION_ROUNDS)


def open_subject(label: str, task: Task, blob: bytes, seed: str, rounds: int) -> Subject:
    blobs = {task.data_cid: blob}
    engine = Engine(blobs.__getitem__)
    objective, data = engine.get_dataset(task)
    weights = np.frombuffer(engine.inspect(task).weights, "<i8").astype(np.int64)
    start = compute_tagged_hash("bench", seed.encode())
    return Subject(label, engine, blobs, task, objective, data.train, weights, start, rounds)


def measure(report: Report, subject: Subject) -> None:
    batches = [draw_batches(subject, number) for number in range(DIFFERENT)]
    payloads = [encode_payload(train_by_adam(subject, drawn), KEPT, BITS) for drawn in batches]
    payloads = [payloads[number % DIFFERENT] for number in range(1 + MORE_UPDATES)]
    tickets = [run_ticket(subject, number) for number in range(TICKETS)]
    times = report.time(
        {
            "adam": partial(train_by_adam, subject, batches[0]),
            "solver": partial(train_by_solver, subject),
            "decode": partial(decode_payload, payloads[0], len(subject.weights)),
            "project": make_projection(subject, payloads[0], tickets),
            "look": make_look(subject),
            "verify": make_verification(subject, payloads[0], tickets),
            "one": make_settlement(subject, tickets, payloads[:1]),
            "many": make_settlement(subject, tickets, payloads),
        },
        subject.rounds,
    )
    for name, label in (
        ("adam", "training an update by Adam"),
        ("solver", "training an update by the default solver"),
        ("verify", "verifying an update"),
        ("decode", "of it decoding"),
        ("project", "of it taking the known steps out"),
        ("look", "of it one loss of the sample"),
        ("one", f"settlement of {TICKETS} tickets and an update"),
        ("many", f"settlement of {TICKETS} tickets and {1 + MORE_UPDATES} updates"),
    ):
        report.add(f"{subject.label}: {label}", [seconds * 1e3 for seconds in times[name]], "ms")
    added = [(many - one) / MORE_UPDATES for many, one in zip(times["many"], times["one"], strict=True)]
    what = "what one more update adds to a settlement"
    report.add(f"{subject.label}: {what}", [seconds * 1e3 for seconds in added], "ms")
    for name, label in (("adam", "Adam"), ("solver", "default solver")):
        share = [100 * ratio for ratio in divide(times["verify"], times[name])]
        report.add(f"{subject.label}: verifying / training by {label}", share, "%", at_most=VERIFY_AIM)
    report.add_one(f"{subject.label}: parameters", len(subject.weights), "")
    report.add_one(f"{subject.label}: size of the payload", len(payloads[0]), "bytes")


# --- training ---------------------------------------------------------------------------------------------------------


def train_by_solver(subject: Subject) -> object:
    """What the node's trainer computes, from the job's initial weights."""
    weights = subject.weights.astype("<i8").tobytes()
    work = LocalWork(subject.objective, subject.train, weights)
    return train_update(work, LocalSettings(), subject.seed, lambda: False)


def train_by_adam(subject: Subject, batches: Sequence[Batch]) -> Integers:
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
    indices = np.array(draw_sample(stream, subject.train.count, min(BATCH, subject.train.count)), np.int64)
    exact = subject.objective.make_batch(subject.train, indices)
    scale = 2.0**-DATA.f
    return Batch(*((tensor * scale).float() for tensor in (exact.inputs, exact.targets, exact.keys)))


def run_ticket(subject: Subject, number: int) -> bytes:
    seed = compute_tagged_hash("bench/ticket", subject.seed, bytes([number]))
    return subject.engine.run(subject.task, subject.weights.astype("<i8").tobytes(), seed).delta


# --- judging ----------------------------------------------------------------------------------------------------------


def make_steps(tickets: Sequence[bytes]) -> list[Direction]:
    """What a settlement takes out: six known steps, here of tickets' deltas, each without those before it."""
    deltas = [np.frombuffer(delta, "<i8").astype(np.int64) for delta in tickets]
    mean, *steps = (deltas[number % len(deltas)] * (1 + number) for number in range(STEPS_KNOWN + 1))
    weights = [np.zeros_like(mean), *(-np.sum(steps[: number + 1], 0) for number in range(len(steps)))]
    return find_known_steps(mean, weights[0], weights[1:], [(1, deltas[0] + deltas[-1])])


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
    last = encode_payload(np.frombuffer(tickets[-1], "<i8"), KEPT, BITS)  # known from the round before
    for payload in (*payloads, last):
        subject.blobs[compute_cid(payload)] = payload
        updates.append(Update(compute_cid(payload), len(payload), 1))
    weights = subject.weights.astype("<i8").tobytes()
    earlier = [  # as of a job that has settled often
        (subject.weights - np.frombuffer(tickets[0], "<i8") * number).astype("<i8").tobytes()
        for number in range(1, STEPS_KNOWN + 1)
    ]
    return partial(
        subject.engine.settle,
        subject.task,
        weights,
        tickets,
        (subject.seed,) * 3,
        earlier,
        updates[:-1],
        updates[-1:],
    )


if __name__ == "__main__":
    main()
