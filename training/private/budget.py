"""What was spent on a data set so far, and the refusal to spend more than its total: a file for each in a directory.

By basic composition: epsilons and deltas add up (Dwork and Roth, theorem 3.16), whatever was released. An entry is on
the disk before anything is drawn, so a crash in between costs budget, never privacy. A file is named by a hash of the
records as they came, in any order of columns and before clipping, so that another alpha is no new budget; one changed
digit is. It keeps owners from mistakes and not from themselves. The hash tells whoever has the data that these were
they: the directory is for its owner's eyes.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import PrivacyRefused
from training.hashing import compute_tagged_hash
from training.private.gram import Array

VERSION = 1
LOCK_FILE = "lock"
LOCK_S, LOOK_AGAIN_S = 10.0, 0.02  # a holder takes milliseconds
SIZE_LIMIT = 1 << 20  # bytes of a file
KEYS = {"version", "total_epsilon", "total_delta", "spent"}


@dataclass(frozen=True, slots=True)
class Budget:
    """The totals of a data set, and the (epsilon, delta) of each release, the oldest first."""

    total_epsilon: float
    total_delta: float
    spent: tuple[tuple[float, float], ...] = ()

    @property
    def epsilon(self) -> float:
        return math.fsum(epsilon for epsilon, _ in self.spent)

    @property
    def delta(self) -> float:
        return math.fsum(delta for _, delta in self.spent)


def identify_records(records_nd: Array) -> str:
    """The name of a data set: the same for any order of its records."""
    columns = sorted((column + 0.0).astype("<f8").tobytes() for column in records_nd.T)  # + 0.0: -0.0 is 0.0
    shape = np.array(records_nd.shape, "<u8").tobytes()
    return compute_tagged_hash("gc/private-records", shape, *columns).hex()


def spend(directory: Path, name: str, epsilon: float, delta: float, totals: tuple[float, float]) -> Budget:
    """Write an entry down, and return what stands there then. The lower of these and the written totals holds.

    Raises PrivacyRefused where a total would be exceeded or the file is none; OSError where it cannot be written.
    """
    make_directory(directory)
    with hold_directory(directory):
        path = directory / f"{name}.json"
        old = read_budget(path) if path.exists() else Budget(*totals)
        kept = min(old.total_epsilon, totals[0]), min(old.total_delta, totals[1])
        new = Budget(*kept, (*old.spent, (epsilon, delta)))
        check_totals(new, old)
        _write(path, new)
        return new


def check_totals(new: Budget, old: Budget) -> None:
    for field in ("epsilon", "delta"):
        total, wanted, spent = (getattr(new, f"total_{field}"), getattr(new, field), getattr(old, field))
        if wanted > total:
            raise PrivacyRefused(
                f"total_{field}",
                f"{spent:g} of {total:g} is spent, and this release would make it {wanted:g}: ask for less, or let"
                " the data be; a total that was written down can be lowered only",
            )


def read_budget(path: Path) -> Budget:
    """Raises PrivacyRefused for anything but what `spend` wrote."""
    with path.open("rb") as file:
        data = file.read(SIZE_LIMIT + 1)
    try:
        value = json.loads(data) if len(data) <= SIZE_LIMIT else None
        budget = _parse(value)
    except (ValueError, TypeError, KeyError) as error:
        raise PrivacyRefused(
            "budget",
            f"{path} is damaged ({error}): what was spent is not known; restore it from a copy if nothing was released"
            " since",
        ) from None
    return budget


def _parse(value: Any) -> Budget:  # Any: JSON of unknown shape
    if not isinstance(value, dict) or set(value) != KEYS or value["version"] != VERSION:
        raise ValueError(f"an object with {', '.join(sorted(KEYS))} expected")
    spent = tuple((_read_number(e["epsilon"]), _read_number(e["delta"])) for e in value["spent"])
    return Budget(_read_number(value["total_epsilon"]), _read_number(value["total_delta"]), spent)


def _read_number(value: object) -> float:
    if not isinstance(value, float) or not (math.isfinite(value) and value >= 0):
        raise ValueError(f"a number of 0 or more expected, {value!r} came")
    return value


def _write(path: Path, budget: Budget) -> None:
    """Whole or not at all, and on the disk when this returns."""
    value = {
        "version": VERSION,
        "total_epsilon": float(budget.total_epsilon),
        "total_delta": float(budget.total_delta),
        "spent": [{"epsilon": float(e), "delta": float(d)} for e, d in budget.spent],
    }
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in its place in one step, for its owner alone; the directory entry is on the disk, too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def make_directory(directory: Path) -> None:
    """A directory of budgets, for its owner alone, there for good when this returns: lost, it would begin anew."""
    if not directory.is_dir():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(directory.parent)


def _sync(directory: Path) -> None:
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def hold_directory(directory: Path) -> Iterator[None]:
    """One process at a time reads and writes; the system frees the lock however that ends.

    Raises PrivacyRefused where another one, stopped perhaps, holds it for LOCK_S.
    """
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    until_s = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                raise PrivacyRefused(
                    "budget",
                    f"{directory} is held by another process for {LOCK_S:g} s: see that it ends, and try again",
                ) from None
            time.sleep(LOOK_AGAIN_S)
        else:
            return
