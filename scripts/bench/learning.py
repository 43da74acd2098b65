"""What eight miners learn through the market, against one trainer with all their steps, and against FedAvg.

The digits, in process: exact tickets and settlements, the ledger's money (scripts/adversary/market.py). A miner makes
20 Adam steps on minibatches of 64 a round, whatever its update is packed to. Central training makes the steps of all
eight one after the other, with the better of two rates; FedAvg averages eight miners' equal steps without a chain,
without tickets and without loss of bits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from figures import ROOT, Report, finish, parse_options

sys.path.append(str(ROOT / "scripts" / "adversary"))
from attack import HONEST, SHARES
from lab import Integers, Lab, Practice, get_lab, read_integers
from market import Market, Offer, View

from training.exact.grids import MASTER
from training.feedback import Compression, Feedback

ROUNDS, QUICK_ROUNDS = 16, 2
SEEDS, QUICK_SEEDS = 5, 1
DENSE = Compression(4096, 8)
PACKINGS = (  # beside the dense one, with the decay of what a payload lost
    (Compression(4096, 4), 0.0),
    (Compression(4096, 2), 0.0),
    (Compression(256, 4), 0.0),
    (Compression(256, 2), 0.0),
    (Compression(256, 2), 0.9),
    (Compression(64, 2), 0.0),
    (Compression(64, 2), 0.9),
)
FLOAT_BYTES = 4
CENTRAL_RATES = (5e-3, 1e-3)
CENTRAL_AIM, FEDAVG_AIM, GAP_AIM = 80.0, 100.0, 1.0  # percent


@dataclass(frozen=True, slots=True)
class Learned:
    """Weights of the end: mean loss on the judging split, accuracy on held-out images; mean bytes of a payload."""

    loss: float
    accuracy: float
    payload_bytes: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("learning", __doc__, arguments)
    report = Report("learning", options.seed, options.quick)
    seeds = [f"{options.seed}/{i}".encode() for i in range(QUICK_SEEDS if options.quick else SEEDS)]
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    lab = get_lab()
    compare_trainings(report, lab, seeds, rounds)
    compare_packings(report, lab, seeds, rounds)
    report.notes.append(
        f"{rounds} rounds, {len(seeds)} seeds; the market's rounds have tickets, too, which secure the chain anyway; a"
        " decrease is that of the judging loss from the initial weights, a gap that of the loss left"
    )
    finish(report, options)


def compare_trainings(report: Report, lab: Lab, seeds: Sequence[bytes], rounds: int) -> None:
    start = measure(lab, read_integers(lab.facts.weights)).loss
    found: dict[str, list[Learned]] = {
        "market": [run_market(lab, seed, rounds, DENSE, 0.0) for seed in seeds],
        "central": [train_centrally(lab, seed, rounds) for seed in seeds],
        "FedAvg": [train_by_averaging(lab, seed, rounds) for seed in seeds],
    }
    for name, learned in found.items():
        report.add(f"{name}: loss", [each.loss for each in learned], "")
        report.add(f"{name}: held-out accuracy", [100 * each.accuracy for each in learned], "%")
    for name, aim in (("central", CENTRAL_AIM), ("FedAvg", FEDAVG_AIM)):
        shares = [
            100 * (start - ours.loss) / (start - theirs.loss)
            for ours, theirs in zip(found["market"], found[name], strict=True)
        ]
        report.add(f"decrease of the loss, market / {name}", shares, "%", at_least=aim)


def compare_packings(report: Report, lab: Lab, seeds: Sequence[bytes], rounds: int) -> None:
    raw = FLOAT_BYTES * len(read_integers(lab.facts.weights))
    dense = [run_market(lab, seed, rounds, DENSE, 0.0) for seed in seeds]
    for packing, decay in PACKINGS:
        packed = [run_market(lab, seed, rounds, packing, decay) for seed in seeds]
        factor = raw / np.mean([each.payload_bytes for each in packed])
        gaps = [100 * (one.loss - two.loss) / two.loss for one, two in zip(packed, dense, strict=True)]
        label = f"{packing.kept} of 4096, {packing.bits} bits{', feedback' if decay else ''} ({factor:.0f} x)"
        report.add(f"{label}: loss gap to dense 8 bits", gaps, "%", at_most=GAP_AIM)
        report.add(f"{label}: held-out accuracy", [100 * each.accuracy for each in packed], "%")


# --- three ways to learn ----------------------------------------------------------------------------------------------


def run_market(lab: Lab, seed: bytes, rounds: int, packing: Compression, decay: float) -> Learned:
    market, sizes = Market(lab, seed), []
    feedbacks = [Feedback(decay) for _ in range(HONEST)]

    def make_offers(view: View) -> list[Offer]:
        offers = []
        for who, feedback in enumerate(feedbacks):
            delta = lab.train(view.base, lab.train_images, market.make_rng("honest", view.round, who))
            payload = feedback.pack(b"digits", delta, packing).payload
            sizes.append(len(payload))
            offers.append(Offer(who, SHARES, payload))
        return offers

    for _ in range(rounds):
        market.play_round(make_offers)
    end = measure(lab, read_integers(market.weights[-1]))
    return Learned(end.loss, end.accuracy, float(np.mean(sizes)))


def train_centrally(lab: Lab, seed: bytes, rounds: int) -> Learned:
    start = read_integers(lab.facts.weights)
    steps = rounds * HONEST * Practice().steps
    found = []
    for rate in CENTRAL_RATES:
        rng = np.random.default_rng(list(seed))
        moved = lab.train(start, lab.train_images, rng, Practice(steps=steps, rate=rate))
        found.append(measure(lab, start + moved))
    return min(found, key=lambda learned: learned.loss)


def train_by_averaging(lab: Lab, seed: bytes, rounds: int) -> Learned:
    weights, rng = read_integers(lab.facts.weights), np.random.default_rng(list(seed))
    for _ in range(rounds):
        moves = [lab.train(weights, lab.train_images, rng) for _ in range(HONEST)]
        weights = weights + np.rint(np.mean(moves, axis=0)).astype(np.int64)
    return measure(lab, weights)


def measure(lab: Lab, weights: Integers) -> Learned:
    raw = np.clip(weights, -MASTER.limit, MASTER.limit).astype("<i8").tobytes()
    return Learned(lab.measure_loss(raw), lab.measure_accuracy(raw, lab.held_out))


if __name__ == "__main__":
    main()
