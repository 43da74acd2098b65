"""A training as it goes over the pipe: plain values, the same on both ends."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from node.worker.wire import Frame


@dataclass(frozen=True, slots=True)
class Method:
    """How a node's updates are trained, and on what more than a job's samples."""

    solver: str = "auto"
    precision: str = "float32"
    own_samples: tuple[tuple[str, str], ...] = ()  # files by beginnings of a job's id
    privacy: tuple[int, ...] = ()  # the terms on which these are used, or none
    privacy_path: str = ""  # the directory of their budgets


DEFAULT_METHOD = Method()


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What an update is computed from and how long it may take."""

    spec: bytes
    weights: bytes  # int64 master units, that the round starts from
    previous: bytes  # those that momentum starts from, or empty
    seed: bytes
    seconds: float  # of training, on the clock
    size_limit: int  # bytes of the payload
    solver: str = "auto"
    steps: int = 0  # at most; 0 for as many as the solver does by itself
    precision: str = "float32"
    samples_path: str = ""  # an npz of the miner's own samples, or empty
    tickets: tuple[bytes, ...] = ()  # deltas of the miner's own runs from these weights
    tickets_share: float = 0.0
    lookahead: float = 0.0
    privacy: tuple[int, ...] = ()  # terms on which the own samples are used, those of PrivacyTerms; or none
    privacy_path: str = ""  # the directory of their budgets


@dataclass(frozen=True, slots=True)
class Trained:
    """An update ready to be committed. Norm in units of one; losses are native means over training samples."""

    payload: bytes
    norm: float
    loss_before: float
    loss_after: float
    steps: int
    solver: str
    note: str = ""  # why the miner's own samples were not used, or what is to be said of their privacy
    privacy: tuple[int | bytes, ...] = ()  # the accounting that goes with the update, of private samples
    budget: str = ""  # what is spent of it, in words


@dataclass(frozen=True, slots=True)
class TrainersStatus:
    """How the trainers are: processes, the device they were told, "not started", "running", "ended" or "paused"."""

    count: int
    device: str
    state: str
    restarts: int


def encode_request(request: TrainRequest) -> Frame:
    return [getattr(request, field.name) for field in fields(TrainRequest)]


def decode_request(values: Frame) -> TrainRequest:
    """Raises ValueError for another number of values: the two ends are of different versions."""
    if len(values) != len(fields(TrainRequest)):
        raise ValueError(f"a training of {len(fields(TrainRequest))} values expected, got {len(values)}")
    request = TrainRequest(*values)
    return replace(request, tickets=tuple(request.tickets), privacy=tuple(request.privacy))
