"""A training split whose losses the ranks of a group compute together, each its part of every batch.

Rank 0 leads: its solver runs as it does alone, and whatever it asks of the problem becomes an order, broadcast with the
weights or the direction it is about. All ranks, rank 0 too, answer for their samples; the answers are added up at
rank 0. That is the arithmetic of DistributedDataParallel (gradients summed over the ranks), and as many bytes as its
all-reduce moves. It is not that class because solvers here have flat weights instead of a module, and ask for more than
gradients (products with J'J). And no rank but the first decides anything, so that ranks whose processors round
differently, or a stop that only rank 0 has seen, cannot part them: a wait that others do not share would be the group's
end. Parameters are not sharded (FSDP2): the models have at most a million, 4 MB, and would be gathered again for every
product.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, get_args

import numpy as np

from training.engine import Task
from training.errors import BadInput
from training.exact.late import torch
from training.group import DeviceMissing, Group, GroupLost, leave_group
from training.hashing import compute_tagged_hash
from training.native import NativeBatch, NativeLinear, NativeProblem, Precision
from training.objectives.base import Integers
from training.objectives.registry import get_objective
from training.problem import Problem
from training.splits import Split

if TYPE_CHECKING:
    from torch import Tensor, dtype

HEAD = 2  # numbers before an order's vector: the order, and how many samples its new batch has


class Call(IntEnum):
    """What rank 0 says between trainings."""

    LEAVE = 0
    WAIT = 1  # on: rank 0 is alive and has nothing to do; all answer, so that a rank that hangs is noticed
    TRAIN = 2  # followed by a split in so many bytes; by none if it is the last one again


class Order(IntEnum):
    """What rank 0 asks during a training, of the vector that comes with it."""

    END = 0  # of the training
    LOOK = 1  # at the loss of a new batch, once
    MEASURE = 2  # the loss of the batch
    DIFFERENTIATE = 3
    LINEARISE = 4  # answers the loss and J'r
    BEND = 5  # v'J'J v at the last point linearised at
    MULTIPLY = 6  # J'J v there


class Trainers(Protocol):
    """Who computes losses: this process alone, or a group that it leads."""

    def share(
        self, task: Task, split: Split, precision: Precision = "float32"
    ) -> AbstractContextManager[Problem]:
        """The task's problem on a split, for one training."""

    def wait(self) -> None:
        """To be called every now and then while there is nothing to train."""

    def leave(self) -> None:
        """Nothing will be trained any more."""


class Alone:
    """One process without a group."""

    def __init__(self, device: str) -> None:
        self._device = device

    @contextmanager
    def share(self, task: Task, split: Split, precision: Precision = "float32") -> Iterator[Problem]:
        yield make_native(task, split, self._device, precision)

    def wait(self) -> None:
        pass

    def leave(self) -> None:
        pass


class Nobody:
    """Those who lack what they were told to compute on: every training says so."""

    def __init__(self, why: DeviceMissing) -> None:
        self._why = why

    def share(
        self, task: Task, split: Split, precision: Precision = "float32"
    ) -> AbstractContextManager[Problem]:
        raise self._why

    def wait(self) -> None:
        pass

    def leave(self) -> None:
        pass


class Leader:
    """Rank 0 of a group. All it does raises GroupLost if a rank is gone."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._sent = b""

    @contextmanager
    def share(self, task: Task, split: Split, precision: Precision = "float32") -> Iterator[Problem]:
        packed = pack_problem(task, split, precision)
        name = compute_tagged_hash("trainers/problem", packed)
        problem = SharedProblem(self._group, make_native(task, split, self._group.device, precision))
        self._call(
            Call.TRAIN, packed if name != self._sent else b""
        )  # from here on the others wait for orders
        self._sent = name
        try:
            yield problem
        except GroupLost:
            raise  # nobody is there to be told
        except BaseException:
            problem.end()
            raise
        problem.end()

    def wait(self) -> None:
        self._call(Call.WAIT)
        self._group.add_up(torch.ones(1, device=self._group.device))

    def leave(self) -> None:
        self._call(Call.LEAVE)
        leave_group()

    def _call(self, call: Call, data: bytes = b"") -> None:
        self._group.tell(torch.tensor([int(call), len(data)]))
        if data:
            self._group.tell(torch.frombuffer(bytearray(data), dtype=torch.uint8))


def follow(group: Group) -> None:
    """What every other rank does, until rank 0 leaves. Raises GroupLost."""
    problem: NativeProblem | None = None
    while True:
        call, size = group.tell(torch.zeros(2, dtype=torch.int64)).tolist()
        if call == Call.LEAVE:
            leave_group()
            return
        if call == Call.WAIT:
            group.add_up(torch.ones(1, device=group.device))
        elif call == Call.TRAIN:
            if size:
                packed = group.tell(torch.empty(size, dtype=torch.uint8))
                problem = unpack_problem(packed.numpy().tobytes(), group.device)
            if problem is None:
                raise GroupLost("rank 0 speaks of a problem that this rank has not seen")
            _follow_training(group, problem)


def _follow_training(group: Group, problem: NativeProblem) -> None:
    part = _Part(group, problem)
    message = torch.empty(HEAD + problem.size, dtype=problem.precision, device=group.device)
    while True:
        group.tell_vector(message)
        order, count = (int(number) for number in message[:HEAD].tolist())
        if order == Order.END:
            return
        indices = group.tell(torch.empty(count, dtype=torch.int64)).numpy() if count else None
        group.add_up(part.answer(Order(order), indices, message[HEAD:].clone()))


class _Part:
    """A rank's answers to orders: for its samples alone."""

    def __init__(self, group: Group, problem: NativeProblem) -> None:
        self._group, self._problem = group, problem
        self._batch: NativeBatch | None = None
        self._linear: NativeLinear | None = None

    def answer(self, order: Order, indices: Integers | None, vector: Tensor) -> Tensor:
        """What is added up: a number [1], a vector [parameters], or both. New indices are a new batch."""
        if indices is not None:
            own, whole = self._group.take_part(indices), len(indices)
            if order is Order.LOOK:
                return self._number(self._problem.measure_loss(vector, own, whole))
            self._batch, self._linear = self._problem.open_batch(own, whole), None
        assert self._batch is not None  # rank 0 opens one first
        match order:
            case Order.MEASURE:
                return self._number(self._batch.measure(vector))
            case Order.DIFFERENTIATE:
                return self._batch.differentiate(vector)
            case Order.LINEARISE:
                self._linear = self._batch.linearise(vector)
                loss = self._number(self._linear.loss).to(self._problem.precision)
                return torch.cat([loss, self._linear.gradient])
        assert self._linear is not None  # and linearises it
        if order is Order.BEND:
            return self._number(self._linear.measure_bend(vector))
        return self._linear.multiply(vector)

    def _number(self, value: float) -> Tensor:
        return torch.tensor([value], dtype=torch.float64, device=self._group.device)


class SharedProblem:
    """A problem whose questions all ranks answer; see Problem."""

    def __init__(self, group: Group, problem: NativeProblem) -> None:
        self._group, self._problem = group, problem
        self._part = _Part(group, problem)

    @property
    def count(self) -> int:
        return self._problem.count

    def read_weights(self, master: Integers) -> Tensor:
        return self._problem.read_weights(master)

    def open_batch(self, indices: Integers) -> SharedBatch:
        return SharedBatch(self, indices)

    def measure_loss(self, weights: Tensor, indices: Integers) -> float:
        return float(self.ask(Order.LOOK, weights, indices))

    def ask(self, order: Order, vector: Tensor, indices: Integers | None = None) -> Tensor:
        """The sum of all ranks' answers."""
        self._tell(order, vector, indices)
        try:
            own = self._part.answer(order, indices, vector)
        except Exception as error:  # the others wait to add theirs to it
            raise GroupLost(f"rank 0 failed in {order.name}: {error}") from error
        return self._group.add_up(own)

    def end(self) -> None:
        """Tell the ranks that the training is over."""
        nothing = torch.zeros(self._problem.size, dtype=self._problem.precision, device=self._group.device)
        self._tell(Order.END, nothing, None)

    def _tell(self, order: Order, vector: Tensor, indices: Integers | None) -> None:
        count = 0 if indices is None else len(indices)
        head = torch.tensor([order, count], dtype=vector.dtype, device=self._group.device)  # exact to 2^24
        self._group.tell_vector(torch.cat([head, vector]))
        if indices is not None:
            self._group.tell(torch.from_numpy(indices))


class SharedBatch:
    """A batch of a shared problem. The first question about it takes its samples along."""

    def __init__(self, problem: SharedProblem, indices: Integers) -> None:
        self._problem = problem
        self._new: Integers | None = indices

    def measure(self, weights: Tensor) -> float:
        return float(self._ask(Order.MEASURE, weights))

    def differentiate(self, weights: Tensor) -> Tensor:
        return self._ask(Order.DIFFERENTIATE, weights)

    def linearise(self, weights: Tensor) -> SharedLinear:
        answer = self._ask(Order.LINEARISE, weights)
        return SharedLinear(self._problem, float(answer[0]), answer[1:])

    def _ask(self, order: Order, weights: Tensor) -> Tensor:
        indices, self._new = self._new, None
        return self._problem.ask(order, weights, indices)


@dataclass(frozen=True, slots=True)
class SharedLinear:
    """The model that all ranks keep of the last point linearised at."""

    _problem: SharedProblem
    loss: float
    gradient: Tensor

    def measure_bend(self, v: Tensor) -> float:
        return float(self._problem.ask(Order.BEND, v))

    def multiply(self, v: Tensor) -> Tensor:
        return self._problem.ask(Order.MULTIPLY, v)


def pack_problem(task: Task, split: Split, precision: Precision) -> bytes:
    """An objective and its samples, for ranks that have no blobs."""
    file = io.BytesIO()
    np.savez(
        file,
        objective=np.array(task.objective),
        params=np.array(task.params, np.int64),
        precision=np.array(precision),
        inputs=split.inputs,
        rows=split.rows,
        labels=split.labels,
        keys=split.keys,
    )
    return file.getvalue()


def unpack_problem(packed: bytes, device: str) -> NativeProblem:
    arrays = np.load(io.BytesIO(packed), allow_pickle=False)
    objective = get_objective(str(arrays["objective"]), tuple(int(value) for value in arrays["params"]))
    split = Split(arrays["inputs"], arrays["rows"], arrays["labels"], arrays["keys"])
    return NativeProblem(objective, split, read_precision(str(arrays["precision"])), device)


def make_native(task: Task, split: Split, device: str, precision: Precision = "float32") -> NativeProblem:
    objective = get_objective(task.objective, task.params)
    return NativeProblem(objective, split, read_precision(precision), device)


def read_precision(name: str) -> dtype:
    """Raises BadInput for what is none of Precision."""
    if name not in get_args(Precision):
        raise BadInput(f"precision: {' or '.join(get_args(Precision))} expected, got {name}")
    return torch.float64 if name == "float64" else torch.float32
