"""Updates of a miner with private samples: accounting by two accountants, an attack, and what privacy leaves of them.

Digits with a training split of 300; a miner holds 700 more. The market is that of the attack zoo (scripts/adversary):
exact tickets, settlements and payments. Noise repeats for the same seed: these are measurements, not updates.
"""

from __future__ import annotations

import hashlib
import io
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from figures import ROOT, Report, finish, parse_options
from private import GAME_DELTA, bound_below, choose_threshold, see_delta

sys.path.insert(0, str(ROOT / "scripts" / "adversary"))
from attack import encode
from lab import Images, Integers, Lab, split_of
from market import Market, Offer, View

from training.local import LocalSettings, LocalUpdate, LocalWork, train_update
from training.native import NativeProblem
from training.private.convolution import bracket_delta
from training.private.cost import (
    NOISE_F,
    PrivacyTerms,
    compute_cost_delta,
    count_cost,
    count_total,
    find_noise,
)
from training.private.gradients import GRID_F, clip_to_grid, draw_noise
from training.private.noise import SecretNoise
from training.private.update import PrivateUpdate
from training.samples import join_splits

TRAIN, OWN = 300, 700
TERMS = {"epsilon 8": PrivacyTerms(8000, 10**10), "epsilon 1": PrivacyTerms(1000, 10**10)}
DROWNED = PrivacyTerms(1, 10**10)
ACCOUNTED = [(e, d, n) for e in (100, 1000, 8000) for d in (10**6, 10**10) for n in (1, 32, 1000)]
ROUNDS_BEFORE, QUICK_BEFORE = (0, 2, 6), (0,)
REPEATS, QUICK_REPEATS = 9, 1
MARKETS, MARKET_ROUNDS, QUICK_ROUNDS = 4, 16, 1
SHARES = 8
GAME = PrivacyTerms(1000, round(GAME_DELTA * 1e15), updates=4)
TRIALS, QUICK_TRIALS = 40_000, 500
FOREVER_S = 1e6
PUBLIC = "public samples alone"

Delta = Callable[[bytes, np.random.Generator], Integers]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("private_updates", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("private_updates", options.seed, options.quick)
    measure_accounting(report)
    play_games(report)
    lab = Lab("newton", TRAIN)
    with TemporaryDirectory() as folder:
        miners = Miners(lab, Path(folder), report.seed)
        measure_decrease(report, miners)
        measure_market(report, miners)
    finish(report, options)


# --- accounting -------------------------------------------------------------------------------------------------------


def measure_accounting(report: Report) -> None:
    """The closed form lies between the other accountant's bounds; totals are used up to rounding."""
    widths, inside, used = [], [], []
    for epsilon, delta, updates in ACCOUNTED[:: 9 if report.quick else 1]:
        noise = find_noise(PrivacyTerms(epsilon, delta, updates))
        cost = count_cost(noise, updates)
        low, high = bracket_delta([(2 / (noise * 2.0**-NOISE_F), updates)], epsilon / 1e3)
        inside.append(low <= compute_cost_delta(cost, epsilon / 1e3) <= high)
        widths.append(100 * (high / low - 1))
        used.append(cost / count_total(epsilon, delta))
    name = f"{len(widths)} totals and numbers of updates"
    report.add_one(
        f"{name}: closed form within the other accountant's bounds", float(np.mean(inside)), "", at_least=1.0
    )
    report.add(f"{name}: how much the upper bound of delta is above the lower", widths, "%")
    report.add(f"{name}: cost of all updates, of their total", used, "x", at_most=1.0)
    for name, terms in TERMS.items():
        clips = find_noise(terms) * 2.0**-NOISE_F
        report.add_one(f"noise for {name}, delta 1e-5, {terms.updates} updates", clips, "clips")


# --- a game -----------------------------------------------------------------------------------------------------------


def play_games(report: Report) -> None:
    """Guess from all sums of a budget which of two neighbours they are of: a gradient of one clip, or of minus one.

    Scored and bounded as in private.py; the control has half the noise and must be caught.
    """
    trials = QUICK_TRIALS if report.quick else TRIALS
    noise = find_noise(GAME)
    name = f"game, epsilon 1, delta {GAME_DELTA:g}, {GAME.updates} updates, {trials:,} trials a side"
    for label, played, wanted in (
        ("", noise, {"at_most": 1.0}),
        (", control", noise // 2, {} if report.quick else {"at_least": 1.0}),
    ):
        secret = SecretNoise(hashlib.sha256(f"{report.seed}/game{label}".encode()).digest())
        own, other = (draw_scores(sign, played, trials, secret) for sign in (1.0, -1.0))
        half = trials // 2
        threshold = choose_threshold(own[:half], other[:half])
        hits, alarms = int((own[half:] > threshold).sum()), int((other[half:] > threshold).sum())
        low, high = bound_below(hits, trials - half), 1 - bound_below(trials - half - alarms, trials - half)
        least = max(0.0, math.log((low - GAME_DELTA) / high)) if low > GAME_DELTA else 0.0
        report.add_one(f"{name}{label}: epsilon shown at that delta", least, "", **wanted)
        report.add_one(f"{name}{label}: delta seen at that epsilon", see_delta(own, other, 1.0), "")


def draw_scores(sign: float, noise: int, trials: int, secret: SecretNoise) -> np.ndarray:
    """The sums of all updates added up, which is all that the best test looks at; each gradient is three clips long."""
    units = clip_to_grid(torch.tensor([[3.0 * sign, 0.0], [0.0, 0.2]], dtype=torch.float64), 1.0).sum(0)
    drawn = draw_noise(trials * GAME.updates, noise, secret).reshape(trials, GAME.updates)
    scores: np.ndarray = (units[0] + drawn).sum(1) * 2.0**-GRID_F
    return scores


# --- updates ----------------------------------------------------------------------------------------------------------


class Miners:
    """Ways to train an update of the lab's job."""

    def __init__(self, lab: Lab, folder: Path, seed: str) -> None:
        self.lab, self._folder = lab, folder
        self._seed, self._drawn = seed, 0
        self.own = Images(lab.held_out.inputs[-OWN:], lab.held_out.labels[-OWN:])
        self.held_out = Images(lab.held_out.inputs[:-OWN], lab.held_out.labels[:-OWN])
        self.public = split_of(lab.train_images)
        file = io.BytesIO()
        np.savez(file, inputs=self.own.inputs, targets=self.own.labels)
        self._npz = file.getvalue()

    def train_publicly(self, weights: bytes, rng: np.random.Generator) -> Integers:
        return self._train(weights, rng, LocalWork(self.lab.objective, self.public, weights))

    def train_openly(self, weights: bytes, rng: np.random.Generator) -> Integers:
        """On all samples, as without a privacy of their own."""
        joined = join_splits(self.public, split_of(self.own))
        return self._train(weights, rng, LocalWork(self.lab.objective, joined, weights))

    def train_privately(self, terms: PrivacyTerms, budget: str) -> Delta:
        def train(weights: bytes, rng: np.random.Generator) -> Integers:
            step = PrivateUpdate(
                self.lab.objective,
                self.public,
                self._npz,
                terms,
                self._folder / budget,
                np.random.default_rng(rng.integers(1 << 60)),
                lambda: FOREVER_S,
                noise=self._draw_noise(),
            )
            work = LocalWork(self.lab.objective, self.public, weights)
            return self._train(weights, rng, work, step)

        return train

    def _draw_noise(self) -> SecretNoise:
        self._drawn += 1
        return SecretNoise(hashlib.sha256(f"{self._seed}/{self._drawn}".encode()).digest())

    def _train(
        self, weights: bytes, rng: np.random.Generator, work: LocalWork, step: PrivateUpdate | None = None
    ) -> Integers:
        refine = step.refine if step else lambda trained: trained
        made = train_update(work, LocalSettings(), rng.bytes(32), lambda: False, None, refine)
        count = len(weights) // 8
        return made.delta if isinstance(made, LocalUpdate) else np.zeros(count, np.int64)


def measure_decrease(report: Report, miners: Miners) -> None:
    """Of one update, relative, on what pays (the training split) and on what nobody trained on (the judging split)."""
    repeats = QUICK_REPEATS if report.quick else REPEATS
    weights = miners.lab.facts.weights
    measured = QUICK_BEFORE if report.quick else ROUNDS_BEFORE
    for number in range(max(measured) + 1):
        if number in measured:
            ways: dict[str, Delta] = {
                PUBLIC: miners.train_publicly,
                "with own samples, not private": miners.train_openly,
            }
            for name, terms in (*TERMS.items(), ("all drowned in noise", DROWNED)):
                ways[f"private, {name}"] = miners.train_privately(terms, f"{number} {name}")
            for name, train in ways.items():
                add_decrease(
                    report, f"loss taken away after {number} rounds: {name}", miners, weights, train, repeats
                )
        rng = np.random.default_rng(number)
        weights = move(weights, miners.train_publicly(weights, rng))


def add_decrease(
    report: Report, name: str, miners: Miners, weights: bytes, train: Delta, repeats: int
) -> None:
    problems = {
        "training": NativeProblem(miners.lab.objective, miners.public, torch.float64),
        "judging": NativeProblem(miners.lab.objective, split_of(miners.lab.judge_images), torch.float64),
    }
    found: dict[str, list[float]] = {split: [] for split in problems}
    for number in range(repeats):
        after = move(weights, train(weights, np.random.default_rng([1, number])))
        for split, problem in problems.items():
            before, now = (measure(problem, raw) for raw in (weights, after))
            found[split].append(100 * (1 - now / before))
    for split, values in found.items():
        report.add(f"{name}, {split} split", values, "%")


def measure(problem: NativeProblem, weights: bytes) -> float:
    flat = problem.read_weights(np.frombuffer(weights, "<i8").astype(np.int64))
    return problem.measure_loss(flat, np.arange(problem.count))


def move(weights: bytes, delta: Integers) -> bytes:
    return (np.frombuffer(weights, "<i8") + delta).astype("<i8").tobytes()


# --- a market ---------------------------------------------------------------------------------------------------------


def measure_market(report: Report, miners: Miners) -> None:
    """Two of each kind against one another; income over that of those without samples of their own."""
    rounds = QUICK_ROUNDS if report.quick else MARKET_ROUNDS
    ratios: dict[str, list[float]] = {}
    paid: dict[str, list[float]] = {}
    losses, accuracies = [], []
    for number in range(1 if report.quick else MARKETS):
        market = Market(miners.lab, f"{report.seed}/{number}".encode())
        kinds = list_kinds(miners, f"market {number}")
        counts = play(market, [train for pair in kinds.values() for train in pair], rounds)
        for i, kind in enumerate(kinds):
            income, public = (market.earned[2 * at] + market.earned[2 * at + 1] for at in (i, 0))
            ratios.setdefault(kind, []).append(income / max(1, public))
            paid.setdefault(kind, []).append(100 * (counts[2 * i] + counts[2 * i + 1]) / (2 * rounds))
        losses.append(miners.lab.measure_loss(market.weights[-1]))
        accuracies.append(100 * miners.lab.measure_accuracy(market.weights[-1], miners.held_out))
    name = f"market of {rounds} rounds, two of each kind"
    for kind in kinds:
        if kind != PUBLIC:
            report.add(f"{name}: income, {kind}, over {PUBLIC}", ratios[kind], "x")
        report.add(f"{name}: updates that were paid, {kind}", paid[kind], "%")
    report.add(f"{name}: loss at the end", losses, "")
    report.add(f"{name}: held-out accuracy at the end", accuracies, "%")


def list_kinds(miners: Miners, name: str) -> dict[str, tuple[Delta, Delta]]:
    first, second = (miners.train_privately(TERMS["epsilon 8"], f"{name} {i}") for i in (0, 1))
    return {
        PUBLIC: (miners.train_publicly, miners.train_publicly),
        "own samples, not private": (miners.train_openly, miners.train_openly),
        "own samples, private, epsilon 8": (first, second),
    }


def play(market: Market, players: Sequence[Delta], rounds: int) -> Counter[int]:
    """Play, and return how many updates of each player were paid."""

    def make_offers(view: View) -> list[Offer]:
        base = view.base.astype("<i8").tobytes()
        deltas = [train(base, market.make_rng("own", view.round, who)) for who, train in enumerate(players)]
        return [Offer(who, SHARES, encode(delta)) for who, delta in enumerate(deltas)]

    paid: Counter[int] = Counter()
    for _ in range(rounds):
        before = market.earned.copy()
        market.play_round(make_offers)
        paid.update(who for who in range(len(players)) if market.earned[who] > before[who])
    return paid


if __name__ == "__main__":
    main()
