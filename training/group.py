"""The ranks of a trainer: a process group of torch.distributed, and the few collectives that training needs.

Rank 0 leads, so there are three: rank 0 tells all (a broadcast), numbers of all are added up at rank 0 (a reduction),
and at the beginning all agree on the device. What is told goes by gloo, over the processor; vectors go by NCCL where
every rank has a GPU of its own, else by gloo as well. No collective waits without end, and one that fails is the
group's end: torch cannot mend it.

Source: https://docs.pytorch.org/docs/stable/distributed.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from training.errors import TrainingError
from training.exact.late import torch
from training.objectives.base import Integers

if TYPE_CHECKING:
    from torch import Tensor

DeviceChoice = Literal["auto", "cpu", "cuda"]
JOIN_S = 300.0  # for all ranks to be there: machines that are started one after the other
COLLECTIVE_S = 60.0  # longer than any rank's part of a batch takes; silence beyond is a rank that hangs


class GroupLost(Exception):
    """A rank is gone, or does not answer. The process should end: whoever started the group starts it again."""


class DeviceMissing(TrainingError):
    """The device that was asked for is not there."""


@dataclass(frozen=True, slots=True)
class Place:
    """A process' place in its group: its rank of how many, and the same among those on its machine.

    They find one another through the file `meeting`, which no other group may use; without it as torchrun says, by the
    environment (env://).
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    meeting: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The ranks, seen from one of them. `device` is where its vectors lie."""

    rank: int
    size: int
    device: str
    _words: Any  # Any: torch's process groups; new_group has no other type
    _vectors: Any

    def tell(self, values: Tensor) -> Tensor:
        """Give all ranks rank 0's values, on the processor; changed in place."""
        with _losing():
            torch.distributed.broadcast(values, 0, group=self._words)
        return values

    def tell_vector(self, vector: Tensor) -> Tensor:
        """The same on the group's device."""
        with _losing():
            torch.distributed.broadcast(vector, 0, group=self._vectors)
        return vector

    def add_up(self, vector: Tensor) -> Tensor:
        """Add the ranks' vectors, on the group's device; changed in place, at rank 0 into their sum."""
        with _losing():
            torch.distributed.reduce(vector, 0, group=self._vectors)
        return vector

    def take_part(self, indices: Integers) -> Integers:
        """This rank's part of a batch: sizes differ by one at the most, and may be 0."""
        part: Integers = np.array_split(indices, self.size)[self.rank]
        return part


def join_group(place: Place, choice: DeviceChoice) -> Group:
    """Meet the other ranks. GroupLost if they do not come, DeviceMissing, on all ranks, if one lacks a GPU it needs."""
    distributed, limit = torch.distributed, timedelta(seconds=COLLECTIVE_S)
    with _losing():
        distributed.init_process_group(
            "gloo",  # for the meeting only: its collectives may wait long
            store=_open_store(place) if place.meeting else None,
            rank=place.rank,
            world_size=place.size,
            timeout=timedelta(seconds=JOIN_S),
        )
        all_have_gpu = _all_have_gpu(place)
        words = distributed.new_group(backend="gloo", timeout=limit)
        if choice == "cpu" or not all_have_gpu:
            if choice == "cuda":
                raise DeviceMissing(describe_missing(f"{place.size} trainers"))
            return Group(place.rank, place.size, "cpu", words, words)
        device = f"cuda:{place.local_rank}"
        torch.cuda.set_device(device)
        vectors = distributed.new_group(backend="nccl", timeout=limit)
        return Group(place.rank, place.size, device, words, vectors)


def choose_device(choice: DeviceChoice) -> str:
    """The device of a trainer alone; DeviceMissing if it is not there."""
    if choice == "cpu" or not _count_gpus():
        if choice == "cuda":
            raise DeviceMissing(describe_missing("a trainer"))
        return "cpu"
    return "cuda:0"


def describe_missing(who: str) -> str:
    return f"device: cuda needs a GPU that torch can use for each of {who}, found {_count_gpus()}; auto or cpu expected"


def leave_group() -> None:
    """End the group in order; a rank that has lost it just ends."""
    torch.distributed.destroy_process_group()


def _open_store(place: Place) -> Any:  # Any: torch's own type has no public name for mypy
    return torch.distributed.FileStore(place.meeting, place.size)  # type: ignore[attr-defined]


def _all_have_gpu(place: Place) -> bool:
    """Whether every rank, on every machine, has a GPU to itself."""
    has_one = torch.distributed.is_nccl_available() and _count_gpus() >= place.local_size
    own = torch.tensor([int(has_one)])
    torch.distributed.all_reduce(own, torch.distributed.ReduceOp.MIN)
    return bool(own.item())


def _count_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@contextmanager
def _losing() -> Iterator[None]:
    """Torch's errors of collectives, which have no class in common but RuntimeError, as the group's end."""
    try:
        yield
    except RuntimeError as error:
        raise GroupLost(f"the group of trainers is lost: {str(error).splitlines()[0]}") from error
