"""What the chains of each attack come to: what it earns or wins against honest mining, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from chain_players import Measure
from chain_trial import CASES, Case, ChainTrial
from summary import BROKEN, HELD, NOISE, RESAMPLES, lay_out

HEAD = (
    "attack, part of all power",
    "compared",
    "honest: 1",
    "bar",
    "verdict",
    "updates that land",
    "measured",
)
COMPARED = {
    "market": "market income for its work",
    "blocks": "blocks for its work",
    "grinding": "income, knowing all payloads",
}


@dataclass(frozen=True)
class ChainRow:
    """An attack over all its seeds: `mean`, with its 95 % interval, is a multiple of what honest mining brings."""

    attack: str
    seeds: int
    measure: Measure
    mean: float
    low: float
    high: float
    bar: float
    power: float
    landed: float  # part of the honest updates whose commitment found a block
    landed_before: float  # the same without the attack
    lost: int  # honest updates that were committed to and whose reveal found no block
    committed: int
    measured: str

    @property
    def fair_landed(self) -> float:
        """What must land: the room of a round is shared out by work, with a tenth for chance."""
        return 0.9 * (1 - self.power) * self.landed_before

    @property
    def verdict(self) -> str:
        if self.low > self.bar or self.landed < self.fair_landed:
            return BROKEN
        return HELD if self.mean <= self.bar else NOISE


def summarise_chains(trials: Sequence[ChainTrial]) -> list[ChainRow]:
    """A row for each case that was played, in their order."""
    by_case: dict[str, list[ChainTrial]] = {}
    for trial in sorted(trials, key=lambda t: t.seed):
        by_case.setdefault(trial.case, []).append(trial)
    played = [case for case in CASES if case.name in by_case]
    return [make_row(case, by_case[case.name], by_case[case.control.name]) for case in played]


def make_row(case: Case, found: Sequence[ChainTrial], control: Sequence[ChainTrial]) -> ChainRow:
    mean, low, high = estimate(compare(case, found, control))
    committed = sum(t.landed for t in found)
    return ChainRow(
        attack=case.name,
        seeds=len(found),
        measure=case.kind.measures,
        mean=mean,
        low=low,
        high=high,
        bar=case.kind.bar,
        power=case.power,
        landed=committed / max(1, sum(t.made for t in found)),
        landed_before=sum(t.landed for t in control) / max(1, sum(t.made for t in control)),
        lost=committed - sum(t.revealed for t in found),
        committed=committed,
        measured=describe_case(case, found, control),
    )


def compare(
    case: Case, found: Sequence[ChainTrial], control: Sequence[ChainTrial]
) -> list[tuple[float, float]]:
    """For each seed what the attacker had, and what the same work brings without the attack, of all miners alike."""
    match case.kind.measures:
        case "market":
            return [(t.market, c.all_market * case.power) for t, c in zip(found, control, strict=True)]
        case "blocks":
            return [(t.chance, t.work) for t in found]
    return [(t.income + t.gain, t.income) for t in found]


def estimate(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The ratio of the sums and its 95 % interval, by resampling the seeds."""
    values, weights = np.array(pairs).T
    picks = np.random.default_rng(1).integers(0, len(values), (RESAMPLES, len(values)))
    ratios = values[picks].sum(axis=1) / weights[picks].sum(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(values.sum() / weights.sum()), float(low), float(high)


def describe_case(case: Case, found: Sequence[ChainTrial], control: Sequence[ChainTrial]) -> str:
    """What is worth saying of an attack beside its verdict."""
    coins, own = float(np.mean([t.market for t in found])), float(np.mean([t.market for t in control]))
    usual = float(np.mean([t.all_market for t in control]))
    match case.kind.measures:
        case "market":
            return f"{coins:.1f} coins; without it {own:.1f}, all miners {usual:.1f}"
        case "grinding":
            dropped = sum(t.dropped for t in found)
            return f"worth {np.mean([t.gain for t in found]):.2f} coins a chain; it kept {dropped} blocks to itself"
    pace = sum(t.all_blocks for t in found) / sum(t.intervals for t in found)
    return f"works {np.mean([t.work for t in found]):.3f} of all, {pace:.2f} blocks an interval"


def read_chain_row(value: Mapping[str, Any]) -> ChainRow:  # Any: JSON
    """The row that its JSON was made of."""
    return ChainRow(**{key: part for key, part in value.items() if key != "verdict"})


def make_cells(row: ChainRow) -> tuple[str, ...]:
    landed = f"{100 * row.landed:.0f} % ({100 * row.landed_before:.0f} % without)"
    lost = f"; {row.lost} of {row.committed} bonds lost" if row.lost else ""
    return (
        row.attack,
        COMPARED[row.measure],
        f"{row.mean:.2f} ({row.low:.2f} .. {row.high:.2f})",
        f"{row.bar:g}",
        row.verdict,
        landed,
        row.measured + lost,
    )


def make_chain_table(rows: Sequence[ChainRow], markdown: bool) -> list[str]:
    """The lines of a table."""
    return lay_out([HEAD, *(make_cells(row) for row in rows)], markdown)
