"""The engine: the only part of training that a node calls. Synchronous; bytes and integers in and out.

It knows nothing of blocks or peers. Everything it returns is exact: the same on every machine, by either path.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import BadInput, BlobRefused, TaskRefused
from training.exact.counter import draw_sample, make_uniform, open_stream
from training.exact.grids import DATA, MASTER
from training.exact.integers import DELTA_LIMIT, Integers
from training.hashing import compute_cid, compute_tagged_hash
from training.merge import MAX_UPDATES, STEPS_KNOWN, Judges, Settled, Update, load_updates, settle_round
from training.objectives import heartbeat
from training.objectives.base import (
    MAX_SHARD,
    Objective,
    Outcome,
    Ticket,
    check_range,
    compute_loss_work,
    compute_work,
    count_parameters,
)
from training.objectives.registry import UPDATES_ALONE, get_objective
from training.paths import ExactPath, FusedPath, PortablePath
from training.settlement import SCALES, SumLosses
from training.slices import SliceLoss, find_classes
from training.splits import Dataset, Split, find_wrong_id, parse_dataset, parse_tranche

MAX_STEPS = 64
MAX_MANTISSA = 4095
MAX_RATE_SHIFT = 48
SAMPLE_RANGE = (16, 4096)
MAX_SETTLEMENT_WORK = 1 << 33  # of a settlement's losses: about a second, some on the slowest path
LINE_SEARCHES = 3  # of a settlement: of tickets, of the updates' known part, of updates; on the judging split
CREDIT_LOOKS = MAX_UPDATES + 1  # of a settlement at the training split: one for each update, one before them
SPLIT_FACTOR = 4  # a judging split of at most this many samples' sizes is looked at whole
WEIGHT_BITS = 20  # of initial weights, in master units
HEARTBEATS_CACHED = 4
CACHE_BYTES = 256 * 2**20
SCORED_SAMPLES = 1024  # at a time, when classes are predicted


@dataclass(frozen=True, slots=True)
class Task:
    """The training part of a job's specification (section 4)."""

    objective: str
    params: tuple[int, ...]
    data_cid: bytes
    data_size: int
    init_seed: bytes
    steps: int
    shard: int
    rates: tuple[tuple[int, int], ...]
    sample: int


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What a task comes to: declared work of a ticket, initial weights, sizes; `judging` is the work of one
    loss evaluation on a settlement's sample."""

    work: int
    weights: bytes
    train_count: int
    judge_count: int
    parameter_count: int
    judging: int
    has_tickets: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A ticket run: sums of exact losses in units of 2^-40, and the delta as little-endian int64."""

    digest: bytes
    before: int
    after: int
    delta: bytes


@dataclass(frozen=True, slots=True)
class Score:
    """How weights do on samples: the sum of exact losses in units of 2^-40, the number of samples, and how many are
    classified as labelled, None where the targets are rows."""

    total: int
    count: int
    right: int | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    objective: Objective
    data: Dataset


class Engine:
    """Checks tasks, runs tickets, settles rounds. Safe to use from one thread at a time."""

    def __init__(
        self,
        load_blob: Callable[[bytes], bytes],
        path: Literal["fused", "portable"] = "fused",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._load_blob = load_blob
        self._fused = path == "fused"
        self._path: ExactPath = FusedPath() if self._fused else PortablePath()
        self._cache_bytes = cache_bytes
        self._prepared: OrderedDict[tuple[str, tuple[int, ...], bytes, int], _Prepared] = OrderedDict()
        self._heartbeats: OrderedDict[bytes, heartbeat.Heartbeat] = OrderedDict()

    def inspect(self, task: Task) -> TaskFacts:
        """Check a task against its objective and data; raises TaskRefused."""
        objective = get_objective(task.objective, task.params)
        _check_numbers(task, objective)
        work = compute_work(objective, task.steps, task.shard)
        data = self._prepare(task).data
        check_range("shard", task.shard, 1, data.train.count)
        _check_sample(task.sample, data.judge.count)
        _check_settlement(objective, task.sample, data)
        size = count_parameters(objective)
        weights = make_uniform(open_stream(task.init_seed, "weights"), size, WEIGHT_BITS)
        judging = compute_loss_work(objective, min(task.sample, data.train.count))
        has_tickets = objective.name not in UPDATES_ALONE
        return TaskFacts(
            work, _to_bytes(weights), data.train.count, data.judge.count, size, judging, has_tickets
        )

    # --- tickets ------------------------------------------------------------------------------------------------------

    def run(self, task: Task, weights: bytes, seed: bytes) -> Run:
        """The ticket run of a seed from these weights."""
        prepared = self._prepare(task)
        start = _read_weights(weights, prepared.objective)
        return self._run(
            prepared.objective, prepared.data.train, start, task.steps, task.shard, task.rates, seed
        )

    def heartbeat(self, parent: bytes, seed: bytes) -> Run:
        """The heartbeat's ticket run on the problem that the parent hash draws."""
        drawn = self._heartbeats.get(parent)
        if drawn is None:
            drawn = heartbeat.make_heartbeat(parent, fused=self._fused)
            self._heartbeats[parent] = drawn
            if len(self._heartbeats) > HEARTBEATS_CACHED:
                self._heartbeats.popitem(last=False)
        plan = (heartbeat.STEPS, heartbeat.SHARD, heartbeat.RATES)
        return self._run(heartbeat.OBJECTIVE, drawn.split, drawn.weights, *plan, seed)

    def heartbeat_work(self) -> int:
        """Declared work of a heartbeat run."""
        return heartbeat.WORK

    def _run(
        self,
        objective: Objective,
        split: Split,
        weights: Integers,
        steps: int,
        shard: int,
        rates: tuple[tuple[int, int], ...],
        seed: bytes,
    ) -> Run:
        indices = np.array(draw_sample(open_stream(seed, "shard"), split.count, shard), np.int64)
        noise_streams = tuple(open_stream(seed, f"noise/{t}") for t in range(1, steps + 1))
        ticket = Ticket(indices, rates, open_stream(seed, "dither"), noise_streams)
        return _make_run(self._path.run(objective, split, weights, ticket))

    # --- settlements and losses ---------------------------------------------------------------------------------------

    def settle(
        self,
        task: Task,
        weights: bytes,
        deltas: Sequence[bytes],
        sample_seeds: tuple[bytes, bytes, bytes],
        earlier: Sequence[bytes] = (),
        updates: Sequence[Update] = (),
        last_updates: Sequence[Update] = (),
    ) -> Settled:
        """Merge the deltas of a round's tickets onto the weights, then its updates, in the order they come in.

        The seeds are those of the samples for what is known, for updates, and for credits. `earlier` are the weights
        before each of the last settlements that moved them, the newest first, `last_updates` those of the round settled
        last. Payloads come from `load_blob`, which may
        raise what it likes. BadInput for weights of a wrong size, or too many earlier ones.
        """
        if len(earlier) > STEPS_KNOWN:
            raise BadInput(f"earlier weights: at most {STEPS_KNOWN} expected, got {len(earlier)}")
        prepared = self._prepare(task)
        objective = prepared.objective
        return settle_round(
            _read_weights(weights, objective),
            [_read_weights(old, objective) for old in earlier],
            [_read_delta(delta, objective) for delta in deltas],
            load_updates(updates, self._load_blob, count_parameters(objective)),
            load_updates(last_updates, self._load_blob, count_parameters(objective)),
            self._make_judges(prepared, task.sample, sample_seeds),
        )

    def _make_judges(self, prepared: _Prepared, sample: int, seeds: tuple[bytes, bytes, bytes]) -> Judges:
        """The judging split says whether the weights move, the training split who is credited.

        Both are public. Were the judging split paid for, miners would train on it, and it would judge nothing.
        """
        objective, judge, train = prepared.objective, prepared.data.judge, prepared.data.train

        def draw(seed: bytes, pool: Split) -> SumLosses:
            chosen = draw_sample(open_stream(seed, "sample"), pool.count, min(sample, pool.count))
            indices = np.array(chosen, np.int64)
            return lambda weights: self._path.sum_losses(objective, pool, weights, indices)

        small = judge.count <= SPLIT_FACTOR * sample
        split = partial(self._sum_split, objective, judge) if small else None
        judges = (draw(seeds[0], judge), draw(seeds[1], judge), draw(seeds[2], train))
        return Judges(*judges, min(sample, judge.count), split, judge.count)

    def evaluate(self, task: Task, weights: bytes, split: Literal["train", "judge"]) -> tuple[int, int]:
        """Sum of exact losses over a whole split, and its number of samples."""
        prepared = self._prepare(task)
        samples = prepared.data.train if split == "train" else prepared.data.judge
        start = _read_weights(weights, prepared.objective)
        return self._sum_split(prepared.objective, samples, start), samples.count

    def measure_slices(self, task: Task, weights: bytes) -> list[SliceLoss]:
        """The exact loss of every class that the judging split has, in their order."""
        prepared = self._prepare(task)
        objective, judge = prepared.objective, prepared.data.judge
        start, classes = _read_weights(weights, objective), find_classes(judge, objective.layout)
        found = []
        for label in np.unique(classes):
            rows = np.flatnonzero(classes == label)
            total = self._path.sum_losses(objective, judge, start, rows)
            found.append(SliceLoss(int(label), total, len(rows)))
        return found

    def score_judging(self, task: Task, weights: bytes) -> Score:
        """How weights do on the whole judging split."""
        return self._score(task, weights, self._prepare(task).data.judge)

    def score_tranche(self, task: Task, weights: bytes, tranche: bytes) -> Score:
        """How weights do on a tranche of an evaluation split; BlobRefused for one that does not fit the task."""
        prepared = self._prepare(task)
        split = parse_tranche(tranche, prepared.objective.layout, prepared.data.train.keys)
        return self._score(task, weights, split)

    def _score(self, task: Task, weights: bytes, split: Split) -> Score:
        objective = self._prepare(task).objective
        total = self._sum_split(objective, split, _read_weights(weights, objective))
        right = None
        if objective.layout.rows is None:
            right, _ = self.accuracy(task, weights, split.inputs, split.labels)
        return Score(total, split.count, right)

    def _sum_split(self, objective: Objective, split: Split, weights: Integers) -> int:
        return self._path.sum_losses(objective, split, weights, np.arange(split.count, dtype=np.int64))

    # --- predictions --------------------------------------------------------------------------------------------------

    def predict(self, task: Task, weights: bytes, inputs: NDArray[Any]) -> Integers:  # Any: any integer dtype
        """The class with the largest mean output, the lowest of equals; inputs in data units (2^-12), [N, ...]."""
        prepared = self._prepare(task)
        objective, keys = prepared.objective, prepared.data.train.keys
        flat = inputs.reshape(len(inputs), -1)
        expected = int(np.prod(objective.layout.inputs))
        if flat.shape[1] != expected or (flat.size and int(np.abs(flat.astype(np.int64)).max()) > DATA.limit):
            raise BadInput(
                f"inputs: {expected} integers within +-{DATA.limit} a sample expected, got {inputs.shape}"
            )
        problem = find_wrong_id(flat, objective.layout) if flat.size else ""
        if problem:
            raise BadInput(f"inputs: {problem}")
        start = _read_weights(weights, objective)
        classes = [np.zeros(0, np.int64)]
        for first in range(0, len(flat), SCORED_SAMPLES):
            chunk = flat[first : first + SCORED_SAMPLES].astype(np.int16)
            scores = self._path.compute_scores(objective, chunk, keys, start)
            classes.append(scores.argmax(1))  # numpy promises the first of equals
        return np.concatenate(classes)

    def accuracy(
        self, task: Task, weights: bytes, inputs: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[int, int]:
        """How many held-out samples are classified as labelled, and of how many. Any: any integer dtype."""
        right = self.predict(task, weights, inputs) == np.asarray(labels)
        return int(right.sum()), len(inputs)

    # --- data ---------------------------------------------------------------------------------------------------------

    def get_dataset(self, task: Task) -> tuple[Objective, Dataset]:
        """The task's objective and data, for training by any method; raises TaskRefused."""
        prepared = self._prepare(task)
        return prepared.objective, prepared.data

    def _prepare(self, task: Task) -> _Prepared:
        key = (task.objective, task.params, task.data_cid, task.data_size)  # all that a refusal depends on
        prepared = self._prepared.get(key)
        if prepared is None:
            objective = get_objective(task.objective, task.params)
            prepared = _Prepared(objective, _parse_data(task, objective, self._load_blob(task.data_cid)))
            self._prepared[key] = prepared
        self._prepared.move_to_end(key)
        while len(self._prepared) > 1 and self._count_bytes() > self._cache_bytes:
            self._prepared.popitem(last=False)
        return prepared

    def _count_bytes(self) -> int:
        return sum(prepared.data.size_bytes for prepared in self._prepared.values())


def _check_numbers(task: Task, objective: Objective) -> None:
    check_range("steps", task.steps, 2, MAX_STEPS)
    check_range("shard", task.shard, 1, MAX_SHARD)
    check_range("sample", task.sample, *SAMPLE_RANGE)
    tensors = len(objective.shapes)
    if len(task.rates) != tensors:
        raise TaskRefused(
            "rates", f"{tensors} pairs expected, one for each parameter tensor, got {len(task.rates)}"
        )
    for i, (mantissa, shift) in enumerate(task.rates):
        check_range(f"rates {i} mantissa", mantissa, 1, MAX_MANTISSA)
        check_range(f"rates {i} shift", shift, 0, MAX_RATE_SHIFT)


def _check_sample(sample: int, judge_count: int) -> None:
    if sample < judge_count < SPLIT_FACTOR * sample:
        raise TaskRefused(
            "sample",
            f"at most a quarter of the {judge_count} judging samples expected, or all of them, got {sample};"
            f" choose {judge_count // SPLIT_FACTOR} or less, or {judge_count} or more",
        )


def _check_settlement(objective: Objective, sample: int, data: Dataset) -> None:
    """Refuse a job that is cheap to mine and dear to settle."""
    work = LINE_SEARCHES * len(SCALES) * compute_loss_work(objective, min(sample, data.judge.count))
    work += CREDIT_LOOKS * compute_loss_work(objective, min(sample, data.train.count))
    if data.judge.count <= SPLIT_FACTOR * sample:
        work += compute_loss_work(objective, data.judge.count)
    if work > MAX_SETTLEMENT_WORK:
        raise TaskRefused(
            "sample",
            f"a settlement may take {MAX_SETTLEMENT_WORK} of work, this one takes {work};"
            " choose fewer judging samples or a smaller model",
        )


def _parse_data(task: Task, objective: Objective, blob: bytes) -> Dataset:
    if len(blob) != task.data_size:
        raise TaskRefused("data_size", f"{task.data_size} bytes expected, the blob has {len(blob)}")
    if compute_cid(blob) != task.data_cid:
        raise TaskRefused(
            "data_cid", f"{task.data_cid.hex()} expected, the blob has {compute_cid(blob).hex()}"
        )
    try:
        return parse_dataset(blob, objective.layout)
    except BlobRefused as error:
        raise TaskRefused("data", str(error)) from error


def _make_run(outcome: Outcome) -> Run:
    delta = _to_bytes(outcome.delta)
    digest = compute_tagged_hash("gc/delta", outcome.trace.to_bytes(8, "big"), delta)
    return Run(digest, outcome.before, outcome.after, delta)


def _read_weights(raw: bytes, objective: Objective) -> Integers:
    return _read_integers("weights", raw, count_parameters(objective), MASTER.limit)


def _read_delta(raw: bytes, objective: Objective) -> Integers:
    return _read_integers("delta", raw, count_parameters(objective), DELTA_LIMIT)


def _read_integers(what: str, raw: bytes, count: int, limit: int) -> Integers:
    if len(raw) != 8 * count:
        raise BadInput(f"{what}: {8 * count} bytes expected, got {len(raw)}")
    integers = np.frombuffer(raw, "<i8").astype(np.int64)  # a copy: kernels want writable arrays
    if integers.min() < -limit or integers.max() > limit:
        raise BadInput(
            f"{what}: integers within +-{limit} expected, got {integers.min()} to {integers.max()}"
        )
    return integers


def _to_bytes(integers: Integers) -> bytes:
    return integers.astype("<i8").tobytes()
