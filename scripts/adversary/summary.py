"""What the trials of each attack come to: mean incomes with their 95 % intervals over seeds, harm done, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from attack import Honest
from attacks import list_attacks
from trial import CLEAN, Trial

RESAMPLES = 4000
HELD, NOISE, BROKEN, NO_BAR = "held", "within noise", "BROKEN", "-"
HEAD = (
    "attack",
    "income of an identity",
    "income of a share",
    "training",
    "bar",
    "verdict",
    "loss",
    "accuracy",
    "measured",
)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval, by resampling the seeds."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f} .. {self.high:.2f})"


@dataclass(frozen=True)
class Row:
    """One attack over all its seeds. Incomes are multiples of an honest miner's; differences are to the clean runs."""

    attack: str
    seeds: int
    per_identity: Estimate
    per_share: Estimate
    training: float  # processor time of an identity, an honest miner's being 1
    bar: float | None
    bar_is_per_share: bool
    control: float  # what one more honest miner earned on the same seeds and minibatches, at least 1
    loss: float
    loss_change: Estimate
    accuracy: float
    accuracy_change: Estimate
    measured: str

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return NO_BAR
        judged = self.per_share if self.bar_is_per_share else self.per_identity
        limit = (
            self.bar * self.control if self.bar >= 1 else self.bar
        )  # a multiple of an income, or next to nothing
        if judged.mean <= limit:
            return HELD
        return NOISE if judged.low <= limit else BROKEN


def summarise(trials: Sequence[Trial]) -> list[Row]:
    """A row for each attack that was tried, in the zoo's order."""
    clean = {trial.seed: trial for trial in trials if trial.attack == CLEAN}
    tried = {
        name: sorted((t for t in trials if t.attack == name), key=lambda t: t.seed) for name in list_attacks()
    }
    control = measure_control(tried[Honest.name])
    return [
        make_row(name, found, [clean[t.seed] for t in found], control)
        for name, found in tried.items()
        if found
    ]


def measure_control(trials: Sequence[Trial]) -> float:
    """What the honest attacker earned. Above 1 it was lucky, and so was everybody who trained on its minibatches."""
    return (
        max(1.0, estimate_ratio([(t.per_identity, t.honest_income) for t in trials]).mean) if trials else 1.0
    )


def average_clean(trials: Sequence[Trial]) -> dict[str, float]:
    """Loss, accuracy and honest income of the markets without an attack, means over seeds."""
    clean = [trial for trial in trials if trial.attack == CLEAN]
    keys = ("loss", "accuracy", "honest_income")
    return {key: float(np.mean([getattr(trial, key) for trial in clean])) for key in keys}


def read_row(value: Mapping[str, Any]) -> Row:  # Any: JSON
    """The row that its JSON was made of."""
    fields: dict[str, Any] = {key: part for key, part in value.items() if key != "verdict"}  # Any: JSON
    estimates = {key: Estimate(**part) for key, part in fields.items() if isinstance(part, dict)}
    return Row(**(fields | estimates))


def make_row(name: str, trials: Sequence[Trial], clean: Sequence[Trial], control: float) -> Row:
    pairs = list(zip(trials, clean, strict=True))
    bar = list_attacks()[name].bar
    return Row(
        attack=name,
        seeds=len(trials),
        per_identity=estimate_ratio([(t.per_identity, t.honest_income) for t in trials]),
        per_share=estimate_ratio([(t.per_share, t.honest_income) for t in trials]),
        training=float(np.mean([t.training / t.identities for t in trials])),
        bar=bar.most if bar else None,
        bar_is_per_share=bar.per_share if bar else False,
        control=control,
        loss=float(np.mean([t.loss for t in trials])),
        loss_change=estimate([t.loss - c.loss for t, c in pairs]),
        accuracy=float(np.mean([t.accuracy for t in trials])),
        accuracy_change=estimate([t.accuracy - c.accuracy for t, c in pairs]),
        measured=describe_measured(trials, clean),
    )


def estimate(values: Sequence[float]) -> Estimate:
    """The mean and its interval; the same values give the same interval."""
    return estimate_ratio([(value, 1.0) for value in values])


def estimate_ratio(weighted: Sequence[tuple[float, float]]) -> Estimate:
    """The mean of (value, weight) pairs: of incomes relative to honest ones, all income over all honest income."""
    values, weights = np.array(weighted).T
    picks = np.random.default_rng(1).integers(0, len(values), (RESAMPLES, len(values)))
    means = (values * weights)[picks].sum(axis=1) / weights[picks].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(np.average(values, weights=weights)), float(low), float(high))


def describe_measured(trials: Sequence[Trial], clean: Sequence[Trial]) -> str:
    parts = []
    for key in trials[0].measured:
        with_attack = estimate([t.measured[key] for t in trials])
        without = float(np.mean([c.clean_measured[key] for c in clean]))
        parts.append(f"{key}: {with_attack}, without {without:.2f}")
    return "; ".join(parts)


def make_table(rows: Sequence[Row], markdown: bool) -> list[str]:
    """The lines of a table."""
    return lay_out([HEAD, *(make_cells(row) for row in rows)], markdown)


def lay_out(cells: Sequence[Sequence[str]], markdown: bool) -> list[str]:
    """The lines of a table of cells, the head first."""
    columns = len(cells[0])
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in cells]
        return [lines[0], "|" + "---|" * columns, *lines[1:]]
    widths = [max(len(row[i]) for row in cells) for i in range(columns)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def make_cells(row: Row) -> tuple[str, ...]:
    bar = "" if row.bar is None else f"{'share' if row.bar_is_per_share else 'identity'} <= {row.bar:g}"
    return (
        row.attack, str(row.per_identity), str(row.per_share), f"{row.training:.2f}", bar, row.verdict,
        f"{row.loss:.3f} ({row.loss_change.mean:+.3f})",
        f"{100 * row.accuracy:.1f} % ({100 * row.accuracy_change.mean:+.1f})",
        row.measured,
    )  # fmt: skip
