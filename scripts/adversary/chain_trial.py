"""One chain-level attack on one seeded chain, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain_attackers import (
    Censor,
    DifficultyHopper,
    EarlyLiar,
    FullCensor,
    Grinder,
    HeartbeatHopper,
    LateLiar,
    LyingHopper,
    OffSlotMiner,
    RevealCrowder,
    RoomSpammer,
    ShareSpammer,
    SlotHopper,
)
from chain_players import Player
from chainlab import PARAMS, World

from ledger.params import COIN

HONEST = 8
EQUAL = 1 / (HONEST + 1)


@dataclass(frozen=True)
class Case:
    """An attack by a miner of a part of all power; `budget` is a round's, in coinbases."""

    kind: type[Player]
    power: float
    budget: int = 1

    @property
    def name(self) -> str:
        power = "1/9" if self.power == EQUAL else f"{100 * self.power:.0f} %"
        return f"{self.kind.name}, {power}" + (f", {self.budget} coinbases" if self.budget > 1 else "")

    @property
    def control(self) -> Case:
        """The same without the attack."""
        return replace(self, kind=Player)


CASES = (
    Case(ShareSpammer, EQUAL), Case(ShareSpammer, 0.4), Case(RoomSpammer, EQUAL), Case(RoomSpammer, 0.4),
    Case(RevealCrowder, EQUAL), Case(RevealCrowder, 0.4),
    Case(Censor, 0.25), Case(Censor, 0.4), Case(FullCensor, 0.25), Case(FullCensor, 0.4),
    Case(Grinder, 0.4), Case(Grinder, 0.4, 6),
    Case(SlotHopper, EQUAL), Case(HeartbeatHopper, EQUAL), Case(OffSlotMiner, EQUAL), Case(DifficultyHopper, EQUAL),
    Case(LateLiar, 0.25), Case(EarlyLiar, 0.25), Case(LyingHopper, 0.25),
)  # fmt: skip


@dataclass(frozen=True)
class ChainTrial:
    """A chain of some rounds. Amounts in coins; `work` and `chance` are the attacker's part of all miners'."""

    case: str
    seed: int
    work: float
    chance: float  # of blocks
    blocks: int
    all_blocks: int
    dropped: int
    market: float  # the attacker's, less fees
    all_market: float  # all miners'
    gain: float  # of grinding, beside it
    made: int  # honest updates, of settled rounds
    landed: int  # whose commitment found a block
    revealed: int
    intervals: float  # that the blocks took

    @property
    def per_work(self) -> float:
        """Blocks that the attacker could expect for its work, an honest miner's being 1."""
        return self.chance / self.work

    @property
    def income(self) -> float:
        """Coinbases that the attacker could expect, and its market."""
        return self.chance * self.all_blocks * PARAMS.coinbase / COIN + self.market


def play_chain(case: Case, seed: int, rounds: int) -> ChainTrial:
    """Mine some rounds of a job's chain with the attacker and eight honest miners, and settle them."""
    budget = case.budget * PARAMS.coinbase
    world = World(seed, budget, 4 * budget, PARAMS)
    try:
        for key in world.keys[:HONEST]:
            world.players.append(Player(world, key, (1 - case.power) / HONEST))
        attacker = case.kind(world, world.keys[HONEST], case.power)
        world.players.append(attacker)
        world.open_job(world.keys[HONEST + 1])
        world.books.clear()  # so that only the rounds count
        start, clock_ms = world.height, world.clock_ms
        for _ in range((rounds + 1) * PARAMS.round_length):
            world.mine_block()
        return describe(world, case.name, seed, attacker, world.height - start, world.clock_ms - clock_ms)
    finally:
        world.close()


def describe(world: World, name: str, seed: int, attacker: Player, blocks: int, took_ms: float) -> ChainTrial:
    events = world.book_settlements()
    last = max((event.round for event in events), default=-1)
    own, honest = world.get_books(attacker.key), [world.get_books(key) for key in world.keys[:HONEST]]
    everybody = [own, *honest]
    landed = sum(books.landed for books in honest)
    return ChainTrial(
        case=name,
        seed=seed,
        work=own.work / sum(books.work for books in everybody),
        chance=own.chance / sum(books.chance for books in everybody),
        blocks=own.blocks,
        all_blocks=blocks,
        dropped=own.dropped,
        market=(own.market - own.fees) / COIN,
        all_market=sum(books.market - books.fees for books in everybody) / COIN,
        gain=attacker.gain(),
        made=sum(number <= last for books in honest for number in books.made),
        landed=landed,
        revealed=landed - sum(books.unrevealed for books in honest),
        intervals=took_ms / PARAMS.interval_ms,
    )
