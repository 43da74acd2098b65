"""What updates spent on a file of samples: a file for each in a directory that a node keeps for its life.

The name of samples, their *data id*, is a hash keyed with a secret of the directory, of the samples in any order and
whatever file they came in. It stands on the chain with every update, and without the key whoever has a guess of the
samples (a table of small numbers is soon guessed) could test it. One changed digit is another id: the budget keeps an
operator from mistakes and not from himself. Costs are those of cost.py; what is written is on the disk before anything
is drawn, so a crash in between costs budget, never privacy.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.errors import PrivacyRefused
from training.hashing import compute_tagged_hash
from training.private.budget import SIZE_LIMIT, hold_directory, make_directory, write_whole
from training.private.cost import (
    DELTA_UNITS,
    EPSILON_UNITS,
    MOST_COST,
    MOST_EPSILON,
    PrivacyTerms,
    count_total,
    find_epsilon,
)
from training.splits import NO_ROWS, Split

VERSION = 1
SECRET_FILE = "secret"
SECRET_BYTES = 32
KEYS = {
    "version": VERSION,
    "epsilon": MOST_EPSILON,
    "delta": DELTA_UNITS,
    "spent": MOST_COST,
    "updates": MOST_COST,
}


@dataclass(frozen=True, slots=True)
class Account:
    """The total of some samples, in thousandths and units of 10^-15, and the cost and number of the updates so far."""

    epsilon: int
    delta: int
    spent: int = 0
    updates: int = 0

    def describe(self) -> str:
        """In words: what is spent, as an epsilon at the total's delta."""
        spent, total = find_epsilon(self.spent, self.delta), self.epsilon / EPSILON_UNITS
        delta = self.delta / DELTA_UNITS
        updates = f"{self.updates} update{'' if self.updates == 1 else 's'}"
        return f"epsilon {spent:.3g} of {total:g} (delta {delta:g}) is spent in {updates}"


def identify_samples(directory: Path, samples: Split) -> bytes:
    """The data id of samples: 32 bytes. Makes the directory and its secret at the first call.

    Raises PrivacyRefused for a secret that is lost or damaged; OSError where it cannot be written.
    """
    make_directory(directory)
    with hold_directory(directory):
        secret = _read_secret(directory)
    targets = samples.labels.reshape(-1, 1) if samples.rows is NO_ROWS else samples.rows
    rows = sorted(
        x.astype("<i2").tobytes() + y.astype("<i2").tobytes()
        for x, y in zip(samples.inputs, targets, strict=True)
    )
    width = len(samples.inputs[0]).to_bytes(8, "little")
    return compute_tagged_hash("gc/private-samples", secret, width, *rows)


def has_budget(directory: Path, samples: Split) -> bool:
    """Whether these samples were ever promised privacy here. Raises as identify_samples."""
    if not (directory / SECRET_FILE).exists() and next(directory.glob("*.json"), None) is None:
        return False
    return (directory / f"{identify_samples(directory, samples).hex()}.json").exists()


def spend_update(directory: Path, data_id: bytes, cost: int, terms: PrivacyTerms) -> Account:
    """Write an update's cost down and return the account then. The lower of the terms' and the written total holds.

    Raises PrivacyRefused where the total would be exceeded, or for a damaged file; OSError where it cannot be written.
    """
    make_directory(directory)
    with hold_directory(directory):
        path = directory / f"{data_id.hex()}.json"
        old = (
            _choose_total(read_account(path), terms) if path.exists() else Account(terms.epsilon, terms.delta)
        )
        new = replace(old, spent=old.spent + cost, updates=old.updates + 1)
        if new.spent > count_total(old.epsilon, old.delta):
            raise PrivacyRefused("privacy", f"the budget does not allow another update: {old.describe()}")
        _write(path, new)
        return new


def read_account(path: Path) -> Account:
    """Raises PrivacyRefused for anything but what `spend_update` wrote."""
    with path.open("rb") as file:
        data = file.read(SIZE_LIMIT + 1)
    try:
        return _parse(json.loads(data) if len(data) <= SIZE_LIMIT else None)
    except (ValueError, TypeError, KeyError) as error:
        raise PrivacyRefused(
            "privacy",
            f"{path} is damaged ({error}): what was spent is not known; restore it from a copy only if no"
            " update was made since that was taken, else leave the samples out",
        ) from None


def _choose_total(account: Account, terms: PrivacyTerms) -> Account:
    """Whichever total allows less: one that was written down can be lowered only."""
    if count_total(terms.epsilon, terms.delta) < count_total(account.epsilon, account.delta):
        return replace(account, epsilon=terms.epsilon, delta=terms.delta)
    return account


def _parse(value: Any) -> Account:  # Any: JSON of unknown shape
    if not isinstance(value, dict) or set(value) != set(KEYS) or value["version"] != VERSION:
        raise ValueError(f"an object with {', '.join(KEYS)} expected")
    for key, most in KEYS.items():
        if type(value[key]) is not int or not 0 <= value[key] <= most:
            raise ValueError(f"{key}: 0 to {most} expected, {value[key]!r} came")
    return Account(value["epsilon"], value["delta"], value["spent"], value["updates"])


def _write(path: Path, account: Account) -> None:
    value = {
        "version": VERSION,
        "epsilon": account.epsilon,
        "delta": account.delta,
        "spent": account.spent,
        "updates": account.updates,
    }
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def _read_secret(directory: Path) -> bytes:
    path = directory / SECRET_FILE
    if path.exists():
        secret = path.read_bytes()
        if len(secret) != SECRET_BYTES:
            raise PrivacyRefused(
                "privacy", f"{path} is damaged: {SECRET_BYTES} bytes expected, restore it from a copy"
            )
        return secret
    if next(directory.glob("*.json"), None) is not None:
        raise PrivacyRefused(
            "privacy", f"{path} is lost, and with it whose budgets these are: restore it from a copy"
        )
    secret = os.urandom(SECRET_BYTES)
    write_whole(path, secret)
    return secret
