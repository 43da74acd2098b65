"""Cheap and planted jobs: what their owner nets when it mines them itself, and how fast a shortcut would have to be.

Nothing is sampled over seeds here: the money is the ledger's, the limits follow from the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from attack import ATTACKER, SHARES, encode, make_honest_offers, make_market
from lab import Integers, Lab, Practice, get_lab, read_integers
from market import ESCROW, Offer, View

from ledger.genesis import local_genesis
from ledger.params import COIN, MAINNET, ChainParams
from training.objectives.base import compute_loss_work

ROUNDS = 4
OWNER_STEPS = 400


@dataclass(frozen=True)
class OwnerBooks:
    """An owner's money over some rounds of its own job, in coins; `net` is what the whole affair brought it."""

    earned: float
    paid: float  # out of its escrow, to itself and to others
    costs: float  # burn of the drawn heights, rent, judging fees

    @property
    def net(self) -> float:
        return self.earned - self.paid - self.costs


def check_planted_jobs() -> list[str]:
    """Lines that say what a planted job brings, and what a shortcut in tickets would have to reach."""
    lab = get_lab()
    optimum = find_optimum(lab)
    alone, among = play_owner(lab, optimum, honest=False), play_owner(lab, optimum, honest=True)
    mean = lab.facts.work - 2 * compute_loss_work(lab.objective, lab.spec.shard)
    return [
        describe("planted optimum, owner alone", alone),
        describe("planted optimum, among 8 honest miners", among),
        *(describe_break_even(params) for params in (local_genesis("adversary").params, MAINNET)),
        f"work of a ticket that carries no noise (its two loss evaluations): {1 - mean / lab.facts.work:.1%},"
        f" so skipping it for degenerate data saves at most a factor {lab.facts.work / mean:.2f}",
    ]


def find_optimum(lab: Lab) -> Integers:
    """Weights that the owner knew before it opened the job: long training on what is paid for, the training split."""
    market = make_market(0)
    start = read_integers(market.weights[-2])
    return start + lab.train(start, lab.train_images, market.make_rng("owner"), Practice(steps=OWNER_STEPS))


def play_owner(lab: Lab, optimum: Integers, honest: bool) -> OwnerBooks:
    """The owner offers what leads straight to its optimum, in every round."""
    market = make_market(0)

    def make_offers(view: View) -> list[Offer]:
        owner = Offer(ATTACKER, SHARES, encode(optimum - view.base))
        return [owner, *(make_honest_offers(market, view) if honest else ())]

    for _ in range(ROUNDS):
        market.play_round(make_offers)
    params = lab.params
    drawn = ROUNDS * params.round_length * (params.heartbeat_every - 1) // params.heartbeat_every
    costs = drawn * params.min_burn + ROUNDS * params.rent + market.prepaid[ATTACKER]
    return OwnerBooks(market.earned[ATTACKER] / COIN, (ESCROW - market.escrow) / COIN, costs / COIN)


def describe(name: str, books: OwnerBooks) -> str:
    return (
        f"{name}: earned {books.earned:.2f}, paid {books.paid:.2f}, burn and fees {books.costs:.2f},"
        f" net {books.net:.2f} coins in {ROUNDS} rounds"
    )


def describe_break_even(params: ChainParams) -> str:
    burn = params.min_burn / params.coinbase
    return (
        f"{params.name}: tickets of an own job must be {find_break_even(burn):.2f} times as cheap as others'"
        f" before the blocks they win pay for a burn of {burn:g} coinbase a drawn height"
    )


def find_break_even(burn: float) -> float:
    """The speed-up at which buying slots pays.

    With a share a of all power and a speed-up s, a drawn height is won with sa / (sa + 1 - a) instead of a. The
    difference is largest at a = 1 / (1 + sqrt(s)), where it is (sqrt(s) - 1) / (sqrt(s) + 1) of a coinbase.
    """
    return ((1 + burn) / (1 - burn)) ** 2 if burn < 1 else float("inf")
